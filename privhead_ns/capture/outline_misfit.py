"""Measures how well the outlines of silhouettes fit each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.ndimage import map_coordinates

from privhead_ns.capture.crop import view_rays
from privhead_ns.capture.hull import SEEN, View, head_box, pixel_coordinates
from privhead_ns.outline import signed_distance

OUTLINE_PIXELS, RAY_SAMPLES = 40, 64
"""Pixels of each outline of which the misfit is measured, and points along their rays."""
BORDER = 3
"""Pixels from the image's border within which an outline is not compared: it may be the photograph's edge."""


def outline_misfit(views: Sequence[View]) -> float:
    """Returns how far outlines lie outside the visual hull of the other views' silhouettes, in pixels; the mean.

    The ray through a pixel of a true outline touches the head, so it has a point that no other view sees outside. The
    misfit of a pixel is the distance by which the second worst of the other views, for one may be bad, denies this of
    all points of its ray; 0 where none is denied. Outlines that stray at random stray apart; outlines that are all too
    wide by as much are not noticed.

    Args:
        views: with silhouettes.

    Raises:
        UserError: if the cameras do not look at a common point.
    """
    box = head_box(views)
    inside = [_inside(view) for view in views]
    misfits = [_misfit(index, views, inside, box) for index in range(len(views))]
    pixels = np.concatenate(misfits)
    return float(pixels.mean()) if len(pixels) else 0.0


def _misfit(
    index: int, views: Sequence[View], inside: Sequence[Float[np.ndarray, "_ _"]], box: Float[np.ndarray, "2 3"]
) -> Float[np.ndarray, " n"]:
    """Returns the misfit of some pixels of a view's outline; `inside`: distance to each outline, positive inside."""
    view, depth = views[index], inside[index]
    outline = np.abs(depth) < 1
    outline[:BORDER], outline[-BORDER:], outline[:, :BORDER], outline[:, -BORDER:] = False, False, False, False
    chosen = np.flatnonzero(outline)
    chosen = chosen[:: max(1, len(chosen) // OUTLINE_PIXELS)]
    centre, radius = box.mean(axis=0), float(np.linalg.norm(box[1] - box[0])) / 2
    place = view.camera_to_world[:3, 3]
    distance = float(np.linalg.norm(centre - place))
    rays = view_rays(view.intrinsics)[chosen] @ view.camera_to_world[:3, :3].T
    along = np.linspace(distance - radius, distance + radius, RAY_SAMPLES)
    points = (place + rays[:, None] * along[:, None]).reshape(-1, 3)
    others = [_distance_inside(views[other], inside[other], points) for other in range(len(views)) if other != index]
    if len(others) < 2:
        return np.zeros(0)
    depths = np.stack(others)
    second = np.partition(depths, 1, axis=0)[1]
    second[np.isfinite(depths).mean(axis=0) < SEEN] = -np.inf
    deepest = second.reshape(len(chosen), RAY_SAMPLES).max(axis=1) * view.intrinsics.fl_x / distance
    return np.maximum(0, (depth.ravel()[chosen] - deepest)[np.isfinite(deepest)])


def _distance_inside(
    view: View, inside: Float[np.ndarray, "height width"], points: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, " n"]:
    """Returns how far inside a silhouette points lie, in units, negative outside; infinite beyond the image."""
    x, y, depth, shown = pixel_coordinates(view, points)
    # array elements lie in the middle of pixels; in half a pixel along the border the outermost goes on
    pixels = map_coordinates(inside, [y[shown] - 0.5, x[shown] - 0.5], order=1, mode="nearest")
    result = np.full(len(points), np.inf)
    result[shown] = pixels * depth[shown] / view.intrinsics.fl_x
    return result


def _inside(view: View) -> Float[np.ndarray, "height width"]:
    """Returns the distance of pixels to the outline, positive inside."""
    assert view.silhouette is not None
    return -signed_distance((view.silhouette > 0).astype(np.float32))
