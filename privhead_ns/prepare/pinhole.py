"""Turns fisheye photographs into those of a pinhole camera."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from privhead_ns.capture.camera import Intrinsics

HALF_FIELD = math.radians(60)
"""Largest angle off the axis, towards each side, that the pinhole picture shows."""
STEPS = 2000
"""Angles at which the fisheye's distortion is tabulated."""


def undistort_fisheye(
    picture: UInt8[np.ndarray, "h w *channels"], intrinsics: Intrinsics, fisheye: tuple[float, float, float, float]
) -> tuple[UInt8[np.ndarray, "h w *channels"], Bool[np.ndarray, "h w"], Intrinsics]:
    """Resamples a fisheye picture, or its mask, as a pinhole camera at the same place sees it.

    The pinhole picture has the same size. It reaches to the middle of each side of the fisheye picture, but not farther
    than `HALF_FIELD` off the axis.

    Args:
        picture: colours or a mask.
        intrinsics: of the fisheye camera; its Brown distortion is not looked at.
        fisheye: k1 to k4 of OpenCV's model, θ_d = θ (1 + k1 θ² + k2 θ⁴ + k3 θ⁶ + k4 θ⁸).

    Returns:
        The pinhole picture, black where nothing is known; where it is known; and its intrinsics without distortion.
    """
    height, width = picture.shape[:2]
    pinhole, limit = _pinhole(intrinsics, fisheye)
    maps = cv2.fisheye.initUndistortRectifyMap(
        _matrix(intrinsics), np.array(fisheye), np.eye(3), _matrix(pinhole), (width, height), cv2.CV_32FC1
    )
    result = cv2.remap(picture, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (maps[0] >= -0.5) & (maps[0] <= width - 0.5) & (maps[1] >= -0.5) & (maps[1] <= height - 0.5)
    y, x = np.mgrid[:height, :width] + 0.5
    known = inside & (np.hypot((x - pinhole.cx) / pinhole.fl_x, (y - pinhole.cy) / pinhole.fl_y) < math.tan(limit))
    result[~known] = 0
    return result, known, pinhole


def _pinhole(intrinsics: Intrinsics, fisheye: tuple[float, float, float, float]) -> tuple[Intrinsics, float]:
    """Returns the pinhole camera, and the angle off the axis up to which the distortion can be inverted."""
    angles = np.linspace(0, math.radians(89), STEPS)
    powers = angles[:, None] ** (2 * np.arange(1, 5))
    distorted = angles * (1 + powers @ np.array(fisheye))
    folds = np.flatnonzero(np.diff(distorted) <= 0)
    last = max(int(folds[0]) - 1, 1) if len(folds) else STEPS - 1

    def reach(pixels: float, focal: float) -> float:
        """Returns the tangent of the angle at a distance from the principal point."""
        angle = np.interp(pixels / focal, distorted[: last + 1], angles[: last + 1])
        return math.tan(min(float(angle), HALF_FIELD))

    i = intrinsics
    left, right = reach(i.cx, i.fl_x), reach(i.width - i.cx, i.fl_x)
    top, bottom = reach(i.cy, i.fl_y), reach(i.height - i.cy, i.fl_y)
    focal = min(i.width / (left + right), i.height / (top + bottom))
    cx = i.width / 2 + focal * (left - right) / 2
    cy = i.height / 2 + focal * (top - bottom) / 2
    return replace(i, fl_x=focal, fl_y=focal, cx=cx, cy=cy, distortion=(0.0,) * 5), float(angles[last])


def _matrix(intrinsics: Intrinsics) -> Float[np.ndarray, "3 3"]:
    """Returns OpenCV's camera matrix, in which a pixel's centre is a whole number."""
    i = intrinsics
    return np.array([[i.fl_x, 0, i.cx - 0.5], [0, i.fl_y, i.cy - 0.5], [0, 0, 1]])
