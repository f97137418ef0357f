"""Reads and checks the fields of `transforms.json`, which raw and protected captures share."""

from __future__ import annotations

from pathlib import Path
from reprlib import repr as brief
from typing import Any

import numpy as np
from jaxtyping import Float

from privhead_ns.errors import UserError

ROTATION_TOLERANCE = 1e-2
"""How far R Rᵀ may lie from the identity, entry by entry: room for poses stored with three digits or fewer."""
LARGEST, SMALLEST = 1e30, 1e-30
"""Size of the largest number, and of the smallest where it must be above zero: products of a few stay finite."""
EXACT = 1e-8
"""Deviation up to which a rotation is kept as it is stored."""


def capture_folder(path: Path) -> Path:
    """Returns the folder of a capture, which may be named by its transforms.json."""
    return path.parent if path.name == "transforms.json" and not path.is_dir() else path


def read_frames(content: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """Returns the frames of a parsed transforms.json.

    Raises:
        UserError: if there is none, or one lacks its file_path.
    """
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        raise UserError(f"{path} lists no frames: it needs a list 'frames' with one entry per photograph.")
    for index, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str) or not frame["file_path"]:
            raise UserError(f"{path}: frame number {index} has no file_path; name its image there.")
    return frames


def read_number(entry: dict[str, Any], key: str, where: str, default: float | None = None) -> float:
    """Returns one finite number, of at most LARGEST.

    Args:
        entry: a JSON object.
        key: the number's name in it.
        where: names the file, and the frame where there is one, for the error sentence.
        default: taken where the key is missing; without it a missing key is an error.

    Raises:
        UserError: if it is missing, not a number, infinite or NaN.
    """
    value = entry.get(key, default)
    if value is None:
        raise UserError(f"{where} has no {key}; add it.")
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise UserError(f"{where}: {key} must be a finite number, not {brief(value)}.")
    return float(value)


def read_positive(entry: dict[str, Any], key: str, where: str) -> float:
    """Like `read_number`, and above zero."""
    value = read_number(entry, key, where)
    if value < SMALLEST:
        raise UserError(f"{where}: {key} must be above zero, not {value:g}.")
    return value


def read_size(entry: dict[str, Any], key: str, where: str) -> int:
    """Like `read_positive`, and a whole number of pixels."""
    value = read_positive(entry, key, where)
    if value != int(value):
        raise UserError(f"{where}: {key} must be a whole number of pixels, not {value:g}.")
    return int(value)


def read_points(content: dict[str, Any], key: str, path: Path) -> dict[str, Float[np.ndarray, " 3"]]:
    """Returns the points of an entry {name: [x, y, z]}; none where it is missing.

    Raises:
        UserError: if it is anything else.
    """
    entry = content.get(key, {})
    try:
        points = {str(name): np.array(place, dtype=np.float64) for name, place in entry.items()}
    except (AttributeError, TypeError, ValueError):
        points = {"": np.empty(0)}
    if any(place.shape != (3,) or not np.isfinite(place).all() for place in points.values()):
        raise UserError(f"{path}: {key} must name points of three finite numbers each; correct it or drop it.")
    return points


def read_pose(frame: dict[str, Any], where: str) -> Float[np.ndarray, "4 4"]:
    """Returns the camera-to-world matrix of a frame (OpenGL: x right, y up, the camera looks along -z).

    A matrix of rounded numbers is replaced by the nearest rotation (orthogonal Procrustes problem: Schönemann 1966).

    Raises:
        UserError: if it is missing, neither 4x4 nor 3x4, not finite, or not nearly a rotation with a translation.
    """
    try:
        pose = np.array(frame.get("transform_matrix"), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        pose = np.empty(0)
    if pose.shape == (3, 4):
        pose = np.concatenate([pose, [[0, 0, 0, 1]]])
    if pose.shape != (4, 4):
        raise UserError(f"{where}: transform_matrix must be 4x4 or 3x4 numbers.")
    if not (np.abs(pose) <= LARGEST).all():
        raise UserError(
            f"{where}: transform_matrix holds NaN, infinity or too large numbers; estimate this pose again or drop the "
            "frame."
        )
    rotation = pose[:3, :3]
    deviation = np.abs(rotation @ rotation.T - np.eye(3)).max()
    rigid = deviation <= ROTATION_TOLERANCE and np.linalg.det(rotation) > 0
    if not rigid or not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise UserError(
            f"{where}: transform_matrix must be a rotation and a translation (R R^T = 1 to within "
            f"{ROTATION_TOLERANCE:g}, determinant +1, last row 0 0 0 1); remove scale or mirroring, or drop the frame."
        )
    if deviation > EXACT:
        left, _, right = np.linalg.svd(rotation)
        pose[:3, :3] = left @ right
    return pose
