"""The evaluation protocol of H3DS (Ramon et al., H3D-Net, ICCV 2021): distances from true vertices to a mesh after ICP.

The vertices of a region of the truth are aligned to the mesh's by iterative closest points, and the inverse is applied
to the mesh. As in H3DS's own evaluator, ICP may rescale, and a distance is that to the nearest vertex of the mesh.
Head: ICP on the region `face`, distances of all true vertices. Face: both on `face_sphere`, 95 mm about the nose tip.

Distances from truth to mesh alone say nothing of what a mesh has too much.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Int
from rich.table import Table
from scipy.spatial import KDTree

from privhead_ns.capture.transforms import capture_folder
from privhead_ns.errors import UserError
from privhead_ns.mesh.evaluate import check_size
from privhead_ns.mesh.ground_truth import FACE_RADIUS, Truth, load_truth
from privhead_ns.mesh.raycast import RayScene

REGIONS = "regions"
HEAD_REGION, FACE_REGION = "face", "face_sphere"
"""Regions on which ICP aligns for the two figures."""


@dataclass(frozen=True)
class H3dsScores:
    """Mean distances in mm of true vertices."""

    to_vertices: float
    """To the nearest vertex of the mesh, as H3DS publishes: too large by the spacing of those vertices."""
    to_surface: float
    """To the nearest point of the mesh."""
    scale: float
    """Factor by which ICP rescaled the mesh."""


@dataclass(frozen=True)
class H3dsEvaluation:
    """The figures of one mesh."""

    head: H3dsScores
    face_sphere: H3dsScores

    def to_dict(self) -> dict[str, Any]:
        """Returns the evaluation as JSON types."""
        return asdict(self)


def evaluate_h3ds(mesh: trimesh.Trimesh, data: Path) -> H3dsEvaluation:
    """Compares a mesh with the truth of a raw capture; a capture without regions gets them from its nose tip.

    Args:
        mesh: in the capture's frame and units.
        data: raw capture with `gt_mesh.ply` and a scale, and with `regions/` or a nose tip.

    Raises:
        UserError: if one of these is missing or broken.
    """
    truth, data = load_truth(data), capture_folder(data)
    if truth.mm_per_unit is None:
        raise UserError(f"{data} has no mm_per_unit, which --protocol h3ds needs: add it to {data / 'capture.json'}.")
    vertices = _true_vertices(data, truth) * truth.scale
    check_size(mesh, truth, data)
    predicted = truth.localised(mesh).copy().apply_scale(truth.scale)
    face, sphere = (_region(data, name, vertices, truth) for name in (HEAD_REGION, FACE_REGION))
    return H3dsEvaluation(
        _scores(predicted, vertices[face], vertices),
        _scores(predicted, vertices[sphere], vertices[sphere]),
    )


def h3ds_table(evaluation: H3dsEvaluation) -> Table:
    """Returns a table of the scores for the terminal."""
    table = Table(
        "True vertices", "Whole head", f"Face ({FACE_RADIUS:.0f} mm about the nose tip)", title="H3DS protocol"
    )
    for label, name in {
        "To the nearest vertex of the mesh, as published (mm)": "to_vertices",
        "To the surface of the mesh (mm)": "to_surface",
        "Scale of the mesh that ICP found": "scale",
    }.items():
        table.add_row(label, *(f"{getattr(one, name):.4g}" for one in (evaluation.head, evaluation.face_sphere)))
    return table


def _scores(
    mesh: trimesh.Trimesh, region: Float[np.ndarray, "region 3"], measured: Float[np.ndarray, "n 3"]
) -> H3dsScores:
    """Aligns a region to a mesh, takes the mesh back, and measures from true vertices to it; all in mm."""
    to_mesh, _, _ = trimesh.registration.icp(region, mesh.vertices, reflection=False)
    to_truth = np.linalg.inv(to_mesh)
    aligned = mesh.copy().apply_transform(to_truth)
    to_vertices = KDTree(aligned.vertices).query(measured)[0]
    to_surface = RayScene(aligned).nearest(measured).distances
    scale = float(np.cbrt(np.linalg.det(to_truth[:3, :3])))
    return H3dsScores(float(to_vertices.mean()), float(to_surface.mean()), scale)


def _true_vertices(data: Path, truth: Truth) -> Float[np.ndarray, "n 3"]:
    """Returns the vertices of the truth in their file's order, to which the regions' numbers refer."""
    mesh = trimesh.load(data / "gt_mesh.ply", force="mesh", process=False)
    return np.asarray(mesh.vertices, dtype=np.float64) - truth.origin  # type: ignore[union-attr]


def _region(data: Path, name: str, vertices: Float[np.ndarray, "n 3"], truth: Truth) -> Int[np.ndarray, " n"]:
    """Returns a region's vertices: those that the data set lists, or those near the nose tip.

    Raises:
        UserError: if there is neither a list nor a nose tip, or the list is broken.
    """
    path = data / REGIONS / f"{name}.txt"
    if path.is_file():
        try:
            indices = np.array([int(word) for word in path.read_text(encoding="utf-8").split()])
        except ValueError:
            indices = np.empty(0, dtype=int)
        if len(indices) == 0 or indices.min() < 0 or indices.max() >= len(vertices):
            raise UserError(
                f"{path} must hold the number of a vertex of gt_mesh.ply a line; prepare the capture again."
            )
        return indices
    if truth.nose_tip is None:
        raise UserError(f"{data} has neither {REGIONS}/{name}.txt nor a nose_tip: add it to {data / 'capture.json'}.")
    distances = np.linalg.norm(vertices - truth.nose_tip * truth.scale, axis=1)
    if not (distances < FACE_RADIUS).any():
        raise UserError(f"{data / 'gt_mesh.ply'} has no vertex near the nose tip in capture.json; check both frames.")
    return np.flatnonzero(distances < FACE_RADIUS)
