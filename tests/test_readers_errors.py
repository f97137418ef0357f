"""Broken captures of other programs get one sentence that names the file and the mend."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from other_captures import (
    CAMERA,
    HEADER,
    NAMES,
    POSES,
    draw,
    keys,
    write_colmap,
    write_metashape,
    write_polycam,
    write_realitycapture,
    write_record3d,
    write_transforms,
)
from raw_folder import edit

from privhead_ns.errors import UserError
from privhead_ns.prepare.readers.detect import read_posed


def transforms(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Path]:
    """Returns a writer of a transforms.json with a mistake."""

    def write(folder: Path) -> Path:
        write_transforms(folder, NAMES, **keys(CAMERA))
        edit(folder, change)
        return folder

    return write


def top(**values: Any) -> Callable[[Path], Path]:
    return transforms(lambda content: content.update(values))


def frame(**values: Any) -> Callable[[Path], Path]:
    return transforms(lambda content: content["frames"][2].update(values))


def matrix(change: np.ndarray) -> Callable[[Path], Path]:
    """Returns a writer of a transforms.json one of whose poses is multiplied by a matrix."""
    return frame(transform_matrix=(POSES[2] @ change).tolist())


def then(write: Callable[[Path], Any], change: Callable[[Path], Any]) -> Callable[[Path], Path]:
    """Returns a writer that spoils what another has written."""

    def spoil(folder: Path) -> Path:
        write(folder)
        change(folder)
        return folder

    return spoil


def model(camera: str = "PINHOLE 16 12 20 21 7.5 6.25", binary: bool = False) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        for name in NAMES:
            draw(folder / name)
        write_colmap(folder / "sparse/0", [Path(name).name for name in NAMES], camera, binary)
        return folder

    return write


def text(name: str, old: str, new: str) -> Callable[[Path], Any]:
    """Returns a change of every occurrence in a file."""
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new))


def truncate(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-9])


def unlink(pattern: str) -> Callable[[Path], Any]:
    return lambda folder: [path.unlink() for path in folder.glob(pattern)]


def unknown_model(folder: Path) -> None:
    (folder / "sparse/0/cameras.bin").write_bytes(struct.pack("<QiiQQd", 1, 7, 99, 16, 12, 1.0))


def nan_quaternion(folder: Path) -> None:
    path = folder / "sparse/0/images.txt"
    fields = path.read_text().splitlines()[1].split()
    path.write_text(" ".join([fields[0], "nan", *fields[2:]]) + "\n\n")


NAN = [[math.nan] * 4] * 4

MISTAKES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing there": (lambda folder: folder / "none", "There is no .*none: give --data"),
    "protected": (top(privhead={"version": 2}), "transforms.json is of a protected capture; give --data"),
    "broken JSON": (then(top(), truncate("transforms.json")), "transforms.json cannot be read as JSON"),
    "a list": (
        then(top(), lambda f: (f / "transforms.json").write_text("[]")),
        "must hold one JSON object, not a list",
    ),
    "no frames": (top(frames=[]), "transforms.json lists no frames"),
    "no name": (transforms(lambda c: c["frames"][1].pop("file_path")), "frame number 1 has no file_path"),
    "one picture missing": (
        then(top(), unlink("images/2.png")),
        r"not exist: \S*images/2.png; restore them, or remove",
    ),
    "a mask missing": (frame(mask_path="masks/x.png"), r"not exist: \S*masks/x.png; restore"),
    "NaN": (frame(transform_matrix=NAN), r"images/2.png: the pose holds NaN"),
    "mirrored": (matrix(np.diag([-1, 1, 1, 1])), r"images/2.png: the pose is mirrored"),
    "sheared": (matrix(np.diag([1, 1.5, 1, 1])), r"images/2.png: the pose is no rotation"),
    "all zero": (matrix(np.diag([0, 0, 0, 1])), r"images/2.png: the pose is no rotation"),
    "transposed": (frame(transform_matrix=POSES[2].T.tolist()), r"images/2.png: the last row of the pose"),
    "words": (frame(transform_matrix="identity"), r"images/2.png: the pose .* must be 4x4 or 3x4"),
    "no focal length": (transforms(lambda c: [c.pop(k) for k in ("fl_x", "fl_y")]), "neither fl_x nor camera_angle_x"),
    "focal length zero": (top(fl_x=0), "fl_x must be above zero"),
    "degrees": (frame(camera_angle_x=45), "camera_angle_x must be in radians"),
    "panorama": (top(camera_model="EQUIRECTANGULAR"), "EQUIRECTANGULAR is not supported, only OPENCV.* are; undistort"),
    "k4": (top(k4=0.1), "k4, k5 and k6 are not supported"),
    "pinhole with distortion": (top(camera_model="PINHOLE", k1=0.1), "PINHOLE has no distortion"),
    "tangential fisheye": (top(is_fisheye=True, p1=0.1), "p1 and p2 are not supported in a fisheye lens"),
    "distortion list": (top(distortion_params=[0.1] * 4), "distortion_params must be a list of k1, k2, k3, k4, p1, p2"),
    "sensitive in words": (frame(sensitive="no"), "'sensitive' must be true or false"),
    "another shape": (
        then(top(), lambda f: draw(f / "images/2.png", (16, 16))),
        r"images/2.png is 16x16 pixels.*has 16x12",
    ),
    "not a picture": (
        then(top(), lambda f: (f / "images/2.png").write_bytes(b"no picture")),
        r"images/2.png is of an unknown format; convert",
    ),
    "several lists": (
        then(
            top(),
            lambda f: [(f / "transforms.json").rename(f / "transforms_a.json"), (f / "transforms_b.json").touch()],
        ),
        r"several lists of poses \(transforms_a.json, transforms_b.json\); give --data the file",
    ),
    "COLMAP: image missing": (then(model(), unlink("images/1.png")), r"images.txt lists .*not exist: \S*images/1.png;"),
    "COLMAP: truncated": (then(model(binary=True), truncate("sparse/0/images.bin")), "images.bin is truncated or not"),
    "COLMAP: words": (then(model(), text("sparse/0/images.txt", " 7 ", " x ")), "images.txt is truncated or not"),
    "COLMAP: NaN": (then(model(), nan_quaternion), "images.txt: image 0.png: the pose holds NaN"),
    "COLMAP: no camera": (
        then(model(), text("sparse/0/cameras.txt", "7 ", "8 ")),
        "has camera 7, which is not in cameras.txt",
    ),
    "COLMAP: no images": (then(model(), lambda f: (f / "sparse/0/images.txt").write_text("#\n")), "lists no images"),
    "COLMAP: field of view": (model("FOV 16 12 20 21 7.5 6.25 1"), "model FOV, which is not supported"),
    "COLMAP: model number": (then(model(binary=True), unknown_model), "model number 99, which is not supported"),
    "COLMAP: k6": (
        model("FULL_OPENCV 16 12 20 21 7.5 6.25 0 0 0 0 0 0 0 0.1"),
        "images.txt: image 0.png: k4, k5 and k6 are not supported",
    ),
    "COLMAP: parameters": (model("PINHOLE 16 12 20 21 7.5"), "camera with 3 parameters; PINHOLE has 4"),
    "Polycam: picture": (
        then(write_polycam, unlink("keyframes/corrected_images/1001.jpg")),
        r"not exist: \S*corrected_images/1001.jpg;",
    ),
    "Polycam: camera": (
        then(write_polycam, unlink("keyframes/corrected_cameras/1001.json")),
        r"not exist: \S*corrected_cameras/1001.json;",
    ),
    "Polycam: no pose": (
        then(write_polycam, text("keyframes/corrected_cameras/1002.json", "t_21", "u_21")),
        "1002.json: the pose holds NaN",
    ),
    "Record3D: no pose": (
        then(write_record3d, lambda f: draw(f / "rgb/11.jpg")),
        "picture 11.jpg has no pose, there are 11",
    ),
    "Record3D: poses": (lambda folder: write_record3d(folder, poses=[[1, 2]]), "must hold 'poses' of seven numbers"),
    "Record3D: NaN": (
        lambda folder: write_record3d(folder, poses=[[math.nan] * 7]),
        "picture 0.jpg: the pose holds NaN",
    ),
    "Record3D: no pictures": (then(write_record3d, unlink("rgb/*")), "rgb holds no pictures"),
    "Metashape: picture": (then(write_metashape, unlink("photos/head_2.png")), "cameras.xml lists .*: head_2;"),
    "Metashape: truncated": (then(write_metashape, truncate("cameras.xml")), "cameras.xml is truncated or no XML"),
    "Metashape: two pictures": (
        then(write_metashape, lambda f: draw(f / "more/head_2.png")),
        r"names head_2, but \S*more/head_2.png and \S*photos/head_2.png may both be meant",
    ),
    "Metashape: panorama": (
        lambda folder: write_metashape(folder, "spherical"),
        "type spherical, only frame and fisheye",
    ),
    "Metashape: not aligned": (
        then(write_metashape, text("cameras.xml", "transform>", "gone>")),
        "aligned cameras in 0 chunks",
    ),
    "Metashape: skew": (
        lambda folder: write_metashape(folder, calibration="<f>20</f><b2>3</b2>"),
        "camera head_0 has no focal length or a skewed sensor",
    ),
    "Metashape: parts": (
        then(
            write_metashape,
            lambda f: text(
                "cameras.xml", 'id="1" sensor_id="3" component_id="0"', 'id="1" sensor_id="3" component_id="1"'
            )(f),
        ),
        "2 components, which are not aligned",
    ),
    "RealityCapture: picture": (then(write_realitycapture, unlink("photos/*")), r"head_0.png, .*head_3.png; restore"),
    "RealityCapture: column": (
        lambda folder: write_realitycapture(folder, HEADER.replace(",f,", ",g,")),
        "has no column f; export as Internal/External",
    ),
    "RealityCapture: word": (
        then(write_realitycapture, text("cameras.csv", ",45,", ",?,")),
        r"camera head_0.png: f must be a number, not '\?'",
    ),
    "RealityCapture: k4": (
        lambda folder: write_realitycapture(folder, distortion="0,0,0,0.1,0,0"),
        "camera head_0.png: k4, k5 and k6 are not supported",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_broken_captures_are_refused_in_a_sentence(tmp_path: Path, mistake: str) -> None:
    write, sentence = MISTAKES[mistake]
    with pytest.raises(UserError, match=sentence) as error:
        read_posed(write(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["scan.zip", "cameras.xml", "table.csv", "other.json"])
def test_files_that_are_no_capture_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=f"{name} .*give --data"):
        read_posed(tmp_path / name)


def test_five_missing_files_are_named_and_the_others_counted(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path, NAMES, **keys(CAMERA))
    edit(folder, lambda c: c["frames"].extend({"file_path": f"gone/{i}", "transform_matrix": NAN} for i in range(8)))
    with pytest.raises(UserError, match=r"gone/0, .*gone/4 and 3 more; restore"):
        read_posed(folder)
