"""Reads COLMAP models, text and binary, with Nerfstudio's parser."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from nerfstudio.data.utils import colmap_parsing_utils as parser

from privhead_ns.capture.listed_files import locate, refuse_missing
from privhead_ns.errors import UserError
from privhead_ns.prepare.posed import PosedCapture
from privhead_ns.prepare.readers.files import find_mask
from privhead_ns.prepare.readers.fit import Listed, fit_all
from privhead_ns.prepare.readers.pose import opencv_to_opengl
from privhead_ns.text_files import read_text

PARAMETERS = {
    "SIMPLE_PINHOLE": "fl_x cx cy",
    "PINHOLE": "fl_x fl_y cx cy",
    "SIMPLE_RADIAL": "fl_x cx cy k1",
    "RADIAL": "fl_x cx cy k1 k2",
    "OPENCV": "fl_x fl_y cx cy k1 k2 p1 p2",
    "FULL_OPENCV": "fl_x fl_y cx cy k1 k2 p1 p2 k3 k4 k5 k6",
    "OPENCV_FISHEYE": "fl_x fl_y cx cy k1 k2 k3 k4",
    "SIMPLE_RADIAL_FISHEYE": "fl_x cx cy k1",
    "RADIAL_FISHEYE": "fl_x cx cy k1 k2",
}
"""Parameters of COLMAP's camera models, in its order, by the keys of transforms.json; fl_y is fl_x where left out."""
MODEL_FOLDERS = (".", "sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse")
IMAGE_FOLDERS = ("images", "input", ".")
LEVELS = 3
"""Folders above a model in which its images are sought."""


class Pose(NamedTuple):
    """One registered image."""

    name: str
    camera_id: int
    world_to_camera: Float[np.ndarray, "7"]
    """Quaternion (scalar first) and translation, OpenCV convention."""


def find_model(data: Path) -> Path | None:
    """Returns the folder of the COLMAP model in a capture's folder; of several parts, the one with most images."""
    for name in MODEL_FOLDERS:
        folder = data / name
        if _ending(folder) is None:
            continue
        parts = [one for one in sorted(folder.parent.iterdir()) if one.name.isdigit() and _ending(one) is not None]
        return max(parts, key=lambda part: len(_read_poses(part))) if name.endswith("/0") else folder
    return None


def read_colmap(model: Path, data: Path) -> PosedCapture:
    """Reads a model, and finds its images in `images/` beside it or in a folder above.

    Args:
        model: folder of cameras.bin, images.bin and points3D.bin, or of the same as .txt.
        data: the capture's folder, in which masks are sought.

    Raises:
        UserError: if a file is broken or missing, or a camera model is not read.
    """
    cameras = _parse(model, "cameras", parser.read_cameras_binary, parser.read_cameras_text)
    poses = _read_poses(model)
    source = model / f"images{_ending(model)}"
    if not poses:
        raise UserError(f"{source} lists no images: COLMAP registered none; photograph with more overlap.")
    folder = _image_folder(model, data, [pose.name for pose in poses])
    found = {pose.name: locate(folder, pose.name) for pose in poses}
    refuse_missing([str(folder / name) for name, path in found.items() if path is None], source)
    listed = []
    for pose in poses:
        path, where = found[pose.name], f"{source}: image {pose.name}"
        assert path is not None
        if pose.camera_id not in cameras:
            raise UserError(f"{where} has camera {pose.camera_id}, which is not in cameras{_ending(model)}.")
        lens = _read_camera(cameras[pose.camera_id], where)
        listed.append(Listed(where, path, _camera_to_world(pose), lens, find_mask(path, data)))
    return PosedCapture(fit_all(listed), surface_points=_read_points(model))


def _ending(folder: Path) -> str | None:
    """Returns ".bin" or ".txt", whichever a model in the folder has."""
    return next(
        (e for e in (".bin", ".txt") if all((folder / f"{n}{e}").is_file() for n in ("cameras", "images"))), None
    )


def _parse(model: Path, name: str, binary: Callable[[Path], Any], text: Callable[[Path], Any]) -> Any:
    path = model / f"{name}{_ending(model)}"
    try:
        return binary(path) if path.suffix == ".bin" else text(path)
    except KeyError as error:
        raise UserError(
            f"{path} has a camera of COLMAP's model number {error}, which is not supported, only "
            f"{', '.join(PARAMETERS)} are; undistort with colmap image_undistorter."
        ) from None
    except (struct.error, ValueError, IndexError, AssertionError, OverflowError, MemoryError):
        raise UserError(f"{path} is truncated or not of a COLMAP model; export the model again.") from None


def _read_poses(model: Path) -> list[Pose]:
    """Returns the registered images by name."""
    poses = _parse(model, "images", _read_poses_binary, _read_poses_text)
    return sorted(poses, key=lambda pose: pose.name)


def _read_poses_binary(path: Path) -> list[Pose]:
    images = parser.read_images_binary(path).values()
    return [Pose(image.name, image.camera_id, np.concatenate([image.qvec, image.tvec])) for image in images]


def _read_poses_text(path: Path) -> list[Pose]:
    """Reads images.txt: of each image one line, and one of points, which may be empty; names may hold spaces."""
    poses, lines = [], iter(read_text(path).splitlines())
    for line in lines:
        if line.strip() and not line.startswith("#"):
            fields = line.strip().split(maxsplit=9)
            poses.append(Pose(fields[9], int(fields[8]), np.array([float(field) for field in fields[1:8]])))
            next(lines, None)
    return poses


def _read_camera(camera: Any, where: str) -> dict[str, Any]:
    names = PARAMETERS.get(camera.model, "").split()
    if not names:
        raise UserError(
            f"{where} has a camera of the model {camera.model}, which is not supported, only {', '.join(PARAMETERS)} "
            "are; undistort with colmap image_undistorter."
        )
    if len(names) != len(camera.params):
        raise UserError(f"{where} has a camera with {len(camera.params)} parameters; {camera.model} has {len(names)}.")
    numbers = dict(zip(names, map(float, camera.params), strict=True))
    return {"camera_model": camera.model, "w": int(camera.width), "h": int(camera.height), **numbers}


def _camera_to_world(pose: Pose) -> Float[np.ndarray, "4 4"]:
    quaternion, translation = pose.world_to_camera[:4], pose.world_to_camera[4:]
    with np.errstate(invalid="ignore"):  # zero becomes NaN, which is refused with the image's name
        rotation = parser.qvec2rotmat(quaternion / np.linalg.norm(quaternion))
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = rotation.T, -rotation.T @ translation
    return opencv_to_opengl(result)


def _image_folder(model: Path, data: Path, names: list[str]) -> Path:
    """Returns the folder that holds most of the images; `images` in the capture's folder if none holds any."""
    above = [data, model, *model.absolute().parents[:LEVELS]]
    folders = [one / name for name in IMAGE_FOLDERS for one in above]
    counts = {folder: sum(locate(folder, name) is not None for name in names) for folder in folders if folder.is_dir()}
    best = max(counts, key=lambda folder: counts[folder])
    return best if counts[best] else data / "images"


def _read_points(model: Path) -> Float[np.ndarray, "points 3"] | None:
    if not (model / f"points3D{_ending(model)}").is_file():
        return None
    points = _parse(model, "points3D", parser.read_points3D_binary, parser.read_points3D_text)
    return np.array([point.xyz for point in points.values()], dtype=np.float64) if points else None
