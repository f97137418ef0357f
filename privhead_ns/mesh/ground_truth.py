"""Ground truth of a raw capture: its mesh, and where on it the face is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import trimesh
from jaxtyping import Float

from privhead_ns.capture.camera import PosedCamera
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.capture.subject import Subject
from privhead_ns.errors import UserError
from privhead_ns.mesh.files import load_mesh
from privhead_ns.text_files import read_json

FACE_RADIUS = 95.0
"""Radius in mm of the face region at the tip of the nose (H3DS protocol: Ramon et al., H3D-Net, ICCV 2021)."""


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
