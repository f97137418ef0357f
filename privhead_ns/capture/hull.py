"""The box in the capture's frame that holds the head: where training looks for a surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from skimage.measure import label

from privhead_ns.capture.camera import Intrinsics, look_at_centre
from privhead_ns.errors import UserError
from privhead_ns.outline import distance_to

VOXELS = 64
"""Voxels along each side of a carved region."""
ROUNDS = 2
"""Rounds of carving: the second carves the box found by the first, with finer voxels."""
MARGIN = 0.05
"""Share of the visual hull's size that is added on each side."""
SEEN = 0.3
"""Share of the views that must have a point in their image for it to be head: close-ups cut the head."""
REACHED = 0.99
"""Share of the visual hull that the sphere about the head must hold; the rest is corners that few views see."""
SPHERE_MARGIN = 1.1
"""Without masks: the box's half side over the radius of the sphere that most cameras see whole."""
CLOSE_UPS = 0.25
"""Share of the views that need not see that sphere whole."""


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
    sphere that three quarters of the cameras see whole.

    Raises:
        UserError: if the cameras do not look at a common point, or no point lies inside all silhouettes.
    """
    poses = np.stack([view.camera_to_world for view in views])
    centre = look_at_centre(poses)
    if any(view.silhouette is None for view in views):
        radii = [_sphere_radius(view, centre) for view in views]
        radius = SPHERE_MARGIN * float(np.quantile(radii, CLOSE_UPS, method="lower"))
        if radius <= 0:
            raise UserError(
                "The point that the cameras in transforms.json look at lies outside many of their images; give the "
                "head's box with --box x0 y0 z0 x1 y1 z1, or pass --subject room if the cameras stand in one."
            )
        return np.stack([centre - radius, centre + radius])
    box = footprint_box(views)
    for _ in range(ROUNDS):
        box = _carve(views, box)
    grow = MARGIN * (box[1] - box[0])
    return np.stack([box[0] - grow, box[1] + grow])


def reach(views: Sequence[View], box: Float[np.ndarray, "2 3"]) -> float:
    """Returns the distance from a box's centre within which nearly all of the visual hull lies; without silhouettes,
    the longest half side.
    """
    half = float((box[1] - box[0]).max()) / 2
    if any(view.silhouette is None for view in views):
        return half
    votes = vote(views, box, VOXELS, allowed=0)
    hull = votes.centre[votes.seen >= SEEN * len(views)]
    distance = np.linalg.norm(hull - box.mean(axis=0), axis=1)
    return float(np.quantile(distance, REACHED)) if len(hull) else half


@dataclass(frozen=True)
class Votes:
    """Votes of the views on the voxels that at most `allowed` of them see outside their silhouettes."""

    index: Int[np.ndarray, " n"]
    """Place of each voxel in the flattened grid of `resolution`³."""
    centre: Float[np.ndarray, "n 3"]
    seen: Int[np.ndarray, " n"]
    """Number of views that have the voxel in their image."""
    outside: Int[np.ndarray, " n"]
    """Number of those in which it lies outside the silhouette."""
    objector: Int[np.ndarray, " n"]
    """The last view in which it lies outside the silhouette, -1 where there is none."""
    voxel: Float[np.ndarray, " 3"]
    """Size of a voxel in units."""


def vote(
    views: Sequence[View], box: Float[np.ndarray, "2 3"], resolution: int, allowed: int, slack: float = 0.5
) -> Votes:
    """Counts, for each voxel of a box, the views that see it inside and outside their silhouettes.

    Args:
        views: with silhouettes.
        box: lower and upper corner.
        resolution: voxels along each side.
        allowed: voxels that more views than this have outside their silhouettes are dropped on the way.
        slack: pixels beyond the radius of a voxel's circumscribed sphere that still count as on the silhouette.
    """
    edges = np.linspace(box[0], box[1], resolution + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    points = np.stack(np.meshgrid(*centres.T, indexing="ij"), axis=-1).reshape(-1, 3)
    voxel = edges[1] - edges[0]
    radius = float(np.linalg.norm(voxel)) / 2
    index = np.arange(len(points))
    seen, outside, objector = np.zeros((3, len(points)), np.int32) - [[0], [0], [1]]
    for number, view in enumerate(views):
        inside, head = look_up(view, points, radius, slack)
        against = inside & ~head
        seen, outside = seen + inside, outside + against
        objector = np.where(against, number, objector)
        keep = outside <= allowed
        if not keep.all():
            index, points, seen, outside, objector = (a[keep] for a in (index, points, seen, outside, objector))
    return Votes(index, points, seen, outside, objector, voxel)


def visual_hull(
    views: Sequence[View], box: Float[np.ndarray, "2 3"], resolution: int
) -> Float[np.ndarray, "resolution resolution resolution"]:
    """Returns for each voxel of a box the share of views that see it on the head, of those that have it in their image.

    The visual hull proper is where the share is 1; where one of many views has a bad mask it is a little less. Voxels
    that no view sees have 0.

    Args:
        views: with silhouettes.
        box: lower and upper corner.
        resolution: voxels along each side.
    """
    votes = vote(views, box, resolution, allowed=len(views))
    share = (votes.seen - votes.outside) / np.maximum(votes.seen, 1)
    return share.reshape([resolution] * 3)


def project(view: View, points: Float[np.ndarray, "n 3"]) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns for each point the index of its pixel, row by row, or -1 outside the image, and the depth in units."""
    x, y, depth, inside = pixel_coordinates(view, points)
    return np.where(inside, np.floor(y) * view.intrinsics.width + np.floor(x), -1).astype(np.int64), depth


