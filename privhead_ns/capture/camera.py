"""Cameras: intrinsics, the common point that they look at, geographic frames, and evenly spread subsets."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from privhead_ns.errors import UserError

FAR = 100.0
"""Poses whose common centre is farther from the origin than this many camera distances count as geographic."""


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera with Brown distortion; the image's corner is pixel coordinate 0, a pixel's centre is at .5."""

    width: int
    height: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """k1, k2, p1, p2, k3."""

    def scaled(self, width: int, height: int) -> Intrinsics:
        """Returns the same camera for an image of another resolution."""
        x, y = width / self.width, height / self.height
        return replace(
            self, width=width, height=height, fl_x=self.fl_x * x, fl_y=self.fl_y * y, cx=self.cx * x, cy=self.cy * y
        )


@dataclass(frozen=True)
class PosedCamera:
    """A camera and its pose."""

    camera_to_world: Float[np.ndarray, "4 4"]
    """OpenGL convention."""
    intrinsics: Intrinsics


def look_at_centre(poses: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, " 3"]:
    """Returns the point nearest to all optical axes in the least-squares sense.

    Raises:
        UserError: if the axes are nearly parallel or the point lies behind a camera.
    """
    directions = -poses[:, :3, 2]
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    normal = across.sum(axis=0)
    if np.linalg.eigvalsh(normal)[0] < 1e-4 * len(poses):
        raise UserError(
            "The cameras in transforms.json all look the same way, so the head's place is unknown; add views from "
            "other sides."
        )
    centre = np.linalg.solve(normal, (across @ poses[:, :3, 3, None]).sum(axis=0))[:, 0]
    if (((centre - poses[:, :3, 3]) * directions).sum(axis=1) <= 0).any():
        raise UserError(
            "The cameras in transforms.json do not look at a common point: transform_matrix must be camera-to-world in "
            "the OpenGL convention, with the camera looking along its -z axis. Those in a room need not: privhead "
            "protect --subject room."
        )
    return centre


def frame_origin(poses: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, " 3"]:
    """Returns what to subtract from camera positions that are given in a geographic frame (UTM, ECEF).

    It is the point that the cameras look at, rounded to whole units (to fewer where a unit is longer than the cameras
    are away), if that point is farther from the origin than `FAR` times the cameras' median distance to it; else zero.
    Cameras that look at no common point are judged by their mean position.
    """
    positions = poses[:, :3, 3]
    try:
        centre = look_at_centre(poses)
    except UserError:
        centre = positions.mean(axis=0)
    distance = float(np.median(np.linalg.norm(positions - centre, axis=1)))
    if not 0 < FAR * distance < np.linalg.norm(centre):
        return np.zeros(3)
    return np.round(centre, max(0, -math.floor(math.log10(distance))))


def farthest_first(directions: Float[np.ndarray, "n 3"], start: int) -> list[int]:
    """Orders unit vectors so that each is the one farthest from all before it (Gonzalez 1985).

    The first k of them are spread evenly: no k vectors have more than twice their smallest mutual distance.

    Args:
        directions: unit vectors; at least one.
        start: index of the first.
    """
    order = [start]
    distances = np.linalg.norm(directions - directions[start], axis=1)
    while len(order) < len(directions):
        distances[order] = -1.0
        order.append(int(distances.argmax()))
        distances = np.minimum(distances, np.linalg.norm(directions - directions[order[-1]], axis=1))
    return order
