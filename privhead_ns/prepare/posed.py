"""Photographs with cameras: what posing makes and what readers of other programs' captures return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from privhead_ns.capture.camera import Intrinsics


@dataclass(frozen=True)
class PosedPhotograph:
    """One photograph, its camera and what is known of it."""

    path: Path
    """The picture; it may lie anywhere, and its pixels as stored are what the camera sees."""
    camera_to_world: Float[np.ndarray, "4 4"]
    """OpenGL convention: x right, y up, the camera looks along -z."""
    intrinsics: Intrinsics
    """Of the picture at its own resolution, with Brown's distortion."""
    fisheye: tuple[float, float, float, float] | None = None
    """Equidistant distortion k1 to k4 of OpenCV's fisheye model, in place of Brown's; None for other lenses."""
    mask_path: Path | None = None
    sensitive: bool | None = None
    """What the source declares; None where it says nothing."""


@dataclass(frozen=True)
class PosedCapture:
    """The photographs of one head in one frame."""

    photographs: tuple[PosedPhotograph, ...]
    mm_per_unit: float | None = None
    """Millimetres in one unit of the poses, where known."""
    surface_points: Float[np.ndarray, "points 3"] | None = None
    """Points triangulated from the photographs, where there are some."""
