"""Measures the distance between a mesh and a capture's ground truth, from points to the surface.

Both meshes are sampled where the capture's cameras see them: one grid of rays per camera, whose hits are the samples.
So unseen surfaces, such as the inside of the neck, need no trimming by hand. Each sample is compared with the
nearest point of the other mesh's surface, seen or not. Distances between samples, which is what many papers report, are
kept as a second figure: they include the samples' own spacing, so they are too large for meshes that are close.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.spatial import KDTree

from privhead_ns.capture.camera import PosedCamera
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.capture.subject import Subject
from privhead_ns.errors import UserError
from privhead_ns.mesh.files import load_mesh
from privhead_ns.mesh.raycast import RayScene
from privhead_ns.text_files import read_json

MEASURE = "point to surface"
"""Name of the measure of distance; stored with results, so that different measures are never mixed."""
RAYS = 128
"""Rays along each side of a camera's sample grid."""
FACE_RADIUS = 95.0
"""Radius in mm of the face region at the tip of the nose (H3DS protocol: Ramon et al., H3D-Net, ICCV 2021)."""
NECK_MARGIN = 10.0
"""Height in mm of the strip above a neck's lower cut that is left out."""
THRESHOLD = 2.0
"""Distance in mm within which a sample counts as right in the F-score."""
NECK_MARGIN_SHARE, THRESHOLD_SHARE = 0.025, 0.01
"""The two lengths above as shares of the truth's box diagonal, for captures without a scale, and for rooms."""


@dataclass(frozen=True)
class Region:
    """A ball in which the surface is also measured separately."""

    name: str
    centre: Float[np.ndarray, " 3"]
    radius: float
    """In mm."""


@dataclass(frozen=True)
class Truth:
    """Ground truth of a raw capture, in the capture's frame minus `origin`."""

    mesh: trimesh.Trimesh
    cameras: list[PosedCamera]
    mm_per_unit: float | None
    subject: Subject
    region: Region | None
    """Of a head, the face."""
    face_axis: Float[np.ndarray, " 3"]
    up_axis: Float[np.ndarray, " 3"]
    origin: Float[np.ndarray, " 3"]
    """See `RawCapture`."""

    def localised(self, mesh: trimesh.Trimesh) -> trimesh.Trimesh:
        """Subtracts the origin from a mesh in the raw capture's geographic frame; any other is returned as it is."""
        offset = mesh.bounds.mean(axis=0) - self.mesh.bounds.mean(axis=0)
        if np.linalg.norm(offset - self.origin) >= np.linalg.norm(offset):
            return mesh
        return trimesh.Trimesh(mesh.vertices - self.origin, mesh.faces, process=False)

    @property
    def nose_tip(self) -> Float[np.ndarray, " 3"] | None:
        """The middle of the face region; None where the region is not the face."""
        return self.region.centre if self.region is not None and self.region.name == "face" else None

    @property
    def small(self) -> bool:
        """Whether lengths in mm that suit a head suit it as well."""
        return self.subject != "room"

    @property
    def unit(self) -> str:
        return "units" if self.mm_per_unit is None else "mm"

    @property
    def scale(self) -> float:
        """Factor from the capture's units to `unit`."""
        return self.mm_per_unit or 1.0


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
    size = mesh.scale / truth.mesh.scale
    if not 0.05 < size < 20:
        raise UserError(
            f"The mesh is {size:.3g} times as large as {data / 'gt_mesh.ply'}: export it in the capture's own units."
        )
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


def load_truth(data: Path) -> Truth:
    """Reads a raw capture's ground truth, cameras and, where it has them, scale, subject, region and axes.

    capture.json may hold `subject` ("object" or "room"; "head" by default), `nose_tip`, which makes the face the
    region, or else `region` with `name`, `centre` and `radius_mm`, `up_axis` and `face_axis`.

    Without axes, up is the cameras' mean up, and the face looks towards the cameras of the sensitive frames.

    Raises:
        UserError: if gt_mesh.ply is missing or broken, or the capture is (see `load_raw_capture`).
    """
    capture = load_raw_capture(data)
    data = capture.folder
    info = read_json(data / "capture.json") if (data / "capture.json").is_file() else {}
    if not (data / "gt_mesh.ply").is_file():
        raise UserError(f"{data} has no gt_mesh.ply to compare with; evaluate needs a capture with ground truth.")
    mesh = load_mesh(data / "gt_mesh.ply")
    mesh.apply_translation(-capture.origin)
    cameras = [PosedCamera(frame.camera_to_world, frame.intrinsics) for frame in capture.frames]
    up = _vector(info, "up_axis")
    up = _unit(np.mean([camera.camera_to_world[:3, 1] for camera in cameras], axis=0) if up is None else up)
    face = _vector(info, "face_axis")
    if face is None:
        facing = [frame for frame in capture.frames if frame.sensitive is not False] or capture.frames
        offsets = [frame.camera_to_world[:3, 3] - mesh.bounds.mean(axis=0) for frame in facing]
        mean = np.mean(offsets, axis=0)
        # cameras all around the head say nothing about the face: let the first one be its front
        face = mean if np.linalg.norm(mean) > 0.1 * np.linalg.norm(offsets[0]) else offsets[0]
    face = _unit(face - face @ up * up)
    subject = info.get("subject", "head")
    if subject not in get_args(Subject):
        raise UserError(
            f"subject in {data / 'capture.json'} must be one of {', '.join(get_args(Subject))}, not {subject!r}."
        )
    region = _read_region(info, capture.origin)
    return Truth(mesh, cameras, capture.mm_per_unit, subject, region, face, up, capture.origin)


def _read_region(info: dict[str, Any], origin: Float[np.ndarray, " 3"]) -> Region | None:
    """Returns the region of capture.json: the face where it knows the tip of the nose, else what it calls region."""
    if (nose_tip := _vector(info, "nose_tip")) is not None:
        return Region("face", nose_tip - origin, FACE_RADIUS)
    region = info.get("region")
    if region is None:
        return None
    name, radius = (region.get(key) for key in ("name", "radius_mm")) if isinstance(region, dict) else (None, None)
    centre = _vector(region, "centre") if isinstance(region, dict) else None
    if not isinstance(name, str) or not name or centre is None or not isinstance(radius, int | float) or radius <= 0:
        raise UserError("region in capture.json must have a name, a centre of three numbers, and a positive radius_mm.")
    return Region(name, centre - origin, float(radius))


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


def _vector(info: dict[str, Any], key: str) -> Float[np.ndarray, " 3"] | None:
    if info.get(key) is None:
        return None
    try:
        vector = np.array(info[key], dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.empty(0)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise UserError(f"{key} in capture.json must be three finite numbers, not {info[key]!r}.")
    return vector


def _unit(vector: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    return vector / np.linalg.norm(vector)
