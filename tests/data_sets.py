"""Writes a raw capture as the data sets H3DS and FaceScape lay theirs out, each in a frame and a unit of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

SCENE = "1b2a8613401e42a8"
SUBJECT, EXPRESSION = "212", "4_anger"
TURN = Rotation.from_euler("xyz", [20, -35, 110], degrees=True).as_matrix()
"""From the raw capture's frame into the data set's."""
SHIFT, UNIT = np.array([3.0, -2.0, 5.0]), 2.5
"""Of FaceScape's frame; a raw unit is `UNIT` of its."""
CANONICAL = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
"""From a head with its face along x and up along z to one with its face along z and up along y."""
LANDMARKS = {
    "right_eye": (-0.17, 0.2),
    "left_eye": (0.17, 0.2),
    "nose_base": (0.0, -0.08),
    "right_lips": (-0.13, -0.17),
    "left_lips": (0.13, -0.17),
}
"""Offsets from the nose tip to the left and up, in units of a raw capture of 185 mm."""
INVALID = 2
"""Number of the view that FaceScape calls unreliable."""


def write_small_demo(folder: Path) -> Path:
    """Writes ten views of the demo's head, four of them from behind, of 48 pixels, and a coarse surface."""
    from privhead_ns.demo import capture
    from privhead_ns.demo.scenes import HEAD

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "MESH_RESOLUTION", 64)
        capture.write_demo_capture(folder, 48, replace(HEAD, views=HEAD.views[::3]))
    return folder


def load(raw: Path) -> tuple[dict[str, Any], dict[str, Any], trimesh.Trimesh]:
    """Returns transforms.json, capture.json and the true surface of a raw capture."""
    mesh = trimesh.load(raw / "gt_mesh.ply", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    return *(json.loads((raw / name).read_text()) for name in ("transforms.json", "capture.json")), mesh


def moved(pose: np.ndarray, scale: float, shift: np.ndarray) -> np.ndarray:
    """Returns a camera-to-world matrix after its world was turned by `TURN`, scaled and shifted."""
    result = np.eye(4)
    result[:3, :3] = TURN @ pose[:3, :3]
    result[:3, 3] = scale * TURN @ pose[:3, 3] + shift
    return result


def world_to_camera(pose: np.ndarray) -> np.ndarray:
    """Returns the extrinsics of OpenCV for a camera-to-world matrix of OpenGL."""
    return np.linalg.inv(pose @ np.diag([1.0, -1, -1, 1]))


def matrix(frame: dict[str, Any], corner: float = 0.0) -> np.ndarray:
    """Returns OpenCV's camera matrix; `corner` is the coordinate of the picture's corner."""
    return np.array(
        [[frame["fl_x"], 0, frame["cx"] + corner], [0, frame["fl_y"], frame["cy"] + corner], [0, 0, 1.0]],
    )


def copy_picture(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.open(source).save(target, **({"quality": 97, "subsampling": 0} if target.suffix == ".jpg" else {}))


def write_h3ds(root: Path, raw: Path) -> Path:
    """Writes version.txt and one scene, and returns the scene's folder."""
    content, about, mesh = load(raw)
    scale, scene = about["mm_per_unit"], root / SCENE
    arrays = {}
    for index, frame in enumerate(content["frames"]):
        copy_picture(raw / frame["file_path"], scene / f"image/img_{index:04d}.jpg")
        copy_picture(raw / frame["mask_path"], scene / f"mask/mask_{index:04d}.png")
        pose = moved(np.array(frame["transform_matrix"]), scale, np.zeros(3))
        world = np.eye(4)
        world[:3] = matrix(content | frame) @ world_to_camera(pose)[:3]
        arrays |= {f"world_mat_{index}": world.astype(np.float32), f"scale_mat_{index}": np.diag([scale] * 3 + [1.0])}
    np.savez(scene / "cameras.npz", **arrays)
    (root / "version.txt").write_text("0.4\n")
    tip = np.array(about["nose_tip"])
    left_up, front = np.asarray(mesh.vertices)[:, 1:], np.asarray(mesh.vertices)[:, 0] > 0
    named = {"nose_tip": int(np.argmin(np.linalg.norm(mesh.vertices - tip, axis=1)))}
    for name, offset in LANDMARKS.items():
        far = np.linalg.norm(left_up - tip[1:] - np.array(offset), axis=1)
        named[name] = int(np.argmin(np.where(front, far, np.inf)))
    (scene / "landmarks.txt").write_text("".join(f"{name} {vertex}\n" for name, vertex in named.items()))
    vertices = scale * np.asarray(mesh.vertices) @ TURN.T
    near = np.linalg.norm(vertices - vertices[named["nose_tip"]], axis=1)
    (scene / "regions").mkdir()
    for name, inside in {"face": near < 130, "face_sphere": near < 95, "nose": near < 20}.items():
        (scene / f"regions/{name}.txt").write_text("".join(f"{vertex}\n" for vertex in np.flatnonzero(inside)))
    write_obj(scene / "full_head.obj", vertices, np.asarray(mesh.faces))
    return scene


def write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Writes an OBJ file with a material and texture coordinates at each corner."""
    lines = ["mtllib full_head.mtl", *(f"v {x!r} {y!r} {z!r}" for x, y, z in vertices.tolist())]
    lines += ["vt 0.25 0.5", "vt 0.75 0.5", "usemtl head"]
    lines += [f"f {a}/{1 + a % 2} {b}/{1 + b % 2} {c}/{1 + c % 2}" for a, b, c in (faces + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")


def write_facescape(root: Path, raw: Path, scales: bool = True) -> Path:
    """Writes IMGS, MESH and, if wanted, Rt_scale_dict.json, and returns the capture's folder."""
    content, about, mesh = load(raw)
    folder = root / "IMGS" / SUBJECT / EXPRESSION
    parameters: dict[str, Any] = {}
    for view, frame in enumerate(content["frames"]):
        copy_picture(raw / frame["file_path"], folder / f"{view}.jpg")
        extrinsics = world_to_camera(moved(np.array(frame["transform_matrix"]), UNIT, SHIFT))
        entries = {
            "K": matrix(content | frame, corner=-0.5),
            "Rt": extrinsics[:3],
            "distortion": np.zeros(5),
            "width": np.array(content["w"]),
            "height": np.array(content["h"]),
            "matches": np.array(900),
        }
        parameters |= {f"{view}_{key}": value.tolist() for key, value in entries.items()}
        parameters |= {f"{view}_valid": view != INVALID, f"{view}_sn": "0123", f"{view}_ori": f"DSC_{view}.JPG"}
    (folder / "params.json").write_text(json.dumps(parameters))
    (root / "MESH" / SUBJECT).mkdir(parents=True)
    vertices = UNIT * np.asarray(mesh.vertices) @ TURN.T + SHIFT
    trimesh.Trimesh(vertices, mesh.faces, process=False).export(root / "MESH" / SUBJECT / f"{EXPRESSION}.ply")
    if scales:
        scale, turn = about["mm_per_unit"] / UNIT, CANONICAL @ TURN.T
        entry = [scale, np.c_[turn, -scale * turn @ SHIFT].tolist()]
        (root / "Rt_scale_dict.json").write_text(json.dumps({SUBJECT: {EXPRESSION.split("_")[0]: entry}}))
    return folder
