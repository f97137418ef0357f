"""A room seen from within, with a whiteboard that must not leave: signed distance, colour and cameras.

Frame: z is up; the whiteboard hangs at the wall at -x and faces +x. The free space lies inside the unit sphere at the
origin, and a unit is `MM_PER_UNIT` millimetres. Formulas: Inigo Quilez, "distance functions", iquilezles.org/articles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.demo.lettering import Lettering
from privhead_ns.demo.reading import project
from privhead_ns.demo.scene import View
from privhead_ns.demo.shapes import in_chunks, rounded, waves

MM_PER_UNIT = 4000.0
HALF = (0.65, 0.55, 0.325)
"""Half length, width and height of the room: 5.2 x 4.4 x 2.6 m."""
AABB = np.array([[-0.70, -0.60, -0.375], [0.70, 0.60, 0.375]])
"""A box that holds the free space, with some of the walls."""
FOCAL = 0.75
"""Focal length over image width: 67 degrees of view, as the wide lens of a phone."""
BOARD = Lettering(
    "MZHT",
    front=-0.63,
    middle=0.05,
    half=(0.45, 0.16),
    letter_height=0.20,
    stroke=0.02,
    pitch=0.215,
    embossed=0.0,
    near=0.06,
)
RIM = 0.012
"""Width of the whiteboard's frame."""

Vector = tuple[float, float, float]
Values = Float[np.ndarray, " n"]
Columns = Float[np.ndarray, "3 n"]


@dataclass(frozen=True)
class Block:
    """A box with rounded edges; a carved one is taken out of the blocks before it."""

    centre: Vector
    half: Vector
    colour: Vector
    rounding: float = 0.005
    carved: bool = False

    def distance(self, points: Columns) -> Values:
        """Returns the distance to the box."""
        centre, half = (np.array(vector, np.float32)[:, None] for vector in (self.centre, self.half))
        return rounded(np.abs(points - centre) - (half - np.float32(self.rounding)), self.rounding)


WOOD, CLOTH, WHITE, DARK = (0.42, 0.26, 0.14), (0.16, 0.22, 0.34), (0.80, 0.80, 0.78), (0.10, 0.09, 0.09)
BLOCKS = {
    "whiteboard": Block((-0.65, 0, BOARD.middle), (0.02, *BOARD.half), WHITE),
    "table": Block((0.10, 0.02, -0.14), (0.22, 0.12, 0.02), WOOD, 0.01),
    "pedestal": Block((0.10, 0.02, -0.24), (0.06, 0.06, 0.10), DARK),
    "seat": Block((-0.05, -0.44, -0.27), (0.26, 0.11, 0.07), CLOTH, 0.03),
    "back rest": Block((-0.05, -0.52, -0.17), (0.26, 0.04, 0.15), CLOTH, 0.03),
    "cabinet": Block((0.22, 0.49, -0.08), (0.20, 0.07, 0.25), WOOD),
    "upper niche": Block((0.22, 0.42, 0.06), (0.17, 0.07, 0.07), DARK, carved=True),
    "lower niche": Block((0.22, 0.42, -0.12), (0.17, 0.07, 0.07), DARK, carved=True),
    "cupboard": Block((0.57, -0.40, -0.02), (0.09, 0.13, 0.31), (0.30, 0.42, 0.34), 0.01),
    "door": Block((0.65, 0.16, -0.06), (0.012, 0.12, 0.265), (0.60, 0.52, 0.40)),
    "picture": Block((-0.36, 0.55, 0.06), (0.13, 0.012, 0.10), (0.62, 0.22, 0.15)),
}


def sdf(points: Float[np.ndarray, "n 3"]) -> Values:
    """Returns the signed distance to walls and furniture in units, negative in them."""

    def solid(columns: Columns) -> Values:
        total = (np.array(HALF, np.float32)[:, None] - np.abs(columns)).min(axis=0)
        for block in BLOCKS.values():
            distance = block.distance(columns)
            total = np.maximum(total, -distance) if block.carved else np.minimum(total, distance)
        return total

    return in_chunks(solid, points)


