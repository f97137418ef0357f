"""The box in the capture's frame that holds the head: where training looks for a surface."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from skimage.measure import label

from privhead_ns.capture.camera import Intrinsics, look_at_centre
from privhead_ns.errors import UserError

VOXELS = 64
"""Voxels along each side of a carved region."""
ROUNDS = 2
"""The second round carves the box that the first one found, with finer voxels."""
MARGIN = 0.05
"""Share of the visual hull's size that is added on each side."""
SPHERE_MARGIN = 1.1
"""Without masks: the box's half side over the radius of the sphere that all cameras see whole."""


@dataclass(frozen=True)
class View:
    """One camera, with the head's silhouette where it is known."""

    camera_to_world: Float[np.ndarray, "4 4"]
    intrinsics: Intrinsics
    """Without distortion."""
    silhouette: UInt8[np.ndarray, "height width"] | None
    """Above zero wherever the head may be."""


def head_box(views: Sequence[View]) -> Float[np.ndarray, "2 3"]:
    """Returns the lower and upper corner of an axis-aligned box that holds the head.

    With silhouettes in all views it is the box around the visual hull (Laurentini 1994), carved from voxels and
    enlarged by 5 % on each side. Otherwise it is a cube at the point that the cameras look at, a little larger than the
    sphere that touches the nearest side of a camera's view.

    Raises:
        UserError: if the cameras do not look at a common point, or no point lies inside all silhouettes.
    """
    poses = np.stack([view.camera_to_world for view in views])
    centre = look_at_centre(poses)
    if any(view.silhouette is None for view in views):
        radius = SPHERE_MARGIN * min(_sphere_radius(view, centre) for view in views)
        return np.stack([centre - radius, centre + radius])
    half = max(_footprint(view, centre) for view in views)
    box = np.stack([centre - half, centre + half])
    for _ in range(ROUNDS):
        box = _carve(views, box)
    grow = MARGIN * (box[1] - box[0])
    return np.stack([box[0] - grow, box[1] + grow])


def _carve(views: Sequence[View], box: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """Returns the box around the largest body of voxels that no view sees outside the silhouette.

    Voxels that fewer than half of the views see are dropped, and so are smaller bodies: what lies in front of a few
    cameras and outside all other images would stay for want of a view that removes it.
    """
    edges = np.linspace(box[0], box[1], VOXELS + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    points = np.stack(np.meshgrid(*centres.T, indexing="ij"), axis=-1).reshape(-1, 3)
    voxel = edges[1] - edges[0]
    kept, seen = np.ones(len(points), dtype=bool), np.zeros(len(points), dtype=int)
    for view in views:
        inside, head = _look_up(view, points, float(np.linalg.norm(voxel)) / 2)
        kept &= head | ~inside
        seen += inside
    kept &= 2 * seen >= len(views)
    if not kept.any():
        raise UserError(
            "No point in space lies inside the masks of all views: the masks and the camera poses in transforms.json "
            "disagree; check that masks are white on the head and that poses belong to these images, or give --box."
        )
    bodies = np.asarray(label(kept.reshape([VOXELS] * 3)))
    found = points[bodies.ravel() == np.bincount(bodies[bodies > 0]).argmax()]
    return np.stack([found.min(axis=0) - voxel / 2, found.max(axis=0) + voxel / 2])


def _look_up(
    view: View, points: Float[np.ndarray, "n 3"], radius: float
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Says which points a view has in its image, and which of those lie within `radius` units of the silhouette."""
    assert view.silhouette is not None
    camera = view.intrinsics
    local = (points - view.camera_to_world[:3, 3]) @ view.camera_to_world[:3, :3]
    depth = np.maximum(-local[:, 2], 1e-9)
    x = np.floor(camera.fl_x * local[:, 0] / depth + camera.cx)
    y = np.floor(-camera.fl_y * local[:, 1] / depth + camera.cy)
    inside = (local[:, 2] < 0) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    if not inside.any():
        return inside, inside
    pixels = math.ceil(radius * max(camera.fl_x, camera.fl_y) / depth[inside].min())
    # dilating by more than the image's size changes nothing
    pixels = min(pixels, max(camera.width, camera.height))
    grown = cv2.dilate((view.silhouette > 0).astype(np.uint8), np.ones((2 * pixels + 1, 1), np.uint8))
    grown = cv2.dilate(grown, np.ones((1, 2 * pixels + 1), np.uint8))
    head = np.zeros(len(points), dtype=bool)
    head[inside] = grown[y[inside].astype(int), x[inside].astype(int)] > 0
    return inside, head


def _sphere_radius(view: View, centre: Float[np.ndarray, " 3"]) -> float:
    """Returns the radius of the sphere at `centre` that touches the nearest side of the view's frustum."""
    camera = view.intrinsics
    local = view.camera_to_world[:3, :3].T @ (centre - view.camera_to_world[:3, 3])
    # inward normals of the planes through the camera and the left, right, top and bottom edge of the image
    planes = np.array(
        [
            [camera.fl_x, 0, -camera.cx],
            [-camera.fl_x, 0, -(camera.width - camera.cx)],
            [0, -camera.fl_y, -camera.cy],
            [0, camera.fl_y, -(camera.height - camera.cy)],
        ]
    )
    radius = float((planes @ local / np.linalg.norm(planes, axis=1)).min())
    if radius <= 0:
        raise UserError(
            "The point that the cameras in transforms.json look at lies outside one of their images; give the head's "
            "box with --box x0 y0 z0 x1 y1 z1."
        )
    return radius


def _footprint(view: View, centre: Float[np.ndarray, " 3"]) -> float:
    """Returns half the longer side of what the view covers at the depth of `centre`."""
    camera = view.intrinsics
    distance = float(np.linalg.norm(centre - view.camera_to_world[:3, 3]))
    return distance * max(camera.width / camera.fl_x, camera.height / camera.fl_y) / 2
