"""Renders a mesh in the colours of another trained head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
import trimesh.registration
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle

from privhead_ns.audit.geometry import cast_rays, paint
from privhead_ns.audit.recogniser import Image, Landmarks
from privhead_ns.capture.camera import PosedCamera
from privhead_ns.errors import UserError
from privhead_ns.mesh.export import load_model, surface
from privhead_ns.mesh.raycast import RayScene
from privhead_ns.model.model import PrivheadModel

RESOLUTION = 192
"""Voxels along the longest side of the box in meshes."""
INNER = slice(17, None)
"""Landmarks inside the face, whose rays do not graze the outline."""
STANDOFF = 0.03
"""How far before the surface a ray starts that asks for its colour, as a share of the box's diagonal."""


@dataclass(frozen=True)
class Trained:
    """A trained head."""

    model: PrivheadModel
    mesh: trimesh.Trimesh
    """Its surface, in the frame of its capture."""

    @property
    def has_colours(self) -> bool:
        """Whether it knows the colours of the face: trained on them, or painted and not forgotten."""
        return self.model.painted or not any(self.model.kwargs["metadata"]["protected"])


def load(config: Path) -> Trained:
    """Loads a trained run.

    Raises:
        UserError: if there is none, or it has no surface.
    """
    model = load_model(config)
    return Trained(model, surface(model, RESOLUTION))


def load_painted(configs: Sequence[Path]) -> list[Trained]:
    """Loads the runs of other heads.

    Raises:
        UserError: if one cannot be loaded, or has forgotten the colours of the face.
    """
    runs = [load(config) for config in configs]
    for config, run in zip(configs, runs, strict=True):
        if not run.has_colours:
            raise UserError(
                f"The run of --transfer-config {config} has forgotten the colours of the face; give one of ns-train "
                "privhead-rgb, or one trained with --keep-painted-colors True."
            )
    return runs


@torch.no_grad()
def render_painted(
    shape: trimesh.Trimesh, painter: Trained, cameras: Sequence[PosedCamera], alignment: Float[np.ndarray, "4 4"]
) -> list[Image]:
    """Returns a mesh in a head's colours, as cameras see it.

    Each visible point is carried to the nearest point of the other's surface, whose colour is what its model renders
    along a ray that falls straight onto it.

    Args:
        shape: the mesh.
        painter: whose colours it gets.
        cameras: of the mesh's capture.
        alignment: takes the mesh to the other's surface.
    """
    scene, target = RayScene(shape), RayScene(painter.mesh)
    standoff = STANDOFF * float(np.linalg.norm(np.ptp(painter.mesh.bounds, axis=0)))
    pictures = []
    for camera in cameras:
        hits = cast_rays(scene, camera)
        nearest = target.nearest(trimesh.transform_points(hits.points, alignment))
        origins = nearest.points + standoff * nearest.normals
        pictures.append(paint(hits, _colour_along(painter.model, origins, -nearest.normals)))
    return pictures


def face_points(mesh: trimesh.Trimesh, camera: PosedCamera, place: Landmarks) -> Float[np.ndarray, "51 3"]:
    """Returns where brows, nose, eyes and mouth of a photograph lie on the head's mesh; NaN where beside it."""
    hits = cast_rays(RayScene(mesh), camera)
    rows, columns = hits.seen.shape
    surface_points = np.full((rows, columns, 3), np.nan)
    surface_points[hits.seen] = hits.points
    column, row = (place[INNER] * (columns, rows)).astype(int).clip(0, (columns - 1, rows - 1)).T
    return surface_points[row, column]


def align(here: Float[np.ndarray, "n 3"], there: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "4 4"]:
    """Returns the similarity that takes points to others in the least-squares sense; NaN are left out."""
    both = np.isfinite(here).all(axis=1) & np.isfinite(there).all(axis=1)
    matrix, *_ = trimesh.registration.procrustes(here[both], there[both], reflection=False)
    return matrix


def _colour_along(
    model: PrivheadModel, origins: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Renders rays in the capture's frame."""
    device, count = model.device, len(origins)
    origins = model.kwargs["metadata"]["frame"].to_training(origins)
    bundle = RayBundle(
        origins=torch.as_tensor(origins, dtype=torch.float32, device=device),
        directions=torch.as_tensor(directions, dtype=torch.float32, device=device),
        pixel_area=torch.ones(count, 1, device=device),
        camera_indices=torch.zeros(count, 1, dtype=torch.long, device=device),
        metadata={"directions_norm": torch.ones(count, 1, device=device)},
    )
    chunks = [model(bundle[start : start + 8192])["rgb"] for start in range(0, count, 8192)]
    return torch.cat(chunks).clamp(0, 1).cpu().numpy()
