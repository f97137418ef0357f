"""Finds masks that cut the head where nearly all other views see it, and marks their wrong pixels as unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_erosion

from privhead_ns.capture.hull import SEEN, View, look_up, project, vote
from privhead_ns.capture.silhouettes import consensus_box

VOXELS = 64
"""Voxels along each side of the box around the head."""
ALLOWED = 0.06, 0.03
"""Largest share of views that see a voxel of the core as background, before and after the worst masks are corrected."""
DEPTH = 2
"""Voxels by which the core is eroded, as tolerance for rough outlines."""
OBJECTS = 0.01
"""Share of the core that a view must see as background for its mask to count as wrong."""
UNUSUAL = 4.0
"""Multiple of the 90th percentile over the views up to which such a share is normal: each of few views carves a lot."""
REACH = 0.06
"""Distance from a contradicted pixel, over the box's longest side, within which background becomes unknown as well."""


@dataclass(frozen=True)
class Mended:
    """Views whose contradicted background counts as unknown."""

    views: tuple[View, ...]
    """With silhouettes that are set where nothing is known, so that they carve nothing there."""
    doubted: dict[int, Bool[np.ndarray, "height width"]]
    """Unknown pixels of each corrected view, by the view's index."""


def mend(views: Sequence[View]) -> Mended:
    """Marks background that contradicts the core of the visual hull and that few other views see.

    The core is the eroded region where at most a few views see background. There are two rounds because one bad mask
    hides another.

    Args:
        views: reduced; without silhouettes nothing is corrected.
    """
    doubted: dict[int, np.ndarray] = {}
    mended = list(views)
    if any(view.silhouette is None for view in views):
        return Mended(tuple(views), doubted)
    box = consensus_box(views)
    for allowed in ALLOWED:
        core = _core(mended, box, max(1, round(allowed * len(views)) - 1))
        if not len(core):
            break
        against = [_against(view, core, box) for view in mended]
        share = np.array([objects.mean() for objects in against])
        for index in np.flatnonzero(share > max(OBJECTS, UNUSUAL * float(np.quantile(share, 0.9)))):
            pixels = _contradicted(mended[index], core[against[index]], box)
            doubted[index] = doubted.get(int(index), False) | pixels
            silhouette = np.where(pixels, np.uint8(1), mended[index].silhouette)
            mended[index] = replace(mended[index], silhouette=silhouette)
    return Mended(tuple(mended), {int(index): pixels for index, pixels in doubted.items()})


def _core(views: Sequence[View], box: Float[np.ndarray, "2 3"], allowed: int) -> Float[np.ndarray, "n 3"]:
    """Returns the centres of voxels well inside what all views but `allowed` see as head."""
    votes = vote(views, box, VOXELS, allowed)
    grid = np.zeros(VOXELS**3, dtype=bool)
    grid[votes.index[votes.seen >= SEEN * len(views)]] = True
    inner: Bool[np.ndarray, " m"] = np.asarray(binary_erosion(grid.reshape([VOXELS] * 3), iterations=DEPTH), dtype=bool)
    inner = inner.ravel()
    return votes.centre[inner[votes.index]]


def _against(view: View, points: Float[np.ndarray, "n 3"], box: Float[np.ndarray, "2 3"]) -> Bool[np.ndarray, " n"]:
    """Returns which points a view sees as background."""
    radius = float(np.linalg.norm(box[1] - box[0])) / VOXELS / 2
    inside, head = look_up(view, points, radius, 0.5)
    return inside & ~head


def _contradicted(
    view: View, points: Float[np.ndarray, "n 3"], box: Float[np.ndarray, "2 3"]
) -> Bool[np.ndarray, "height width"]:
    """Returns the background pixels on and near which the points lie."""
    assert view.silhouette is not None
    pixel, depth = project(view, points)
    hit = np.zeros(view.silhouette.shape, dtype=np.uint8)
    hit.ravel()[pixel] = 1
    reach = max(1, round(REACH * float((box[1] - box[0]).max()) * view.intrinsics.fl_x / float(np.median(depth))))
    near = cv2.dilate(hit, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    return near & (view.silhouette == 0)
