"""Points in space from their pixels in several views."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Bool, Float

from privhead_ns.capture.camera import PosedCamera

PAIRS = 200
"""Pairs of views that are tried."""
APART = np.radians(5.0)
"""Angle between the rays of a pair of views from which it is tried."""


def rays_through(camera: PosedCamera, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Returns unit directions in the world through pixels of a camera without distortion."""
    view = camera.intrinsics
    x, y = (pixels[:, 0] - view.cx) / view.fl_x, (view.cy - pixels[:, 1]) / view.fl_y
    rays = np.stack([x, y, -np.ones_like(x)], axis=1) @ camera.camera_to_world[:3, :3].T
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def triangulate(
    origins: Float[np.ndarray, "views 3"], rays: Float[np.ndarray, "views points 3"], tolerance: float
) -> tuple[Float[np.ndarray, "points 3"], Bool[np.ndarray, " views"]]:
    """Finds the points nearest to the rays of the views that agree, by RANSAC over pairs of views.

    Args:
        origins: of the rays.
        rays: unit directions.
        tolerance: distance from ray to point over that from origin to point up to which a view agrees, in the mean over
            the points.

    Returns:
        The points, and which views agree; none where no two views see the points from different sides.
    """
    best, agreeing = np.zeros(rays.shape[1:]), np.zeros(len(origins), dtype=bool)
    pairs = list(itertools.combinations(range(len(origins)), 2))
    for pair in pairs[:: -(-len(pairs) // PAIRS) or 1]:
        chosen = list(pair)
        if np.median(np.arccos(np.clip((rays[chosen[0]] * rays[chosen[1]]).sum(axis=1), -1, 1))) < APART:
            continue
        agrees = _error(origins, rays, _nearest(origins[chosen], rays[chosen])) < tolerance
        if np.count_nonzero(agrees) > max(1, np.count_nonzero(agreeing)):
            best, agreeing = _nearest(origins[agrees], rays[agrees]), agrees
    return best, agreeing


def _nearest(origins: Float[np.ndarray, "views 3"], rays: Float[np.ndarray, "views points 3"]) -> np.ndarray:
    """Returns the points with the least squared distances to their rays."""
    across = np.eye(3) - rays[..., :, None] * rays[..., None, :]
    normal, target = across.sum(axis=0), (across @ origins[:, None, :, None]).sum(axis=0)
    return np.linalg.solve(normal + 1e-12 * np.eye(3), target)[..., 0]


def _error(origins: np.ndarray, rays: np.ndarray, points: np.ndarray) -> Float[np.ndarray, " views"]:
    offset = points[None] - origins[:, None]
    along = (offset * rays).sum(axis=-1)
    away = np.linalg.norm(offset - along[..., None] * rays, axis=-1) / np.maximum(
        np.linalg.norm(offset, axis=-1), 1e-12
    )
    return np.where(along > 0, away, np.inf).mean(axis=1)
