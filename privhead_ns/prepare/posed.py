"""Data classes of photographs with cameras, the result of pose estimation and of readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Int

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.picture_files import UPRIGHT


@dataclass(frozen=True)
class PosedPhotograph:
    """One photograph, its camera and what is known of it."""

    path: Path
    """The picture; it may lie anywhere."""
    camera_to_world: Float[np.ndarray, "4 4"]
    """OpenGL convention: x right, y up, the camera looks along -z."""
    intrinsics: Intrinsics
    """Of the picture as the camera sees it, at its own resolution, with Brown's distortion."""
    fisheye: tuple[float, float, float, float] | None = None
    """Equidistant distortion k1 to k4 of OpenCV's fisheye model, in place of Brown's; None for other lenses."""
    mask_path: Path | None = None
    known_path: Path | None = None
    """A mask that is black where `mask_path` is not to be believed; None where all of it is."""
    sensitive: bool | None = None
    """What the source declares; None where it says nothing."""
    orientation: int = UPRIGHT
    mask_orientation: int = UPRIGHT
    """EXIF orientations by which the stored pixels are turned to be what the camera sees; 1 where they are that."""

    @property
    def camera(self) -> PosedCamera:
        """The camera alone."""
        return PosedCamera(self.camera_to_world, self.intrinsics)


@dataclass(frozen=True)
class KnownHead:
    """Data of a head beside its photographs, in the frame of the poses; None where unknown."""

    mesh: trimesh.Trimesh | None = None
    """The true surface, with vertices in the order of the data set's file."""
    face_direction: Float[np.ndarray, " 3"] | None = None
    """In which the face looks; a unit vector."""
    up: Float[np.ndarray, " 3"] | None = None
    nose_tip: Float[np.ndarray, " 3"] | None = None
    regions: Mapping[str, Int[np.ndarray, " n"]] = field(default_factory=dict)
    """Parts of the surface that the data set measures on, by name: indices of vertices."""
    remarks: tuple[str, ...] = ()
    """Sentences on what is missing, and what that means."""


@dataclass(frozen=True)
class PosedCapture:
    """The photographs of one head in one frame."""

    photographs: tuple[PosedPhotograph, ...]
    mm_per_unit: float | None = None
    """Millimetres in one unit of the poses, where known."""
    surface_points: Float[np.ndarray, "points 3"] | None = None
    """Points triangulated from the photographs, where there are some."""
    head: KnownHead = field(default_factory=KnownHead)
