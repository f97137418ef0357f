"""Checks every silhouette against the visual hull of the others: a wrong mask or pose cannot agree with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float

from privhead_ns.capture.develop import resized
from privhead_ns.capture.hull import View, Votes, distance_from, footprint_box, project, vote

LONGEST_SIDE = 128
"""Larger silhouettes are reduced to this many pixels."""
VOXELS = 64
COARSE_VOXELS = 32
"""Voxels along each side of the box in which the hull is looked for, and of the fine one."""


@dataclass(frozen=True)
class Agreement:
    """How well the silhouette of each view fits the visual hull (Laurentini 1994)."""

    explained: Float[np.ndarray, " n"]
    """Share of the silhouette that the hull of all views covers."""
    carved: Float[np.ndarray, " n"]
    """Volume that this view alone takes from the hull of all others, over the hull's volume."""


def silhouette_agreement(views: Sequence[View]) -> Float[np.ndarray, " n"]:
    """Returns the share of each silhouette that the visual hull of all views explains.

    Args:
        views: all with silhouettes.

    Raises:
        UserError: if the cameras do not look at a common point.
    """
    return agreement(views).explained


def agreement(views: Sequence[View]) -> Agreement:
    """Measures each silhouette against the hull.

    Voxels that fewer than half of the views have in their image count neither for nor against: where close-ups cut the
    head, nobody knows.

    Raises:
        UserError: if the cameras do not look at a common point.
    """
    views = [reduced(view) for view in views]
    votes = vote(views, _box(views), VOXELS, allowed=1)
    known = 2 * votes.seen >= len(views)
    hull, alone = known & (votes.outside == 0), known & (votes.outside == 1)
    unknown = ~known & (votes.outside == 0)
    explained = np.ones(len(views))
    for number, view in enumerate(views):
        silhouette = _silhouette(view)
        on_hull = _picture(view, votes, hull)
        testable = silhouette & (on_hull | ~_picture(view, votes, unknown))
        if testable.any():
            explained[number] = on_hull[testable].mean()
    volume = max(np.count_nonzero(hull), 1)
    carved = np.bincount(votes.objector[alone], minlength=len(views)) / volume
    return Agreement(explained, carved)


def reduced(view: View) -> View:
    """Returns the view with at most LONGEST_SIDE pixels along its longer side."""
    camera = view.intrinsics
    if max(camera.width, camera.height) <= LONGEST_SIDE:
        return view
    camera = resized(camera, LONGEST_SIDE)
    share = cv2.resize(
        _silhouette(view).astype(np.float32), (camera.width, camera.height), interpolation=cv2.INTER_AREA
    )
    return replace(view, intrinsics=camera, silhouette=(share >= 0.5).astype(np.uint8))


def _box(views: Sequence[View]) -> Float[np.ndarray, "2 3"]:
    """Returns a box around what most views take for the head; a few wrong views neither shrink nor move it."""
    box = footprint_box(views)
    for _ in range(2):
        votes = vote(views, box, COARSE_VOXELS, allowed=max(1, len(views) // 8))
        found = votes.centre[2 * votes.seen >= len(views)]
        if not len(found):
            break
        box = np.stack([found.min(axis=0) - 1.5 * votes.voxel, found.max(axis=0) + 1.5 * votes.voxel])
    return box


def _picture(view: View, votes: Votes, chosen: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, "height width"]:
    """Returns the pixels of a view that the chosen voxels cover."""
    camera = view.intrinsics
    pixel, depth = project(view, votes.centre[chosen])
    covered = np.zeros((camera.height, camera.width), dtype=bool)
    if not (pixel >= 0).any():
        return covered
    covered.ravel()[pixel[pixel >= 0]] = True
    radius = np.linalg.norm(votes.voxel) / 2 * max(camera.fl_x, camera.fl_y) / np.median(depth[pixel >= 0])
    return distance_from(covered) <= radius


def _silhouette(view: View) -> Bool[np.ndarray, "height width"]:
    assert view.silhouette is not None
    return view.silhouette > 0
