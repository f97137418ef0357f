"""Reads the letters of a panel by template correlation with the whole alphabet.

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
from privhead_ns.demo.lettering import Lettering
from privhead_ns.demo.letters import STROKES
from privhead_ns.mesh.raycast import RayScene
from privhead_ns.operators import Operator

ALPHABET = "".join(STROKES)
BESIDE = 0.005
"""Width of what is looked at around a letter, in units."""
RAYS = 3
"""Rays along each side of a pixel of a template."""
DEPTHS = (1.0, 0.67, 0.33, 0.0)
"""Shares of the letters' height above the panel at which rays of a template look for ink, their sides included."""
RELIEF_STEP, RELIEF_SHIFTS = 0.005, (-4, -2, 0, 2, 4)
"""Distance of the rays that measure relief, in units, and how many of them a letter may be off."""
RELIEF_BLUR = 3.0
"""Standard deviation in rays of the blur of measured relief and templates: a mesh is smoother than the plate."""
STANDOFF = 40.0
"""Distance of the camera that measures relief: so far that its rays are all but parallel."""

Correlations = Float[np.ndarray, "places alphabet"]


@dataclass(frozen=True)
class Reading:
    """Correlations of every letter's place with the alphabet, in each picture."""

    text: str
    correlations: Float[np.ndarray, "pictures places alphabet"]
    """NaN where the picture does not show the whole place."""

    @property
    def single(self) -> float:
        """Share of the letters shown that are read right from a single picture; guessing gives 1 in 26."""
        right = [ALPHABET.index(letter) for letter in self.text]
        shown = np.isfinite(self.correlations).all(axis=2)
        return float((self.correlations.argmax(axis=2) == right)[shown].mean())

    @property
    def together(self) -> str:
        """What is read from all pictures together, by the mean of their correlations."""
        return "".join(ALPHABET[index] for index in np.nanmean(self.correlations, axis=0).argmax(axis=1))


def read_pictures(
    panel: Lettering,
    cameras: Sequence[PosedCamera],
    pictures: Sequence[Float[np.ndarray, "height width"]],
    sigma: Operator | None = None,
) -> Reading:
    """Reads the letters in pictures.

    Args:
        panel: what is read, and the text to compare with.
        cameras: one a picture.
        pictures: grey values, or magnitudes where `sigma` is given, zero in the border that it loses.
        sigma: what the pictures went through.
    """
    found = [_read(panel, camera, picture, sigma) for camera, picture in zip(cameras, pictures, strict=True)]
    return Reading(panel.text, np.stack(found))


def _read(
    panel: Lettering, camera: PosedCamera, picture: Float[np.ndarray, "height width"], sigma: Operator | None
) -> Correlations:
    half = panel.cell_half + BESIDE
    border = (0 if sigma is None else sigma.margin) + 1
    padded = np.pad(picture, 2 * border)
    result = np.full((len(panel.text), len(ALPHABET)), np.nan)
    for number, middle in enumerate(panel.middles(panel.text)):
        corners = middle + (half + panel.embossed) * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
        column, row, depth = project(panel, camera, corners)
        if not _inside(column, picture.shape[1]) or not _inside(row, picture.shape[0]) or min(depth) <= 0:
            continue
        left, right = _window(column, picture.shape[1], border)
        top, bottom = _window(row, picture.shape[0], border)
        seen = padded[top + 2 * border : bottom + 2 * border, left + 2 * border : right + 2 * border]
        y, x = (np.mgrid[: (bottom - top) * RAYS, : (right - left) * RAYS] + 0.5) / RAYS
        y, x = y + top, x + left
        heights = [share * panel.embossed for share in DEPTHS]
        layers = [
            (_on_panel(panel, camera, x.ravel(), y.ravel(), height) - middle).astype(np.float32) for height in heights
        ]
        fine = (bottom - top, RAYS, right - left, RAYS)
        inside = (np.abs(layers[0]) < half).all(axis=1).reshape(fine).mean(axis=(1, 3)) > 0.5
        for index, letter in enumerate(ALPHABET):
            light = np.all([panel.ink_distance(places, letter) > 0 for places in layers], axis=0)
            light = light.reshape(fine).mean(axis=(1, 3))
            template = light if sigma is None else _through(sigma, light)
            result[number, index] = _best_correlation(seen, template, inside)
    return result


