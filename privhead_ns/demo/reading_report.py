"""Measures how readable a scene's letters are in photographs, protected views, renders and meshes of the demo."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from rich.table import Table

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.protect import magnitude_image
from privhead_ns.capture.protected import FULL_SCALE, ProtectedCapture, load_protected_capture, read_magnitude
from privhead_ns.capture.raw import load_raw_capture, read_image
from privhead_ns.data.dataparser import capture_cameras
from privhead_ns.demo.lettering import Lettering
from privhead_ns.demo.reading import ALPHABET, Reading, read_mesh, read_pictures
from privhead_ns.mesh.export import load_model
from privhead_ns.mesh.raycast import RayScene, smooth_normals
from privhead_ns.operators import OperatorConfig
from privhead_ns.training_run import TrainingRun

BLURS = (1.0, 2.0)
"""Blurs in pixels with which the photographs are protected once more, to see whether that hides the letters."""


def read_letters(
    panel: Lettering, raw: Path, protected: Path, run: TrainingRun, meshes: dict[str, trimesh.Trimesh]
) -> dict[str, Reading]:
    """Reads a panel in everything that shows it, from the sensitive views' cameras.

    In meshes it reads the relief of embossed letters, and slopes, as the magnitudes of painted ones: training may bend
    the surface along their edges.

    Needs the checkpoint before the last, which still has the colours that training painted on the panel.
    """
    capture = load_protected_capture(protected)
    chosen = [index for index, frame in enumerate(capture.frames) if frame.kind == "protected"]
    photographs, *blurred = read_photographs(panel, raw, BLURS).items()
    cameras = [_camera(capture, index) for index in chosen]
    stored = [read_magnitude(capture.frames[index].path, capture.magnitude_maximum) for index in chosen]
    protected_views = read_pictures(panel, cameras, stored, capture.operator.setup())
    result = dict([photographs, ("protected views", protected_views), *blurred])
    for label, step in {"renders before forgetting": run.checkpoints[-2], "renders of the final run": None}.items():
        result[label] = read_pictures(panel, cameras, _renders(run, capture, chosen, step))
    for phase, mesh in meshes.items():
        if panel.embossed:
            result[f"mesh, {phase}"] = read_mesh(panel, mesh)[0]
        else:
            slopes = _slopes(mesh, cameras)
            result[f"slopes of the mesh, {phase}"] = read_pictures(panel, cameras, slopes, capture.operator.setup())
    return result


def read_photographs(panel: Lettering, raw: Path, blurs: Sequence[float]) -> dict[str, Reading]:
    """Reads a panel in the sensitive photographs of a raw capture, and in their magnitudes with other blurs."""
    frames = [frame for frame in load_raw_capture(raw).frames if frame.sensitive]
    cameras = [PosedCamera(frame.camera_to_world, frame.intrinsics) for frame in frames]
    photographs = [read_image(frame)[0].astype(np.float32) / 255 for frame in frames]
    result = {"photographs": read_pictures(panel, cameras, [rgb.mean(axis=2) for rgb in photographs])}
    for blur in blurs:
        operator = OperatorConfig(blur=blur)
        sigma = operator.setup()
        magnitudes = [magnitude_image(rgb, sigma, operator.levels) / FULL_SCALE for rgb in photographs]
        result[f"protected with blur {blur:g}"] = read_pictures(panel, cameras, magnitudes, sigma)
    return result


def reading_table(readings: dict[str, Reading]) -> Table:
    """Returns how many letters are read in single pictures, and what is read from all together."""
    text = next(iter(readings.values())).text
    table = Table(
        title=f"Reading {text} by template correlation; guessing gets {1 / len(ALPHABET):.0%} of letters right"
    )
    for heading in ("in", "letters read, single picture", "all pictures together"):
        table.add_column(heading, justify="left" if heading == "in" else "right")
    for label, reading in readings.items():
        table.add_row(label, f"{reading.single:.0%}", reading.together)
    return table


def _camera(capture: ProtectedCapture, index: int) -> PosedCamera:
    frame = capture.frames[index]
    lens = Intrinsics(capture.width, capture.height, frame.fl_x, frame.fl_y, frame.cx, frame.cy)
    return PosedCamera(frame.camera_to_world, lens)


def _slopes(mesh: trimesh.Trimesh, cameras: Sequence[PosedCamera]) -> list[Float[np.ndarray, "height width"]]:
    """Returns 1 - cos of the angle between a mesh and a panel, as cameras see it."""
    scene, pictures = RayScene(mesh), []
    for camera in cameras:
        hits = scene.cast(camera, camera.intrinsics.width, camera.intrinsics.height)
        picture = np.zeros(hits.seen.shape)
        picture[hits.seen] = 1 - smooth_normals(mesh, hits)[:, 0]
        pictures.append(picture)
    return pictures


@torch.no_grad()
def _renders(
    run: TrainingRun, capture: ProtectedCapture, chosen: Sequence[int], step: int | None
) -> list[Float[np.ndarray, "height width"]]:
    """Renders the trained colours from the chosen frames' cameras, in grey."""
    model, cameras = load_model(run.config, step), capture_cameras(capture)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Nerfstudio's cameras index in a way that PyTorch will drop
        pictures = [model.get_outputs_for_camera(cameras[index : index + 1])["rgb"] for index in chosen]
    return [rgb.mean(dim=-1).cpu().numpy() for rgb in pictures]
