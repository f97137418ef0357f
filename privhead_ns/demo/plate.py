"""A model car with a licence plate of embossed letters: signed distance and colour.

Frame: z is up, the car drives along +x and carries its plate in front; y is its left. All lies inside the unit sphere
at the origin, and a unit is `MM_PER_UNIT` millimetres. Formulas: Inigo Quilez, "distance functions",
iquilezles.org/articles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from privhead_ns.demo.lettering import Lettering
from privhead_ns.demo.shapes import in_chunks, rounded, smooth_minimum, waves

MM_PER_UNIT = 200.0
AABB = np.array([[-0.74, -0.62, -0.52], [0.74, 0.62, 0.52]])
"""A box that holds the car, with room around it."""
TEXT = "KGRB"
PLATE_FRONT = 0.64
"""Where the plate's flat face lies along x."""
PLATE_MIDDLE = -0.10
"""Height of the plate's middle."""
PLATE_HALF = (0.50, 0.19)
"""Half width and half height of the plate."""
EMBOSSED = 0.03
"""Height of letters and rim above the plate: 6 mm."""
RIM = 0.02
"""Width of the rim."""
LETTERING = Lettering(
    TEXT,
    front=PLATE_FRONT,
    middle=PLATE_MIDDLE,
    half=PLATE_HALF,
    letter_height=0.22,
    stroke=0.022,
    pitch=0.235,
    embossed=EMBOSSED,
    near=0.06,
)

Vector = tuple[float, float, float]
Values = Float[np.ndarray, " n"]
Columns = Float[np.ndarray, "3 n"]


@dataclass(frozen=True)
class Box:
    """A box with rounded edges; one off the middle stands on both sides of the car."""

    centre: Vector
    half: Vector
    rounding: float
    colour: Vector

    def distance(self, points: Columns) -> Values:
        """Returns the distance to the box."""
        folded = np.stack([points[0], np.abs(points[1]), points[2]])
        beyond = np.abs(folded - _column(self.centre)) - (_column(self.half) - np.float32(self.rounding))
        return rounded(beyond, self.rounding)


@dataclass(frozen=True)
class Wheel:
    """A cylinder along y with rounded edges, on both sides of the car."""

    x: float
    z: float
    radius: float
    half_width: float
    colour: Vector = (0.03, 0.03, 0.035)
    side: float = 0.44
    rounding: float = 0.02

    def distance(self, points: Columns) -> Values:
        """Returns the distance to the nearer of the two wheels."""
        radial = np.hypot(points[0] - np.float32(self.x), points[2] - np.float32(self.z)) - np.float32(self.radius)
        axial = np.abs(np.abs(points[1]) - np.float32(self.side)) - np.float32(self.half_width)
        return rounded(np.stack([radial, axial]) + np.float32(self.rounding), self.rounding)


def _column(vector: Vector) -> Float[np.ndarray, "3 1"]:
    return np.array(vector, np.float32)[:, None]


PAINT, GLASS, CHROME = (0.10, 0.30, 0.48), (0.03, 0.045, 0.05), (0.45, 0.45, 0.47)
BODY = {
    "hull": Box((-0.02, 0, -0.10), (0.60, 0.46, 0.21), 0.08, PAINT),
    "cabin": Box((-0.14, 0, 0.16), (0.36, 0.38, 0.22), 0.12, PAINT),
}
"""Parts that are blended smoothly."""
PARTS = {
    "bumper": Box((0.02, 0, -0.30), (0.64, 0.44, 0.06), 0.05, CHROME),
    "lamp": Box((0.56, 0.34, 0.06), (0.06, 0.075, 0.045), 0.04, (0.75, 0.72, 0.55)),
    "tail lamp": Box((-0.59, 0.33, -0.02), (0.06, 0.06, 0.09), 0.03, (0.45, 0.03, 0.03)),
    "boot handle": Box((-0.63, 0, -0.04), (0.03, 0.14, 0.03), 0.02, CHROME),
    "roof rack": Box((-0.14, 0, 0.38), (0.24, 0.03, 0.04), 0.02, CHROME),
    "mirror": Box((0.20, 0.47, 0.14), (0.04, 0.07, 0.05), 0.03, PAINT),
    "front wheel": Wheel(0.36, -0.30, 0.16, 0.075),
    "rear wheel": Wheel(-0.38, -0.30, 0.16, 0.075),
    "front hub": Wheel(0.36, -0.30, 0.08, 0.085, CHROME),
    "rear hub": Wheel(-0.38, -0.30, 0.08, 0.085, CHROME),
}
PLATE = Box((PLATE_FRONT - 0.04, 0, PLATE_MIDDLE), (0.04, *PLATE_HALF), 0.01, (0.72, 0.72, 0.68))
INK: Vector = (0.02, 0.02, 0.03)


