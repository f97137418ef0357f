"""One picture of the demo: what went in, what left the machine, and what came out of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import trimesh
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from privhead_ns.capture.protected import ProtectedCapture, load_protected_capture, read_magnitude, read_neutral
from privhead_ns.capture.raw import load_raw_capture, read_image
from privhead_ns.data.dataset import magnitude_picture
from privhead_ns.mesh.evaluate import load_truth
from privhead_ns.mesh.files import replacing
from privhead_ns.mesh.pictures import ERROR_COLOURS, error_maximum, render_error, render_normals

SCALE = 4
"""Pixels of a rendered mesh per pixel of a photograph."""


def save_demo_picture(path: Path, raw: Path, protected: Path, meshes: dict[str, trimesh.Trimesh]) -> None:
    """Writes a PNG with one column per chosen view and rows from photograph to error map.

    Args:
        path: file to write.
        raw: the raw capture, with ground truth.
        protected: the protected capture made from it.
        meshes: meshes by the name of the phase after which they were exported.
    """
    photographs, capture, truth = load_raw_capture(raw), load_protected_capture(protected), load_truth(raw)
    maximum = error_maximum(truth)
    labels = ["photograph", "leaves the machine", *(f"normals, {name}" for name in meshes), "normals, truth"]
    labels += [f"error, {name}" for name in meshes]
    views = chosen_views(capture)
    figure = Figure(figsize=(1.7 * len(labels), 1.8 * len(views)), dpi=110, layout=ConstrainedLayoutEngine())
    axes = figure.subplots(len(views), len(labels))
    for row, index in enumerate(views):
        frame = capture.frames[index]
        place = frame.camera_to_world, frame.fl_x * SCALE, capture.width * SCALE, capture.height * SCALE
        pictures = [read_image(photographs.frames[index])[0], stored_picture(capture, index)]
        pictures += [render_normals(mesh, *place) for mesh in (*meshes.values(), truth.mesh)]
        pictures += [render_error(mesh, truth.mesh, *place, maximum / truth.scale) for mesh in meshes.values()]
        for column, picture in enumerate(pictures):
            axes[row, column].imshow(picture)
        axes[row, 0].set_ylabel(frame.kind)
    for column, label in enumerate(labels):
        axes[0, column].set_title(label, fontsize=9)
    for cell in axes.flat:
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set_visible(False)
    scale = ScalarMappable(Normalize(0, maximum), ERROR_COLOURS)
    figure.colorbar(scale, ax=axes[:, -1], extend="max", label=f"distance to the truth ({truth.unit})")
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)


def chosen_views(capture: ProtectedCapture) -> list[int]:
    """Returns one neutral view and three protected ones, spread over the capture."""
    kinds = np.array([frame.kind for frame in capture.frames])
    neutral, protected = np.flatnonzero(kinds == "neutral"), np.flatnonzero(kinds == "protected")
    quarters = np.linspace(0, len(protected) - 1, 5).round().astype(int)[1:4]
    return [int(neutral[len(neutral) // 2]), *(int(protected[i]) for i in quarters)]


def stored_picture(capture: ProtectedCapture, index: int) -> np.ndarray:
    """Returns what the protected capture holds of a view, as a picture."""
    frame = capture.frames[index]
    if frame.kind == "neutral":
        return read_neutral(frame.path)
    magnitude = torch.from_numpy(read_magnitude(frame.path, capture.magnitude_maximum))
    return magnitude_picture(magnitude, capture.magnitude_maximum).numpy()
