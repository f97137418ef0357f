"""The box about the head, from silhouettes or from the cameras alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from raw_folder import DISTANCE, FOCAL, SIZE, disc, look_at, pinhole, ring

from privhead_ns.capture.hull import View, head_box, look_at_centre
from privhead_ns.errors import UserError


def views(silhouette: np.ndarray | None, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> list[View]:
    result = []
    for pose in ring(12):
        pose[:3, 3] += offset
        result.append(View(pose, pinhole(SIZE if silhouette is None else len(silhouette)), silhouette))
    return result


def test_hull_holds_the_sphere_tightly() -> None:
    offset = np.array([3.0, -2.0, 1.0])
    box = head_box(views(disc(128), (3.0, -2.0, 1.0)))
    assert (box[0] <= offset - 1).all()
    assert (box[1] >= offset + 1).all()
    assert (box[0] >= offset - 1.25).all()
    assert (box[1] <= offset + 1.25).all()


def test_box_without_masks_is_the_sphere_all_cameras_see() -> None:
    radius = 1.1 * DISTANCE * math.sin(math.atan(SIZE / 2 / FOCAL))
    np.testing.assert_allclose(head_box(views(None)), [[-radius] * 3, [radius] * 3], atol=1e-9)


def test_masks_that_disagree_with_the_poses() -> None:
    corner = np.zeros((SIZE, SIZE), np.uint8)
    corner[:2, :2] = 255
    with pytest.raises(UserError, match="masks"):
        head_box(views(corner))


def test_centre_of_cameras_that_look_at_a_point() -> None:
    poses = np.stack(ring())
    poses[:, :3, 3] += [1, 2, 3]
    np.testing.assert_allclose(look_at_centre(poses), [1, 2, 3], atol=1e-9)


def test_cameras_in_the_opencv_convention_are_refused() -> None:
    with pytest.raises(UserError, match="OpenGL"):
        look_at_centre(np.stack(ring()) @ np.diag([1.0, -1.0, -1.0, 1.0]))


def test_cameras_side_by_side_are_refused() -> None:
    poses = np.stack([look_at(np.array([4.0, 0.0, 0.0]))] * 3)
    poses[:, 1, 3] = [-1, 0, 1]
    with pytest.raises(UserError, match="same way"):
        look_at_centre(poses)
