"""Fisheye pictures become pinhole pictures in which every pixel shows its own direction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from privhead_ns.capture.camera import Intrinsics
from privhead_ns.prepare.pinhole import undistort_fisheye


def directions(camera: Intrinsics, fisheye: tuple[float, ...] | None) -> np.ndarray:
    """Returns the unit viewing direction of each pixel, OpenCV convention; a fisheye's is found by bisection."""
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    x, y = (x - camera.cx) / camera.fl_x, (y - camera.cy) / camera.fl_y
    radius = np.hypot(x, y)
    if fisheye is None:
        angle = np.arctan(radius)
    else:
        low, high = np.zeros_like(radius), np.full_like(radius, np.pi)
        for _ in range(60):
            angle = (low + high) / 2
            above = distort(angle, fisheye) > radius
            low, high = np.where(above, low, angle), np.where(above, angle, high)
        angle = (low + high) / 2
    across = np.sin(angle) / np.maximum(radius, 1e-12)
    return np.stack([x * across, y * across, np.cos(angle)], axis=-1)


def distort(angle: np.ndarray, fisheye: tuple[float, ...]) -> np.ndarray:
    return angle * (1 + sum(k * angle ** (2 * power) for power, k in enumerate(fisheye, 1)))


def paint(rays: np.ndarray) -> np.ndarray:
    """Returns colours that tell the direction."""
    return np.round(127.5 + 127 * np.clip(rays, -1, 1)).astype(np.uint8)


@pytest.mark.parametrize("fl", [70.0, 100.0])
def test_a_fisheye_picture_becomes_a_pinhole_picture(fl: float) -> None:
    fisheye = (0.03, -0.01, 0.002, 0.0)
    camera = Intrinsics(200, 140, fl, fl * 1.02, 103.0, 66.0)
    picture, known, pinhole = undistort_fisheye(paint(directions(camera, fisheye)), camera, fisheye)
    assert (pinhole.width, pinhole.height) == (200, 140)
    assert pinhole.distortion == (0.0,) * 5
    rays = directions(pinhole, None)
    error = np.abs(picture.astype(int) - paint(rays))
    assert error[known].max() <= 3
    assert not picture[~known].any()
    angle = np.arccos(rays[..., 2])
    bearing = np.arctan2(rays[..., 1], rays[..., 0])
    x = camera.cx + camera.fl_x * distort(angle, fisheye) * np.cos(bearing)
    y = camera.cy + camera.fl_y * distort(angle, fisheye) * np.sin(bearing)
    inside = (x > 0) & (x < 200) & (y > 0) & (y < 140)
    assert (known == inside).mean() > 0.999
    assert known.mean() > 0.7


def test_the_pinhole_picture_keeps_the_fisheyes_field_up_to_120_degrees() -> None:
    narrow, wide = Intrinsics(200, 200, 150.0, 150.0, 100.0, 100.0), Intrinsics(200, 200, 60.0, 60.0, 100.0, 100.0)
    blank = np.full((200, 200), 255, np.uint8)
    for camera, half in ((narrow, 100 / 150), (wide, math.radians(60))):
        mask, known, pinhole = undistort_fisheye(blank, camera, (0.0, 0.0, 0.0, 0.0))
        assert math.atan(100 / pinhole.fl_x) == pytest.approx(half, abs=1e-3)
        assert known[100].mean() > 0.98
        assert (mask[known] == 255).all()


def test_a_fisheye_whose_distortion_folds_is_known_up_to_there() -> None:
    camera = Intrinsics(200, 200, 100.0, 100.0, 100.0, 100.0)
    fisheye = (-0.5, 0.0, 0.0, 0.0)  # largest at an angle of sqrt(2 / 3)
    _, known, pinhole = undistort_fisheye(np.full((200, 200), 255, np.uint8), camera, fisheye)
    angle = np.arccos(directions(pinhole, None)[..., 2])
    assert known.any()
    assert angle[known].max() < math.sqrt(2 / 3)
