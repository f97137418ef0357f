"""Estimates the similarity that places a template in a capture: landmarks, silhouettes, direction of the face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.ndimage import map_coordinates
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from privhead_ns.capture.hull import View
from privhead_ns.errors import UserError
from privhead_ns.outline import signed_distance
from privhead_ns.template.files import Template

ROUNDS = 6
"""Iterations, in each of which the outline's vertices are found again."""
BINS = 64
"""Directions about the template's middle, in each of which a view's outline has one vertex."""
CUT = 0.2
"""Share of the template's height, from below, that is compared with no silhouette: necks are cut anywhere."""
TURN_PRIOR, OUTLINE_ERROR = 0.2, 0.02
"""Standard deviations of the rotation from the start in radians, and of outlines in radii of the template."""
FILLED = 0.7
"""The template's radius over half the box's longest side."""
LEAST_MEAN = 0.3
"""Length of the mean of unit vectors towards cameras below which it tells no direction."""
LEAST_SINE = 0.05
LEAST_LANDMARKS = 3
"""Landmarks that a similarity needs at least."""

Vector = Float[np.ndarray, " 3"]


def pose_template(
    template: Template,
    views: Sequence[View],
    facing: Sequence[View],
    box: Float[np.ndarray, "2 3"],
    direction: Sequence[float] | None,
    landmarks: Mapping[str, Vector],
) -> trimesh.Trimesh:
    """Returns the template in the capture's frame.

    It starts where its landmarks come nearest to the capture's (Umeyama 1991); without three of them, in the middle of
    the box, with the face in the given direction and the cameras' mean up. From there silhouettes, where all views have
    them, decide rotation, scale and place by least squares.

    Args:
        template: a head.
        views: cameras and, where known, silhouettes.
        facing: those of them that may see the face.
        box: holds the head, roughly.
        direction: in which the face looks, roughly; None for towards the middle of the cameras in `facing`.
        landmarks: places of the face by name.

    Raises:
        UserError: if the direction of the face is needed, not given, and not told by the cameras.
    """
    mesh = template.mesh
    shared = [name for name in template.landmarks if name in landmarks]
    if len(shared) >= LEAST_LANDMARKS:
        ours, theirs = (
            np.stack([np.asarray(side[name]) for name in shared]) for side in (template.landmarks, landmarks)
        )
        similarity, _, _ = trimesh.registration.procrustes(ours, theirs, reflection=False)
    else:
        up = np.mean([view.camera_to_world[:3, 1] for view in views], axis=0)
        towards = _middle_of(facing, box.mean(axis=0)) if direction is None else np.array(direction)
        similarity = _from_box(mesh, box, _facing(towards, up))
    vertices = trimesh.transform_points(mesh.vertices, similarity)
    if all(view.silhouette is not None for view in views):
        height = np.asarray(mesh.vertices)[:, 2]
        vertices = _fit(vertices, height > height.min() + CUT * np.ptp(height), views)
    return trimesh.Trimesh(vertices, mesh.faces, process=False)


def _from_box(
    mesh: trimesh.Trimesh, box: Float[np.ndarray, "2 3"], rotation: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "4 4"]:
    """Returns the similarity with a rotation that puts the middle of a mesh into that of a box."""
    middle = np.asarray(mesh.bounds).mean(axis=0)
    radius = np.linalg.norm(mesh.vertices - middle, axis=1).max()
    similarity = np.eye(4)
    similarity[:3, :3] = rotation * FILLED * (box[1] - box[0]).max() / 2 / radius
    similarity[:3, 3] = box.mean(axis=0) - similarity[:3, :3] @ middle
    return similarity


def _middle_of(views: Sequence[View], centre: Vector) -> Vector:
    """Returns the mean of the directions from a centre to the cameras.

    Raises:
        UserError: if they stand all around, so that it means nothing.
    """
    towards = np.stack([view.camera_to_world[:3, 3] for view in views]) - centre
    mean = (towards / np.linalg.norm(towards, axis=1, keepdims=True)).mean(axis=0)
    if np.linalg.norm(mean) < LEAST_MEAN:
        raise UserError(
            "--template: sensitive photographs were taken from all sides, so where the face looks is unknown: give "
            "--face-direction X Y Z, or declare those that show no face with --neutral GLOB."
        )
    return mean


def _facing(direction: Vector, up: Vector) -> Float[np.ndarray, "3 3"]:
    """Returns the rotation that turns +x to `direction` and z as near to `up` as it goes."""
    x = direction / np.linalg.norm(direction)
    y = np.cross(up, x)
    if np.linalg.norm(y) < LEAST_SINE * np.linalg.norm(up):  # the face looks up: any upright will do
        y = np.cross(np.eye(3)[np.argmin(np.abs(x))], x)
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def _silhouette(view: View) -> Float[np.ndarray, "height width"]:
    assert view.silhouette is not None
    return (view.silhouette > 0).astype(np.float32)


def _fit(
    vertices: Float[np.ndarray, "n 3"], kept: Bool[np.ndarray, " n"], views: Sequence[View]
) -> Float[np.ndarray, "n 3"]:
    """Returns the vertices where their outlines fit the silhouettes best in the least-squares sense (soft L1).

    Args:
        vertices: of a template that stands about right.
        kept: which of them are compared.
        views: with silhouettes.
    """
    distances = [signed_distance(_silhouette(view)) for view in views]
    centre = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    scale = float(np.linalg.norm(vertices - centre, axis=1).max())

    def moved(parameters: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> Float[np.ndarray, "m 3"]:
        turned = Rotation.from_rotvec(parameters[:3]).apply(vertices[chosen] - centre)
        return centre + np.exp(parameters[3]) * turned + scale * parameters[4:]

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