def pixel_coordinates(
    view: View, points: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Returns each point's column and row in pixels from the image's corner, its depth, and whether it is in the image.

    Depths are in units; behind the camera they are 1e-9, and the point is not in the image.
    """
    camera = view.intrinsics
    local = (points - view.camera_to_world[:3, 3]) @ view.camera_to_world[:3, :3]
    depth = np.maximum(-local[:, 2], 1e-9)
    x = camera.fl_x * local[:, 0] / depth + camera.cx
    y = -camera.fl_y * local[:, 1] / depth + camera.cy
    inside = (local[:, 2] < 0) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    return x, y, depth, inside


def _carve(views: Sequence[View], box: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """Returns the box around the largest body of voxels that no view sees outside the silhouette.

    Voxels that fewer than SEEN of the views see are dropped, and so are smaller bodies: what lies in front of a few
    cameras and outside all other images would stay for want of a view that removes it.
    """
    votes = vote(views, box, VOXELS, allowed=0)
    kept = votes.seen >= SEEN * len(views)
    if not kept.any():
        raise UserError(
            "No point in space lies inside the masks of all views: the masks and the camera poses in transforms.json "
            "disagree; check that masks are white on the head and that poses belong to these images, or give --box."
        )
    grid = np.zeros(VOXELS**3, dtype=bool)
    grid[votes.index[kept]] = True
    bodies = np.asarray(label(grid.reshape([VOXELS] * 3))).ravel()[votes.index]
    found = votes.centre[bodies == np.bincount(bodies[bodies > 0]).argmax()]
    return np.stack([found.min(axis=0) - votes.voxel / 2, found.max(axis=0) + votes.voxel / 2])


def look_up(
    view: View, points: Float[np.ndarray, "n 3"], radius: float, slack: float
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Returns which points a view has in its image, and which of those lie on the silhouette.

    A point counts as on the silhouette up to `radius` units and `slack` pixels away from it.
    """
    assert view.silhouette is not None
    pixel, depth = project(view, points)
    inside = pixel >= 0
    focal = max(view.intrinsics.fl_x, view.intrinsics.fl_y)
    away = distance_to(view.silhouette > 0).ravel()[pixel]
    return inside, inside & (away <= radius * focal / depth + slack)


def _sphere_radius(view: View, centre: Float[np.ndarray, " 3"]) -> float:
    """Returns the distance of `centre` to the nearest side of the view's frustum, negative outside of it."""
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
    return float((planes @ local / np.linalg.norm(planes, axis=1)).min())


def footprint_box(views: Sequence[View]) -> Float[np.ndarray, "2 3"]:
    """Returns the cube at the point that the cameras look at, as large as what the widest view covers there."""
    centre = look_at_centre(np.stack([view.camera_to_world for view in views]))
    half = max(_footprint(view, centre) for view in views)
    return np.stack([centre - half, centre + half])


def _footprint(view: View, centre: Float[np.ndarray, " 3"]) -> float:
    """Returns half the longer side of what the view covers at the depth of `centre`."""
    camera = view.intrinsics
    distance = float(np.linalg.norm(centre - view.camera_to_world[:3, 3]))
    return distance * max(camera.width / camera.fl_x, camera.height / camera.fl_y) / 2