def _rim_distance(places: Float[np.ndarray, "n 2"]) -> Values:
    """Returns the distance to the rim along the plate's edge."""
    inwards = (np.array(PLATE_HALF, np.float32) - np.abs(places)).min(axis=1)
    return np.abs(inwards - np.float32(RIM)) - np.float32(RIM / 2)


def _relief(points: Columns, text: str) -> Values:
    """Returns the distance to letters and rim, which stand on the plate."""
    places = LETTERING.places(points)
    across = np.minimum(LETTERING.ink_distance(places, text), _rim_distance(places))
    height = np.abs(points[0] - np.float32(PLATE_FRONT)) - np.float32(EMBOSSED)
    return rounded(np.stack([across, height]), 0.0)


def sdf(points: Float[np.ndarray, "n 3"], text: str = TEXT) -> Values:
    """Returns the signed distance to the car in units, negative inside."""

    def car(columns: Columns) -> Values:
        body = smooth_minimum(BODY["hull"].distance(columns), BODY["cabin"].distance(columns), 0.06)
        plate = PLATE.distance(columns)
        total = np.minimum.reduce([body, plate, *(part.distance(columns) for part in PARTS.values())])
        near = np.flatnonzero(plate < total + 2 * EMBOSSED)
        total[near] = np.minimum(total[near], _relief(columns[:, near], text))
        return total

    return in_chunks(car, points)


def albedo(points: Float[np.ndarray, "n 3"], text: str = TEXT) -> Float[np.ndarray, "n 3"]:
    """Returns the linear reflectance in [0, 1] of points of the surface."""
    return in_chunks(lambda columns: _albedo(columns, text), points)


def _albedo(points: Columns, text: str) -> Float[np.ndarray, "n 3"]:
    parts = [*BODY.values(), *PARTS.values(), PLATE]
    nearest = np.argmin([part.distance(points) for part in parts], axis=0)
    colours = np.array([part.colour for part in parts], np.float32)[nearest]
    painted = nearest < len(BODY)
    colours[painted] = _paint(points[:, painted])
    dirt = 1 + 0.10 * waves(points, 0.22, 21) + 0.08 * waves(points, 0.09, 22)
    colours *= dirt[:, None].clip(0.5, 1.5)
    places = LETTERING.places(points)
    front = (points[0] > PLATE_FRONT - 0.005) & (np.abs(places) < np.array(PLATE_HALF)).all(axis=1)
    ink = np.minimum(LETTERING.ink_distance(places[front], text), _rim_distance(places[front]))
    colours[front] = np.where(ink[:, None] < 0.004, np.array(INK), np.array(PLATE.colour))
    return colours.clip(0, 1)


def _paint(points: Columns) -> Float[np.ndarray, "n 3"]:
    """Returns the body's colour: two tones, a light stripe across bonnet and roof, dark windows."""
    x, y, z = points
    colours = np.tile(np.array(PAINT, np.float32), (len(x), 1))
    colours[z < -0.12 + 0.03 * np.sin(9 * x)] = (0.50, 0.46, 0.36)
    colours[(np.abs(y - 0.16) < 0.045) & (z > -0.05)] = (0.62, 0.56, 0.45)
    pane, from_middle = (z > 0.13) & (z < 0.29), np.abs(x + 0.14)
    sides = pane & (from_middle < 0.26) & (from_middle > 0.025) & (np.abs(y) > 0.30)
    screens = pane & (from_middle > 0.30) & (np.abs(y) < 0.29)
    colours[sides | screens] = GLASS
    return colours