def albedo(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Returns the linear reflectance in [0, 1] of points of the surface."""
    return in_chunks(_albedo, points)


def _albedo(points: Columns) -> Float[np.ndarray, "n 3"]:
    colours = _walls(points)
    for block in BLOCKS.values():
        colours[np.abs(block.distance(points)) < 0.004] = block.colour
    stains = 1 + 0.14 * waves(points, 0.30, 31) + 0.10 * waves(points, 0.11, 32)
    colours *= stains[:, None].clip(0.4, 1.6)
    places = BOARD.places(points)
    front = (points[0] < BOARD.front + 0.01) & (np.abs(places) < np.array(BOARD.half)).all(axis=1)
    inwards = (np.array(BOARD.half, np.float32) - np.abs(places[front])).min(axis=1)
    ink = np.minimum(BOARD.ink_distance(places[front], BOARD.text), inwards - np.float32(RIM))
    colours[front] = np.where(ink[:, None] < 0, np.array(DARK), np.array(WHITE))
    return colours.clip(0, 1)


def _walls(points: Columns) -> Float[np.ndarray, "n 3"]:
    """Returns the colours of the nearest wall: planks, a panelled ceiling, striped paper, a skirting board."""
    x, y, z = points
    beyond = np.abs(points) - np.array(HALF, np.float32)[:, None]
    side = beyond.argmax(axis=0)
    paper = np.where((side == 0)[:, None], np.array([0.55, 0.50, 0.36]), np.array([0.40, 0.48, 0.52]))
    paper[(side == 1) & (np.sin(2 * np.pi * x / 0.16) > 0.3)] = (0.52, 0.56, 0.56)
    paper[(side == 0) & (np.sin(2 * np.pi * (y + z) / 0.24) > 0.5)] = (0.62, 0.58, 0.46)
    paper[z < 0.025 - HALF[2]] = (0.20, 0.15, 0.11)
    planks = np.floor(y / 0.09)
    tone = 0.75 + 0.25 * np.sin(planks * 2.4 + np.floor(x / 0.35 + 0.37 * planks) * 1.7)
    flat = side == 2
    paper[flat & (z < 0)] = (tone[:, None] * np.array([0.46, 0.32, 0.20]))[flat & (z < 0)]
    panel = (np.floor(x / 0.26) + np.floor(y / 0.22)) % 2
    paper[flat & (z > 0)] = (0.66 + 0.14 * panel[:, None] * np.ones(3))[flat & (z > 0)]
    return paper.astype(np.float32)


def _view(number: int) -> View:
    """Returns one of the views all around: behind the middle of the room, across which the camera looks."""
    azimuth = 10.0 * number
    ahead = np.array([np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth))])
    aside = np.array([-ahead[1], ahead[0]]) * (0.12 if number % 2 else -0.12)
    stand = -(0.12, 0.32)[number // 2 % 2] * ahead * np.array([1.2, 1.0]) + aside
    position = (*stand.tolist(), (0.02, 0.10, -0.05)[number % 3])
    view = View(azimuth + 180, (14.0, -4.0, 26.0, -18.0)[number % 4], True, position)
    return View(view.azimuth, view.elevation, shows_board(view), position)


def shows_board(view: View) -> bool:
    """Returns whether a place on the whiteboard, or within 5 cm of it, lies in a view."""
    lens = Intrinsics(1, 1, FOCAL, FOCAL, 0.5, 0.5)
    across, up = (np.linspace(-half - 0.0125, half + 0.0125, 41) for half in BOARD.half)
    places = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    column, row, depth = project(BOARD, PosedCamera(view.camera_to_world, lens), places)
    return bool(((depth > 0) & (column > 0) & (column < 1) & (row > 0) & (row < 1)).any())


VIEWS = tuple(_view(number) for number in range(36))
"""Photographs all around; those that show the whiteboard are sensitive."""
