"""Raw captures are read: pictures, intrinsics, poses and scale; and the search for faces."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from other_captures import keys
from PIL import Image
from raw_folder import FOCAL, SIZE, disc, edit, photograph, rename, ring, write_raw_capture

from privhead_ns.capture.face_check import shows_face, upright_turns
from privhead_ns.capture.raw import Intrinsics, load_raw_capture, read_image


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
        ("I;16", np.full((SIZE, SIZE), 4095 * 77 // 255, np.uint16), 77),  # 12 bits
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


def angle(content: dict) -> None:
    for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
        content.pop(key)
    content["camera_angle_x"] = 2 * math.atan(16 / 48)


def names(change: Callable[[str], str]) -> Callable[[dict], None]:
    return lambda content: [frame.update(file_path=change(frame["file_path"])) for frame in content["frames"]]


WAYS: dict[str, Callable[[dict], Any]] = {
    "field of view": angle,
    "one focal length": lambda content: content.pop("fl_y"),
    "no camera model": lambda content: content.update(camera_model=None),
    "no ending": names(lambda name: name[:-4]),
    "backslashes": names(lambda name: name.replace("/", "\\")),
    "another machine": names(lambda name: f"/home/else/raw/{name}"),
    "3x4 poses": lambda content: [
        frame.update(transform_matrix=frame["transform_matrix"][:3]) for frame in content["frames"]
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_other_ways_to_write_transforms_mean_the_same(tmp_path: Path, way: str) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    expected = load_raw_capture(folder).frames
    edit(folder, WAYS[way])
    for frame, other in zip(load_raw_capture(folder).frames, expected, strict=True):
        assert frame.image_path == other.image_path
        assert keys(frame.intrinsics) == pytest.approx(keys(other.intrinsics))
        np.testing.assert_array_equal(frame.camera_to_world, other.camera_to_world)
