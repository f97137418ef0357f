"""Draws the paper's Figures 2, 3 and 4 from the meshes of a benchmark.

They show meshes and no photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh

from privhead_ns.benchmark.results import Measurement
from privhead_ns.benchmark.variants import NO_LIPSCHITZ, ORACLE, OURS, STAGE_1
from privhead_ns.capture.camera import PosedCamera
from privhead_ns.mesh.files import load_mesh
from privhead_ns.mesh.grid import Picture, PictureGrid
from privhead_ns.mesh.ground_truth import Truth, load_truth
from privhead_ns.mesh.pictures import face_camera, orbit_camera, render_shaded

TURNS = (0.0, 45.0)
"""Turn of the cameras about the up axis, in degrees from the face; their pictures lie side by side."""
SIZE = 280
"""Side of one picture in pixels."""


@dataclass(frozen=True)
class MeshFigure:
    """A picture with a row for each head and a column for each mesh, beside the truth."""

    file: str
    labels: tuple[str, ...]
    """Labels of the measurements in the columns."""
    required: tuple[str, ...]
    """Without these it is not drawn; other columns are left out where not measured."""
    face: bool
    """Whether it shows the face alone, from near."""


FIGURES = (
    MeshFigure("stages.png", (STAGE_1, OURS, ORACLE), (OURS,), face=False),
    MeshFigure("close-ups.png", (STAGE_1, OURS, ORACLE), (OURS,), face=True),
    MeshFigure("lipschitz.png", (NO_LIPSCHITZ, OURS), (NO_LIPSCHITZ, OURS), face=True),
)
"""Figures 2, 3 and 4."""


def save_figures(measurements: list[Measurement], heads: list[Path], output_dir: Path) -> list[str]:
    """Writes those of `FIGURES` whose meshes were measured on all heads.

    Args:
        measurements: everything measured.
        heads: the raw captures.
        output_dir: the benchmark's folder.

    Returns:
        The names of the files.
    """
    finals = {(m.head, m.label): m for m in measurements if m.final}
    names = [head.resolve().name for head in heads]
    truths = [load_truth(head) for head in heads]
    written = []
    for figure in FIGURES:
        columns = [label for label in figure.labels if all((name, label) in finals for name in names)]
        if not set(figure.required) <= set(columns):
            continue
        rows = [[finals[name, label] for label in columns] for name in names]
        save_meshes(output_dir / figure.file, columns, names, rows, truths, output_dir, figure.face)
        written.append(figure.file)
    return written


def save_meshes(
    path: Path,
    titles: Sequence[str],
    labels: Sequence[str],
    rows: Sequence[Sequence[Measurement | None]],
    truths: Sequence[Truth],
    output_dir: Path,
    face: bool,
) -> None:
    """Writes a PNG of shaded meshes under equal light, with their Chamfer distances, and the truth in the last column.

    Args:
        path: the PNG.
        titles: of the columns, without the truth's.
        labels: of the rows.
        rows: the meshes row by row; None leaves a cell white.
        truths: of the rows.
        output_dir: the benchmark's folder, which the meshes' paths are relative to.
        face: whether to show the face alone.
    """
    pictures, captions = [], []
    for row, truth in zip(rows, truths, strict=True):
        meshes = [load_mesh(output_dir / m.mesh) if m else None for m in row]
        localised = [truth.localised(mesh) if mesh else None for mesh in meshes]
        pictures.append([views(mesh, truth, face) for mesh in (*localised, truth.mesh)])
        captions.append([*(caption(m, face) for m in row), ""])
    cell = (1.7 * len(TURNS), 2.3)
    grid = PictureGrid(pictures, [*titles, "truth"], labels, captions, cell, dpi=140)
    grid.save(path)


def views(mesh: trimesh.Trimesh | None, truth: Truth, face: bool) -> Picture:
    """Returns a mesh from all `TURNS`, side by side; white for None."""
    look: Callable[[Truth, float, int], PosedCamera] = face_camera if face else orbit_camera
    if mesh is None:
        return np.full((SIZE, SIZE * len(TURNS), 3), 255, dtype=np.uint8)
    return np.concatenate([render_shaded(mesh, look(truth, turn, SIZE)) for turn in TURNS], axis=1)


def caption(measurement: Measurement | None, face: bool) -> str:
    """Returns the Chamfer distance of what is shown, of the whole head where the face's is not known."""
    if measurement is None:
        return ""
    if face and measurement.face_chamfer is not None:
        return f"face {measurement.face_chamfer:.2f} {measurement.unit}"
    return f"head {measurement.chamfer:.2f} {measurement.unit}"
