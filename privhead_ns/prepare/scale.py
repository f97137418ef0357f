"""Millimetres per unit, from a printed marker or the distance of the pupils."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from privhead_ns.errors import UserError
from privhead_ns.prepare.faces import Face
from privhead_ns.prepare.posed import PosedPhotograph
from privhead_ns.prepare.triangulate import triangulate

DICTIONARIES = ("4X4_1000", "5X5_1000", "6X6_1000", "7X7_1000", "ARUCO_ORIGINAL", "APRILTAG_36h11")
LEAST_VIEWS = 3
TOLERANCE = 0.01
"""Distance of a corner's rays from their common point, over that to the camera, up to which a photograph agrees."""
UNEQUAL = 0.1
"""Spread of a marker's four sides over their mean beyond which it is not believed."""
PUPILS_MM = (40.0, 80.0)
"""Distances of the pupils that people have."""

Markers = dict[tuple[str, int], Float[np.ndarray, "4 2"]]


def find_markers(rgb: UInt8[np.ndarray, "height width 3"]) -> Markers:
    """Returns the pixels of the corners of ArUco markers (Garrido-Jurado et al. 2014), by dictionary and id."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    markers: Markers = {}
    for name in DICTIONARIES:
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{name}"))
        corners, ids, _ = cv2.aruco.ArucoDetector(dictionary, parameters).detectMarkers(grey)
        for corner, number in zip(corners, [] if ids is None else ids.ravel(), strict=True):
            markers[name, int(number)] = corner[0] + 0.5  # OpenCV counts from the centre of the first pixel
    return markers


def scale_of_marker(
    photographs: Sequence[PosedPhotograph], markers: Sequence[Markers], sizes: Sequence[tuple[int, int]], side_mm: float
) -> float:
    """Returns millimetres per unit from the marker that most photographs show.

    Args:
        photographs: with their cameras.
        markers: found in each.
        sizes: width and height of the pictures in which they were found.
        side_mm: length of the marker's side.

    Raises:
        UserError: if no marker is seen in enough photographs, or its sides come out unequal.
    """
    views: dict[tuple[str, int], list[int]] = defaultdict(list)
    for index, found in enumerate(markers):
        for key in found:
            views[key].append(index)
    key = max(views, key=lambda key: len(views[key]), default=None)
    if key is None or len(views[key]) < LEAST_VIEWS:
        raise UserError(
            f"--marker-mm: no ArUco or AprilTag marker is seen in {LEAST_VIEWS} photographs; print a larger one, put "
            "it flat beside the head, or leave the flag out."
        )
    chosen = views[key]
    rays = np.stack([_rays(photographs[i], markers[i][key], sizes[i]) for i in chosen])
    origins = np.stack([photographs[i].camera_to_world[:3, 3] for i in chosen])
    corners, agreeing = triangulate(origins, rays, TOLERANCE)
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    if np.count_nonzero(agreeing) < LEAST_VIEWS or np.ptp(sides) > UNEQUAL * sides.mean():
        raise UserError(
            "--marker-mm: the marker does not come out square, so it moved, is bent, or is too small in the "
            "photographs; fix it beside the head, or leave the flag out."
        )
    return side_mm / float(sides.mean())


def scale_of_pupils(face: Face | None, pupils_mm: float) -> float:
    """Returns millimetres per unit from the distance of the pupils.

    Raises:
        UserError: if no face was found.
    """
    if face is None:
        raise UserError("--pupils-mm: no face was found in enough photographs; leave the flag out, or use --marker-mm.")
    return pupils_mm / face.pupils


def check_scale_flags(marker_mm: float | None, pupils_mm: float | None) -> None:
    """Checks the lengths that a person gives.

    Raises:
        UserError: if both are given, or one is impossible.
    """
    if marker_mm is not None and pupils_mm is not None:
        raise UserError("--marker-mm and --pupils-mm both give the scale; pass one of them.")
    if marker_mm is not None and not 0 < marker_mm < float("inf"):
        raise UserError(f"--marker-mm must be the length of the marker's side in mm, not {marker_mm:g}.")
    if pupils_mm is not None and not PUPILS_MM[0] <= pupils_mm <= PUPILS_MM[1]:
        raise UserError(
            f"--pupils-mm must lie between {PUPILS_MM[0]:g} and {PUPILS_MM[1]:g} mm (63 on average), not {pupils_mm:g}."
        )


def _rays(photograph: PosedPhotograph, pixels: Float[np.ndarray, "n 2"], size: tuple[int, int]) -> np.ndarray:
    camera = photograph.intrinsics.scaled(*size)
    matrix = np.array([[camera.fl_x, 0, camera.cx], [0, camera.fl_y, camera.cy], [0, 0, 1]])
    flat = cv2.undistortPoints(pixels.reshape(-1, 1, 2).astype(np.float64), matrix, np.array(camera.distortion))[:, 0]
    rays = np.concatenate([flat * [1, -1], -np.ones((len(flat), 1))], axis=1) @ photograph.camera_to_world[:3, :3].T
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)
