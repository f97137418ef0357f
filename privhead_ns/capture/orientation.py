"""Matches cameras and photographs: resolution and orientation of the stored pixels.

Whether intrinsics and poses refer to a photograph as stored or as turned by its EXIF orientation depends on the program
that estimated them. The image shape decides; if both shapes are equal, the silhouettes do: with the wrong orientation
they disagree with their visual hull.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from privhead_ns.capture.hull import View
from privhead_ns.capture.picture_files import (
    INVERSE,
    TRANSPOSING,
    UPRIGHT,
    oriented_size,
    same_shape,
    size_and_orientation,
)
from privhead_ns.capture.raw import RawFrame, read_image
from privhead_ns.capture.undistort import undistort_and_resize
from privhead_ns.errors import UserError

Agreement = Callable[[Sequence[View]], Float[np.ndarray, " n"]]
"""Returns the share of each view's silhouette that the hull of all explains."""

SIZE = 256
"""Longer side in pixels of the silhouettes that are compared."""
HULL_MARGIN = 0.01
"""Difference of mean agreement up to which two ways of turning count as equally good."""
EDGE_RATIO = 1.1
"""Ratio of contrasts up to which a mask's outline fits the stored and the upright photograph equally well."""


@dataclass(frozen=True)
class Fitted:
    """A frame whose camera has the resolution of its photograph."""

    frame: RawFrame
    exif: int
    """EXIF orientation of the photograph."""
    open: bool
    """Whether the photograph has the camera's shape both as stored and upright, which differ."""


def orient(frames: Sequence[RawFrame], path: Path, agreement: Agreement) -> tuple[RawFrame, ...]:
    """Scales the intrinsics to the photographs' resolution, and decides how photographs and masks are turned.

    Args:
        frames: as listed.
        path: the file or folder that lists them, for messages.
        agreement: compares silhouettes with their hull.

    Raises:
        UserError: if a photograph is of another shape than its camera, or its orientation cannot be told.
    """
    fitted = [_fit(frame) for frame in frames]
    return tuple(_decide(fitted, path, agreement) if any(one.open for one in fitted) else (one.frame for one in fitted))


def _fit(frame: RawFrame) -> Fitted:
    """Scales a camera to its photograph; where only the upright picture has the camera's shape, that is taken."""
    header = size_and_orientation(frame.image_path)
    if header is None:  # `read_image` says why
        return Fitted(frame, UPRIGHT, open=False)
    stored, exif = header
    wanted = frame.intrinsics.width, frame.intrinsics.height
    fits_stored, fits_upright = same_shape(stored, wanted), same_shape(oriented_size(stored, exif), wanted)
    if not (fits_stored or fits_upright):
        mend = (
            "it seems to lie on its side: turn it, or exchange w with h, fl_x with fl_y and cx with cy"
            if same_shape((stored[1], stored[0]), wanted)
            else "it was cropped or is another camera's: give the photograph that the camera was calibrated on"
        )
        raise UserError(
            f"The image {frame.image_path} is {stored[0]}x{stored[1]} pixels, but its camera has "
            f"{wanted[0]}x{wanted[1]}, which is another shape; {mend}."
        )
    orientation = UPRIGHT if fits_stored else exif
    size = oriented_size(stored, orientation)
    turned = replace(
        frame,
        intrinsics=frame.intrinsics.scaled(*size),
        orientation=orientation,
        mask_orientation=_mask_orientation(frame, size, exif),
        resized_from=None if size == wanted else wanted,
    )
    return Fitted(turned, exif, open=exif != UPRIGHT and fits_stored and fits_upright)


def _mask_orientation(frame: RawFrame, size: tuple[int, int], exif: int) -> int:
    """Returns the orientation that gives a mask the shape of its photograph."""
    header = size_and_orientation(frame.mask_path) if frame.mask_path is not None else None
    if header is None or same_shape(header[0], size) or exif not in TRANSPOSING:
        return UPRIGHT
    # stored like the photograph where that is turned, else upright beside a photograph that is not
    photograph = size_and_orientation(frame.image_path)
    return exif if photograph is not None and same_shape(header[0], photograph[0]) else INVERSE.get(exif, exif)


