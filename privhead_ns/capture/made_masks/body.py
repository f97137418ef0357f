"""The body of voxels that most silhouettes agree on, cut off at the neck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from skimage.measure import label

from privhead_ns.capture.crop import Sphere
from privhead_ns.capture.hull import SEEN, View, project
from privhead_ns.capture.silhouettes import overlap
from privhead_ns.outline import distance_to

VOXELS = 96
"""Voxels along each side of the box about the head."""
AGREED_FIRST = 0.6
"""Share of all views with a voxel in their image that must take it for the head, before some are distrusted."""
TRUSTED = 0.7
"""Intersection over union of a view's silhouette and the first body, over the median view's, from which it is trusted.
"""
STAND = 0.12
"""Cross-section over the head's largest below which what carries the head is a stand, not a neck."""
NECK = 1.8
"""Cross-section over the neck's at which the shoulders begin."""
AROUND = 1.25
"""Radius of a sphere about a body over the body's own."""
INNER = 0.995
"""Share of a body within its radius."""


@dataclass(frozen=True)
class Body:
    """Voxels that most views take for the head."""

    centre: Float[np.ndarray, "n 3"]
    """Of each voxel, in the capture's units."""
    voxel: float
    """Side of a voxel in units."""

    @property
    def sphere(self) -> Sphere:
        """A sphere that holds the body, with room around it."""
        centre = (self.centre.min(axis=0) + self.centre.max(axis=0)) / 2
        radius = float(np.quantile(np.linalg.norm(self.centre - centre, axis=1), INNER))
        return Sphere(centre, AROUND * radius)


def ball(sphere: Sphere, share: float, voxels: int = VOXELS) -> Body:
    """Returns the concentric ball with a share of a sphere's radius; `voxels` are along each side of the cube."""
    line = _voxel_centres(sphere, voxels)
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = np.linalg.norm(points, axis=1) <= share * sphere.radius
    return Body(sphere.center + points[inside], float(line[1] - line[0]))


def agreed_body(
    views: Sequence[View],
    sphere: Sphere,
    up: Float[np.ndarray, " 3"],
    cut: bool,
    share: float,
    voxels: int = VOXELS,
) -> Body | None:
    """Returns the body of voxels in a sphere's cube that most views show as head, cut at the neck; None if empty.

    Views whose silhouettes differ much from what most say do not count.

    Args:
        views: their silhouettes are 2 on the head, 1 beside it, and 0 beyond the photograph's edge.
        sphere: about the head.
        up: unit vector.
        cut: whether to cut at the neck; masks that a person gave are cut already.
        share: of the trusted views that must agree on a voxel.
        voxels: along each side of the cube.
    """
    line = _voxel_centres(sphere, voxels)
    grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
    points = sphere.center + grid @ _axes(up)  # the last axis of the grid is up
    votes = _votes(views, points)
    body = _largest_body(points, votes, len(views), AGREED_FIRST, cut=False)
    if body is None:
        return None
    fits = np.array([agreement(body, view) for view in views])
    distrusted = [view for view, fit in zip(views, fits, strict=True) if fit < TRUSTED * np.median(fits)]
    votes -= _votes(distrusted, points)
    return _largest_body(points, votes, len(views) - len(distrusted), share, cut)


def agreement(body: Body, view: View) -> float:
    """Returns intersection over union of a view's silhouette and a body's footprint, where the photograph shows."""
    assert view.silhouette is not None
    return overlap(view.silhouette == 2, footprint(body, view) & (view.silhouette > 0))


def _votes(views: Sequence[View], points: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, "2 n"]:
    """Returns how many views show each point, and how many of them as head."""
    seen, head = np.zeros((2, len(points)), np.int32)
    for view in views:
        assert view.silhouette is not None
        pixel, _ = project(view, points)
        value = view.silhouette.ravel()[pixel] * (pixel >= 0)
        seen += value > 0
        head += value == 2
    return np.stack([seen, head])


def _largest_body(
    points: Float[np.ndarray, "n 3"], votes: Int[np.ndarray, "2 n"], views: int, share: float, cut: bool
) -> Body | None:
    """Returns the largest body of the points, a cube's, on which a share of their votes agree."""
    seen, head = votes
    solid = (seen >= SEEN * views) & (head >= share * seen)
    bodies = np.asarray(label(solid.reshape([round(len(points) ** (1 / 3))] * 3)))
    if not bodies.any():
        return None
    body = bodies == np.bincount(bodies[bodies > 0]).argmax()
    if cut:
        body[:, :, : _neck(np.count_nonzero(body, axis=(0, 1)))] = False
    return Body(points[body.ravel()], float(np.linalg.norm(points[1] - points[0])))


def _voxel_centres(sphere: Sphere, voxels: int) -> Float[np.ndarray, " voxels"]:
    """Returns one coordinate of the voxels in a sphere's cube, from the sphere's centre."""
    edges = np.linspace(-sphere.radius, sphere.radius, voxels + 1)
    return (edges[1:] + edges[:-1]) / 2


def _neck(area: np.ndarray) -> int:
    """Returns the first layer from below that belongs to the head, from the body's cross-sections.

    From the widest layer of the upper half down to the narrowest below it: a stand is left out, a neck stays up to the
    shoulders, and where nothing gets wider again nothing is cut.
    """
    filled = np.flatnonzero(area)
    middle = (filled[0] + filled[-1]) // 2
    widest = middle + int(np.argmax(area[middle : filled[-1] + 1]))
    below = area[: widest + 1]
    narrowest = filled[0] + int(np.argmin(below[filled[0] :]))
    if below[narrowest] < STAND * area[widest]:
        return int(np.flatnonzero(below < STAND * area[widest])[-1]) + 1
    wider = np.flatnonzero(below[:narrowest] > NECK * below[narrowest])
    return int(wider[-1]) + 1 if len(wider) else 0


def footprint(body: Body, view: View) -> Bool[np.ndarray, "height width"]:
    """Returns the pixels of a view that a body covers."""
    camera = view.intrinsics
    covered = np.zeros((camera.height, camera.width), dtype=bool)
    pixel, depth = project(view, body.centre)
    if not (pixel >= 0).any():
        return covered
    covered.ravel()[pixel[pixel >= 0]] = True
    return distance_to(covered) <= 0.87 * body.voxel * camera.fl_x / np.median(depth)


def _axes(up: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Returns an orthonormal frame as rows, the last of which is `up`."""
    first = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(up, first), up])
