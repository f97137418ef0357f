"""Reads the plate's letters by template correlation with the whole alphabet.

The reader knows the font, the cameras, how high letters are embossed, and where each stands. For each place it draws
all letters as the same channel would show them (a photograph, or σ of one), and takes the one that correlates best. A
person who looks does without that knowledge; a program that learned from other plates may do better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.demo.letters import GRID, STROKES
from privhead_ns.demo.plate import (
    EMBOSSED,
    LETTER_HEIGHT,
    PLATE_FRONT,
    PLATE_HALF,
    PLATE_MIDDLE,
    STROKE,
    ink_distance,
    letter_middles,
)
from privhead_ns.mesh.raycast import RayScene
from privhead_ns.operators import Operator

ALPHABET = "".join(STROKES)
CELL_HALF = np.array([LETTER_HEIGHT * GRID[0] / GRID[1] / 2, LETTER_HEIGHT / 2]) + STROKE + 0.005
"""Half width and half height of what is looked at for one letter, in units."""
RAYS = 3
"""Rays along each side of a pixel of a template."""
DEPTHS = (EMBOSSED, 0.67 * EMBOSSED, 0.33 * EMBOSSED, 0.0)
"""Heights above the plate at which rays of a template look for ink, the sides of letters included."""
RELIEF_STEP, RELIEF_SHIFTS = 0.005, (-4, -2, 0, 2, 4)
"""Distance of the rays that measure relief, in units, and how many of them a letter may be off."""
RELIEF_BLUR = 3.0
"""Standard deviation in rays of the blur of measured relief and templates: a mesh is smoother than the plate."""
STANDOFF = 40.0
"""Distance of the camera that measures relief: so far that its rays are all but parallel."""

Correlations = Float[np.ndarray, "places alphabet"]


@dataclass(frozen=True)
class Reading:
    """Correlations of every place on the plate with the alphabet, in each picture."""

    text: str
    correlations: Float[np.ndarray, "pictures places alphabet"]

    @property
    def single(self) -> float:
        """Share of the letters that are read right from a single picture; guessing gives 1 in 26."""
        right = [ALPHABET.index(letter) for letter in self.text]
        return float((self.correlations.argmax(axis=2) == right).mean())

    @property
    def together(self) -> str:
        """What is read from all pictures together, by the mean of their correlations."""
        return "".join(ALPHABET[index] for index in self.correlations.mean(axis=0).argmax(axis=1))


def read_pictures(
    cameras: Sequence[PosedCamera],
    pictures: Sequence[Float[np.ndarray, "height width"]],
    text: str,
    sigma: Operator | None = None,
) -> Reading:
    """Reads the letters in pictures.

    Args:
        cameras: one a picture.
        pictures: grey values, or magnitudes where `sigma` is given, zero in the border that it loses.
        text: what stands on the plate, to compare with.
        sigma: what the pictures went through.
    """
    found = [_read(camera, picture, text, sigma) for camera, picture in zip(cameras, pictures, strict=True)]
    return Reading(text, np.stack(found))


def _read(
    camera: PosedCamera, picture: Float[np.ndarray, "height width"], text: str, sigma: Operator | None
) -> Correlations:
    border = (0 if sigma is None else sigma.margin) + 1
    padded = np.pad(picture, 2 * border)
    result = np.zeros((len(text), len(ALPHABET)))
    for number, middle in enumerate(letter_middles(text)):
        corners = middle + (CELL_HALF + EMBOSSED) * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
        column, row = _project(camera, corners)
        left, right = _window(column, picture.shape[1], border)
        top, bottom = _window(row, picture.shape[0], border)
        seen = padded[top + 2 * border : bottom + 2 * border, left + 2 * border : right + 2 * border]
        y, x = (np.mgrid[: (bottom - top) * RAYS, : (right - left) * RAYS] + 0.5) / RAYS
        y, x = y + top, x + left
        layers = [(_on_plate(camera, x.ravel(), y.ravel(), depth) - middle).astype(np.float32) for depth in DEPTHS]
        fine = (bottom - top, RAYS, right - left, RAYS)
        inside = (np.abs(layers[0]) < CELL_HALF).all(axis=1).reshape(fine).mean(axis=(1, 3)) > 0.5
        for index, letter in enumerate(ALPHABET):
            light = np.all([ink_distance(places, letter) > 0 for places in layers], axis=0)
            light = light.reshape(fine).mean(axis=(1, 3))
            template = light if sigma is None else _through(sigma, light)
            result[number, index] = _best_correlation(seen, template, inside)
    return result


def _window(places: Float[np.ndarray, " n"], size: int, border: int) -> tuple[int, int]:
    """Returns the first pixel and the one after the last that hold places of an image, with a border around them."""
    inside = np.clip(places, 0, size - 1)
    return int(inside.min()) - border, int(inside.max()) + 1 + border


def read_mesh(mesh: trimesh.Trimesh, text: str) -> tuple[Reading, Float[np.ndarray, "rows columns"]]:
    """Reads the letters from the relief of a mesh; also returns the relief, its height above the plate in units."""
    columns, rows = (round(2 * half / RELIEF_STEP) for half in PLATE_HALF)
    focal = STANDOFF / RELIEF_STEP
    camera_to_world = np.eye(4)
    camera_to_world[:3, :3] = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])  # right is +y, up +z, and it looks along -x
    camera_to_world[:3, 3] = (PLATE_FRONT + STANDOFF, 0, PLATE_MIDDLE)
    camera = PosedCamera(camera_to_world, Intrinsics(columns, rows, focal, focal, columns / 2, rows / 2))
    hits = RayScene(mesh).cast(camera, columns, rows)
    relief = np.zeros((rows, columns))
    relief[hits.seen] = np.clip(hits.points[:, 0] - PLATE_FRONT, -EMBOSSED, 2 * EMBOSSED)
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    places = np.stack([(x - columns / 2) * RELIEF_STEP, (rows / 2 - y) * RELIEF_STEP], axis=-1).reshape(-1, 2)
    measured = gaussian_filter(relief, RELIEF_BLUR)
    result = np.zeros((1, len(text), len(ALPHABET)))
    for number, middle in enumerate(letter_middles(text)):
        offset = (places - middle).astype(np.float32)
        inside = (np.abs(offset) < CELL_HALF).all(axis=1).reshape(rows, columns)
        for index, letter in enumerate(ALPHABET):
            raised = (ink_distance(offset, letter) < 0).reshape(rows, columns).astype(np.float64)
            template = gaussian_filter(raised, RELIEF_BLUR)
            result[0, number, index] = _best_correlation(measured, template, inside, RELIEF_SHIFTS)
    return Reading(text, result), relief


def _project(camera: PosedCamera, places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "2 n"]:
    """Returns column and row of places on the plate's relief."""
    points = np.column_stack([np.full(len(places), PLATE_FRONT + EMBOSSED), places + np.array([0, PLATE_MIDDLE])])
    local = (points - camera.camera_to_world[:3, 3]) @ camera.camera_to_world[:3, :3]
    lens = camera.intrinsics
    return np.stack([lens.cx - lens.fl_x * local[:, 0] / local[:, 2], lens.cy + lens.fl_y * local[:, 1] / local[:, 2]])


