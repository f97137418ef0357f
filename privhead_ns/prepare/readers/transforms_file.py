"""Reads transforms.json of Nerfstudio, instant-ngp, Blender scripts and NeRFCapture, and raw captures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

from privhead_ns.capture.lens import frame_entry
from privhead_ns.capture.listed_files import locate, refuse_missing
from privhead_ns.capture.raw import MASK_KEYS
from privhead_ns.capture.transforms import read_positive
from privhead_ns.errors import UserError
from privhead_ns.prepare.posed import PosedCapture
from privhead_ns.prepare.readers.files import find_mask
from privhead_ns.prepare.readers.fit import Listed, fit_all
from privhead_ns.text_files import read_json

NAMES = ("file_path", "image_path")
MM_PER_METRE = 1000.0
NERFCAPTURE = "depth_integer_scale"
"""A key that only the app NeRFCapture writes, whose poses are in metres."""


def read_transforms(paths: Sequence[Path]) -> PosedCapture:
    """Reads the photographs that one or several transforms.json of one folder list.

    Args:
        paths: files that share one frame of poses, as Blender's transforms_train.json and transforms_test.json do.

    Raises:
        UserError: if a file is broken or lists files that do not exist, a camera or pose is impossible, or the capture
            is protected.
    """
    listed: list[Listed] = []
    contents = [read_json(path) for path in paths]
    for content, path in zip(contents, paths, strict=True):
        if "privhead" in content:
            raise UserError(f"{path} is of a protected capture; give --data the folder of the original photographs.")
        listed += _list_frames(content, path)
    content, path = contents[0], paths[0]
    return PosedCapture(fit_all(listed), _read_scale(content, path), _read_points(content, path))


def _list_frames(content: dict[str, Any], path: Path) -> list[Listed]:
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        raise UserError(f"{path} lists no frames: it needs a list 'frames' with one entry per photograph.")
    missing: list[str] = []
    listed = [_list_frame(content, frame, index, path, missing) for index, frame in enumerate(frames)]
    refuse_missing(missing, path)
    return [one for one in listed if one is not None]


def _list_frame(content: dict[str, Any], frame: Any, index: int, path: Path, missing: list[str]) -> Listed | None:
    """Returns what one frame says; None if a file that it names is missing, which is added to `missing`."""
    name = next((frame[key] for key in NAMES if frame.get(key)), None) if isinstance(frame, dict) else None
    if not isinstance(name, str):
        raise UserError(f"{path}: frame number {index} has no file_path; name its image there.")
    where = f"{path}: frame {name}"
    sensitive = frame.get("sensitive")
    if not isinstance(sensitive, bool | None):
        raise UserError(f"{where}: 'sensitive' must be true or false, not {sensitive!r}.")
    for key in MASK_KEYS:
        if not isinstance(frame.get(key), str | None):
            raise UserError(f"{where}: {key} must be a file's name, not {frame[key]!r}.")
    wanted = [name, *(frame.get(key) or "" for key in MASK_KEYS)]
    picture, mask, known = (locate(path.parent, one) if one else None for one in wanted)
    absent = [one for one, file in zip(wanted, (picture, mask, known), strict=True) if one and file is None]
    if picture is None or absent:
        missing.append(str(path.parent / absent[0]))
        return None
    mask = mask or find_mask(picture, path.parent)
    return Listed(
        where=where,
        path=picture,
        pose=frame.get("transform_matrix"),
        lens=frame_entry(content, frame),
        mask_path=mask,
        known_path=known if mask else None,
        sensitive=sensitive,
    )


def _read_scale(content: dict[str, Any], path: Path) -> float | None:
    """Returns mm_per_unit from transforms.json, else from capture.json beside it, else what the program is known for.

    Raises:
        UserError: if it is not above zero.
    """
    about = path.with_name("capture.json")
    for entry, source in ((content, path), (read_json(about) if about.is_file() else {}, about)):
        if entry.get("mm_per_unit") is not None:
            return read_positive(entry, "mm_per_unit", str(source))
    return MM_PER_METRE if NERFCAPTURE in content else None


def _read_points(content: dict[str, Any], path: Path) -> Float[np.ndarray, "points 3"] | None:
    """Returns the points of the file that Nerfstudio names as ply_file_path, which are in the frame of the poses.

    Raises:
        UserError: if that file is broken.
    """
    name = content.get("ply_file_path")
    file = locate(path.parent, name) if isinstance(name, str) and name else None
    if file is None:
        return None
    try:
        points = np.asarray(trimesh.load(file, process=False).vertices, dtype=np.float64)  # type: ignore[union-attr]
    except Exception:  # trimesh fails in many ways
        raise UserError(f"{file} cannot be read as PLY; restore it, or remove ply_file_path from {path}.") from None
    points = points[np.isfinite(points).all(axis=1)]
    return points if len(points) else None
