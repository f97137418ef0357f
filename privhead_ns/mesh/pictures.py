"""Renders meshes: normals as colours, shaded surfaces, and distance to the truth as a heat map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import trimesh
from jaxtyping import Float, UInt8

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.mesh.files import check_target
from privhead_ns.mesh.grid import ERROR_COLOURS, PictureGrid
from privhead_ns.mesh.ground_truth import FACE_RADIUS, Truth, load_truth
from privhead_ns.mesh.raycast import Hits, ray_scene, smooth_normals

ERROR_MAXIMUM = 5.0
"""Distance in mm at the upper end of the colour map."""
ERROR_MAXIMUM_SHARE = 0.0125
"""The same as a share of the truth's box diagonal, for captures without a scale, and for rooms."""
SUPERSAMPLING = 2
"""Rays along each side of a pixel."""
VIEWS = {"front": 0.0, "three-quarter": 45.0, "side": 90.0, "rear": 180.0}
"""Turn of the heat map's cameras about the up axis, in degrees from the face."""
VIEW_SIZE = 320
"""Side in pixels of one view of the heat map."""
FACE_RADIUS_SHARE = 0.24
"""Radius of the face region as a share of the truth's box diagonal, for captures without a scale."""
FACE_DEPTH = 0.5
"""How far behind the tip of the nose close-ups look, in radii of the face region, so that turned faces are whole."""
LIGHTS = (((-0.5, 0.6, 0.62), 0.7), ((0.8, 0.1, 0.6), 0.2))
"""Directions to the lamps of shaded pictures in the camera's frame, and their strengths."""
AMBIENT = 0.15
"""Light from everywhere in shaded pictures."""
CLAY = (0.93, 0.9, 0.86)
"""Colour of the surface in shaded pictures."""
VIEW_ANGLE, ROOM_ANGLE = 25.0, 90.0
"""Opening angle in degrees of the heat map's cameras, about a head and within a room."""


def render_normals(mesh: trimesh.Trimesh, camera: PosedCamera) -> UInt8[np.ndarray, "height width 3"]:
    """Renders smooth vertex normals in the camera's frame as colours, (n + 1) / 2, on white.

    Args:
        mesh: the surface, in the frame of the camera.
        camera: its intrinsics give the size of the picture.
    """
    to_camera = np.asarray(camera.camera_to_world, dtype=np.float64)[:3, :3]
    return _render(mesh, camera, lambda hits: (smooth_normals(mesh, hits) @ to_camera + 1) / 2)


def render_shaded(mesh: trimesh.Trimesh, camera: PosedCamera) -> UInt8[np.ndarray, "height width 3"]:
    """Renders a matt grey surface under lamps that are fixed to the camera (Lambert's law, no shadows), on white.

    Args:
        mesh: the surface, in the frame of the camera.
        camera: its intrinsics give the size of the picture.
    """
    to_camera = np.asarray(camera.camera_to_world, dtype=np.float64)[:3, :3]

    def colours(hits: Hits) -> Float[np.ndarray, "n 3"]:
        normals = smooth_normals(mesh, hits) @ to_camera
        light = np.full(len(normals), AMBIENT)
        for direction, strength in LIGHTS:
            light += strength * np.clip(normals @ (np.array(direction) / np.linalg.norm(direction)), 0, 1)
        return np.clip(light, 0, 1)[:, None] * np.array(CLAY)

    return _render(mesh, camera, colours)


def render_error(
    mesh: trimesh.Trimesh, truth: trimesh.Trimesh, camera: PosedCamera, maximum: float
) -> UInt8[np.ndarray, "height width 3"]:
    """Renders the unsigned distance from the visible points of a mesh to the true surface as a heat map, on white.

    Args:
        mesh: the surface to draw, in the frame of the camera.
        truth: the surface to measure to, in the same frame.
        camera: its intrinsics give the size of the picture.
        maximum: distance, in the frame's units, at the upper end of `ERROR_COLOURS`; larger ones are clipped.
    """
    scene, colour_map = ray_scene(truth), matplotlib.colormaps[ERROR_COLOURS]

    def colours(hits: Hits) -> Float[np.ndarray, "n 3"]:
        return colour_map(np.clip(scene.nearest(hits.points).distances / maximum, 0, 1))[:, :3]

    return _render(mesh, camera, colours)


