"""Measures the distance between a mesh and a capture's ground truth, from points to the surface.

Both meshes are sampled where the capture's cameras see them: one grid of rays per camera, whose hits are the samples.
So unseen surfaces, such as the inside of the neck, need no trimming by hand. Each sample is compared with the
nearest point of the other mesh's surface, seen or not. Distances between samples, which is what many papers report, are
kept as a second figure: they include the samples' own spacing, so they are too large for meshes that are close.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.spatial import KDTree

from privhead_ns.capture.camera import PosedCamera
from privhead_ns.capture.subject import Subject
from privhead_ns.errors import UserError
from privhead_ns.mesh.ground_truth import FACE_RADIUS, Truth, load_truth
from privhead_ns.mesh.raycast import RayScene

MEASURE = "point to surface"
"""Name of the measure of distance; stored with results, so that different measures are never mixed."""
RAYS = 128
"""Rays along each side of a camera's sample grid."""
NECK_MARGIN = 10.0
"""Height in mm of the strip above a neck's lower cut that is left out."""
THRESHOLD = 2.0
"""Distance in mm within which a sample counts as right in the F-score."""
LARGEST, LIKE = 20.0, 1.5
"""Ratio of sizes from which a mesh is of another unit, and up to which it is of the same."""
NECK_MARGIN_SHARE, THRESHOLD_SHARE = 0.025, 0.01
"""The two lengths above as shares of the truth's box diagonal, for captures without a scale, and for rooms."""


@dataclass(frozen=True)
class Scores:
    """Distances in the evaluation's unit (means, not squared); F-score in 0..1; normal error in degrees."""

    accuracy: float
    """Mean distance from the samples of the mesh to the true surface."""
    completeness: float
    """Mean distance from the samples of the truth to the mesh's surface."""
    chamfer: float
    """Mean of accuracy and completeness."""
    f_score: float
    """Harmonic mean of the shares of mesh and truth samples that are closer to the other surface than the threshold."""
    normal_error: float
    """Mean angle between a sample's triangle and the nearest triangle of the other mesh, of both directions.

    Normals are the triangles' own, not smoothed, and have no sign (as the normal consistency of Mescheder et al.,
    Occupancy Networks, CVPR 2019): the winding of a mesh does not matter. An angle is at most 90 degrees.
    """
    chamfer_point_to_point: float
    """Chamfer distance between the samples: for comparison with the literature alone, too large by their spacing."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of a mesh: of the whole subject as `head`, and of the capture's region as `face`.

    `face` is None where the capture knows neither a nose tip nor a region, or no scale.
    """

    unit: str
    threshold: float
    head: Scores
    face: Scores | None
    subject: Subject = "head"
    region: str = "face"
    """Name of the region that `face` measures."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the evaluation as JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class _Samples:
    """Points of a mesh that cameras see; normals point towards them."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]

    def __getitem__(self, kept: Bool[np.ndarray, " n"]) -> _Samples:
        return _Samples(self.points[kept], self.normals[kept])


@dataclass(frozen=True)
class _Deviations:
    """Distances and angles from the samples of one mesh to the other mesh."""

    to_surface: Float[np.ndarray, " n"]
    to_samples: Float[np.ndarray, " n"]
    angles: Float[np.ndarray, " n"]

    def __getitem__(self, kept: Bool[np.ndarray, " n"]) -> _Deviations:
        return _Deviations(self.to_surface[kept], self.to_samples[kept], self.angles[kept])


