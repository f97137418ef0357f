"""Writes the demo's raw capture: photographs, masks, poses and the exact surface of a scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image
from rich.progress import track

from privhead_ns.demo.photograph import normals, photograph
from privhead_ns.demo.scene import Scene, View
from privhead_ns.demo.scenes import HEAD
from privhead_ns.errors import UserError
from privhead_ns.folders import check_new_folder, whole_folder
from privhead_ns.mesh.extract import extract_mesh
from privhead_ns.text_files import write_json

MESH_RESOLUTION = 192
"""Voxels along the longest side of the scene's box, before the vertices are moved onto the surface."""


def exact_mesh(scene: Scene, resolution: int) -> trimesh.Trimesh:
    """Returns the surface of a scene, closed, in units: marching cubes, then Newton steps onto the surface.

    Its faces look to the cameras.
    """
    mesh = extract_mesh(
        lambda points: torch.from_numpy(scene.sdf(points.numpy())),
        torch.from_numpy(scene.aabb),
        resolution,
        device="cpu",
        inside_out=scene.subject == "room",
    )
    vertices = np.asarray(mesh.vertices, np.float32)
    for _ in range(2):
        vertices = vertices - scene.sdf(vertices)[:, None] * normals(scene.sdf, vertices)
    return trimesh.Trimesh(vertices, mesh.faces, process=False)


def write_demo_capture(folder: Path, size: int = 64, scene: Scene = HEAD) -> None:
    """Writes a raw capture of a scene: neutral and sensitive views, masks and the exact mesh.

    The same scene and size always give the same capture.

    Args:
        folder: where to write; it must not exist, and appears whole or not at all.
        size: width and height of the photographs in pixels, at least 8.
        scene: what is photographed.

    Raises:
        UserError: if the folder exists or its parent does not, or the size is too small.
    """
    check_new_folder(folder)
    if size < 8:
        raise UserError(f"The demo's photographs must be at least 8 pixels wide, not {size}.")
    with whole_folder(folder) as draft:
        frames = [
            _write_frame(draft, index, scene, view, size)
            for index, view in enumerate(track(scene.views, description=f"Photographing the {scene.name}"))
        ]
        mesh = exact_mesh(scene, MESH_RESOLUTION)
        mesh.export(draft / "gt_mesh.ply")
        write_json(
            draft / "transforms.json", _camera(scene, size) | {"mm_per_unit": scene.mm_per_unit, "frames": frames}
        )
        write_json(draft / "capture.json", _description(scene, mesh, size))


def _write_frame(draft: Path, index: int, scene: Scene, view: View, size: int) -> dict:
    names = {"file_path": f"images/{index:03d}.png"}
    if scene.subject != "room":  # which fills all of its photographs
        names["mask_path"] = f"masks/{index:03d}.png"
    pixels = photograph(scene, view.camera_to_world, size)
    for name, array in zip(names.values(), pixels, strict=False):
        (draft / name).parent.mkdir(exist_ok=True)
        Image.fromarray(array).save(draft / name)
    return names | {
        "transform_matrix": view.camera_to_world.tolist(),
        "sensitive": view.sensitive,
        "azimuth_deg": view.azimuth,
        "elevation_deg": view.elevation,
    }


def _camera(scene: Scene, size: int) -> dict:
    focal, centre = scene.focal * size, size / 2
    distortion = dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0)
    shared = {"fl_x": focal, "fl_y": focal, "cx": centre, "cy": centre, "w": size, "h": size}
    return {"camera_model": "OPENCV"} | shared | distortion


def _description(scene: Scene, mesh: trimesh.Trimesh, size: int) -> dict:
    return {
        "name": "demo",
        "source": f"procedural {scene.name} of privhead-ns",
        "subject": scene.subject,
        "size": size,
        "mm_per_unit": scene.mm_per_unit,
        "face_axis": [1, 0, 0],
        "up_axis": [0, 0, 1],
        "background": "black",
        "neutral": scene.count(sensitive=False),
        "sensitive": scene.count(sensitive=True),
        **scene.describe(mesh),
    }
