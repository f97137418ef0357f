"""A scene of the demo: surface, colours and camera positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import trimesh
from jaxtyping import Float

DistanceFunction = Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, " n"]]

CAMERA_DISTANCE = 3.5
"""Distance of the cameras from the origin, in units."""


@dataclass(frozen=True)
class View:
    """Where a photograph is taken from; angles in degrees, azimuth 0 along +x, rising towards +y."""

    azimuth: float
    elevation: float
    sensitive: bool

    @property
    def camera_to_world(self) -> Float[np.ndarray, "4 4"]:
        """OpenGL pose of a camera that looks at the origin, upright."""
        azimuth, elevation = np.radians([self.azimuth, self.elevation])
        backward = np.array(
            [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(backward, right), backward, CAMERA_DISTANCE * backward], axis=1)
        return pose


def arc(ends: tuple[float, float], count: int, elevations: tuple[float, ...], sensitive: bool) -> tuple[View, ...]:
    """Returns views evenly spread between two azimuths; elevations take turns."""
    azimuths = np.linspace(*ends, count).tolist()
    return tuple(View(azimuth, elevations[i % len(elevations)], sensitive) for i, azimuth in enumerate(azimuths))


@dataclass(frozen=True)
class Scene:
    """A synthetic subject inside the unit sphere at the origin; z is up, and the sensitive side faces +x."""

    name: str
    in_words: str
    subject: Literal["head", "object"]
    sdf: DistanceFunction
    """Signed distance in units, negative inside."""
    albedo: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]]
    """Linear reflectance in [0, 1] of points of the surface."""
    aabb: Float[np.ndarray, "2 3"]
    """A box that holds the surface, with room around it."""
    mm_per_unit: float
    views: tuple[View, ...]
    describe: Callable[[trimesh.Trimesh], dict[str, Any]]
    """Returns, given the exact mesh, what capture.json says beside what it says of all scenes."""

    def count(self, sensitive: bool) -> int:
        """Returns the number of sensitive or neutral views."""
        return sum(view.sensitive is sensitive for view in self.views)
