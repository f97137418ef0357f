"""Compares silhouettes with their common visual hull."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from privhead_ns.capture.camera import look_at_centre
from privhead_ns.capture.hull import View, _footprint, _look_up


def silhouette_agreement(views: Sequence[View]) -> Float[np.ndarray, " n"]:
    """Returns the share of each silhouette that the hull of all explains."""
    poses = np.stack([view.camera_to_world for view in views])
    centre = look_at_centre(poses)
    half = max(_footprint(view, centre) for view in views)
    axis = np.linspace(-half, half, 96)
    points = centre + np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    kept = np.ones(len(points), dtype=bool)
    for view in views:
        inside, head = _look_up(view, points, half / 96)
        kept &= head | ~inside
    hull, result = points[kept], []
    for view in views:
        assert view.silhouette is not None
        local = (hull - view.camera_to_world[:3, 3]) @ view.camera_to_world[:3, :3]
        camera = view.intrinsics
        x = (camera.fl_x * local[:, 0] / -local[:, 2] + camera.cx).astype(int)
        y = (-camera.fl_y * local[:, 1] / -local[:, 2] + camera.cy).astype(int)
        ok = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
        shade = np.zeros_like(view.silhouette)
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                shade[np.clip(y[ok] + dy, 0, camera.height - 1), np.clip(x[ok] + dx, 0, camera.width - 1)] = 1
        result.append((shade[view.silhouette > 0] > 0).mean())
    return np.array(result)
