"""Pictures of meshes: normals, distances, photographs beside meshes, and the heat map."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from ball_capture import INFO, look_at_origin, sphere, write_capture
from raw_folder import write_raw_capture

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.protect import protect
from privhead_ns.errors import UserError
from privhead_ns.mesh.comparison import Row, pictures
from privhead_ns.mesh.ground_truth import load_truth
from privhead_ns.mesh.pictures import orbit_camera, render_error, render_normals, save_heat_map
from privhead_ns.operators import OperatorConfig


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture(tmp_path, sphere(), info=INFO)


def test_normals_are_colours_in_the_cameras_frame() -> None:
    camera = PosedCamera(look_at_origin((0, -4, 0)), Intrinsics(64, 48, 100.0, 100.0, 32.0, 24.0))
    picture = render_normals(sphere(), camera)
    assert picture.shape == (48, 64, 3) and picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_allclose(picture[23:25, 31:33].mean(axis=(0, 1)), [127.5, 127.5, 255], atol=2)
    assert picture[24, 50, 0] > 190 and picture[24, 13, 0] < 65  # right is red
    assert picture[5, 32, 1] > 190 and picture[42, 32, 1] < 65  # up is green


def test_a_mesh_that_was_moved_is_drawn_where_it_is() -> None:
    camera, ball = PosedCamera(look_at_origin((0, -4, 0)), Intrinsics(64, 48, 100.0, 100.0, 32.0, 24.0)), sphere()
    before = render_normals(ball, camera)
    ball.apply_translation([0.2, 0, 0])
    after = render_normals(ball, camera)
    assert (after == render_normals(ball.copy(), camera)).all() and (after != before).any()


def test_pictures_are_drawn_through_the_cameras_own_lens() -> None:
    lens = Intrinsics(64, 48, fl_x=40.0, fl_y=60.0, cx=28.0, cy=21.0)
    camera = PosedCamera(look_at_origin((0, -4, 0)), lens)
    for picture in (render_normals(sphere(), camera), render_error(sphere(1.01), sphere(), camera, maximum=0.05)):
        rows, columns = np.nonzero((picture < 255).any(axis=2))
        reach = 1 / 15**0.5  # of the ball's outline at depth 1
        assert abs((columns.min() + columns.max() + 1) / 2 - lens.cx) < 1
        assert abs((rows.min() + rows.max() + 1) / 2 - lens.cy) < 1
        assert (columns.max() + 1 - columns.min()) / 2 == pytest.approx(lens.fl_x * reach, abs=1)
        assert (rows.max() + 1 - rows.min()) / 2 == pytest.approx(lens.fl_y * reach, abs=1)


def test_a_comparison_shows_meshes_where_the_photographs_show_the_head(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw", masks=False, cx=12.0, cy=18.0)
    protect(raw, tmp_path / "protected", OperatorConfig())
    row = Row("view", raw, tmp_path / "protected", 3, {"mesh": sphere()})
    _, _, *drawn = pictures(row, sphere(), 0.1)
    for picture in drawn:
        assert picture.shape == (256, 256, 3)
        rows, columns = np.nonzero((picture < 255).any(axis=2))
        assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(12 * 8, abs=2)
        assert (rows.min() + rows.max() + 1) / 2 == pytest.approx(18 * 8, abs=2)


def test_errors_are_colours_of_the_map() -> None:
    camera = PosedCamera(look_at_origin((4, 0, 0)), Intrinsics(32, 32, 100.0, 100.0, 16.0, 16.0))
    picture = render_error(sphere(1.02), sphere(), camera, maximum=0.05)
    expected = np.array(matplotlib.colormaps["turbo"](0.4)[:3]) * 255
    np.testing.assert_allclose(picture[16, 16], expected, atol=4)


def test_heat_map(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privhead_ns.mesh.pictures.VIEW_SIZE", 96)
    truth = load_truth(capture)
    pose = orbit_camera(truth, 0, 32).camera_to_world
    np.testing.assert_allclose(pose[:3, 2], [1, 0, 0], atol=1e-6)  # the front camera looks against the face
    pose = orbit_camera(truth, 90, 32).camera_to_world
    np.testing.assert_allclose(pose[:3, 2], [0, 1, 0], atol=1e-6)  # then at the head's left

    before = set(capture.iterdir())
    save_heat_map(capture / "error.png", sphere(1.02), capture)
    assert set(capture.iterdir()) - before == {capture / "error.png"}
    picture = cv2.imread(str(capture / "error.png"))[:, :, ::-1].reshape(-1, 3).astype(int)
    near_error_colour = np.abs(picture - np.array(matplotlib.colormaps["turbo"](0.4)[:3]) * 255).max(axis=1) < 6
    assert near_error_colour.sum() > 10_000  # 2 mm of 5 mm on four views
    with pytest.raises(UserError, match="must end in"):
        save_heat_map(capture / "error.jpg", sphere(), capture)