def evaluate(mesh: trimesh.Trimesh, data: Path) -> Evaluation:
    """Compares a mesh in the frame of a raw or protected capture with the capture's `gt_mesh.ply`.

    Raises:
        UserError: if a file is missing or broken, or the mesh is out of the cameras' sight or of another scale.
    """
    truth = load_truth(data)
    mesh = truth.localised(mesh)
    check_size(mesh, truth, data)
    neck = truth.subject == "head"
    margin = NECK_MARGIN / truth.scale if truth.mm_per_unit else NECK_MARGIN_SHARE * truth.mesh.scale
    threshold = THRESHOLD if truth.small and truth.mm_per_unit else THRESHOLD_SHARE * truth.mesh.scale * truth.scale
    scene, true_scene = RayScene(mesh), RayScene(truth.mesh)
    true_samples = _visible_samples(true_scene, truth.cameras, "Sampling the truth")
    if len(true_samples.points) == 0:
        raise UserError(f"No camera of {data} sees {data / 'gt_mesh.ply'}; check that they share one frame.")
    samples = _visible_samples(scene, truth.cameras, "Sampling the mesh")
    if neck:
        floor = (true_samples.points @ truth.up_axis).min() + margin
        samples = samples[samples.points @ truth.up_axis > floor]
        true_samples = true_samples[true_samples.points @ truth.up_axis > floor]
    if len(samples.points) == 0:
        raise UserError(f"No camera of {data} sees the mesh; check that it is in the capture's own frame.")

    forth = _deviations(samples, true_scene, true_samples, truth.scale)
    back = _deviations(true_samples, scene, samples, truth.scale)
    face, region = None, truth.region
    if region is not None and truth.mm_per_unit is not None:
        near, true_near = (
            np.linalg.norm(side.points - region.centre, axis=1) * truth.scale < region.radius
            for side in (samples, true_samples)
        )
        if not (near.any() and true_near.any()):
            raise UserError(
                f"The mesh or {data / 'gt_mesh.ply'} has no surface at the {region.name}; check both frames."
            )
        face = _scores(forth[near], back[true_near], threshold)
    name = "face" if region is None else region.name
    return Evaluation(truth.unit, threshold, _scores(forth, back, threshold), face, truth.subject, name)


def check_size(mesh: trimesh.Trimesh, truth: Truth, data: Path) -> None:
    """Checks that a mesh has about the size of the true surface.

    Raises:
        UserError: if not.
    """
    size, unit = mesh.scale / truth.mesh.scale, truth.mm_per_unit or 1.0
    millimetres = abs(math.log(unit)) > 2 * math.log(LIKE) and 1 / LIKE < size / unit < LIKE
    if millimetres or not 1 / LARGEST < size < LARGEST:
        mend = "it seems to be in millimetres: export it without --millimetres," if millimetres else "export it"
        raise UserError(
            f"The mesh is {size:.3g} times as large as {data / 'gt_mesh.ply'}: {mend} in the capture's own units."
        )


def table(evaluation: Evaluation) -> Table:
    """Returns a table of the scores for the terminal."""
    unit, face = evaluation.unit, evaluation.face
    result = Table("Surface seen by the cameras", f"Whole {evaluation.subject}", title="Distance to the true surface")
    if face:
        where = f" ({FACE_RADIUS:.0f} mm about the nose tip)" if evaluation.region == "face" else ""
        result.add_column(f"{evaluation.region.capitalize()}{where}")
    for label, name in {
        f"Accuracy, mesh to true surface ({unit})": "accuracy",
        f"Completeness, truth to mesh surface ({unit})": "completeness",
        f"Chamfer, their mean ({unit})": "chamfer",
        f"F-score at {evaluation.threshold:.3g} {unit}": "f_score",
        "Normal error (degrees)": "normal_error",
        f"For comparison: Chamfer, point to point ({unit})": "chamfer_point_to_point",
    }.items():
        result.add_row(label, *(f"{getattr(scores, name):.4g}" for scores in (evaluation.head, face) if scores))
    return result


def _visible_samples(scene: RayScene, cameras: list[PosedCamera], description: str) -> _Samples:
    """Samples a mesh where the cameras see it."""
    hits = [scene.cast(camera, RAYS, RAYS) for camera in track(cameras, description, console=Console(stderr=True))]
    return _Samples(np.concatenate([hit.points for hit in hits]), np.concatenate([hit.normals for hit in hits]))


def _deviations(samples: _Samples, other: RayScene, other_samples: _Samples, scale: float) -> _Deviations:
    """Compares the samples of one mesh with the surface and with the samples of the other."""
    nearest = other.nearest(samples.points)
    cosines = np.abs((samples.normals * nearest.normals).sum(axis=1))
    to_samples = KDTree(other_samples.points).query(samples.points)[0]
    return _Deviations(
        nearest.distances * scale, to_samples * scale, angles=np.degrees(np.arccos(cosines.clip(max=1.0)))
    )


def _scores(forth: _Deviations, back: _Deviations, threshold: float) -> Scores:
    """Averages the deviations from mesh to truth and back."""
    accuracy, completeness = float(forth.to_surface.mean()), float(back.to_surface.mean())
    precision, recall = (float((side.to_surface < threshold).mean()) for side in (forth, back))
    return Scores(
        accuracy=accuracy,
        completeness=completeness,
        chamfer=(accuracy + completeness) / 2,
        f_score=2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0,
        normal_error=float(forth.angles.mean() + back.angles.mean()) / 2,
        chamfer_point_to_point=float(forth.to_samples.mean() + back.to_samples.mean()) / 2,
    )
