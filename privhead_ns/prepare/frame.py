"""The frame of a prepared capture: centre at 0, up along z, the face along x, the head in the unit sphere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from privhead_ns.capture.crop import Sphere


@dataclass(frozen=True)
class Frame:
    """A similarity that brings a capture into its own frame."""

    rotation: Float[np.ndarray, "3 3"]
    centre: Float[np.ndarray, " 3"]
    scale: float

    def pose(self, camera_to_world: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
        """Returns a camera's pose in the frame."""
        pose = np.eye(4)
        pose[:3, :3] = self.rotation @ camera_to_world[:3, :3]
        pose[:3, 3] = self.point(camera_to_world[:3, 3])
        return pose

    def point(self, point: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
        """Returns a point in the frame."""
        return self.scale * self.rotation @ (point - self.centre)

    def direction(self, vector: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
        """Returns a direction in the frame."""
        return self.rotation @ vector


def head_frame(sphere: Sphere, up: Float[np.ndarray, " 3"], face: Float[np.ndarray, " 3"] | None) -> Frame:
    """Returns the frame of a head.

    Args:
        sphere: holds the head.
        up: unit vector.
        face: direction in which the face looks; None where it is unknown, and x then any level direction.
    """
    forward = np.eye(3)[np.argmin(np.abs(up))] if face is None else face
    forward = forward - (forward @ up) * up
    if np.linalg.norm(forward) < 0.1:  # the face looks up or down
        return head_frame(sphere, up, None)
    forward = forward / np.linalg.norm(forward)
    return Frame(np.stack([forward, np.cross(up, forward), up]), sphere.center, 1 / sphere.radius)


SAME = Frame(np.eye(3), np.zeros(3), 1.0)
"""Changes nothing: captures with poses of another program keep its frame."""
