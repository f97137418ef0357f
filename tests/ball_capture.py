"""A capture whose true head is a ball of 100 mm, and shapes to compare with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

MM = 100.0  # mm per unit: the true head is a ball of 100 mm
INFO = {"mm_per_unit": MM, "nose_tip": [1.0, 0.0, 0.0], "face_axis": [1, 0, 0], "up_axis": [0, 0, 1]}


def look_at_origin(position: tuple[float, float, float]) -> Float[np.ndarray, "4 4"]:
    """Returns the OpenGL camera-to-world matrix of a camera that looks at the origin, z up."""
    backward = np.array(position) / np.linalg.norm(position)
    right = np.cross([0.0, 0.0, 1.0], backward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(backward, right), backward, position], axis=1)
    return pose


def ring(count: int = 10) -> list[dict[str, Any]]:
    angles = 2 * np.pi * np.arange(count) / count
    return [
        {
            "file_path": f"{i:03}.png",
            "transform_matrix": look_at_origin((4 * np.cos(a), 4 * np.sin(a), 1.5 * (-1) ** i)).tolist(),
            "sensitive": bool(np.cos(a) > 0),
        }
        for i, a in enumerate(angles)
    ]


def write_capture(
    folder: Path, mesh: trimesh.Trimesh, frames: list[dict[str, Any]] | None = None, info: dict[str, Any] | None = None
) -> Path:
    meta = {"fl_x": 100.0, "fl_y": 100.0, "cx": 32.0, "cy": 32.0, "w": 64, "h": 64, "frames": frames or ring()}
    (folder / "transforms.json").write_text(json.dumps(meta))
    for frame in meta["frames"]:
        (folder / frame["file_path"]).touch()  # looked for, never opened
    mesh.export(folder / "gt_mesh.ply")
    if info is not None:
        (folder / "capture.json").write_text(json.dumps(info))
    return folder


def sphere(radius: float = 1.0, subdivisions: int = 5) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)


def square() -> trimesh.Trimesh:
    """A square of 2 x 2 that faces +x."""
    return trimesh.Trimesh([[0, -1, -1], [0, 1, -1], [0, 1, 1], [0, -1, 1]], [[0, 1, 2], [0, 2, 3]])
