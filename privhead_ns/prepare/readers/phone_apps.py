"""Reads the folders of the apps Polycam and Record3D, whose poses are ARKit's: in metres, OpenGL convention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from privhead_ns.capture.listed_files import refuse_missing
from privhead_ns.capture.transforms import read_number, read_positive, read_size
from privhead_ns.errors import UserError
from privhead_ns.prepare.posed import PosedCapture
from privhead_ns.prepare.readers.files import find_mask, is_picture
from privhead_ns.prepare.readers.fit import Listed, fit_all
from privhead_ns.text_files import read_json, read_text

MM_PER_METRE = 1000.0
POLYCAM_KINDS = (("corrected_images", "corrected_cameras"), ("images", "cameras"))
"""Folders of pictures and cameras, undistorted ones first."""
CENTRAL = 0.2
"""How far a principal point may lie from the centre, over the side, before it counts as of another orientation."""


def find_polycam(data: Path) -> tuple[Path, Path] | None:
    """Returns the folders of pictures and of cameras in a Polycam export (its raw data), or None."""
    for folder in (data / "keyframes", data):
        for images, cameras in POLYCAM_KINDS:
            first = next((path for path in (folder / cameras).glob("*.json") if not path.name.startswith(".")), None)
            if (folder / images).is_dir() and first is not None and '"t_00"' in read_text(first):
                return folder / images, folder / cameras
    return None


def read_polycam(images: Path, cameras: Path) -> PosedCapture:
    """Reads a Polycam export.

    Args:
        images: folder of pictures.
        cameras: folder of one JSON file each, of the same stem.

    Raises:
        UserError: if a picture or a camera is missing or broken.
    """
    pictures = {path.stem: path for path in sorted(images.iterdir()) if is_picture(path)}
    files = {path.stem: path for path in sorted(cameras.glob("*.json")) if not path.name.startswith(".")}
    refuse_missing([str(images / f"{stem}.jpg") for stem in files if stem not in pictures], cameras)
    refuse_missing([str(cameras / f"{stem}.json") for stem in pictures if stem not in files], images)
    listed = []
    for stem, path in files.items():
        entry, where = read_json(path), str(path)
        pose = [[entry.get(f"t_{row}{column}", np.nan) for column in range(4)] for row in range(3)]
        lens = {
            "fl_x": read_positive(entry, "fx", where),
            "fl_y": read_positive(entry, "fy", where),
            "cx": read_number(entry, "cx", where),
            "cy": read_number(entry, "cy", where),
            "w": read_size(entry, "width", where),
            "h": read_size(entry, "height", where),
        }
        listed.append(Listed(where, pictures[stem], pose, lens, find_mask(pictures[stem], images.parent.parent)))
    return PosedCapture(fit_all(listed), mm_per_unit=MM_PER_METRE)


def find_record3d(data: Path) -> Path | None:
    """Returns metadata.json of a Record3D export (EXR + RGB sequence), or None."""
    for path in (data / "metadata.json", data / "EXR_RGBD" / "metadata.json"):
        if path.is_file() and (path.parent / "rgb").is_dir() and "poses" in read_json(path):
            return path
    return None


def read_record3d(path: Path) -> PosedCapture:
    """Reads a Record3D export; pictures that were deleted do not count.

    Args:
        path: metadata.json, beside the folder `rgb` of pictures named by their numbers.

    Raises:
        UserError: if metadata.json is broken, or a picture has no pose in it.
    """
    content = read_json(path)
    poses = _numbers(content.get("poses"), 7)
    matrix = _numbers([content.get("K")], 9)
    if poses is None or matrix is None:
        raise UserError(f"{path} must hold 'poses' of seven numbers each and 'K' of nine; export it again.")
    each = _numbers(content.get("perFrameIntrinsicCoeffs"), 4)
    k = matrix[0]  # column by column
    shared = np.array([k[0], k[4], k[6], k[7]])
    pictures = [one for one in (path.parent / "rgb").iterdir() if is_picture(one) and one.stem.isdigit()]
    if not pictures:
        raise UserError(f"{path.parent / 'rgb'} holds no pictures: it needs those that Record3D exported (0.jpg, ...).")
    listed = []
    for picture in sorted(pictures, key=lambda one: int(one.stem)):
        index, where = int(picture.stem), f"{path}: picture {picture.name}"
        if index >= len(poses):
            raise UserError(f"{where} has no pose, there are {len(poses)}; restore the export's own names.")
        lens = _record3d_lens(content, each[index] if each is not None and index < len(each) else shared, where)
        listed.append(
            Listed(where, picture, _record3d_pose(poses[index], where), lens, find_mask(picture, path.parent))
        )
    return PosedCapture(fit_all(listed), mm_per_unit=MM_PER_METRE)


def _numbers(values: Any, columns: int) -> Float[np.ndarray, "n columns"] | None:
    """Returns a table of numbers, or None if it is none or has another number of columns."""
    try:
        table = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return table if table.ndim == 2 and table.shape[1] == columns and len(table) else None


def _record3d_lens(content: dict[str, Any], values: Float[np.ndarray, "4"], where: str) -> dict[str, Any]:
    """Returns intrinsics; a principal point that is far off the centre is that of the picture lying on its side."""
    width, height = read_size(content, "w", where), read_size(content, "h", where)
    fl_x, fl_y, cx, cy = (float(value) for value in values)
    lens = {"fl_x": fl_x, "fl_y": fl_y, "w": width, "h": height}
    central = abs(cx - width / 2) < CENTRAL * width and abs(cy - height / 2) < CENTRAL * height
    return lens | ({"cx": cx, "cy": cy} if central else {})


def _record3d_pose(values: Float[np.ndarray, "7"], where: str) -> Float[np.ndarray, "3 4"]:
    """Returns camera-to-world for a quaternion (scalar last) and a position."""
    if not np.isfinite(values).all() or not values[:4].any():
        raise UserError(f"{where}: the pose holds NaN, infinity or a zero quaternion; delete the picture.")
    return np.concatenate([Rotation.from_quat(values[:4]).as_matrix(), values[4:, None]], axis=1)
