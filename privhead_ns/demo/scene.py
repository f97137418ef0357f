"""A scene of the demo: surface, colours and camera positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

from privhead_ns.capture.subject import Subject
from privhead_ns.demo.lettering import Lettering

DistanceFunction = Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, " n"]]

CAMERA_DISTANCE = 3.5
"""Distance of the cameras from the origin, in units."""
PORTRAIT_LENS = 1.85
"""Focal length over image width: 30 degrees of view."""


@dataclass(frozen=True)
class View:
    """Where a photograph is taken from; angles in degrees, azimuth 0 along +x, rising towards +y.

    They give the direction from what the camera looks at to the camera.
    """

    azimuth: float
    elevation: float
    sensitive: bool
    position: tuple[float, float, float] | None = None
    """Where the camera stands; None where it looks at the origin, from `CAMERA_DISTANCE`."""

    @property
    def camera_to_world(self) -> Float[np.ndarray, "4 4"]:
        """OpenGL pose of the camera, upright."""
        azimuth, elevation = np.radians([self.azimuth, self.elevation])
        backward = np.array(
            [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
        pose = np.eye(4)
        position = CAMERA_DISTANCE * backward if self.position is None else np.array(self.position)
        pose[:3] = np.stack([right, np.cross(backward, right), backward, position], axis=1)
        return pose


def arc(ends: tuple[float, float], count: int, elevations: tuple[float, ...], sensitive: bool) -> tuple[View, ...]:
    """Returns views evenly spread between two azimuths; elevations take turns."""
    azimuths = np.linspace(*ends, count).tolist()
    return tuple(View(azimuth, elevations[i % len(elevations)], sensitive) for i, azimuth in enumerate(azimuths))


@dataclass(frozen=True)
class Scene:
    """A synthetic subject inside the unit sphere at the origin; z is up, and what is sensitive faces +x."""

    name: str
    in_words: str
    subject: Subject
    sdf: DistanceFunction
    """Signed distance in units, negative in what is solid."""
    albedo: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]]
    """Linear reflectance in [0, 1] of points of the surface."""
    aabb: Float[np.ndarray, "2 3"]
    """A box that holds the surface, with room around it."""
    mm_per_unit: float
    views: tuple[View, ...]
    describe: Callable[[trimesh.Trimesh], dict[str, Any]]
    """Returns, given the exact mesh, what capture.json says beside what it says of all scenes."""
    focal: float = PORTRAIT_LENS
    """Focal length over image width."""
    lettering: Lettering | None = None
    """Writing that must not leave."""

    def count(self, sensitive: bool) -> int:
        """Returns the number of sensitive or neutral views."""
        return sum(view.sensitive is sensitive for view in self.views)
