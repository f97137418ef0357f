"""Fits a listed camera to its picture: resolution, and the stored pixels of a picture with an EXIF orientation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from privhead_ns.capture.camera import Intrinsics
from privhead_ns.capture.picture_files import UPRIGHT, decode, oriented_size, size_and_orientation
from privhead_ns.errors import UserError
from privhead_ns.prepare.posed import PosedPhotograph
from privhead_ns.prepare.readers.lens import read_lens
from privhead_ns.prepare.readers.pose import rigid_pose

TURNS = {
    3: np.array([[-1.0, 0.0], [0.0, -1.0]]),
    6: np.array([[0.0, -1.0], [1.0, 0.0]]),
    8: np.array([[0.0, 1.0], [-1.0, 0.0]]),
}
"""Direction in the upright picture of a direction in the stored one (x right, y down), by EXIF orientation."""


@dataclass(frozen=True)
class Listed:
    """Entry of one photograph in a capture, before its image file is read."""

    where: str
    """Names the file and the photograph in messages."""
    path: Path
    pose: Any
    """3x4 or 4x4 numbers: camera-to-world in the OpenGL convention, maybe scaled or rounded."""
    lens: dict[str, Any]
    """Intrinsics by the keys of transforms.json."""
    mask_path: Path | None = None
    known_path: Path | None = None
    sensitive: bool | None = None


def picture_size(path: Path) -> tuple[tuple[int, int], int]:
    """Returns width and height of a picture as stored, and its EXIF orientation.

    Raises:
        UserError: if it is no picture that can be read.
    """
    header = size_and_orientation(path)
    if header is None:
        decode(path, "image", UPRIGHT)  # says what is wrong
        raise UserError(f"The image {path} cannot be read; convert it to PNG or JPEG.")
    return header


def fit_all(listed: Sequence[Listed]) -> tuple[PosedPhotograph, ...]:
    """Returns the photographs with cameras that see their pictures' stored pixels.

    Raises:
        UserError: if a picture cannot be read or is of another shape than its camera, or a camera is impossible.
    """
    return tuple(_fit(one) for one in listed)


def _fit(one: Listed) -> PosedPhotograph:
    stored, orientation = picture_size(one.path)
    pose = rigid_pose(one.pose, one.where)
    intrinsics, fisheye = read_lens(one.lens, stored, one.where)
    wanted = intrinsics.width, intrinsics.height
    if _same_shape(stored, wanted):
        intrinsics = intrinsics.scaled(*stored)
    elif orientation in TURNS and _same_shape(upright := oriented_size(stored, orientation), wanted):
        intrinsics, pose = _turned(intrinsics.scaled(*upright), pose, stored, TURNS[orientation])
    else:
        raise UserError(
            f"{one.where}: the camera has {wanted[0]}x{wanted[1]} pixels, but the picture {one.path} has "
            f"{stored[0]}x{stored[1]}, which is another shape; give the photograph that the camera was calibrated on."
        )
    return PosedPhotograph(one.path, pose, intrinsics, fisheye, one.mask_path, one.known_path, one.sensitive)


def _same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Returns whether one picture can be a resized version of another: each side is rounded by less than a pixel."""
    lowest = max((side - 1) / whole for side, whole in zip(size, other, strict=True))
    highest = min((side + 1) / whole for side, whole in zip(size, other, strict=True))
    return lowest < highest


def _turned(
    upright: Intrinsics, pose: Float[np.ndarray, "4 4"], stored: tuple[int, int], turn: Float[np.ndarray, "2 2"]
) -> tuple[Intrinsics, Float[np.ndarray, "4 4"]]:
    """Returns the camera that sees the stored pixels for one that sees the upright picture.

    Tangential distortion moves a point along (p2, p1), which turns like any direction; radial distortion stays.

    Args:
        upright: intrinsics of the upright picture.
        pose: its camera-to-world matrix, OpenGL convention.
        stored: width and height of the stored picture.
        turn: of `TURNS`.
    """
    k1, k2, p1, p2, k3 = upright.distortion
    offset = np.array([upright.cx - upright.width / 2, upright.cy - upright.height / 2])
    cx, cy = turn.T @ offset + np.array(stored) / 2
    fl_x, fl_y = np.abs(turn.T) @ np.array([upright.fl_x, upright.fl_y])
    p2, p1 = turn.T @ np.array([p2, p1])
    intrinsics = replace(
        upright,
        width=stored[0],
        height=stored[1],
        fl_x=float(fl_x),
        fl_y=float(fl_y),
        cx=float(cx),
        cy=float(cy),
        distortion=(k1, k2, float(p1), float(p2), k3),
    )
    rotation = np.eye(4)
    rotation[:2, :2] = np.diag([1.0, -1.0]) @ turn @ np.diag([1.0, -1.0])  # y points up in OpenGL
    return intrinsics, pose @ rotation
