"""Relative exposure and white balance of the photographs, from colours of the same surface points in several views.

Colour values are taken as a power of linear light, so that a change of exposure multiplies them by a factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from privhead_ns.capture.hull import SEEN, View, project, vote

VOXELS = 64
"""Voxels along each side of the box in which the hull's surface is looked for."""
SMOOTH = 1.5
"""Standard deviation in voxels by which the hull is smoothed."""
FACING = 0.5
"""Least cosine between a point's normal and the direction to a camera, for its colour to count."""
RANGE = 0.03, 0.97
"""Colour values that are neither lost in noise nor clipped."""
ROUNDS = 20
"""Alternations between colours of points and gains of views."""
NOISE = 0.03
"""Standard deviation of the log gains below which the photographs count as equally exposed."""
SPREAD, CERTAIN = 1.9, 6.0
"""Standard error of a median over the median absolute residual and sqrt(n), and how many of them are a difference."""
ENOUGH = 20
"""Points that a view must see for its gain to be judged."""
LEAST_VIEWS = 6
"""Views below which no gain is estimated: two or three see each point, from far apart, and shading looks like exposure.
"""


class Surface(NamedTuple):
    """Points near the head's surface."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    """Unit normals that point outwards."""


def view_gains(
    views: Sequence[View], thumbnails: Sequence[UInt8[np.ndarray, "height width 3"]], box: Float[np.ndarray, "2 3"]
) -> Float[np.ndarray, "views 3"]:
    """Returns factors of each view's colour values, of geometric mean 1; all ones where no difference is certain.

    A point's log colour in a view is the point's own plus the view's log gain. Medians over points and over views, in
    turn, solve for both; a median passes over highlights and over points that something hides.

    Args:
        views: with silhouettes; without, all gains are 1.
        thumbnails: their colours.
        box: holds the head.
    """
    same = np.ones((len(views), 3))
    if any(view.silhouette is None for view in views):
        return same
    surface = hull_surface(views, box)
    seen = [_log_colours(surface, view, pixels / 255) for view, pixels in zip(views, thumbnails, strict=True)]
    logs, valid = np.stack([one[0] for one in seen]), np.stack([one[1] for one in seen])
    shared = valid.sum(axis=0) >= 2
    valid = valid[:, shared]
    judged = valid.sum(axis=1) >= ENOUGH
    if judged.sum() < LEAST_VIEWS:
        return same
    logs = np.where(valid[..., None], logs[:, shared], np.nan)[judged]
    logs = logs[:, valid[judged].any(axis=0)]
    points, gains = np.zeros(logs.shape[1:]), np.zeros((len(logs), 3))
    for _ in range(ROUNDS):
        points = nanmedian(logs - gains[:, None], axis=0)
        step = nanmedian(logs - points, axis=1)
        gains = step - step.mean(axis=0)
    residuals = nanmedian(np.abs(logs - points - gains[:, None]), axis=1)
    pixels = np.array([np.sum(np.asarray(view.silhouette) > 0) for view in views])[judged]
    error = SPREAD * residuals / np.sqrt(np.minimum(valid.sum(axis=1)[judged], pixels))[:, None]
    if gains.std() <= max(NOISE, CERTAIN * float(np.median(error))):
        return same
    same[judged] = np.exp(gains)
    return same


def nanmedian(values: Float[np.ndarray, "*shape"], axis: int) -> Float[np.ndarray, "*rest"]:
    """Returns what `np.nanmedian` does, which takes ten times as long along short axes; NaN where all values are.

    Args:
        values: numbers, some of them NaN.
        axis: the one that is left out of the result.
    """
    ordered, known = np.sort(values, axis=axis), np.count_nonzero(~np.isnan(values), axis=axis, keepdims=True)
    low, high = (np.take_along_axis(ordered, np.maximum(rank, 0), axis) for rank in ((known - 1) // 2, known // 2))
    return ((low + high) / 2).squeeze(axis)


def hull_surface(views: Sequence[View], box: Float[np.ndarray, "2 3"]) -> Surface:
    """Returns vertices and normals of the smoothed visual hull in a box; none where it is empty."""
    votes = vote(views, box, VOXELS, allowed=max(1, len(views) // 30))
    grid = np.zeros(VOXELS**3, dtype=np.float32)
    grid[votes.index[votes.seen >= SEEN * len(views)]] = 1
    smooth = gaussian_filter(np.pad(grid.reshape([VOXELS] * 3), 1), SMOOTH)
    if smooth.max() <= 0.5:
        return Surface(np.zeros((0, 3)), np.zeros((0, 3)))
    vertices, _, normals, _ = marching_cubes(smooth, 0.5, gradient_direction="descent")
    outwards = np.sign(((vertices - vertices.mean(axis=0)) * normals).sum())
    # the padding shifts indices by one; a voxel's centre lies half a voxel from its corner
    return Surface(box[0] + (vertices - 0.5) * votes.voxel, normals * outwards)


def _log_colours(
    surface: Surface, view: View, colour: Float[np.ndarray, "height width 3"]
) -> tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """Returns the log colours of the surface points in a view, and which of them it sees well."""
    assert view.silhouette is not None
    offsets = view.camera_to_world[:3, 3] - surface.points
    facing = (offsets * surface.normals).sum(axis=1) > FACING * np.linalg.norm(offsets, axis=1)
    pixel, _ = project(view, surface.points)
    values = colour.reshape(-1, 3)[pixel]
    head = cv2.erode(view.silhouette, np.ones((3, 3), np.uint8)).ravel()[pixel] > 0
    good = ((values > RANGE[0]) & (values < RANGE[1])).all(axis=1)
    return np.log(np.clip(values, RANGE[0], 1)), facing & (pixel >= 0) & head & good
