"""Where a template stands in a capture: a similarity found from silhouettes and the direction of the face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import trimesh
from jaxtyping import Float, Int
from scipy.ndimage import map_coordinates
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from privhead_ns.capture.hull import View, signed_distance

ROUNDS = 6
"""Times that the outline's vertices are found anew."""
BINS = 64
"""Directions about the template's middle, in each of which a view's outline has one vertex."""
CUT = 0.2
"""Share of the template's height, from below, that is compared with no silhouette: necks are cut anywhere."""
TURN_PRIOR, OUTLINE_ERROR = 0.2, 0.02
"""Standard deviations of the start's rotation in radians, and of outlines in template radii."""
FILLED = 0.7
"""Without silhouettes: the template's radius over half the box's side."""

Vector = Float[np.ndarray, " 3"]


def pose_template(
    template: trimesh.Trimesh, views: Sequence[View], box: Float[np.ndarray, "2 3"], direction: Vector
) -> trimesh.Trimesh:
    """Returns the template in the capture's frame.

    Its up is that of the cameras on average. With silhouettes in all views, rotation, scale and place are those with
    which its outlines fit theirs best; else it looks in the given direction from the middle of the box.

    Args:
        template: a closed mesh that looks along +x, with z up.
        views: cameras and, where known, silhouettes.
        box: holds the head, roughly.
        direction: in which the face looks, roughly.
    """
    rotation = _facing(direction, np.mean([view.camera_to_world[:3, 1] for view in views], axis=0))
    middle = np.asarray(template.bounds).mean(axis=0)
    radius = float(np.linalg.norm(template.vertices - middle, axis=1).max())
    vertices = (np.asarray(template.vertices) - middle) / radius @ rotation.T
    centre, scale = box.mean(axis=0), FILLED * float((box[1] - box[0]).max()) / 2
    if all(view.silhouette is not None for view in views):
        kept = np.asarray(template.vertices)[:, 2] > template.bounds[0, 2] + CUT * np.ptp(template.bounds[:, 2])
        vertices = _fit(vertices, kept, views, centre, scale)
    else:
        vertices = centre + scale * vertices
    return trimesh.Trimesh(vertices, template.faces, process=False)


def mean_direction(views: Sequence[View], centre: Vector) -> Vector:
    """Returns the mean of the directions from a centre to the cameras."""
    towards = np.stack([view.camera_to_world[:3, 3] for view in views]) - centre
    return (towards / np.linalg.norm(towards, axis=1, keepdims=True)).mean(axis=0)


def _facing(direction: Vector, up: Vector) -> Float[np.ndarray, "3 3"]:
    """Returns the rotation that turns +x to `direction` and z as near to `up` as it goes."""
    x = direction / np.linalg.norm(direction)
    y = np.cross(up, x)
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def _fit(
    vertices: Float[np.ndarray, "n 3"],
    kept: np.ndarray,
    views: Sequence[View],
    centre: Vector,
    scale: float,
) -> Float[np.ndarray, "n 3"]:
    """Returns the vertices where their outlines fit the silhouettes best in the least-squares sense (soft L1).

    Args:
        vertices: of a template with radius 1, about 0.
        kept: which of them are compared.
        views: with silhouettes.
        centre, scale: where to start.
    """
    distances = [signed_distance(view) for view in views]

    def moved(parameters: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> Float[np.ndarray, "m 3"]:
        turned = Rotation.from_rotvec(parameters[:3]).apply(vertices[chosen])
        return centre + scale * (np.exp(parameters[3]) * turned + parameters[4:])

    parameters = np.zeros(7)
    for _ in range(ROUNDS):
        now = moved(parameters)
        outlines = [chosen[kept[chosen]] for chosen in (_outline(now, view) for view in views)]

        def residuals(candidate: np.ndarray, outlines: list[np.ndarray] = outlines) -> np.ndarray:
            misses = [
                _misses(moved(candidate, chosen), view, distance)
                for chosen, view, distance in zip(outlines, views, distances, strict=True)
            ]
            return np.concatenate([*misses, candidate[:3] / TURN_PRIOR * OUTLINE_ERROR * scale]) / scale

        parameters = least_squares(residuals, parameters, loss="soft_l1", f_scale=OUTLINE_ERROR, max_nfev=20).x
    return moved(parameters)


def _outline(points: Float[np.ndarray, "n 3"], view: View) -> Int[np.ndarray, " m"]:
    """Returns the points that lie farthest from the middle of the view of them, one in each of `BINS` directions."""
    pixels, _ = _projected(points, view)
    offset = pixels - (pixels.min(axis=0) + pixels.max(axis=0)) / 2
    bins = ((np.arctan2(offset[:, 1], offset[:, 0]) / (2 * np.pi) + 0.5) * BINS).astype(int) % BINS
    order = np.lexsort([-np.hypot(*offset.T), bins])
    return order[np.unique(bins[order], return_index=True)[1]]


def _misses(
    points: Float[np.ndarray, "n 3"], view: View, distance: Float[np.ndarray, "height width"]
) -> Float[np.ndarray, " n"]:
    """Returns how far outside of a view's silhouette points lie, in units; 0 beyond the picture's edge."""
    pixels, depth = _projected(points, view)
    rows, columns = pixels[:, 1] - 0.5, pixels[:, 0] - 0.5
    outside = map_coordinates(distance, [rows, columns], order=1, mode="nearest")
    lens = view.intrinsics
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < lens.width) & (pixels[:, 1] < lens.height)
    return np.where(inside, outside * depth / lens.fl_x, 0.0)


def _projected(
    points: Float[np.ndarray, "n 3"], view: View
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Returns the pixels at which a view sees points, and their depths."""
    local = (points - view.camera_to_world[:3, 3]) @ view.camera_to_world[:3, :3]
    lens, depth = view.intrinsics, np.maximum(-local[:, 2], 1e-9)
    return np.stack(
        [lens.fl_x * local[:, 0] / depth + lens.cx, lens.cy - lens.fl_y * local[:, 1] / depth], axis=1
    ), depth
