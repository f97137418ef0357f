"""The direction in which the face looks, from its landmarks in several photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from privhead_ns.capture.camera import PosedCamera
from privhead_ns.capture.made_masks.upright_crop import Crop
from privhead_ns.prepare.landmarks import PUPILS, face_landmarks
from privhead_ns.prepare.triangulate import rays_through, triangulate

LANDMARKS = {
    "right_eye": 33,
    "left_eye": 263,
    "chin": 152,
    "forehead": 10,
    "right_pupil": PUPILS[0],
    "left_pupil": PUPILS[1],
}
"""Numbers of landmarks among the detector's: outer corners of the subject's eyes, the middle of chin and hairline."""
LEAST_VIEWS, LEAST_SHARE = 6, 2 / 3
"""Photographs in which the landmarks must agree, and their share of those in which the detector saw a face.

They agreed in 10 to 19 photographs and in 0.86 to 1.00 of those seen on two sculpted heads, cropped in two ways, and in
4 of 8 and 5 of 11 on a skull, where the face was no face.
"""
TOLERANCE = 0.025
"""Distance of a landmark's rays from their common point, over that to the camera, up to which a photograph agrees."""
WIDEST = 80.0
"""Angle in degrees off the face's direction up to which a face is seen by its landmarks."""


@dataclass(frozen=True)
class Face:
    """A face in the capture's frame."""

    direction: Float[np.ndarray, " 3"]
    """In which it looks; a unit vector."""
    landmarks: dict[str, Float[np.ndarray, " 3"]]
    """Where `LANDMARKS` are."""
    views: int
    """Photographs in which it was found."""

    @property
    def pupils(self) -> float:
        """Distance of the pupils in units."""
        return float(np.linalg.norm(self.landmarks["left_pupil"] - self.landmarks["right_pupil"]))


def find_face(crops: Sequence[Crop]) -> tuple[Face | None, Bool[np.ndarray, " n"]]:
    """Finds one face in crops about a head.

    Returns:
        The face, None where too few photographs show it or they contradict each other; and in which crops the detector
        saw any face at all.
    """
    found = [face_landmarks(crop.rgb) for crop in crops]
    seen = np.array([landmarks is not None for landmarks in found])
    cameras = [crop.camera for crop, landmarks in zip(crops, found, strict=True) if landmarks is not None]
    pixels = np.array([landmarks for landmarks in found if landmarks is not None])
    if len(cameras) < LEAST_VIEWS:
        return None, seen
    return _face(cameras, pixels), seen


def _face(cameras: Sequence[PosedCamera], pixels: Float[np.ndarray, "views 478 2"]) -> Face | None:
    rays = [rays_through(camera, pixels[view][list(LANDMARKS.values())]) for view, camera in enumerate(cameras)]
    origins = np.stack([camera.camera_to_world[:3, 3] for camera in cameras])
    points, agreeing = triangulate(origins, np.stack(rays), TOLERANCE)
    if np.count_nonzero(agreeing) < max(LEAST_VIEWS, LEAST_SHARE * len(cameras)):
        return None
    landmarks = dict(zip(LANDMARKS, points, strict=True))
    direction = np.cross(landmarks["left_eye"] - landmarks["right_eye"], landmarks["forehead"] - landmarks["chin"])
    direction /= np.linalg.norm(direction)
    towards = origins[agreeing] - points.mean(axis=0)
    cosine = towards @ direction / np.linalg.norm(towards, axis=1)
    if (cosine < np.cos(np.radians(WIDEST))).any():
        return None
    return Face(direction, landmarks, int(np.count_nonzero(agreeing)))


def angles_from(
    direction: Float[np.ndarray, " 3"], centre: Float[np.ndarray, " 3"], poses: Float[np.ndarray, "n 4 4"]
) -> Float[np.ndarray, " n"]:
    """Returns the angle in degrees between a direction and each camera, seen from the head's centre."""
    towards = poses[:, :3, 3] - centre
    cosine = towards @ direction / np.linalg.norm(towards, axis=1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))
