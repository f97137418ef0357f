"""Rung 4: what the mesh tells, and whether a recogniser follows geometry or colour (the paper's Fig. 9)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from rich.console import Console
from rich.progress import track

from privhead_ns.audit.faces import describe, distances, landmarks
from privhead_ns.audit.off_the_shelf import MESH, Gallery, headline
from privhead_ns.audit.recogniser import Image
from privhead_ns.audit.rung import Rung, few, percent
from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.protected import ProtectedCapture
from privhead_ns.data.dataparser import capture_cameras
from privhead_ns.mesh.raycast import Hits, RayScene
from privhead_ns.model.model import PrivheadModel

TITLE = "4. Geometry"
RENDER_SIZE = 256
"""Longer side in pixels of renders of the mesh: who has a mesh draws it as large as he likes."""
STANDOFF = 0.03
"""How far before the surface a ray starts that asks for its colour, as a share of the box's diagonal."""


@dataclass(frozen=True)
class Trained:
    """A trained head."""

    model: PrivheadModel
    mesh: trimesh.Trimesh
    """Its surface, in the frame of its capture."""


def attack(gallery: Gallery, shaded: list[Image], blended: list[Image] | None, other: int | None) -> Rung:
    """Recognises renders of the mesh, and says whom a recogniser sees in a mesh with someone else's colours.

    Args:
        gallery: the photographs of all heads.
        shaded: renders of the subject's mesh.
        blended: the subject's geometry with the colours of another head; None to leave that out.
        other: which head of the gallery the colours are of.
    """
    rung = Rung(TITLE, pictures={MESH: few(shaded)})
    found = landmarks(gallery.recogniser, shaded)
    detected = sum(place is not None for place in found) / len(shaded)
    rung.rows[f"{MESH}, found by the detector"] = {"detected": detected, **gallery.compare(shaded, found)}
    rung.rows[f"{MESH}, cropped by hand"] = {"detected": None, **gallery.compare(shaded)}
    rates = [rate for row in rung.rows.values() if (rate := headline(row)) is not None]
    rung.recognition = max(rates, default=None)
    people = len(gallery.faces)
    whom = f"picks you out of {people} people" if people > 1 else "takes it for you"
    rung.sentence = (
        f"On grey pictures of the mesh face recognition {whom} in {percent(rung.recognition)} of cases. In one study "
        "97 % of head surfaces were matched with photographs (NeuroImage 231:117845): the mesh is personal data."
    )
    if blended is not None and other is not None:
        rung.pictures["the mesh with another's colours"] = few(blended)
        probes = describe(gallery.recogniser, blended, gallery.places[0])
        to_subject, to_other = (
            distances(gallery.recogniser.distance, probes, gallery.faces[index]).min(axis=1) for index in (0, other)
        )
        follows = float((to_other < to_subject).mean())
        rung.rows["the mesh with another's colours"] = {
            "detected": sum(place is not None for place in landmarks(gallery.recogniser, blended)) / len(blended),
            "faces": len(probes.views),
            "distance, same": float(np.median(to_subject)),
            "distance, others": float(np.median(to_other)),
            "follows the colours": follows,
        }
        rung.sentence += f" Painted with another person's colours, {percent(follows)} of pictures look more like them."
    return rung


@torch.no_grad()
def render_radiance(model: PrivheadModel, capture: ProtectedCapture, frames: tuple[int, ...]) -> list[Image]:
    """Returns the model's colours as the frames' cameras see them."""
    cameras = capture_cameras(capture)
    pictures = []
    for frame in track(frames, "Rendering colours", console=Console(stderr=True)):
        rgb = model.get_outputs_for_camera(cameras[frame : frame + 1])["rgb"]
        pictures.append((rgb.clamp(0, 1) * 255).round().byte().cpu().numpy())
    return pictures


def render_mesh(mesh: trimesh.Trimesh, capture: ProtectedCapture, frames: tuple[int, ...]) -> list[Image]:
    """Returns the mesh in matt grey, lit from the camera, on black."""
    scene, smooth = RayScene(mesh), np.asarray(mesh.vertex_normals)[mesh.faces]
    pictures = []
    for frame in frames:
        camera, hits = _cast(scene, capture, frame)
        u, v = hits.uv[:, :1], hits.uv[:, 1:]
        first, second, third = smooth[hits.triangles].transpose(1, 0, 2)
        normals = (1 - u - v) * first + u * second + v * third
        normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
        towards = camera.camera_to_world[:3, 3] - hits.points
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        shade = np.abs((normals * towards).sum(axis=1))
        pictures.append(_paint(hits, np.repeat(shade[:, None], 3, axis=1)))
    return pictures


@torch.no_grad()
def render_transfer(
    shape: trimesh.Trimesh, colours: Trained, capture: ProtectedCapture, frames: tuple[int, ...]
) -> list[Image]:
    """Returns a mesh in the colours of another head, both aligned by the boxes of their surfaces.

    Each visible point is carried into the other's box and to the nearest point of the other's surface, whose colour is
    what its model renders along a ray that falls straight onto it.
    """
    scene, target = RayScene(shape), RayScene(colours.mesh)
    (low, high), (other_low, other_high) = shape.bounds, colours.mesh.bounds
    standoff = STANDOFF * float(np.linalg.norm(other_high - other_low))
    pictures = []
    for frame in track(frames, "Rendering the transfer", console=Console(stderr=True)):
        _, hits = _cast(scene, capture, frame)
        carried = (hits.points - low) / (high - low) * (other_high - other_low) + other_low
        nearest = target.nearest(carried)
        origins = nearest.points + standoff * nearest.normals
        pictures.append(_paint(hits, _colour_along(colours.model, origins, -nearest.normals)))
    return pictures


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


def _cast(scene: RayScene, capture: ProtectedCapture, index: int) -> tuple[PosedCamera, Hits]:
    """Casts the rays of a frame's camera, at the size of renders."""
    frame = capture.frames[index]
    lens = Intrinsics(capture.width, capture.height, frame.fl_x, frame.fl_y, frame.cx, frame.cy)
    camera = PosedCamera(frame.camera_to_world, lens)
    scale = max(1.0, RENDER_SIZE / max(capture.width, capture.height))
    return camera, scene.cast(camera, round(capture.width * scale), round(capture.height * scale))


def _paint(hits: Hits, colours: Float[np.ndarray, "n 3"]) -> Image:
    picture = np.zeros((*hits.seen.shape, 3), dtype=np.uint8)
    picture[hits.seen] = (colours * 255).round().astype(np.uint8)
    return picture
