"""Captures of COLMAP, Polycam, Record3D, Metashape and RealityCapture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from other_captures import (
    BROWN,
    CAMERA,
    HEADER,
    POINTS,
    POSES,
    SQUARE_PIXELS,
    draw,
    draw_mask,
    write_colmap,
    write_metashape,
    write_polycam,
    write_realitycapture,
    write_record3d,
)
from posed_captures import check, masks, read


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
