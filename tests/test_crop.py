"""Square views about the head: cameras, resampling and unknown pixels."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from raw_folder import FOCAL, SIZE, VIEWS, disc, edit, look_at, photograph, ring, write_raw_capture

from privhead_ns.audit.heads import load_subject
from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.crop import Sphere, crop_camera, distorted_pixels, native_size, seen_by
from privhead_ns.capture.protect import magnitude_image, protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.capture.views import check_origin, plan_like
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig

BLACK = (0.0, 0.0, 0.0)
HEAD = Sphere(np.array([0.1, -0.1, 0.2]), 1.0)
LENSES = {
    "pinhole": Intrinsics(160, 120, 150.0, 150.0, 80.0, 60.0),
    "off-centre": Intrinsics(120, 160, 150.0, 155.0, 40.0, 90.0),
    "barrel": Intrinsics(160, 120, 110.0, 115.0, 83.0, 58.0, distortion=(-0.2, 0.05, 0.004, -0.003, 0.01)),
    "finer": Intrinsics(640, 480, 600.0, 600.0, 320.0, 240.0, distortion=(0.1, 0.0, 0.0, 0.0, 0.0)),
}


def rolled(pose: np.ndarray, degrees: float, aside: float = 0.0) -> np.ndarray:
    """Returns the pose turned about its axis, and then aside."""
    turn = (
        cv2.Rodrigues(np.array([0.0, np.radians(aside), 0.0]))[0]
        @ cv2.Rodrigues(np.array([0.0, 0.0, np.radians(degrees)]))[0]
    )
    result = pose.copy()
    result[:3, :3] = pose[:3, :3] @ turn
    return result


def pixel_of(point: np.ndarray, pose: np.ndarray, camera: Intrinsics) -> np.ndarray:
    local = (point - pose[:3, 3]) @ pose[:3, :3]
    return distorted_pixels(local[None], camera)[0][0]


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize(("degrees", "aside"), [(0.0, 0.0), (90.0, 3.0), (-35.0, -4.0)])
def test_a_point_lands_where_the_crop_camera_says(lens: str, degrees: float, aside: float) -> None:
    """A blob painted where the photograph shows a point is found where the view's camera sees it."""
    source, pose = LENSES[lens], rolled(look_at(np.array([4.0, 1.0, 0.5])), degrees, aside)
    point = HEAD.center + np.array([0.1, 0.15, -0.1])
    x, y = pixel_of(point, pose, source)
    rows, columns = np.mgrid[: source.height, : source.width]
    spread = 0.02 * source.fl_x
    blob = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2))
    camera = crop_camera(pose, source, HEAD, 64)
    view = seen_by(camera, blob.astype(np.uint8)[..., None].repeat(3, -1), None, pose, source, BLACK)
    weight = view.rgb[..., 0]
    rows, columns = np.mgrid[:64, :64]
    found = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    np.testing.assert_allclose(found, pixel_of(point, camera.camera_to_world, camera.intrinsics), atol=0.1)
    np.testing.assert_allclose(pixel_of(HEAD.center, camera.camera_to_world, camera.intrinsics), 31.5, atol=1e-6)
    np.testing.assert_array_equal(camera.camera_to_world[:3, 3], pose[:3, 3])


@pytest.mark.parametrize("lens", LENSES)
def test_directions_are_distorted_as_opencv_does(lens: str) -> None:
    camera = LENSES[lens]
    rays = np.random.default_rng(0).uniform([-0.5, -0.5, -1.0], [0.5, 0.5, -1.0], (50, 3))
    matrix = np.array([[camera.fl_x, 0, camera.cx - 0.5], [0, camera.fl_y, camera.cy - 0.5], [0, 0, 1]])
    expected = cv2.projectPoints(
        rays * [1, -1, -1], np.zeros(3), np.zeros(3), matrix, np.array(camera.distortion, dtype=np.float64)
    )[0][:, 0]
    np.testing.assert_allclose(distorted_pixels(rays, camera)[0], expected, atol=1e-9)


@pytest.mark.parametrize("size", [32, 64, 128, 1000])
def test_a_view_is_never_enlarged(size: int) -> None:
    source, pose = LENSES["pinhole"], look_at(np.array([4.0, 1.0, 0.5]))
    camera = crop_camera(pose, source, HEAD, size)
    assert camera.intrinsics.width == size
    assert camera.intrinsics.fl_x <= source.fl_x
    native = native_size(pose, source, HEAD)
    assert camera.intrinsics.fl_x == pytest.approx(source.fl_x * min(1, size / native))


