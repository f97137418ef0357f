"""Writes small captures as other programs do: four cameras around a head, and pictures of 16x12 pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from nerfstudio.data.utils import colmap_parsing_utils as colmap
from PIL import Image
from raw_folder import ring
from scipy.spatial.transform import Rotation

from privhead_ns.capture.camera import Intrinsics

WIDTH, HEIGHT = 16, 12
POSES = ring(4)
CAMERA = Intrinsics(WIDTH, HEIGHT, 20.0, 21.0, 7.5, 6.25)
SQUARE_PIXELS = replace(CAMERA, fl_y=20.0)
BROWN = (0.1, -0.02, 0.003, -0.004, 0.005)
"""k1, k2, p1, p2, k3."""
POINTS = np.array([[0.0, 0.1, 0.2], [0.3, -0.4, 0.5], [1.0, 2.0, 3.0]])


def draw(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT), **options: Any) -> None:
    """Writes a grey picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 80, 70)).save(path, **options)


def draw_mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (WIDTH, HEIGHT), 255).save(path)


def keys(camera: Intrinsics) -> dict[str, Any]:
    """Returns intrinsics by the keys of transforms.json."""
    return {
        "w": camera.width,
        "h": camera.height,
        **{key: getattr(camera, key) for key in ("fl_x", "fl_y", "cx", "cy")},
        **dict(zip(("k1", "k2", "p1", "p2", "k3"), camera.distortion, strict=True)),
    }


def write_transforms(
    folder: Path, names: list[str], written: Callable[[str], str] = str, file: str = "transforms.json", **top: Any
) -> Path:
    """Writes pictures and a transforms.json that gives their names as `written` turns them."""
    for name in names:
        draw(folder / name)
    frames = [
        {"file_path": written(name), "transform_matrix": pose.tolist()}
        for name, pose in zip(names, POSES, strict=False)
    ]
    (folder / file).write_text(json.dumps({"frames": frames} | top))
    return folder


NAMES = [f"images/{i}.png" for i in range(4)]


def colmap_pose(pose: np.ndarray) -> np.ndarray:
    """Returns quaternion (scalar first) and translation of world-to-camera in OpenCV's convention."""
    inverse = np.linalg.inv(pose @ np.diag([1, -1, -1, 1]))
    x, y, z, w = Rotation.from_matrix(inverse[:3, :3]).as_quat()
    return np.array([w, x, y, z, *inverse[:3, 3]])


def write_colmap(model: Path, names: list[str], camera: str, binary: bool = False) -> None:
    """Writes a model whose only camera is a line of cameras.txt without its number."""
    model.mkdir(parents=True, exist_ok=True)
    lines = [f"{i + 1} {' '.join(map(repr, colmap_pose(POSES[i])))} 7 {name}" for i, name in enumerate(names)]
    (model / "cameras.txt").write_text(f"# comment\n7 {camera}\n")
    # the second lines: none, one point, and empty as an image without points has it
    (model / "images.txt").write_text(
        "# comment\n" + "".join(f"{line}\n{'1.5 2.5 1' * (i % 2)}\n" for i, line in enumerate(lines))
    )
    points = [f"{i + 1} {x} {y} {z} 10 20 30 0.5 1 0" for i, (x, y, z) in enumerate(POINTS)]
    (model / "points3D.txt").write_text("\n".join(points) + "\n")
    if binary:
        for kind in ("cameras", "images", "points3D"):
            read_text, write_binary = getattr(colmap, f"read_{kind}_text"), getattr(colmap, f"write_{kind}_binary")
            write_binary(read_text(model / f"{kind}.txt"), model / f"{kind}.bin")
            (model / f"{kind}.txt").unlink()


def write_polycam(folder: Path, images: str = "corrected_images", cameras: str = "corrected_cameras") -> Path:
    for index, pose in enumerate(POSES):
        draw(folder / f"keyframes/{images}/{1000 + index}.jpg")
        entry = {f"t_{row}{column}": pose[row, column] for row in range(3) for column in range(4)}
        entry |= {"fx": 20.0, "fy": 21.0, "cx": 7.5, "cy": 6.25, "width": 16, "height": 12, "blur_score": 9.0}
        path = folder / f"keyframes/{cameras}/{1000 + index}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(entry))
    return folder


def write_record3d(folder: Path, **more: Any) -> Path:
    order = [10, 9, 1, 0]  # by number, not by name
    poses: list[Any] = [[0, 0, 0, 1, 0, 0, 0]] * 11
    for index, pose in zip(sorted(order), POSES, strict=True):
        poses[index] = [*Rotation.from_matrix(pose[:3, :3]).as_quat(), *pose[:3, 3]]
    for index in order:
        draw(folder / f"rgb/{index}.jpg")
    content = {"w": 16, "h": 12, "K": [20.0, 0, 0, 0, 21.0, 0, 7.5, 6.25, 1], "poses": poses, "fps": 30}
    (folder / "metadata.json").write_text(json.dumps(content | more))
    return folder


def write_metashape(
    folder: Path, kind: str = "frame", component: str = "", calibration: str = "", labels: str = "{}"
) -> Path:
    cameras = ""
    for index, pose in enumerate(POSES):
        draw(folder / f"photos/head_{index}.png")
        matrix = " ".join(map(repr, (pose @ np.diag([1, -1, -1, 1])).ravel()))
        label = labels.format(f"head_{index}")
        ids = f'id="{index}" sensor_id="3" component_id="0"'
        cameras += f'<camera {ids} label="{label}"><transform>{matrix}</transform></camera>'
    cameras += '<camera id="8" sensor_id="3" label="not aligned"/>'
    cameras += '<camera id="9" sensor_id="3" label="disabled" enabled="false"><transform>1</transform></camera>'
    calibration = calibration or "<f>20</f><cx>-0.5</cx><cy>0.25</cy>"
    (folder / "cameras.xml").write_text(
        f'<?xml version="1.0" encoding="UTF-8"?><document version="2.0.0"><chunk label="Chunk 1"><sensors>'
        f'<sensor id="3" type="{kind}"><resolution width="16" height="12"/><calibration class="initial"><f>5</f>'
        f'</calibration><calibration class="adjusted"><resolution width="16" height="12"/>{calibration}</calibration>'
        f'</sensor></sensors><components><component id="0">{component}</component></components>'
        f"<cameras>{cameras}</cameras></chunk></document>"
    )
    return folder


HEADER = "#name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2"


def write_realitycapture(folder: Path, header: str = HEADER, distortion: str = "0,0,0,0,0,0") -> Path:
    rows = [header]
    for index, pose in enumerate(POSES):
        draw(folder / f"photos/head_{index}.png")
        yaw, pitch, roll = Rotation.from_matrix(pose[:3, :3]).as_euler("ZXY", degrees=True)
        position = ",".join(map(repr, pose[:3, 3]))
        rows.append(f"head_{index}.png,{position},{-yaw},{pitch},{roll},45,-0.03125,0.015625,{distortion}")
    (folder / "cameras.csv").write_text("\n".join(rows), encoding="utf-8-sig")
    return folder
