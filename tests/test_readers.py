"""Captures in a transforms.json, of Nerfstudio and of others, read to what was written into them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from other_captures import (
    BROWN,
    CAMERA,
    HEIGHT,
    NAMES,
    POINTS,
    POSES,
    WIDTH,
    draw,
    draw_mask,
    keys,
    write_transforms,
)
from PIL import Image
from posed_captures import check, masks, read
from raw_folder import edit, ring, write_raw_capture

from privhead_ns.capture.camera import Intrinsics
from privhead_ns.prepare.readers.detect import read_posed
from privhead_ns.prepare.sources import posed_sources


def test_a_raw_capture_passes_through(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw", mm_per_unit=25.0)
    capture = read(folder)
    check(capture, Intrinsics(32, 32, 48.0, 48.0, 16.0, 16.0), poses=ring())
    assert [one.sensitive for one in capture.photographs] == [False, False, None, None, None, None]
    assert masks(capture) == [f"view_{i}.png" for i in range(6)]
    assert capture.photographs[3].path == folder / "images/view_3.png"
    assert capture.mm_per_unit == 25.0
    assert capture.surface_points is None
    check(read(folder / "transforms.json"), Intrinsics(32, 32, 48.0, 48.0, 16.0, 16.0), poses=ring())


def test_the_unit_may_stand_in_capture_json(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path, NAMES, **keys(CAMERA))
    (folder / "capture.json").write_text('{"mm_per_unit": 3}')
    assert read(folder).mm_per_unit == 3.0


@pytest.mark.parametrize(
    "written",
    [
        lambda name: f"./{name}",
        lambda name: name.replace("/", "\\"),
        lambda name: f".\\{name}".replace("/", "\\").removesuffix(".png"),
        lambda name: name.removesuffix(".png"),
        lambda name: f"/home/someone/capture/{name}",
        lambda name: f"C:\\capture\\{name}".replace("/", "\\"),
    ],
)
def test_names_of_pictures(tmp_path: Path, written: Callable[[str], str]) -> None:
    capture = read(write_transforms(tmp_path, NAMES, written, **keys(CAMERA)))
    check(capture)
    assert [one.path for one in capture.photographs] == [tmp_path / name for name in NAMES]


@pytest.mark.parametrize(
    ("top", "camera"),
    [
        ({"camera_angle_x": 2 * math.atan(0.4)}, Intrinsics(WIDTH, HEIGHT, 20, 20, 8, 6)),
        ({"camera_angle_y": 2 * math.atan(0.3)}, Intrinsics(WIDTH, HEIGHT, 20, 20, 8, 6)),
        (
            {"camera_angle_x": 2 * math.atan(0.4), "camera_angle_y": 2 * math.atan(0.25)},
            Intrinsics(WIDTH, HEIGHT, 20, 24, 8, 6),
        ),
        ({"camera_angle_x": 1.0, "fl_x": 20.0}, Intrinsics(WIDTH, HEIGHT, 20, 20, 8, 6)),
        ({"fl_x": 20.0, "cy": 5.0}, Intrinsics(WIDTH, HEIGHT, 20, 20, 8, 5)),
        ({"fl_y": 20.0, "w": 16}, Intrinsics(WIDTH, HEIGHT, 20, 20, 8, 6)),
        (keys(CAMERA.scaled(160, 120)), CAMERA),
        (keys(CAMERA) | {"aabb_scale": 16, "scale": 0.3, "offset": [1, 2, 3], "applied_scale": 2.0}, CAMERA),
        (keys(CAMERA) | {"applied_transform": [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]}, CAMERA),
        (keys(replace(CAMERA, distortion=BROWN)), replace(CAMERA, distortion=BROWN)),
        (
            {k: v for k, v in keys(CAMERA).items() if k[0] not in "kp"}
            | {"distortion_params": [0.1, -0.02, 0.005, 0, 0.003, -0.004]},
            replace(CAMERA, distortion=BROWN),
        ),
        (keys(CAMERA) | {"camera_model": "SIMPLE_RADIAL", "k1": 0.1}, replace(CAMERA, distortion=(0.1, 0, 0, 0, 0))),
    ],
)
def test_intrinsics_of_transforms(tmp_path: Path, top: dict[str, Any], camera: Intrinsics) -> None:
    check(read(write_transforms(tmp_path, NAMES, **top)), camera)


@pytest.mark.parametrize("model", [{"is_fisheye": True}, {"camera_model": "OPENCV_FISHEYE"}])
def test_fisheye_transforms(tmp_path: Path, model: dict[str, Any]) -> None:
    top = keys(CAMERA) | {"k1": 0.1, "k2": 0.2, "k3": 0.3, "k4": 0.4} | model
    check(read(write_transforms(tmp_path, NAMES, **top)), fisheye=(0.1, 0.2, 0.3, 0.4))


def test_a_frames_own_keys_count(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path, NAMES, camera_angle_x=1.0, camera_angle_y=1.0, cx=3)
    draw_mask(tmp_path / "other/mask.png")
    own = {"fl_x": 30.0, "cx": 8.0, "mask_path": "other/mask.png", "sensitive": True}
    edit(folder, lambda content: content["frames"][2].update(own, image_path=content["frames"][2].pop("file_path")))
    capture = read(folder)
    assert capture.photographs[2].intrinsics == Intrinsics(WIDTH, HEIGHT, 30, 30, 8, 6)
    assert capture.photographs[1].intrinsics.cx == 3
    assert masks(capture) == [None, None, "mask.png", None]
    assert [one.sensitive for one in capture.photographs] == [None, None, True, None]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    path = write_transforms(tmp_path, NAMES, **keys(CAMERA)) / "transforms.json"
    path.write_text(path.read_text(), encoding=encoding)
    check(read(tmp_path))


def test_blender_splits_are_merged(tmp_path: Path) -> None:
    angle = {"camera_angle_x": 2 * math.atan(0.4)}
    for split in ("test", "train"):
        names = [f"{split}/r_{i}.png" for i in range(3)]
        write_transforms(tmp_path, names, lambda name: f"./{name[:-4]}", f"transforms_{split}.json", **angle)
    (tmp_path / "transforms_old.json").write_text("not read")
    check(read(tmp_path), Intrinsics(WIDTH, HEIGHT, 20, 20, 8, 6), poses=POSES[:3] * 2)
    check(read(tmp_path / "transforms_test.json"), Intrinsics(WIDTH, HEIGHT, 20, 20, 8, 6), poses=POSES[:3])


def test_scaled_and_rounded_rotations_become_rotations(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path, NAMES, **keys(CAMERA))

    def change(content: dict[str, Any]) -> None:
        for frame, scale in zip(content["frames"], (1, 0.01, 3, 1), strict=True):
            matrix = np.array(frame["transform_matrix"])
            matrix[:3, :3] = np.round(matrix[:3, :3], 3) * scale
            frame["transform_matrix"] = matrix.tolist()
        content["frames"][3]["transform_matrix"].pop()

    edit(folder, change)
    for photograph, pose in zip(read(folder).photographs, POSES, strict=True):
        rotation = photograph.camera_to_world[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(photograph.camera_to_world, pose, atol=1e-3)


def test_points_of_nerfstudio_are_surface_points(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path, NAMES, **keys(CAMERA), ply_file_path="sparse_pc.ply")
    assert read(folder).surface_points is None
    rows = "".join(f"{x} {y} {z}\n" for x, y, z in POINTS)
    header = "ply\nformat ascii 1.0\nelement vertex 3\n" + "".join(f"property float {a}\n" for a in "xyz")
    (folder / "sparse_pc.ply").write_text(f"{header}end_header\n{rows}")
    np.testing.assert_allclose(read(folder).surface_points, POINTS, atol=1e-6)


def test_nerfcapture_is_in_metres(tmp_path: Path) -> None:
    lens = {key: keys(CAMERA)[key] for key in ("w", "h", "fl_x", "fl_y", "cx", "cy")}
    names = [f"images/{i}.png" for i in range(4)]
    folder = write_transforms(tmp_path, names, lambda name: name[:-4], depth_integer_scale=1.0, fl_x=1.0, fl_y=1.0)
    draw(tmp_path / "images/0.depth.png")
    own = lens | {"timestamp": 3.5, "depth_path": "images/0.depth.png"}
    edit(folder, lambda content: [frame.update(own) for frame in content["frames"]])
    capture = read(folder)
    check(capture)
    assert capture.mm_per_unit == 1000.0


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_pictures_are_turned_as_their_cameras_see_them(tmp_path: Path, orientation: int) -> None:
    upright = replace(CAMERA, distortion=BROWN)
    folder = write_transforms(tmp_path, NAMES, **keys(upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    seen[:2, :5] = 200
    turns = {3: 0, 6: 1, 8: 3}[orientation]  # 6: the upright picture is the stored one turned clockwise
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rot90(seen, turns)).save(folder / name, exif=exif)
    capture = read(folder)
    check(capture, upright)
    for source in posed_sources(capture):  # where the shape does not tell, stored pixels are what the camera sees
        np.testing.assert_array_equal(source.rgb(), seen)


def test_pictures_of_16_bits_and_alpha_channels_are_read(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path, NAMES, **keys(CAMERA))
    grey = np.full((HEIGHT, WIDTH), 0x4000, np.uint16)
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(folder / name)
    assert all((source.rgb() == 64).all() and source.mask is None for source in posed_sources(read(folder)))
    shape = np.zeros((HEIGHT, WIDTH), np.uint8)
    shape[3:9, 4:12] = 255
    for name in NAMES:
        Image.fromarray(np.dstack([np.full((HEIGHT, WIDTH, 3), 90, np.uint8), shape])).save(folder / name)
    for source in posed_sources(read(folder)):
        assert source.mask is not None
        np.testing.assert_array_equal(source.mask((WIDTH, HEIGHT)), shape)


def test_photographs_alone_are_no_capture(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    assert read_posed(tmp_path) is None
    (tmp_path / "notes.csv").write_text("a,b\n")
    (tmp_path / "a.xml").write_text("<x>")
    assert read_posed(tmp_path) is None
    (tmp_path / "film.mp4").write_bytes(b"film")
    assert read_posed(tmp_path / "film.mp4") is None
    assert read_posed(tmp_path / "a.png") is None