def test_pixels_beyond_the_edge_are_unknown_and_hold_no_colour() -> None:
    source = replace(LENSES["pinhole"], cx=10.0)
    pose = look_at(np.array([4.0, 0.0, 0.0]))
    camera = crop_camera(pose, source, Sphere(np.zeros(3), 1.0), 64)
    photo = np.full((source.height, source.width, 3), 200, np.uint8)
    view = seen_by(camera, photo, None, pose, source, (0.0, 0.5, 1.0))
    assert view.known is not None
    assert 0.3 < view.known.mean() < 0.9
    np.testing.assert_allclose(view.rgb[~view.known], [[0, 0.5, 1]] * np.count_nonzero(~view.known), atol=1e-6)
    np.testing.assert_allclose(view.rgb[view.known], 200 / 255, atol=1e-5)
    sigma = OperatorConfig().setup()
    assert magnitude_image(view.rgb, sigma, 65536).any(), "the edge of what is known is an edge"
    assert not magnitude_image(view.rgb, sigma, 65536, view.known).any()


def test_rays_beyond_the_fold_of_a_lens_are_unknown() -> None:
    """Far outside, r (1 - 0.5 r²) comes back into the image."""
    lens = Intrinsics(100, 100, 100.0, 100.0, 50.0, 50.0, distortion=(-0.5, 0.0, 0.0, 0.0, 0.0))
    pixels, valid = distorted_pixels(np.array([[0.3, 0.0, -1.0], [1.4, 0.0, -1.0], [0.1, 0.0, 1.0]]), lens)
    assert 0 < pixels[1, 0] < 100
    assert valid.tolist() == [True, False, False]


