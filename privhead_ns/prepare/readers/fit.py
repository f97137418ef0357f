"""Fits listed cameras to their pictures: resolution, and the orientation of the stored pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privhead_ns.capture.lens import read_lens
from privhead_ns.capture.orientation import orient
from privhead_ns.capture.picture_files import picture_size
from privhead_ns.capture.raw import RawFrame
from privhead_ns.capture.silhouettes import silhouette_agreement
from privhead_ns.prepare.posed import PosedPhotograph
from privhead_ns.prepare.readers.pose import rigid_pose


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


def fit_all(listed: Sequence[Listed]) -> tuple[PosedPhotograph, ...]:
    """Returns the photographs with cameras at their pictures' resolution, and how the stored pixels are turned.

    Raises:
        UserError: if a picture cannot be read or is of another shape than its camera, a camera is impossible, or the
            orientation of pictures cannot be told.
    """
    frames, lenses = [], []
    for one in listed:
        stored = picture_size(one.path)
        pose = rigid_pose(one.pose, one.where)
        intrinsics, fisheye = read_lens(one.lens, stored, one.where)
        lenses.append(fisheye)
        frames.append(RawFrame(one.path.name, one.path, one.mask_path, one.known_path, intrinsics, pose, one.sensitive))
    oriented = orient(frames, listed[0].path.parent, silhouette_agreement) if frames else ()
    return tuple(
        PosedPhotograph(
            frame.image_path,
            frame.camera_to_world,
            frame.intrinsics,
            fisheye,
            frame.mask_path,
            frame.known_path,
            frame.sensitive,
            frame.orientation,
            frame.mask_orientation,
        )
        for frame, fisheye in zip(oriented, lenses, strict=True)
    )
