"""How far a mesh is from a capture's ground truth.

Both surfaces are compared where the capture's cameras see them: one grid of rays per camera, whose hits are the
samples. So what no camera sees, the inside of the neck for one, needs no trimming by hand. The samples lie about a
hundredth of the image apart, so two meshes that differ by far less than that are told apart only approximately.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open3d as o3d
import trimesh
from jaxtyping import Bool, Float, Int
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.spatial import KDTree

from privhead_ns.capture.raw import Intrinsics, load_raw_capture
from privhead_ns.capture.transforms import read_json
from privhead_ns.errors import UserError
from privhead_ns.mesh.files import load_mesh

RAYS = 128
"""Rays along each side of a camera's sample grid."""
FACE_RADIUS = 95.0
"""Radius in mm of the face region at the tip of the nose (H3DS protocol: Ramon et al., H3D-Net, ICCV 2021)."""
NECK_MARGIN = 10.0
"""Height in mm of the strip above the neck's lower cut that is left out."""
THRESHOLD = 2.0
"""Distance in mm within which a sample counts as right in the F-score."""
NECK_MARGIN_SHARE, THRESHOLD_SHARE = 0.025, 0.01
"""The two lengths above as shares of the truth's box diagonal, for captures without a scale."""


@dataclass(frozen=True)
class Camera:
    """A posed camera. Its lens distortion is ignored: the same rays meet both surfaces."""

    camera_to_world: Float[np.ndarray, "4 4"]
    intrinsics: Intrinsics


@dataclass(frozen=True)
class Truth:
    """What a raw capture knows about the true head, in its own frame less `origin`."""

    mesh: trimesh.Trimesh
    cameras: list[Camera]
    mm_per_unit: float | None
    nose_tip: Float[np.ndarray, " 3"] | None
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
    """Mean distance from the mesh to the truth."""
    completeness: float
    """Mean distance from the truth to the mesh."""
    chamfer: float
    """Mean of accuracy and completeness."""
    f_score: float
    """Harmonic mean of the shares of mesh and truth samples that are closer than the threshold."""
    normal_error: float
    """Mean angle between the normals of nearest samples, averaged over both directions."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of a mesh; `face` is None where the capture knows no nose tip or no scale."""

    unit: str
    threshold: float
    head: Scores
    face: Scores | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the evaluation as JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Hits:
    """Where the rays of one camera meet a mesh first; `normals` are the triangles', turned towards the camera."""

    seen: Bool[np.ndarray, "rows columns"]
    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    triangles: Int[np.ndarray, " n"]
    uv: Float[np.ndarray, "n 2"]


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
    margin = NECK_MARGIN / truth.scale if truth.mm_per_unit else NECK_MARGIN_SHARE * truth.mesh.scale
    threshold = THRESHOLD if truth.mm_per_unit else THRESHOLD_SHARE * truth.mesh.scale
    true_points, true_normals = _visible_samples(truth.mesh, truth.cameras, "Sampling the truth")
    if len(true_points) == 0:
        raise UserError(f"No camera of {data} sees {data / 'gt_mesh.ply'}; check that they share one frame.")
    points, normals = _visible_samples(mesh, truth.cameras, "Sampling the mesh")
    floor = (true_points @ truth.up_axis).min() + margin
    kept, true_kept = points @ truth.up_axis > floor, true_points @ truth.up_axis > floor
    if not kept.any():
        raise UserError(f"No camera of {data} sees the mesh; check that it is in the capture's own frame.")
    points, normals = points[kept], normals[kept]
    true_points, true_normals = true_points[true_kept], true_normals[true_kept]

    forth, nearest = KDTree(true_points).query(points)
    back, true_nearest = KDTree(points).query(true_points)
    angles = _angles(normals, true_normals[nearest])
    true_angles = _angles(true_normals, normals[true_nearest])
    forth, back = forth * truth.scale, back * truth.scale
    face = None
    if truth.nose_tip is not None and truth.mm_per_unit is not None:
        near = np.linalg.norm(points - truth.nose_tip, axis=1) * truth.scale < FACE_RADIUS
        true_near = np.linalg.norm(true_points - truth.nose_tip, axis=1) * truth.scale < FACE_RADIUS
        if not (near.any() and true_near.any()):
            raise UserError(f"The mesh or {data / 'gt_mesh.ply'} has no surface near the nose tip; check both frames.")
        face = _scores(forth[near], back[true_near], angles[near], true_angles[true_near], threshold)
    return Evaluation(truth.unit, threshold, _scores(forth, back, angles, true_angles, threshold), face)


