"""What the tests of readers ask of a capture that was read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from other_captures import (
    CAMERA,
    POSES,
    keys,
)

from privhead_ns.capture.camera import Intrinsics
from privhead_ns.prepare.posed import PosedCapture, PosedPhotograph
from privhead_ns.prepare.readers.detect import read_posed


def read(path: Path) -> PosedCapture:
    capture = read_posed(path)
    assert capture is not None
    return capture


def check(
    capture: PosedCapture,
    camera: Intrinsics = CAMERA,
    fisheye: tuple[float, ...] | None = None,
    poses: list[np.ndarray] = POSES,
) -> None:
    """Asserts that a capture has the given camera at each of the poses, in their order."""
    assert len(capture.photographs) == len(poses)
    for photograph, pose in zip(capture.photographs, poses, strict=True):
        assert photograph.path.is_file()
        np.testing.assert_allclose(photograph.camera_to_world, pose, atol=1e-6)
        for key, value in keys(camera).items():
            assert keys(photograph.intrinsics)[key] == pytest.approx(value, abs=1e-9), key
        assert photograph.fisheye == (None if fisheye is None else pytest.approx(fisheye))


def masks(capture: PosedCapture) -> list[str | None]:
    return [one.mask_path.name if one.mask_path else None for one in capture.photographs]


def project(photograph: PosedPhotograph, points: np.ndarray) -> np.ndarray:
    """Returns the pixel coordinates of world points, the picture's corner being 0."""
    i = photograph.intrinsics
    camera = (np.linalg.inv(photograph.camera_to_world) @ np.c_[points, np.ones(len(points))].T)[:3].T
    matrix = np.array([[i.fl_x, 0, i.cx], [0, i.fl_y, i.cy], [0, 0, 1]])
    zero = np.zeros(3)
    return cv2.projectPoints(camera * [1, -1, -1], zero, zero, matrix, np.array(i.distortion))[0][:, 0]
