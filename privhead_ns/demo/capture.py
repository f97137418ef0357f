"""Writes the demo's raw capture: photographs, masks, poses and the exact surface of the procedural head."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from PIL import Image
from rich.progress import track

from privhead_ns.demo.head import AABB, MM_PER_UNIT, sdf
from privhead_ns.demo.photograph import FOCAL, normals, photograph
from privhead_ns.errors import UserError
from privhead_ns.folders import whole_folder
from privhead_ns.mesh.extract import extract_mesh

CAMERA_DISTANCE = 3.5
"""Distance of the cameras from the middle of the head, in units: 65 cm."""
NEUTRAL_ARC, NEUTRAL_VIEWS, NEUTRAL_ELEVATIONS = (135.0, 225.0), 10, (-12.0, 10.0, 30.0)
"""Azimuths from the face direction, in degrees, at which nose, eyes and lips are hidden; elevations take turns.

At 64 pixels the profile cascade of the face check takes hair and ear at azimuth 155 for a face from 38 and from 42
degrees up; 30 was chosen because it does not.
"""
SENSITIVE_ARC, SENSITIVE_VIEWS, SENSITIVE_ELEVATIONS = (-120.0, 120.0), 20, (-14.0, 7.0, 30.0)
MESH_RESOLUTION = 192
"""Voxels along the head's height: 1.7 mm each, before the vertices are moved onto the surface."""


@dataclass(frozen=True)
class View:
    """Where a photograph is taken from; angles in degrees, azimuth 0 before the face, rising towards its left ear."""

    azimuth: float
    elevation: float
    sensitive: bool

    @property
    def camera_to_world(self) -> Float[np.ndarray, "4 4"]:
        """OpenGL pose of a camera that looks at the origin, upright."""
        azimuth, elevation = np.radians([self.azimuth, self.elevation])
        backward = np.array(
            [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(backward, right), backward, CAMERA_DISTANCE * backward], axis=1)
        return pose


def demo_views() -> list[View]:
    """Returns the ten views of the rear, then the twenty of the face and the sides."""

    def arc(ends: tuple[float, float], count: int, elevations: tuple[float, ...], sensitive: bool) -> list[View]:
        azimuths = np.linspace(*ends, count).tolist()
        return [View(azimuth, elevations[i % len(elevations)], sensitive) for i, azimuth in enumerate(azimuths)]

    return [
        *arc(NEUTRAL_ARC, NEUTRAL_VIEWS, NEUTRAL_ELEVATIONS, sensitive=False),
        *arc(SENSITIVE_ARC, SENSITIVE_VIEWS, SENSITIVE_ELEVATIONS, sensitive=True),
    ]


def head_mesh(resolution: int = MESH_RESOLUTION) -> trimesh.Trimesh:
    """Returns the surface of the head, closed, in units: marching cubes, then Newton steps onto the surface."""
    mesh = extract_mesh(
        lambda points: torch.from_numpy(sdf(points.numpy())), torch.from_numpy(AABB), resolution, device="cpu"
    )
    vertices = np.asarray(mesh.vertices, np.float32)
    for _ in range(2):
        vertices = vertices - sdf(vertices)[:, None] * normals(vertices)
    return trimesh.Trimesh(vertices, mesh.faces, process=False)


def write_demo_capture(folder: Path, size: int = 64) -> None:
    """Writes a raw capture of the procedural head: 10 rear and 20 facing views, masks and the exact mesh.

    The same size always gives the same capture.

    Args:
        folder: where to write; it must not exist, and appears whole or not at all.
        size: width and height of the photographs in pixels, at least 8.

    Raises:
        UserError: if the folder exists or its parent does not, or the size is too small.
    """
    if folder.exists():
        raise UserError(f"{folder} exists already: remove it or name another folder for the demo capture.")
    if not folder.absolute().parent.is_dir():
        raise UserError(f"{folder.absolute().parent} is not a folder: make it before writing the demo capture there.")
    if size < 8:
        raise UserError(f"The demo's photographs must be at least 8 pixels wide, not {size}.")
    with whole_folder(folder) as draft:
        (draft / "images").mkdir()
        (draft / "masks").mkdir()
        frames = [
            _write_frame(draft, index, view, size)
            for index, view in enumerate(track(demo_views(), description="Photographing the demo head"))
        ]
        mesh = head_mesh()
        mesh.export(draft / "gt_mesh.ply")
        _write_json(draft / "transforms.json", _camera(size) | {"mm_per_unit": MM_PER_UNIT, "frames": frames})
        _write_json(draft / "capture.json", _description(mesh, size))


def _write_frame(draft: Path, index: int, view: View, size: int) -> dict:
    names = {"file_path": f"images/{index:03d}.png", "mask_path": f"masks/{index:03d}.png"}
    pixels = photograph(view.camera_to_world, size)
    for name, array in zip(names.values(), pixels, strict=True):
        Image.fromarray(array).save(draft / name)
    return names | {
        "transform_matrix": view.camera_to_world.tolist(),
        "sensitive": view.sensitive,
        "azimuth_deg": view.azimuth,
        "elevation_deg": view.elevation,
    }


def _camera(size: int) -> dict:
    focal, centre = FOCAL * size, size / 2
    distortion = dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0)
    shared = {"fl_x": focal, "fl_y": focal, "cx": centre, "cy": centre, "w": size, "h": size}
    return {"camera_model": "OPENCV"} | shared | distortion


def _description(mesh: trimesh.Trimesh, size: int) -> dict:
    vertices = np.asarray(mesh.vertices)
    foremost = vertices[:, 0] > vertices[:, 0].max() - 0.1 / MM_PER_UNIT
    return {
        "name": "demo",
        "source": "procedural head of privhead-ns",
        "layout": "10 rear, 20 facing",
        "size": size,
        "mm_per_unit": MM_PER_UNIT,
        "nose_tip": vertices[foremost].mean(axis=0).tolist(),
        "face_axis": [1, 0, 0],
        "up_axis": [0, 0, 1],
        "background": "black",
        "neutral": NEUTRAL_VIEWS,
        "sensitive": SENSITIVE_VIEWS,
    }


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