def _inside(places: Float[np.ndarray, " n"], size: int) -> bool:
    """Returns whether all places lie in an image."""
    return bool(places.min() >= 0 and places.max() <= size)


def _window(places: Float[np.ndarray, " n"], size: int, border: int) -> tuple[int, int]:
    """Returns the first pixel and the one after the last that hold places of an image, with a border around them."""
    inside = np.clip(places, 0, size - 1)
    return int(inside.min()) - border, int(inside.max()) + 1 + border


def read_mesh(panel: Lettering, mesh: trimesh.Trimesh) -> tuple[Reading, Float[np.ndarray, "rows columns"]]:
    """Reads the letters from the relief of a mesh; also returns the relief, its height above the panel in units."""
    columns, rows = (round(2 * half / RELIEF_STEP) for half in panel.half)
    focal = STANDOFF / RELIEF_STEP
    camera_to_world = np.eye(4)
    camera_to_world[:3, :3] = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])  # right is +y, up +z, and it looks along -x
    camera_to_world[:3, 3] = (panel.front + STANDOFF, 0, panel.middle)
    camera = PosedCamera(camera_to_world, Intrinsics(columns, rows, focal, focal, columns / 2, rows / 2))
    hits = RayScene(mesh).cast(camera, columns, rows)
    relief = np.zeros((rows, columns))
    relief[hits.seen] = np.clip(hits.points[:, 0] - panel.front, -panel.embossed, 2 * panel.embossed)
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    places = np.stack([(x - columns / 2) * RELIEF_STEP, (rows / 2 - y) * RELIEF_STEP], axis=-1).reshape(-1, 2)
    measured = gaussian_filter(relief, RELIEF_BLUR)
    result = np.zeros((1, len(panel.text), len(ALPHABET)))
    for number, middle in enumerate(panel.middles(panel.text)):
        offset = (places - middle).astype(np.float32)
        inside = (np.abs(offset) < panel.cell_half + BESIDE).all(axis=1).reshape(rows, columns)
        for index, letter in enumerate(ALPHABET):
            raised = (panel.ink_distance(offset, letter) < 0).reshape(rows, columns).astype(np.float64)
            template = gaussian_filter(raised, RELIEF_BLUR)
            result[0, number, index] = _best_correlation(measured, template, inside, RELIEF_SHIFTS)
    return Reading(panel.text, result), relief


def project(
    panel: Lettering, camera: PosedCamera, places: Float[np.ndarray, "n 2"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns column, row and depth of places on the fronts of a panel's letters; the depth is negative behind."""
    fronts = np.full(len(places), panel.front + panel.embossed)
    points = np.column_stack([fronts, places + np.array([0, panel.middle])])
    local = (points - camera.camera_to_world[:3, 3]) @ camera.camera_to_world[:3, :3]
    lens, depth = camera.intrinsics, local @ np.array([0.0, 0.0, -1.0])
    divisor = np.where(depth == 0, 1e-12, depth)
    return lens.cx + lens.fl_x * local[:, 0] / divisor, lens.cy - lens.fl_y * local[:, 1] / divisor, depth


def _on_panel(
    panel: Lettering, camera: PosedCamera, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], height: float
) -> Float[np.ndarray, "n 2"]:
    """Returns where rays through places of the image meet the plane `height` above the panel, from its middle."""
    lens = camera.intrinsics
    local = np.stack([(x - lens.cx) / lens.fl_x, (lens.cy - y) / lens.fl_y, -np.ones_like(x)], axis=1)
    directions, position = local @ camera.camera_to_world[:3, :3].T, camera.camera_to_world[:3, 3]
    distance = (panel.front + height - position[0]) / np.minimum(directions[:, 0], -1e-6)
    return (position + distance[:, None] * directions)[:, 1:] - np.array([0, panel.middle])


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
