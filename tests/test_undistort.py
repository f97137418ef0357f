"""Photographs become pinhole views: undistortion, reduction and composition over the background."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from raw_folder import SIZE, photograph, pinhole

from privhead_ns.capture.raw import Intrinsics
from privhead_ns.capture.undistort import resized, undistort_and_resize, undistorted
from privhead_ns.errors import UserError

BLACK = (0.0, 0.0, 0.0)
WIDE = Intrinsics(160, 120, 100.0, 105.0, 83.0, 58.0, distortion=(-0.2, 0.05, 0.004, -0.003, 0.01))
"""A lens with barrel distortion, off-centre."""


def test_without_distortion_and_size_nothing_changes() -> None:
    view = undistort_and_resize(photograph(0), None, pinhole(SIZE), None, BLACK)
    np.testing.assert_array_equal(view.rgb, photograph(0).astype(np.float32) / 255)
    assert view.intrinsics == pinhole(SIZE)
    assert view.coverage is None


def test_composition_over_the_background() -> None:
    rgb = np.full((4, 4, 3), 255, np.uint8)
    coverage = np.array([[255, 0, 51, 255]] * 4, np.uint8)
    view = undistort_and_resize(rgb, coverage, pinhole(4), None, (0.0, 0.5, 1.0))
    np.testing.assert_allclose(view.rgb[0], [[1, 1, 1], [0, 0.5, 1], [0.2, 0.6, 1], [1, 1, 1]], atol=1e-6)
    assert view.coverage is not None
    np.testing.assert_allclose(view.coverage, coverage / 255, atol=1e-6)


def test_room_does_not_bleed_into_averaged_pixels() -> None:
    """A pixel half head, half room becomes half head, half background, whatever the room's colour."""
    coverage = np.tile(np.array([255] * 3 + [0] * 5, np.uint8), (8, 1))
    rgb = np.where(coverage[..., None] > 0, np.uint8(100), np.uint8(250)).repeat(3, axis=-1)
    view = undistort_and_resize(rgb, coverage, pinhole(8), 4, BLACK)
    np.testing.assert_allclose(view.rgb[0, :, 0], np.array([100, 50, 0, 0]) / 255, atol=1e-6)
    assert view.coverage is not None
    np.testing.assert_allclose(view.coverage, [[1, 0.5, 0, 0]] * 4, atol=1e-6)


def test_resizing_averages_areas_and_scales_the_camera() -> None:
    rgb = photograph(0, size=30)[:20]
    camera = Intrinsics(30, 20, 40.0, 44.0, 14.0, 11.0)
    view = undistort_and_resize(rgb, None, camera, 6, BLACK)
    camera = view.intrinsics
    assert (camera.width, camera.height) == (6, 4)
    assert (camera.fl_x, camera.fl_y, camera.cx, camera.cy) == pytest.approx((8.0, 8.8, 2.8, 2.2))
    expected = rgb.reshape(4, 5, 6, 5, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(view.rgb, expected, atol=1e-5)


@pytest.mark.parametrize("size", [None, 80])
def test_a_point_lands_where_the_pinhole_says(size: int | None) -> None:
    """A blob painted where the distorted camera sees a point is found where the developed view's camera sees it."""
    point = np.array([0.25, -0.15, 1.0])
    centred = np.array([[WIDE.fl_x, 0, WIDE.cx - 0.5], [0, WIDE.fl_y, WIDE.cy - 0.5], [0, 0, 1]])
    seen = cv2.projectPoints(point[None], np.zeros(3), np.zeros(3), centred, np.array(WIDE.distortion))[0].ravel()
    y, x = np.mgrid[: WIDE.height, : WIDE.width]
    blob = np.exp(-((x - seen[0]) ** 2 + (y - seen[1]) ** 2) / (2 * 3.0**2))
    view = undistort_and_resize((blob[..., None] * 255).repeat(3, -1).astype(np.uint8), None, WIDE, size, BLACK)
    weight, camera = view.rgb[..., 0], view.intrinsics
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    found = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    expected = [camera.fl_x * point[0] + camera.cx, camera.fl_y * point[1] + camera.cy]
    np.testing.assert_allclose(found, expected, atol=0.1)
    # the lens moves this point by far more than the tolerance
    assert np.abs(seen + 0.5 - [WIDE.fl_x * 0.25 + WIDE.cx, WIDE.fl_y * -0.15 + WIDE.cy]).max() > 0.3


@pytest.mark.parametrize("k1", [-0.1, 0.3])
def test_undistorted_views_have_no_black_border(k1: float) -> None:
    camera = Intrinsics(160, 120, 100.0, 105.0, 83.0, 58.0, distortion=(k1, 0.0, 0.002, 0.001, 0.0))
    new = undistorted(camera)
    assert new.distortion == (0, 0, 0, 0, 0)
    corners = np.array(list(itertools.product((0.5, 159.5), (0.5, 119.5))))
    rays = np.stack([(corners[:, 0] - new.cx) / new.fl_x, (corners[:, 1] - new.cy) / new.fl_y, np.ones(4)], axis=1)
    matrix = np.array([[camera.fl_x, 0, camera.cx], [0, camera.fl_y, camera.cy], [0, 0, 1]])
    source = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), matrix, np.array(camera.distortion))[0][:, 0]
    assert (source >= 0.45).all()
    assert (source <= [159.55, 119.55]).all()


def test_folding_distortion_is_refused() -> None:
    with pytest.raises(UserError, match="k1=-3"):
        undistorted(Intrinsics(100, 100, 60.0, 60.0, 50.0, 50.0, distortion=(-3.0, 0.0, 0.0, 0.0, 0.0)))


def test_resized_keeps_the_shape() -> None:
    assert resized(Intrinsics(400, 300, 1.0, 1.0, 0.0, 0.0), 100) == Intrinsics(100, 75, 0.25, 0.25, 0.0, 0.0)