def test_square_captures_about_the_head_stay_as_they_are(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    for size in (32, 33, 128):
        protect(raw, tmp_path / f"out{size}", OperatorConfig(), size=size)
        capture = load_protected_capture(tmp_path / f"out{size}")
        assert (capture.width, capture.height) == (SIZE, SIZE)
        assert not (tmp_path / f"out{size}/known").exists()
        for frame, pose in zip(capture.frames, ring(), strict=True):
            np.testing.assert_array_equal(frame.camera_to_world, pose)
            assert (frame.fl_x, frame.fl_y, frame.cx, frame.cy) == (FOCAL, FOCAL, SIZE / 2, SIZE / 2)
        expected = np.where(disc()[..., None] > 0, photograph(0), 0)
        np.testing.assert_array_equal(np.asarray(Image.open(capture.frames[0].path)), expected)


def write_mixed(folder: Path) -> Path:
    """A capture of which one photograph is larger, one is a landscape, and one a close-up that cuts the head."""
    raw = write_raw_capture(folder)
    Image.fromarray(photograph(1, 64)).save(raw / "images/view_1.png")
    Image.fromarray(disc(64)).save(raw / "masks/view_1.png")
    Image.fromarray(np.pad(photograph(2), ((0, 0), (10, 6), (0, 0)))).save(raw / "images/view_2.png")
    Image.fromarray(np.pad(disc(), ((0, 0), (10, 6)))).save(raw / "masks/view_2.png")
    Image.fromarray(photograph(3)[:, 12:]).save(raw / "images/view_3.png")
    Image.fromarray(disc()[:, 12:]).save(raw / "masks/view_3.png")

    def change(content: dict) -> None:
        content["frames"][1] |= {"w": 64, "h": 64, "fl_x": 2 * FOCAL, "fl_y": 2 * FOCAL, "cx": 32, "cy": 32}
        content["frames"][2] |= {"w": 48, "cx": 26}
        content["frames"][3] |= {"w": 20, "cx": 4}

    edit(raw, change)
    return raw


def test_mixed_photographs_become_squares(tmp_path: Path) -> None:
    raw = write_mixed(tmp_path / "raw")
    summary = protect(raw, tmp_path / "out", OperatorConfig(), preview=tmp_path / "sheet.png")
    capture = load_protected_capture(tmp_path / "out")
    assert capture.width == capture.height == summary.width
    assert 20 <= capture.width <= 32
    assert f"instead of {summary.size}" in summary.in_plain_words()
    assert [frame.known_path is not None for frame in capture.frames] == [index == 3 for index in range(VIEWS)]
    assert capture.frames[3].known_path is not None
    known = np.asarray(Image.open(capture.frames[3].known_path))
    assert set(np.unique(known)) == {0, 255}
    stored = np.asarray(Image.open(capture.frames[3].path))
    assert stored[known > 0].any()
    assert not stored[known == 0].any()
    # the sphere looks alike in all views
    masks = [np.asarray(Image.open(str(frame.mask_path))) > 127 for frame in capture.frames]
    for mask in masks:
        assert ((mask != masks[0]) & (known > 0)).mean() < 0.1
    assert stat.S_IMODE((tmp_path / "sheet.png").stat().st_mode) == 0o600
    assert Image.open(tmp_path / "sheet.png").width > 6 * 128


def test_photographs_are_developed_again_for_the_audit_and_the_oracle(tmp_path: Path) -> None:
    raw = write_mixed(tmp_path / "raw")
    protect(raw, tmp_path / "out", OperatorConfig())
    capture = load_protected_capture(tmp_path / "out")
    plan = plan_like(load_raw_capture(raw), capture)
    for index in (0, 1):
        stored = np.asarray(Image.open(capture.frames[index].path))
        np.testing.assert_allclose(plan.view(index).rgb * 255, stored, atol=0.51)
    head = load_subject(raw, tmp_path / "out")
    sigma = capture.operator.setup()
    again = magnitude_image(head.colour[0], sigma, 65536).astype(int)
    np.testing.assert_allclose(again, np.asarray(Image.open(capture.frames[2].path)), atol=1)


def test_captures_are_told_apart_by_their_cameras(tmp_path: Path) -> None:
    raw = write_mixed(tmp_path / "raw")
    protect(raw, tmp_path / "out", OperatorConfig())
    capture = load_protected_capture(tmp_path / "out")
    check_origin(load_raw_capture(raw), capture)
    edit(raw, lambda content: content["frames"].reverse())
    with pytest.raises(UserError, match="the cameras differ"):
        check_origin(load_raw_capture(raw), capture)


def test_known_pixels_are_two_valued(tmp_path: Path) -> None:
    protect(write_mixed(tmp_path / "raw"), tmp_path / "out", OperatorConfig())
    path = tmp_path / "out/known/003.png"
    grey = np.asarray(Image.open(path)).copy()
    grey[0, 0] = 128
    Image.fromarray(grey).save(path)
    with pytest.raises(UserError, match=r"known/003\.png must hold nothing but 0 and 255"):
        load_protected_capture(tmp_path / "out")


def test_one_close_up_does_not_shrink_the_box(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw", masks=False)
    summary = protect(raw, tmp_path / "out", OperatorConfig())
    edit(raw, lambda content: content["frames"][2].update(fl_x=6 * FOCAL, fl_y=6 * FOCAL))
    again = protect(raw, tmp_path / "again", OperatorConfig())
    np.testing.assert_allclose(again.box_size, summary.box_size, rtol=1e-6)
    assert f"{summary.box_size[0]:.3g} x" in summary.in_plain_words()


@pytest.mark.parametrize("preview", ["sheet.jpg", "missing/sheet.png"])
def test_a_preview_that_cannot_be_written(tmp_path: Path, preview: str) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    with pytest.raises(UserError, match="--preview"):
        protect(raw, tmp_path / "out", OperatorConfig(), preview=tmp_path / preview)
    assert list(tmp_path.iterdir()) == [raw]


def test_a_photograph_whose_pixels_are_far_finer_than_the_views_takes_no_more_memory() -> None:
    rgb = np.full((30, 40, 3), 128, np.uint8)
    source, target = Intrinsics(40, 30, 1e12, 1e12, 20.0, 15.0), Intrinsics(8, 8, 1e-3, 1e-3, 4.0, 4.0)
    view = seen_by(PosedCamera(np.eye(4), target), rgb, None, np.eye(4), source, BLACK)
    assert view.rgb.shape == (8, 8, 3) and view.known is not None and not view.known.any()


def test_a_camera_that_sees_less_than_a_pixel_of_the_head_is_named(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw", masks=False)

    def move(content: dict) -> None:
        matrix = np.array(content["frames"][3]["transform_matrix"])
        matrix[:3, 2], matrix[:3, 3] = (1.0, 0.0, 0.0), (4e5, 0.0, 0.0)
        matrix[:3, 0], matrix[:3, 1] = (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
        content["frames"][3]["transform_matrix"] = matrix.tolist()

    edit(raw, move)
    box = (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0)
    with pytest.raises(UserError, match=r"view_3.png: its camera sees less than a pixel"):
        protect(raw, tmp_path / "out", OperatorConfig(), box=box)