def error_maximum(truth: Truth) -> float:
    """Returns the distance at the upper end of the heat map, in `truth.unit`."""
    if truth.small and truth.mm_per_unit:
        return ERROR_MAXIMUM
    return ERROR_MAXIMUM_SHARE * truth.mesh.scale * truth.scale


def save_heat_map(path: Path, mesh: trimesh.Trimesh, data: Path) -> None:
    """Writes a PNG of four views around the head: true normals, the mesh's normals, and its distance to the truth.

    Raises:
        UserError: if `path` is no PNG in an existing folder, or the capture's files are missing or broken.
    """
    check_target(path, (".png",))
    truth = load_truth(data)
    mesh = truth.localised(mesh)
    maximum = error_maximum(truth)
    cameras = [orbit_camera(truth, turn, VIEW_SIZE) for turn in VIEWS.values()]
    rows = [
        [render_normals(truth.mesh, camera) for camera in cameras],
        [render_normals(mesh, camera) for camera in cameras],
        [render_error(mesh, truth.mesh, camera, maximum / truth.scale) for camera in cameras],
    ]
    labels = ("normals of the truth", "normals of the mesh", "distance to the true surface")
    grid = PictureGrid(rows, list(VIEWS), labels, cell=(2.6, 2.47), dpi=140)
    grid.add_error_scale(grid.axes[2], maximum, truth.unit)
    grid.save(path)


def orbit_camera(truth: Truth, turn: float, size: int) -> PosedCamera:
    """Returns a camera with a square image that sees the whole true head; of a room, one in the midst of the cameras.

    Args:
        truth: gives the head's place and axes.
        turn: degrees about the up axis from the face direction, towards the head's left.
        size: side of the image in pixels.
    """
    if truth.subject == "room":
        midst = np.mean([camera.camera_to_world[:3, 3] for camera in truth.cameras], axis=0)
        return _camera_about(truth, midst, 0.0, turn, size, ROOM_ANGLE)
    centre = truth.mesh.bounds.mean(axis=0)
    radius = np.linalg.norm(truth.mesh.vertices - centre, axis=1).max()
    return _camera_about(truth, centre, float(radius), turn, size)


def face_camera(truth: Truth, turn: float, size: int) -> PosedCamera:
    """Returns a camera with a square image of the face; see `orbit_camera`.

    Its image is as wide as the face region. It looks at a point behind the tip of the nose, or behind the foremost
    point of the truth where the capture knows no nose tip.
    """
    nose_tip = truth.nose_tip
    if nose_tip is None:
        nose_tip = truth.mesh.vertices[np.argmax(truth.mesh.vertices @ truth.face_axis)]
    radius = FACE_RADIUS / truth.scale if truth.mm_per_unit else FACE_RADIUS_SHARE * truth.mesh.scale
    return _camera_about(truth, nose_tip - FACE_DEPTH * radius * truth.face_axis, radius, turn, size)


def _camera_about(
    truth: Truth, centre: Float[np.ndarray, " 3"], radius: float, turn: float, size: int, opening: float = VIEW_ANGLE
) -> PosedCamera:
    """Returns a camera that sees a sphere."""
    left = np.cross(truth.up_axis, truth.face_axis)
    angle, half_opening = np.radians(turn), np.radians(opening) / 2
    backward = np.cos(angle) * truth.face_axis + np.sin(angle) * left
    camera_to_world = np.eye(4)
    camera_to_world[:3, :3] = np.stack([np.cross(truth.up_axis, backward), truth.up_axis, backward], axis=1)
    camera_to_world[:3, 3] = centre + backward * radius / np.sin(half_opening)
    fl = size / 2 / np.tan(half_opening)
    return PosedCamera(camera_to_world, Intrinsics(size, size, fl_x=fl, fl_y=fl, cx=size / 2, cy=size / 2))


def _render(
    mesh: trimesh.Trimesh, camera: PosedCamera, colours: Callable[[Hits], Float[np.ndarray, "n 3"]]
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws what a camera sees of a mesh on white; `colours` gives the hits' colours in 0..1."""
    width, height = camera.intrinsics.width, camera.intrinsics.height
    hits = ray_scene(mesh).cast(camera, width * SUPERSAMPLING, height * SUPERSAMPLING)
    picture = np.ones((*hits.seen.shape, 3))
    picture[hits.seen] = colours(hits)
    picture = picture.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3).mean(axis=(1, 3))
    return np.rint(picture * 255).astype(np.uint8)
