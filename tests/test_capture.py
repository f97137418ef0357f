"""The capture side piece by piece: reading, classifying, developing, boxing and the search for faces."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image
from raw_folder import DISTANCE, FOCAL, SIZE, disc, edit, look_at, photograph, ring, write_raw_capture

from privhead_ns.capture.face_check import shows_face, upright_turns
from privhead_ns.capture.hull import View, head_box, look_at_centre
from privhead_ns.capture.raw import Intrinsics, load_raw_capture, read_image
from privhead_ns.capture.sensitivity import classify, matches
from privhead_ns.capture.undistort import resized, undistort_and_resize, undistorted
from privhead_ns.errors import UserError

BLACK = (0.0, 0.0, 0.0)
WIDE = Intrinsics(160, 120, 100.0, 105.0, 83.0, 58.0, distortion=(-0.2, 0.05, 0.004, -0.003, 0.01))
"""A lens with barrel distortion, off-centre."""


def pinhole(size: int) -> Intrinsics:
    focal = FOCAL * size / SIZE
    return Intrinsics(size, size, focal, focal, size / 2, size / 2)


# ---- raw ----


def test_shared_and_per_frame_intrinsics(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw", camera_model="OPENCV", k1=0.1, mm_per_unit=160)
    edit(folder, lambda content: content["frames"][2].update(fl_x=50.0, k1=0.0))
    capture = load_raw_capture(folder)
    assert capture.mm_per_unit == 160
    assert [frame.intrinsics.fl_x for frame in capture.frames] == [FOCAL, FOCAL, 50, FOCAL, FOCAL, FOCAL]
    assert [frame.intrinsics.distortion[0] for frame in capture.frames] == [0.1, 0.1, 0.0, 0.1, 0.1, 0.1]
    assert [frame.sensitive for frame in capture.frames] == [False, False, None, None, None, None]


def test_scale_from_capture_json(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    assert load_raw_capture(folder).mm_per_unit is None
    (folder / "capture.json").write_text('{"mm_per_unit": 185}')
    assert load_raw_capture(folder).mm_per_unit == 185


def replace_first_image(folder: Path, image: Image.Image) -> None:
    image.save(folder / "images" / "view_0.png")


@pytest.mark.parametrize(
    ("mode", "pixels", "expected"),
    [
        ("L", np.full((SIZE, SIZE), 77, np.uint8), 77),
        ("I;16", np.full((SIZE, SIZE), 77 * 257, np.uint16), 77),
    ],
)
def test_grey_images_become_rgb(tmp_path: Path, mode: str, pixels: np.ndarray, expected: int) -> None:
    folder = write_raw_capture(tmp_path / "raw", masks=False)
    image = Image.fromarray(pixels)
    assert image.mode == mode
    replace_first_image(folder, image)
    rgb, coverage = read_image(load_raw_capture(folder).frames[0])
    assert coverage is None
    assert rgb.shape == (SIZE, SIZE, 3)
    assert (rgb == expected).all()


def test_alpha_is_coverage_and_joins_the_mask(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    alpha = np.full((SIZE, SIZE), 255, np.uint8)
    alpha[:, SIZE // 2 :] = 0
    replace_first_image(folder, Image.fromarray(np.dstack([photograph(0), alpha])))
    rgb, coverage = read_image(load_raw_capture(folder).frames[0])
    np.testing.assert_array_equal(rgb, photograph(0))
    assert coverage is not None
    np.testing.assert_array_equal(coverage, np.minimum(disc(), alpha))


def test_mask_of_zeros_and_ones(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    Image.fromarray(disc() // 255).save(folder / "masks" / "view_0.png")
    _, coverage = read_image(load_raw_capture(folder).frames[0])
    assert coverage is not None
    np.testing.assert_array_equal(coverage, disc())


def rename(folder: Path, index: int, name: str, key: str = "file_path") -> None:
    edit(folder, lambda content: content["frames"][index].update({key: name}))


@pytest.mark.parametrize("ending", ["webp", "tiff", "bmp"])
def test_other_formats_are_read(tmp_path: Path, ending: str) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    Image.fromarray(photograph(0)).save(
        folder / f"images/one.{ending}", **({"lossless": True} if ending == "webp" else {})
    )
    rename(folder, 0, f"images/one.{ending}")
    np.testing.assert_array_equal(read_image(load_raw_capture(folder).frames[0])[0], photograph(0))


def test_intrinsics_follow_the_resolution(tmp_path: Path) -> None:
    """transforms.json tells of 64x64 pixels, and the photographs are half as large."""
    folder = write_raw_capture(tmp_path / "raw", w=64, h=64, fl_x=96, fl_y=100, cx=33, cy=31, k1=0.1)
    for frame in load_raw_capture(folder).frames:
        assert frame.intrinsics == Intrinsics(32, 32, 48.0, 50.0, 16.5, 15.5, (0.1, 0.0, 0.0, 0.0, 0.0))
        assert frame.resized_from == (64, 64)


def test_rounded_sides_are_of_one_shape(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw", masks=False, w=97, h=65)
    for path in (folder / "images").iterdir():
        Image.fromarray(photograph(0, 48)[:32]).save(path)
    camera = load_raw_capture(folder).frames[0].intrinsics
    assert (camera.width, camera.height) == (48, 32)
    assert camera.fl_x == pytest.approx(FOCAL * 48 / 97)


def test_nerfstudio_list_of_distortion(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw", distortion_params=[0.1, 0.2, 0.3, 0, 0.4, 0.5])
    assert load_raw_capture(folder).frames[0].intrinsics.distortion == (0.1, 0.2, 0.4, 0.5, 0.3)


def test_rounded_poses_become_rotations(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    edit(
        folder,
        lambda content: [
            frame.update(transform_matrix=np.round(frame["transform_matrix"], 2).tolist())
            for frame in content["frames"]
        ],
    )
    for frame, exact in zip(load_raw_capture(folder).frames, ring(), strict=True):
        rotation = frame.camera_to_world[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(rotation, exact[:3, :3], atol=0.01)


def test_transforms_json_stands_for_its_folder(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    assert load_raw_capture(folder / "transforms.json").folder == folder


@pytest.mark.parametrize(("size", "rounded"), [(1.0, 0), (1e-3, 3)])
@pytest.mark.parametrize("place", [(5e5, 5e6, 100.0), (4e6, 3e6, 4e6)])
def test_geographic_poses_are_made_relative(
    tmp_path: Path, place: tuple[float, float, float], size: float, rounded: int
) -> None:
    """UTM and ECEF coordinates, also in a unit that is larger than the head is away."""
    folder = write_raw_capture(tmp_path / "raw")
    np.testing.assert_array_equal(load_raw_capture(folder).origin, 0)

    def shift(content: dict) -> None:
        for frame in content["frames"]:
            for axis in range(3):
                frame["transform_matrix"][axis][3] = frame["transform_matrix"][axis][3] * size + place[axis]

    edit(folder, shift)
    capture = load_raw_capture(folder)
    np.testing.assert_allclose(capture.origin, place, atol=0.6 * 10.0**-rounded)
    for frame, local in zip(capture.frames, ring(), strict=True):
        np.testing.assert_allclose(
            frame.camera_to_world[:3, 3], local[:3, 3] * size + np.subtract(place, capture.origin), atol=1e-8
        )


# ---- sensitivity ----


def test_a_view_is_neutral_only_if_declared_and_not_contradicted(tmp_path: Path) -> None:
    """All combinations of what flag, globs and angle may say about one frame."""
    towards = {None: None, "neutral": (1.0, 0.0, 0.0), "sensitive": (-1.0, 0.0, 0.0)}
    combinations = itertools.product((None, False, True), (False, True), (False, True), towards)
    folder = write_raw_capture(tmp_path / "raw")
    for flag, glob_neutral, glob_sensitive, angle in combinations:
        # frame 0 stands at -x; of frames 1 and 3 at least one is neutral and one sensitive, whatever the angle says
        edit(folder, lambda content, flag=flag: content["frames"][0].update(sensitive=flag))
        result = classify(
            load_raw_capture(folder),
            neutral=["view_0.png"] * glob_neutral,
            sensitive=["images/view_0.png"] * glob_sensitive,
            face_direction=towards[angle],
            neutral_beyond_deg=80.0,
        )[0]
        says_sensitive = flag is True or glob_sensitive or angle == "sensitive"
        says_neutral = flag is False or glob_neutral or angle == "neutral"
        assert result == (says_sensitive or not says_neutral), (flag, glob_neutral, glob_sensitive, angle)


def test_angle_is_measured_about_the_point_looked_at(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw")

    def shift(content: dict) -> None:
        for frame in content["frames"]:
            frame.pop("sensitive", None)
            frame["transform_matrix"][0][3] += 100

    edit(folder, shift)
    # cameras at azimuths 180, 240, 300, 0, 60, 120 degrees
    result = classify(load_raw_capture(folder), face_direction=(2.0, 0.0, 0.0), neutral_beyond_deg=130.0)
    assert result == [False, True, True, True, True, True]


@pytest.mark.parametrize(
    "glob",
    [
        "./images/view_[1]*",
        "images//view_1.png",
        "images\\view_1.png",
        ".\\images\\VIEW_1.*",
        "IMAGES/View_1.PNG",
        "view_1.PNG",
        "{folder}/images/view_1.png",
        "{folder}/Images/*_1.png",
        "raw/images/view_1*",
        "./raw/./images/view_1*",
        "elsewhere/../raw/images/view_1*",
        "{link}/images/view_1*",
    ],
)
def test_ways_to_write_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glob: str) -> None:
    folder, link = write_raw_capture(tmp_path / "raw"), tmp_path / "link"
    link.symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    found = matches(load_raw_capture(folder), [glob.format(folder=folder, link=link)], "--neutral")
    assert [index for index, one in enumerate(found) if one] == [1]


@pytest.mark.parametrize("name", ["./images/view_0.png", "images\\view_0.png"])
def test_frames_may_be_written_otherwise_as_well(tmp_path: Path, name: str) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    (folder / "images\\view_0.png").write_bytes((folder / "images/view_0.png").read_bytes())
    rename(folder, 0, name)
    assert matches(load_raw_capture(folder), ["images/view_0.png"], "--neutral")[0]


def test_a_glob_that_matches_as_written_matches_nothing_else(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    (folder / "images/view_3.png").rename(folder / "images/VIEW_3.png")
    rename(folder, 3, "images/VIEW_3.png")
    found = matches(load_raw_capture(folder), ["images/view_*"], "--neutral")
    assert [index for index, one in enumerate(found) if not one] == [3]


@pytest.mark.parametrize("glob", ["View_*", "IMAGES/[F-V]iew_1.png"])
def test_case_is_not_guessed_where_it_may_matter(tmp_path: Path, glob: str) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    (folder / "images/view_3.png").rename(folder / "images/VIEW_3.png")
    rename(folder, 3, "images/VIEW_3.png")
    with pytest.raises(UserError, match="another case"):
        matches(load_raw_capture(folder), [glob], "--neutral")


# ---- develop ----


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


# ---- hull ----


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


# ---- faces ----


def test_a_face_is_found_and_a_meadow_is_not() -> None:
    assert shows_face(skimage.data.astronaut()[:220, 110:330])
    assert not shows_face(skimage.data.astronaut()[300:, 300:])
    assert not shows_face(np.full((40, 30, 3), 90, np.uint8))


def test_a_face_is_found_in_a_photograph_stored_sideways() -> None:
    sideways = np.ascontiguousarray(np.rot90(skimage.data.astronaut()[:220, 110:330], -1))
    head = np.zeros(sideways.shape[:2], np.uint8)
    head[20:200, 20:200] = 255
    for coverage in (None, head):
        assert not shows_face(sideways, coverage)
        assert shows_face(sideways, coverage, turns=(1,))
        assert shows_face(sideways, coverage, turns=(0, 1, 2, 3))


def test_poses_tell_which_way_up_a_photograph_is() -> None:
    poses = np.stack([np.eye(4)] * 8)
    poses[1, :3, :3] = [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]  # the camera's right is down
    poses[2, :3, :3] = np.diag([-1, -1, 1])
    assert upright_turns(poses) == [(0,), (3,), (2,), *[(0,)] * 5]
    around = np.stack([np.eye(4)] * 4)
    for turn, pose in enumerate(around):
        pose[:3, :3] = cv2.Rodrigues(np.array([0, 0, turn * np.pi / 2]))[0]
    assert upright_turns(around) == [(0, 1, 2, 3)] * 4
