"""A room seen from within: its box, and views that are whole photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

from privhead_ns.capture.camera import PosedCamera
from privhead_ns.capture.raw import RawCapture
from privhead_ns.capture.undistort import resized, undistorted
from privhead_ns.capture.views import ViewPlan
from privhead_ns.errors import UserError
from privhead_ns.text_files import is_file, read_json

BEYOND_CAMERAS = 0.5
"""How far the box reaches beyond the cameras on each side, in longest sides of the box that holds the cameras."""
OUTLIERS = 0.02
"""Share of the sparse points that may lie outside the box on each side: what is seen through windows, and mistakes."""
BEYOND_POINTS = 0.05
"""How far the box reaches beyond the other points on each side, in its own sides: for walls behind the outermost."""
FEWEST_POINTS = 100
"""Sparse points below which the cameras decide."""


@dataclass(frozen=True)
class RoomBox:
    """A box that holds the free space of a room, and all cameras."""

    aabb: Float[np.ndarray, "2 3"]
    """Lower and upper corner in the capture's frame, less its origin."""
    found: str
    """In words, what it was found from."""


def room_box(capture: RawCapture) -> RoomBox:
    """Finds the box of a room: stated as `aabb` in transforms.json, else from sparse points, else from the cameras.

    Sparse points are those of `ply_file_path`, as `ns-process-data` writes it. Cameras do not know how far the walls
    are: without points the box reaches `BEYOND_CAMERAS` beyond them.

    Raises:
        UserError: if `aabb` is no box, the points cannot be read, or the cameras stand in one place and nothing else
            tells the room's size.
    """
    path = capture.folder / "transforms.json"
    content = read_json(path)
    if (stated := content.get("aabb")) is not None:
        return RoomBox(_read_aabb(stated, path) - capture.origin, "stated in transforms.json")
    positions = np.stack([frame.camera_to_world[:3, 3] for frame in capture.frames])
    points = _sparse_points(content, path) - capture.origin
    if len(points) >= FEWEST_POINTS:
        low, high = (np.quantile(points, share, axis=0) for share in (OUTLIERS, 1 - OUTLIERS))
        box = np.stack([np.minimum(low, positions.min(axis=0)), np.maximum(high, positions.max(axis=0))])
        return RoomBox(_grown(box, BEYOND_POINTS * (box[1] - box[0])), f"found from {len(points)} sparse points")
    box = np.stack([positions.min(axis=0), positions.max(axis=0)])
    longest = float((box[1] - box[0]).max())
    if longest <= 1e-9 * max(1.0, float(np.abs(box).max())):
        raise UserError(
            f"All cameras of {path} stand in one place, so the room's size is unknown: photograph it from several "
            "places, for only they show how far anything is."
        )
    return RoomBox(_grown(box, BEYOND_CAMERAS * longest), "guessed from the cameras, which do not know the walls")


def check_cameras_inside(capture: RawCapture, aabb: Float[np.ndarray, "2 3"]) -> None:
    """Checks that all cameras stand in a room's box.

    Raises:
        UserError: if one does not.
    """
    for frame in capture.frames:
        place = frame.camera_to_world[:3, 3]
        if ((place <= aabb[0]) | (place >= aabb[1])).any():
            raise UserError(
                f"The camera of {frame.name} stands outside the room's box: correct --box, or aabb in transforms.json."
            )


def plan_room(capture: RawCapture, size: int, background: tuple[float, float, float]) -> ViewPlan:
    """Plans views that are whole photographs without distortion, `size` pixels on the longer side, never enlarged.

    Raises:
        UserError: if the photographs are not all of one shape.
    """
    frames = capture.frames
    lenses = [undistorted(frame.intrinsics) for frame in frames]
    size = min(size, *(max(lens.width, lens.height) for lens in lenses))
    views = [resized(lens, size) for lens in lenses]
    for frame, view in zip(frames, views, strict=True):
        if (view.width, view.height) != (views[0].width, views[0].height):
            one, other = frames[0].intrinsics, frame.intrinsics
            raise UserError(
                f"{frame.name} is {other.width}x{other.height} pixels and {frames[0].name} {one.width}x{one.height}: "
                "photographs of a room are kept whole, so all must have one shape; drop those of the other shape."
            )
    cameras = tuple(PosedCamera(frame.camera_to_world, view) for frame, view in zip(frames, views, strict=True))
    return ViewPlan(frames, cameras, np.ones((len(frames), 3)), {}, background, refined=False)


def check_flags(**flags: object) -> None:
    """Checks that none of the flags that mean nothing for a room was given.

    Raises:
        UserError: if one was.
    """
    for name, value in flags.items():
        if value:
            raise UserError(f"--{name.replace('_', '-')} is for heads and objects: leave it out with --subject room.")


def check_no_masks(capture: RawCapture, masked: Sequence[bool]) -> None:
    """Checks that no photograph has a mask or alpha channel: what it hides would leave, for a room has no outside.

    Raises:
        UserError: if one has.
    """
    for frame, hides in zip(capture.frames, masked, strict=True):
        if hides:
            raise UserError(
                f"{frame.name} has a mask or an alpha channel, and a room has none: name a picture as known_path that "
                "is black on what must not leave, or pass --ignore-masks to keep all of the photographs."
            )


def _grown(box: Float[np.ndarray, "2 3"], by: Float[np.ndarray, "3"] | float) -> Float[np.ndarray, "2 3"]:
    return np.stack([box[0] - by, box[1] + by])


def _read_aabb(stated: Any, path: Path) -> Float[np.ndarray, "2 3"]:
    try:
        aabb = np.array(stated, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        aabb = np.empty(0)
    if aabb.shape != (2, 3) or not np.isfinite(aabb).all() or (aabb[0] >= aabb[1]).any():
        raise UserError(
            f"{path}: aabb must be the lower and the upper corner of the room's box; correct it or drop it."
        )
    return aabb


def _sparse_points(content: dict[str, Any], path: Path) -> Float[np.ndarray, "n 3"]:
    """Returns the points of `ply_file_path`; none where the capture names no such file."""
    name = content.get("ply_file_path")
    if name is None:
        return np.zeros((0, 3))
    file = path.parent / name if isinstance(name, str) else path
    try:
        assert isinstance(name, str) and is_file(file)
        cloud = trimesh.load(file, file_type="ply", process=False)
        points = np.asarray(cloud.vertices, np.float64).reshape(-1, 3)  # type: ignore[union-attr]
    except Exception:  # whatever a broken file makes trimesh raise
        raise UserError(
            f"{path}: ply_file_path {name!r} is no readable .ply file; restore it or drop the key."
        ) from None
    return points[np.isfinite(points).all(axis=1)]
