"""Recognises which program wrote a capture, and reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from privhead_ns.errors import UserError
from privhead_ns.prepare.posed import PosedCapture
from privhead_ns.prepare.readers import DataFormat
from privhead_ns.prepare.readers.colmap_model import find_model, read_colmap
from privhead_ns.prepare.readers.facescape import is_facescape, read_facescape
from privhead_ns.prepare.readers.h3ds import is_h3ds, read_h3ds
from privhead_ns.prepare.readers.metashape import is_metashape, read_metashape
from privhead_ns.prepare.readers.phone_apps import find_polycam, find_record3d, read_polycam, read_record3d
from privhead_ns.prepare.readers.realitycapture import is_realitycapture, read_realitycapture
from privhead_ns.prepare.readers.transforms_file import read_transforms
from privhead_ns.text_files import read_json

DATA_SETS: dict[str, tuple[Callable[[Path], bool], Callable[[Path], PosedCapture]]] = {
    "facescape": (is_facescape, read_facescape),
    "h3ds": (is_h3ds, read_h3ds),
}
SPLITS = ("transforms_train.json", "transforms_val.json", "transforms_test.json")
MODEL_FILES = ("cameras", "images", "points3D")
TABLES: tuple[tuple[str, Callable[[Path], bool], Callable[[Path], PosedCapture], str], ...] = (
    (".xml", is_metashape, read_metashape, "cameras exported from Metashape"),
    (".csv", is_realitycapture, read_realitycapture, "camera parameters exported from RealityCapture"),
)


def read_posed(data: Path, data_format: DataFormat = "auto") -> PosedCapture | None:
    """Reads a capture with poses: of Nerfstudio, instant-ngp, Blender, COLMAP, Polycam, Record3D, NeRFCapture,
    Metashape or RealityCapture, of the data sets FaceScape or H3DS, or a raw capture.

    Args:
        data: a folder, or the file in it that holds the poses.
        data_format: of a data set; what is not of it is refused.

    Returns:
        The photographs with their cameras; None for a folder of photographs without poses, or a film.

    Raises:
        UserError: if it does not exist, or is recognised but broken, incomplete or already protected.
    """
    if not data.exists():
        raise UserError(f"There is no {data}: give --data a folder of photographs, a capture, or a film.")
    if data_format != "auto":
        return DATA_SETS[data_format][1](data)
    if data.is_dir():
        return _read_folder(data)
    suffix = data.suffix.lower()
    if suffix == ".json":
        return _read_json_file(data)
    if suffix in (".bin", ".txt") and data.stem in MODEL_FILES and (model := find_model(data.parent)) is not None:
        return read_colmap(model, data.parent)
    if suffix in (".zip", ".r3d"):
        raise UserError(f"{data} is an archive: unpack it, and give --data the folder.")
    for ending, fits, read, what in TABLES:
        if suffix == ending:
            if not fits(data):
                raise UserError(f"{data} does not hold {what}; export them again, or give --data a folder.")
            return read(data)
    return None


def _read_json_file(path: Path) -> PosedCapture:
    content = read_json(path)
    if "frames" in content:
        return read_transforms([path])
    if path == find_record3d(path.parent):
        return read_record3d(path)
    raise UserError(f"{path} lists no photographs: give --data a transforms.json with 'frames', or a folder.")


def _read_folder(data: Path) -> PosedCapture | None:
    if files := _transforms_files(data):
        return read_transforms(files)
    if (polycam := find_polycam(data)) is not None:
        return read_polycam(*polycam)
    if (metadata := find_record3d(data)) is not None:
        return read_record3d(metadata)
    if (model := find_model(data)) is not None:
        return read_colmap(model, data)
    for fits, read in DATA_SETS.values():
        if fits(data):
            return read(data)
    for ending, fits, read, what in TABLES:
        files = [path for path in sorted(data.iterdir()) if path.suffix.lower() == ending and fits(path)]
        if len(files) > 1:
            raise UserError(f"{data} has several files of {what} ({files[0].name}, {files[1].name}); give --data one.")
        if files:
            return read(files[0])
    return None


def _transforms_files(data: Path) -> list[Path]:
    """Returns transforms.json, else Blender's files of each split, else the only one of another name.

    Raises:
        UserError: if there are several of other names.
    """
    if (path := data / "transforms.json").is_file():
        return [path]
    if splits := [data / name for name in SPLITS if (data / name).is_file()]:
        return splits
    others = sorted(data.glob("transforms*.json"))
    if len(others) > 1:
        names = ", ".join(path.name for path in others)
        raise UserError(f"{data} has several lists of poses ({names}); give --data the file that is meant.")
    return others