def _on_plate(
    camera: PosedCamera, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], depth: float
) -> Float[np.ndarray, "n 2"]:
    """Returns where rays through places of the image meet the plane `depth` above the plate, from its middle."""
    lens = camera.intrinsics
    local = np.stack([(x - lens.cx) / lens.fl_x, (lens.cy - y) / lens.fl_y, -np.ones_like(x)], axis=1)
    directions, position = local @ camera.camera_to_world[:3, :3].T, camera.camera_to_world[:3, 3]
    distance = (PLATE_FRONT + depth - position[0]) / np.minimum(directions[:, 0], -1e-6)
    return (position + distance[:, None] * directions)[:, 1:] - np.array([0, PLATE_MIDDLE])


def _through(sigma: Operator, light: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Returns σ of a grey picture, zero in the border that it loses."""
    image = torch.from_numpy(np.repeat(light[None, None], 3, axis=1)).float()
    with torch.no_grad():
        return np.pad(sigma(image)[0].numpy(), sigma.margin)


def _best_correlation(
    picture: Float[np.ndarray, "height width"],
    template: Float[np.ndarray, "height width"],
    inside: Bool[np.ndarray, "height width"],
    shifts: Sequence[int] = (0,),
) -> float:
    """Returns the highest normalised correlation inside a mask over shifts of the picture; 0 where nothing varies."""
    wanted = template[inside] - template[inside].mean() if inside.any() else np.zeros(0)
    best = 0.0
    for down in shifts:
        for across in shifts:
            seen = np.roll(picture, (down, across), axis=(0, 1))[inside]
            seen = seen - seen.mean() if len(seen) else seen
            norm = float(np.linalg.norm(seen) * np.linalg.norm(wanted))
            best = max(best, float(seen @ wanted) / norm if norm > 1e-9 else 0.0)
    return best
