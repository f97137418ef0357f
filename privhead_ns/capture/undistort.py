"""Composes a photograph over a background, removes its lens distortion and resizes it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from privhead_ns.capture.camera import Intrinsics
from privhead_ns.capture.masks import grey_off_outline
from privhead_ns.errors import UserError

ROUND_TRIP_TOLERANCE = 0.5
"""Pixels by which undistorting and distorting again may miss, before a distortion counts as folding."""
ITERATIONS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 500, 1e-9)
"""Enough for strong lenses, at which OpenCV's default number falls short."""


@dataclass(frozen=True)
class ViewPixels:
    """Image of a pinhole camera."""

    rgb: Float[np.ndarray, "height width 3"]
    """Colour in [0, 1], float32."""
    coverage: Float[np.ndarray, "height width"] | None
    """Share of each pixel that the head covers, float32: 0 or 1 but along the outline."""
    intrinsics: Intrinsics
    known: Bool[np.ndarray, "height width"] | None = None
    """Where something is known of the view; None where all is. Elsewhere the colour is the background's."""
    noise: float = 0.0
    """Standard deviation of the noise that was removed, of colours in [0, 1]; 0 where none was."""


def undistort_and_resize(
    rgb: UInt8[np.ndarray, "height width 3"],
    coverage: UInt8[np.ndarray, "height width"] | None,
    intrinsics: Intrinsics,
    size: int | None,
    background: tuple[float, float, float],
) -> ViewPixels:
    """Composes, undistorts and resizes one photograph.

    Composition comes first, so that no colour of the room bleeds into the head's edge when pixels are averaged.

    Args:
        rgb: stored pixels.
        coverage: 255 on the head, else 0; or None.
        intrinsics: the camera of the stored pixels.
        size: longer side of the result in pixels, averaged over areas; None to keep the size.
        background: colour in [0, 1] put where there is no head.

    Raises:
        UserError: if the distortion folds the image over itself.
    """
    planes = composed(rgb, coverage, background)
    pinhole = undistorted(intrinsics)
    if any(intrinsics.distortion):
        # OpenCV counts pixels from the centre of the first, and so do the maps it makes
        maps = cv2.initUndistortRectifyMap(
            camera_matrix(intrinsics),
            np.array(intrinsics.distortion),
            np.eye(3),
            camera_matrix(pinhole),
            (pinhole.width, pinhole.height),
            cv2.CV_32FC1,
        )
        planes = cv2.remap(planes, *maps, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    result = resized(pinhole, size)
    if result != pinhole:
        planes = cv2.resize(planes, (result.width, result.height), interpolation=cv2.INTER_AREA)
    shown = without_stray_grey(planes[..., 3]) if coverage is not None else None
    return ViewPixels(planes[..., :3], shown, result)


def composed(
    rgb: UInt8[np.ndarray, "height width 3"],
    coverage: UInt8[np.ndarray, "height width"] | None,
    background: tuple[float, float, float],
) -> Float[np.ndarray, "height width channels"]:
    """Returns colours in [0, 1] over the background and, where there is a coverage, the covered share as a fourth."""
    if coverage is None:
        return rgb.astype(np.float32) / 255
    planes = cv2.merge([*cv2.split(rgb), coverage]).astype(np.float32)
    planes /= 255
    share = planes[..., 3]
    for channel, behind in enumerate(background):  # much faster than all channels at once
        planes[..., channel] *= share
        if any(background):
            planes[..., channel] += np.float32(behind) * (1 - share)
    return planes


def undistorted(intrinsics: Intrinsics) -> Intrinsics:
    """Returns the pinhole camera of the same size that sees the largest rectangle without black borders.

    Raises:
        UserError: if undistorting the image's border and distorting it again does not return to it.
    """
    if not any(intrinsics.distortion):
        return intrinsics
    width, height = intrinsics.width, intrinsics.height
    camera, distortion = camera_matrix(intrinsics), np.array(intrinsics.distortion)
    sides = _sides(width, height)
    rays = cv2.undistortPointsIter(sides.reshape(-1, 1, 2), camera, distortion, np.eye(3), np.eye(3), ITERATIONS)
    back = cv2.projectPoints(cv2.convertPointsToHomogeneous(rays), np.zeros(3), np.zeros(3), camera, distortion)[0]
    left, right, top, bottom = rays.reshape(sides.shape)
    x0, x1, y0, y1 = left[:, 0].max(), right[:, 0].min(), top[:, 1].max(), bottom[:, 1].min()
    if not np.abs(back.reshape(sides.shape) - sides).max() <= ROUND_TRIP_TOLERANCE or x0 >= x1 or y0 >= y1:
        k1, k2, p1, p2, k3 = intrinsics.distortion
        raise UserError(
            f"The distortion in transforms.json (k1={k1:g}, k2={k2:g}, k3={k3:g}, p1={p1:g}, p2={p2:g}) folds the "
            "image over itself; calibrate the camera again."
        )
    # the centres of the first and last pixel look along x0 and x1
    fl_x, fl_y = (width - 1) / (x1 - x0), (height - 1) / (y1 - y0)
    return Intrinsics(width, height, fl_x, fl_y, cx=0.5 - fl_x * x0, cy=0.5 - fl_y * y0)


def resized(pinhole: Intrinsics, size: int | None) -> Intrinsics:
    """Returns the camera of the same view whose longer side has `size` pixels; None keeps it."""
    if size is None:
        return pinhole
    scale = size / max(pinhole.width, pinhole.height)
    return pinhole.scaled(max(1, round(pinhole.width * scale)), max(1, round(pinhole.height * scale)))


def without_stray_grey(coverage: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Cuts at half where averaging left grey away from the outline: thin wisps, and whatever else is no shape."""
    stored = (np.clip(coverage, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.where(grey_off_outline(stored), np.float32(stored >= 128), coverage)


def camera_matrix(intrinsics: Intrinsics) -> Float[np.ndarray, "3 3"]:
    """Returns the camera matrix in OpenCV's convention, where the centre of the first pixel is 0."""
    return np.array(
        [
            [intrinsics.fl_x, 0, intrinsics.cx - 0.5],
            [0, intrinsics.fl_y, intrinsics.cy - 0.5],
            [0, 0, 1],
        ]
    )


def _sides(width: int, height: int) -> Float[np.ndarray, "4 n 2"]:
    """Returns points along the left, right, top and bottom side, in pixels from the centre of the first pixel."""
    along = np.linspace(0, 1, 65)
    zero, one = np.zeros_like(along), np.ones_like(along)
    sides = [(zero, along), (one, along), (along, zero), (along, one)]
    return np.stack([np.stack(side, axis=-1) for side in sides]) * [width - 1.0, height - 1.0]
