"""Draws photographs, protected views and meshes side by side, with the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import UInt8

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.crop import seen_by
from privhead_ns.capture.protected import ProtectedCapture, load_protected_capture, read_magnitude, read_neutral
from privhead_ns.capture.raw import load_raw_capture, read_image
from privhead_ns.capture.undistort import resized
from privhead_ns.data.dataset import magnitude_picture
from privhead_ns.mesh.grid import PictureGrid
from privhead_ns.mesh.ground_truth import load_truth
from privhead_ns.mesh.pictures import error_maximum, render_error, render_normals

SIZE = 256
"""Longer side of each small picture in pixels."""


@dataclass(frozen=True)
class Row:
    """One view of one head."""

    label: str
    raw: Path
    """The raw capture, with ground truth."""
    protected: Path
    """The protected capture made from it."""
    view: int
    """Index of the view."""
    meshes: dict[str, trimesh.Trimesh]
    """Meshes of the head by name; the same names in every row."""


def save_comparison(path: Path, rows: list[Row]) -> None:
    """Writes a PNG with a row per view: photograph, protected view, normals of meshes and truth, and error maps.

    Args:
        path: file to write; it shows the photographs, so it is for their owner alone.
        rows: what to show; at least one. The error maps share one scale, the largest of the rows'.
    """
    names = list(rows[0].meshes)
    labels = ["photograph", "leaves the machine", *(f"normals, {name}" for name in names), "normals, truth"]
    labels += [f"error, {name}" for name in names]
    truths = [load_truth(row.raw) for row in rows]
    maximum = max(error_maximum(truth) for truth in truths)
    cells = [pictures(row, truth.mesh, maximum / truth.scale) for row, truth in zip(rows, truths, strict=True)]
    grid = PictureGrid(cells, labels, [row.label for row in rows])
    grid.add_error_scale(grid.axes[:, -1], maximum, truths[0].unit)
    grid.save(path)


def pictures(row: Row, truth: trimesh.Trimesh, maximum: float) -> list[UInt8[np.ndarray, "height width 3"]]:
    """Returns the small pictures of a row; `maximum` is the distance at the end of the error maps' scale."""
    capture = load_protected_capture(row.protected)
    frame = capture.frames[row.view]
    lens = Intrinsics(capture.width, capture.height, frame.fl_x, frame.fl_y, frame.cx, frame.cy)
    camera = PosedCamera(frame.camera_to_world, resized(lens, SIZE))
    normals = [render_normals(mesh, camera) for mesh in (*row.meshes.values(), truth)]
    errors = [render_error(mesh, truth, camera, maximum) for mesh in row.meshes.values()]
    return [photograph(row, camera), stored_picture(capture, row.view), *normals, *errors]


def photograph(row: Row, camera: PosedCamera) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the photograph of a row, with its surroundings, resampled to the row's camera."""
    frame = load_raw_capture(row.raw).frames[row.view]
    view = seen_by(camera, read_image(frame)[0], None, frame.camera_to_world, frame.intrinsics, (0.0, 0.0, 0.0))
    return (view.rgb * 255).round().astype(np.uint8)


def chosen_views(capture: ProtectedCapture) -> list[int]:
    """Returns one neutral view, if there is one, and three protected ones, spread over the capture."""
    kinds = np.array([frame.kind for frame in capture.frames])
    neutral, protected = np.flatnonzero(kinds == "neutral"), np.flatnonzero(kinds == "protected")
    quarters = np.linspace(0, len(protected) - 1, 5).round().astype(int)[1:4]
    return [*map(int, neutral[len(neutral) // 2 :][:1]), *(int(protected[i]) for i in quarters)]


def stored_picture(capture: ProtectedCapture, index: int) -> UInt8[np.ndarray, "height width 3"]:
    """Returns a view of the protected capture as an image."""
    frame = capture.frames[index]
    if frame.kind == "neutral":
        return read_neutral(frame.path)
    magnitude = torch.from_numpy(read_magnitude(frame.path, capture.magnitude_maximum))
    return magnitude_picture(magnitude, capture.magnitude_maximum).numpy()