def table(evaluation: Evaluation) -> Table:
    """Returns a table of the scores for the terminal."""
    unit, face = evaluation.unit, evaluation.face
    result = Table("Surface seen by the cameras", "Whole head", title="Distance to the ground truth")
    if face:
        result.add_column(f"Face ({FACE_RADIUS:.0f} mm about the nose tip)")
    for label, name in {
        f"Accuracy, mesh to truth ({unit})": "accuracy",
        f"Completeness, truth to mesh ({unit})": "completeness",
        f"Chamfer, their mean ({unit})": "chamfer",
        f"F-score at {evaluation.threshold:.3g} {unit}": "f_score",
        "Normal error (degrees)": "normal_error",
    }.items():
        result.add_row(label, *(f"{getattr(scores, name):.4g}" for scores in (evaluation.head, face) if scores))
    return result


def load_truth(data: Path) -> Truth:
    """Reads a raw capture's ground truth, cameras and, where it has them, scale, nose tip and axes.

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
    cameras = [Camera(frame.camera_to_world, frame.intrinsics) for frame in capture.frames]
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
    nose_tip = _vector(info, "nose_tip")
    nose_tip = None if nose_tip is None else nose_tip - capture.origin
    return Truth(mesh, cameras, capture.mm_per_unit, nose_tip, face, up, capture.origin)


def ray_scene(mesh: trimesh.Trimesh) -> o3d.t.geometry.RaycastingScene:
    """Returns the mesh in a form that rays can be cast at."""
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor(np.ascontiguousarray(mesh.vertices, dtype=np.float32)),
        o3d.core.Tensor(np.ascontiguousarray(mesh.faces, dtype=np.uint32)),
    )
    return scene


def cast_rays(scene: o3d.t.geometry.RaycastingScene, camera: Camera, columns: int, rows: int) -> Hits:
    """Casts rays through the centres of `rows` x `columns` equal parts of the image."""
    lens = camera.intrinsics
    x, y = np.meshgrid((np.arange(columns) + 0.5) * lens.width / columns, (np.arange(rows) + 0.5) * lens.height / rows)
    in_camera = np.stack([(x - lens.cx) / lens.fl_x, (lens.cy - y) / lens.fl_y, -np.ones_like(x)], axis=-1)
    directions = in_camera.reshape(-1, 3) @ camera.camera_to_world[:3, :3].T
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    position = camera.camera_to_world[:3, 3]
    rays = np.concatenate([np.broadcast_to(position, directions.shape), directions], axis=1)
    cast = {key: value.numpy() for key, value in scene.cast_rays(o3d.core.Tensor(rays.astype(np.float32))).items()}
    seen = np.isfinite(cast["t_hit"])
    directions, normals = directions[seen], cast["primitive_normals"][seen].astype(np.float64)
    normals *= np.where((normals * directions).sum(axis=1, keepdims=True) > 0, -1.0, 1.0)
    points = position + directions * cast["t_hit"][seen, None]
    triangles = cast["primitive_ids"][seen].astype(np.int64)
    return Hits(seen.reshape(rows, columns), points, normals, triangles, cast["primitive_uvs"][seen])


def _visible_samples(
    mesh: trimesh.Trimesh, cameras: list[Camera], description: str
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Returns points and normals of a mesh where the cameras see it."""
    scene = ray_scene(mesh)
    hits = [
        cast_rays(scene, camera, RAYS, RAYS) for camera in track(cameras, description, console=Console(stderr=True))
    ]
    return np.concatenate([hit.points for hit in hits]), np.concatenate([hit.normals for hit in hits])


def _scores(
    forth: Float[np.ndarray, " n"],
    back: Float[np.ndarray, " m"],
    angles: Float[np.ndarray, " n"],
    true_angles: Float[np.ndarray, " m"],
    threshold: float,
) -> Scores:
    """Averages the distances and angles from mesh to truth (n) and back (m)."""
    accuracy, completeness = float(forth.mean()), float(back.mean())
    precision, recall = float((forth < threshold).mean()), float((back < threshold).mean())
    return Scores(
        accuracy=accuracy,
        completeness=completeness,
        chamfer=(accuracy + completeness) / 2,
        f_score=2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0,
        normal_error=float(angles.mean() + true_angles.mean()) / 2,
    )


def _angles(first: Float[np.ndarray, "n 3"], second: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Returns the angles in degrees between pairs of unit vectors."""
    return np.degrees(np.arccos(np.clip((first * second).sum(axis=1), -1.0, 1.0)))


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
