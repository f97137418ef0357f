"""Attack 4: recognition on renders of the mesh; also renders the mesh and the trained colours."""

from __future__ import annotations

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from privhead_ns.audit.faces import landmarks
from privhead_ns.audit.off_the_shelf import MESH, Gallery, headline
from privhead_ns.audit.recogniser import Image
from privhead_ns.audit.result import AttackResult, percent, subsample
from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.protected import ProtectedCapture
from privhead_ns.data.dataparser import capture_cameras
from privhead_ns.mesh.raycast import Hits, RayScene, smooth_normals
from privhead_ns.model.model import PrivheadModel

TITLE = "4. Geometry"
RENDER_SIZE = 256
"""Least longer side in pixels of renders of the mesh, whose size an attacker may choose."""


def attack(gallery: Gallery, shaded: list[Image]) -> AttackResult:
    """Recognises renders of the subject's mesh."""
    result = AttackResult(TITLE, pictures={MESH: subsample(shaded)})
    found = landmarks(gallery.recogniser, shaded)
    detected = sum(place is not None for place in found) / len(shaded)
    result.rows[f"{MESH}, found by the detector"] = {"detected": detected, **gallery.compare(shaded, found)}
    result.rows[f"{MESH}, cropped by hand"] = {"detected": None, **gallery.compare(shaded)}
    rates = [rate for row in result.rows.values() if (rate := headline(row)) is not None]
    result.recognition = max(rates, default=None)
    people = len(gallery.faces)
    whom = f"picks you out of {people} people" if people > 1 else "takes it for you"
    result.sentence = (
        f"On grey pictures of the mesh face recognition {whom} in {percent(result.recognition)} of cases. In one study "
        "97 % of head surfaces were matched with photographs (NeuroImage 231:117845): the mesh is personal data."
    )
    return result


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
    scene, pictures = RayScene(mesh), []
    for frame in frames:
        camera = frame_camera(capture, frame)
        hits = cast_rays(scene, camera)
        towards = camera.camera_to_world[:3, 3] - hits.points
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        shade = np.abs((smooth_normals(mesh, hits) * towards).sum(axis=1))
        pictures.append(paint(hits, np.repeat(shade[:, None], 3, axis=1)))
    return pictures


def frame_camera(capture: ProtectedCapture, index: int) -> PosedCamera:
    """Returns the camera of a frame."""
    frame = capture.frames[index]
    lens = Intrinsics(capture.width, capture.height, frame.fl_x, frame.fl_y, frame.cx, frame.cy)
    return PosedCamera(frame.camera_to_world, lens)


def cast_rays(scene: RayScene, camera: PosedCamera) -> Hits:
    """Casts the rays of a camera at the size of renders."""
    lens = camera.intrinsics
    scale = max(1.0, RENDER_SIZE / max(lens.width, lens.height))
    return scene.cast(camera, round(lens.width * scale), round(lens.height * scale))


def paint(hits: Hits, colours: Float[np.ndarray, "n 3"]) -> Image:
    """Returns a picture of points in their colours, on black."""
    picture = np.zeros((*hits.seen.shape, 3), dtype=np.uint8)
    picture[hits.seen] = (colours * 255).round().astype(np.uint8)
    return picture
