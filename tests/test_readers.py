"""Captures of other programs read to the cameras, masks and marks that were written into them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from other_captures import (
    BROWN,
    CAMERA,
    HEADER,
    HEIGHT,
    NAMES,
    POINTS,
    POSES,
    SQUARE_PIXELS,
    WIDTH,
    draw,
    draw_mask,
    keys,
    write_colmap,
    write_metashape,
    write_polycam,
    write_realitycapture,
    write_record3d,
    write_transforms,
)
from PIL import Image
from raw_folder import edit, ring, write_raw_capture

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


# transforms.json


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
def test_a_camera_of_the_upright_picture_is_turned_to_the_stored_one(tmp_path: Path, orientation: int) -> None:
    upright = replace(CAMERA, distortion=BROWN)
    folder = write_transforms(tmp_path, NAMES, **keys(upright))
    turned = (HEIGHT, WIDTH) if orientation != 3 else (WIDTH, HEIGHT)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in NAMES:
        draw(folder / name, turned, exif=exif)
    capture = read(folder)
    if orientation == 3:  # the shape does not tell: stored pixels
        check(capture, upright)
        return
    for photograph, pose in zip(capture.photographs, POSES, strict=True):
        assert (photograph.intrinsics.width, photograph.intrinsics.height) == turned
        points = POINTS[:2]
        x, y = project(replace(photograph, camera_to_world=pose, intrinsics=upright), points).T
        # 6: the upright picture is the stored one turned clockwise; 8: counterclockwise
        stored = np.stack([y, WIDTH - x] if orientation == 6 else [HEIGHT - y, x], axis=1)
        np.testing.assert_allclose(project(photograph, points), stored, atol=1e-9)


# COLMAP


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("place", ["sparse/0", "sparse", "colmap/sparse/0", "."])
def test_colmap_models(tmp_path: Path, place: str, binary: bool) -> None:
    names = ["a.png", "b.png", "left/c.png", "left/d.png"]
    for name in names:
        draw(tmp_path / "images" / name)
    draw_mask(tmp_path / "masks/a.png.png")
    draw_mask(tmp_path / "masks/left/c.png")
    write_colmap(tmp_path / place, names, "PINHOLE 16 12 20 21 7.5 6.25", binary)
    for given in dict.fromkeys((tmp_path, tmp_path / place)):
        capture = read(given)
        check(capture)
        assert masks(capture) == ["a.png.png", None, "c.png", None]
        np.testing.assert_allclose(capture.surface_points, POINTS)
        assert capture.mm_per_unit is None
    check(read(tmp_path / place / f"images.{'bin' if binary else 'txt'}"))


def test_colmap_names_with_spaces_and_many_parts(tmp_path: Path) -> None:
    names = [f"head {i}.png" for i in range(4)]
    for name in names:
        draw(tmp_path / "images" / name)
    write_colmap(tmp_path / "sparse/0", names[:1], "PINHOLE 16 12 20 21 7.5 6.25")
    write_colmap(tmp_path / "sparse/1", names, "PINHOLE 16 12 20 21 7.5 6.25")
    check(read(tmp_path))
    check(read(tmp_path / "sparse/0"), poses=POSES[:1])


@pytest.mark.parametrize(
    ("camera", "distortion", "fisheye"),
    [
        ("SIMPLE_PINHOLE 16 12 20 7.5 6.25", (0,) * 5, None),
        ("SIMPLE_RADIAL 16 12 20 7.5 6.25 0.1", (0.1, 0, 0, 0, 0), None),
        ("RADIAL 16 12 20 7.5 6.25 0.1 0.2", (0.1, 0.2, 0, 0, 0), None),
        ("OPENCV 16 12 20 20 7.5 6.25 0.1 0.2 0.3 0.4", (0.1, 0.2, 0.3, 0.4, 0), None),
        ("FULL_OPENCV 16 12 20 20 7.5 6.25 0.1 0.2 0.3 0.4 0.5 0 0 0", (0.1, 0.2, 0.3, 0.4, 0.5), None),
        ("OPENCV_FISHEYE 16 12 20 20 7.5 6.25 0.1 0.2 0.3 0.4", (0,) * 5, (0.1, 0.2, 0.3, 0.4)),
        ("SIMPLE_RADIAL_FISHEYE 16 12 20 7.5 6.25 0.1", (0,) * 5, (0.1, 0, 0, 0)),
        ("RADIAL_FISHEYE 16 12 20 7.5 6.25 0.1 0.2", (0,) * 5, (0.1, 0.2, 0, 0)),
    ],
)
def test_colmap_camera_models(tmp_path: Path, camera: str, distortion: Any, fisheye: Any) -> None:
    draw(tmp_path / "images/a.png")
    write_colmap(tmp_path / "sparse/0", ["a.png"], camera, binary=True)
    check(read(tmp_path), replace(SQUARE_PIXELS, distortion=distortion), fisheye, POSES[:1])


# apps


def test_polycam(tmp_path: Path) -> None:
    write_polycam(tmp_path)
    for given in (tmp_path, tmp_path / "keyframes"):
        check(read(given))
    assert read(tmp_path).mm_per_unit == 1000.0
    draw_mask(tmp_path / "masks/1002.png")
    assert masks(read(tmp_path)) == [None, None, "1002.png", None]


def test_polycam_prefers_undistorted_pictures(tmp_path: Path) -> None:
    write_polycam(tmp_path, "images", "cameras")
    assert {one.path.parent.name for one in read(tmp_path).photographs} == {"images"}
    write_polycam(tmp_path)
    assert {one.path.parent.name for one in read(tmp_path).photographs} == {"corrected_images"}


def test_record3d(tmp_path: Path) -> None:
    write_record3d(tmp_path / "EXR_RGBD")
    for given in (tmp_path, tmp_path / "EXR_RGBD", tmp_path / "EXR_RGBD/metadata.json"):
        capture = read(given)
        check(capture)
        assert capture.mm_per_unit == 1000.0
        assert [one.path.name for one in capture.photographs] == ["0.jpg", "1.jpg", "9.jpg", "10.jpg"]


def test_record3d_intrinsics_of_each_picture(tmp_path: Path) -> None:
    each = [[20.0 + i, 21.0, 7.5, 6.25] for i in range(11)]
    write_record3d(tmp_path, perFrameIntrinsicCoeffs=each)
    assert [one.intrinsics.fl_x for one in read(tmp_path).photographs] == [20, 21, 29, 30]
    write_record3d(tmp_path, K=[20.0, 0, 0, 0, 21.0, 0, 6.0, 10.0, 1])  # principal point of a picture on its side
    check(read(tmp_path), replace(CAMERA, cx=8.0, cy=6.0))


# Metashape and RealityCapture


def test_metashape(tmp_path: Path) -> None:
    write_metashape(tmp_path, labels="{}.JPG")
    draw_mask(tmp_path / "masks/head_1.png")
    (tmp_path / "other.xml").write_text("<settings/>")
    for given in (tmp_path, tmp_path / "cameras.xml"):
        check(read(given), SQUARE_PIXELS)
    assert masks(read(tmp_path)) == [None, "head_1.png", None, None]


def test_metashape_lens(tmp_path: Path) -> None:
    lens = "<f>20</f><cx>-0.5</cx><cy>0.25</cy><b1>1</b1><b2>0.01</b2><k1>0.1</k1><k2>-0.02</k2><k3>0.005</k3>"
    write_metashape(tmp_path, calibration=f"{lens}<p1>-0.004</p1><p2>0.003</p2>")
    check(read(tmp_path), replace(SQUARE_PIXELS, fl_x=21.0, distortion=BROWN))
    write_metashape(tmp_path, "fisheye", calibration="<f>20</f><cx>-0.5</cx><cy>0.25</cy><k1>0.1</k1><k4>0.2</k4>")
    check(read(tmp_path), SQUARE_PIXELS, fisheye=(0.1, 0, 0, 0.2))


def test_metashape_component_moves_the_cameras(tmp_path: Path) -> None:
    similarity = "<rotation>0 -1 0 1 0 0 0 0 1</rotation><translation>5 6 7</translation><scale>2</scale>"
    write_metashape(tmp_path, component=f"<transform>{similarity}</transform>")
    poses = []
    for pose in POSES:
        moved = np.eye(4)
        (a, b, c, x), (d, e, f, y), (g, h, i, z) = pose[:3]
        moved[:3] = [[-d, -e, -f, 5 - 2 * y], [a, b, c, 6 + 2 * x], [g, h, i, 7 + 2 * z]]
        poses.append(moved)
    check(read(tmp_path), SQUARE_PIXELS, poses=poses)


def test_realitycapture(tmp_path: Path) -> None:
    write_realitycapture(tmp_path)
    draw_mask(tmp_path / "photos/masks/head_3.png")
    for given in (tmp_path, tmp_path / "cameras.csv"):
        check(read(given), SQUARE_PIXELS)
    assert masks(read(tmp_path)) == [None, None, None, "head_3.png"]
    write_realitycapture(tmp_path, distortion="0.1,-0.02,0.005,0,-0.004,0.003")
    check(read(tmp_path), replace(SQUARE_PIXELS, distortion=BROWN))


def test_realitycapture_heading_is_clockwise_from_north(tmp_path: Path) -> None:
    draw(tmp_path / "east.png")
    (tmp_path / "cameras.csv").write_text(f"{HEADER}\neast.png,1,2,3,90,90,0,45,0,0,0,0,0,0,0,0\n")
    pose = read(tmp_path).photographs[0].camera_to_world
    np.testing.assert_allclose(-pose[:3, 2], [1, 0, 0], atol=1e-12)  # looks east
    np.testing.assert_allclose(pose[:3, 1], [0, 0, 1], atol=1e-12)  # upright


# no capture


def test_photographs_alone_are_no_capture(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    assert read_posed(tmp_path) is None
    (tmp_path / "notes.csv").write_text("a,b\n")
    (tmp_path / "a.xml").write_text("<x>")
    assert read_posed(tmp_path) is None
    (tmp_path / "film.mp4").write_bytes(b"film")
    assert read_posed(tmp_path / "film.mp4") is None
    assert read_posed(tmp_path / "a.png") is None