def _decide(fitted: Sequence[Fitted], path: Path, agreement: Agreement) -> list[RawFrame]:
    """Decides the orientation of the photographs whose shape leaves it open, the same for all of them.

    Poses refer to stored or to upright pixels, and masks are stored as their photographs are, or upright beside
    photographs that are not. The hull tells how masks belong to the poses; the photographs' edges along the outline
    tell how photographs belong to the masks.

    Raises:
        UserError: if neither tells, or there are no silhouettes and the EXIF orientations differ.
    """
    mixed = len({one.exif for one in fitted}) > 1
    mask_files = any(one.open and one.frame.mask_path is not None for one in fitted)
    ways = list(itertools.product((False, True), (False, True) if mask_files else (False,)))
    turned = {way: [_turn(one, *way) for one in fitted] for way in ways}
    seen = {way: [_look(frame) for frame in frames] for way, frames in turned.items()}
    if any(view.silhouette is None for _, view in seen[ways[0]]):
        if mixed:
            raise _unclear(fitted, path, "there are no masks to tell")
        return turned[ways[0]]
    hull = {way: float(np.mean(agreement([view for _, view in seen[way]]))) for way in ways}
    ways = [way for way in ways if hull[way] >= max(hull.values()) - HULL_MARGIN]
    edges = {
        way: _outline_contrast([pair for pair, one in zip(seen[way], fitted, strict=True) if one.open]) for way in ways
    }
    ways = [way for way in ways if edges[way] * EDGE_RATIO >= max(edges.values())]
    # all of one orientation: stored pixels, as where there are no masks
    if len(ways) > 1 and (mixed or len({mask_upright for _, mask_upright in ways}) > 1):
        raise _unclear(fitted, path, "the masks do not tell")
    return turned[ways[0]]


def _turn(one: Fitted, upright: bool, mask_upright: bool) -> RawFrame:
    """Returns a frame with the upright or the stored orientation of its photograph and of its mask."""
    if not one.open:
        return one.frame
    mask = (
        (UPRIGHT if mask_upright else one.exif)
        if upright
        else (INVERSE.get(one.exif, one.exif) if mask_upright else UPRIGHT)
    )
    return replace(one.frame, orientation=one.exif if upright else UPRIGHT, mask_orientation=mask)


def _look(frame: RawFrame) -> tuple[UInt8[np.ndarray, "height width 3"], View]:
    """Returns a small photograph without lens distortion, and its view."""
    rgb, coverage = read_image(frame)
    size = min(SIZE, max(rgb.shape[:2]))
    plain = undistort_and_resize(rgb, None, frame.intrinsics, size, (0.0, 0.0, 0.0))
    silhouette = None
    if coverage is not None:
        share = undistort_and_resize(rgb, coverage, frame.intrinsics, size, (0.0, 0.0, 0.0)).coverage
        silhouette = None if share is None else (share > 0.5).astype(np.uint8)
    return (plain.rgb * 255).astype(np.uint8), View(frame.camera_to_world, plain.intrinsics, silhouette)


def _outline_contrast(seen: Sequence[tuple[UInt8[np.ndarray, "height width 3"], View]]) -> float:
    """Returns the mean strength of the photographs' edges along the outlines, over that in the whole photographs."""
    ratios = []
    for rgb, view in seen:
        assert view.silhouette is not None
        edges = cv2.morphologyEx(rgb, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).max(axis=-1).astype(np.float64)
        outline = cv2.morphologyEx(view.silhouette, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        if outline.any() and edges.any():
            ratios.append(edges[outline].mean() / edges.mean())
    return float(np.mean(ratios)) if ratios else 1.0


def _unclear(fitted: Sequence[Fitted], path: Path, why: str) -> UserError:
    one = next(one for one in fitted if one.open)
    return UserError(
        f"{path}: the EXIF orientation of {one.frame.name} (and others) is {one.exif}, and {why} whether the cameras "
        "belong to stored or upright pixels; store all photographs as the program saw them that made the poses, and "
        "remove the orientation (e.g. with exiftool -Orientation=)."
    )
