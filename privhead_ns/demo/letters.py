"""Letters as polylines, and the distance of points of a plane to each."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from jaxtyping import Float

GRID = (4, 6)
"""Width and height of a letter in the units of `STROKES`."""

Line = tuple[tuple[float, float], ...]

BOWL: Line = ((0, 0), (0, 6), (3, 6), (4, 5), (4, 3.8), (3, 2.8), (0, 2.8))
RING: Line = ((1, 0), (0, 1), (0, 5), (1, 6), (3, 6), (4, 5), (4, 1), (3, 0), (1, 0))
HOOK: Line = ((4, 5), (3, 6), (1, 6), (0, 5), (0, 1), (1, 0), (3, 0), (4, 1))
BAR: Line = ((0, 3.1), (3.2, 3.1))

STROKES: dict[str, tuple[Line, ...]] = {
    "A": (((0, 0), (0, 4), (2, 6), (4, 4), (4, 0)), ((0, 2.5), (4, 2.5))),
    "B": (
        ((3, 3.2), (0, 3.2), (0, 6), (3, 6), (4, 5.2), (4, 4), (3, 3.2), (4, 2.4), (4, 0.8), (3, 0), (0, 0), (0, 3)),
    ),
    "C": (HOOK,),
    "D": (((0, 0), (0, 6), (2.6, 6), (4, 4.6), (4, 1.4), (2.6, 0), (0, 0)),),
    "E": (((4, 6), (0, 6), (0, 0), (4, 0)), BAR),
    "F": (((4, 6), (0, 6), (0, 0)), BAR),
    "G": ((*HOOK, (4, 2.8), (2.4, 2.8)),),
    "H": (((0, 0), (0, 6)), ((4, 0), (4, 6)), ((0, 3), (4, 3))),
    "I": (((2, 0), (2, 6)),),
    "J": (((4, 6), (4, 1), (3, 0), (1, 0), (0, 1), (0, 1.8)),),
    "K": (((0, 0), (0, 6)), ((4, 6), (0, 2.6)), ((1.3, 3.7), (4, 0))),
    "L": (((0, 6), (0, 0), (4, 0)),),
    "M": (((0, 0), (0, 6), (2, 3), (4, 6), (4, 0)),),
    "N": (((0, 0), (0, 6), (4, 0), (4, 6)),),
    "O": (RING,),
    "P": (BOWL,),
    "Q": (RING, ((2.4, 1.8), (4.2, -0.2))),
    "R": (BOWL, ((2, 2.8), (4, 0))),
    "S": (((4, 5), (3, 6), (1, 6), (0, 5), (0, 4.1), (1, 3.2), (3, 2.8), (4, 1.9), (4, 1), (3, 0), (1, 0), (0, 1)),),
    "T": (((0, 6), (4, 6)), ((2, 6), (2, 0))),
    "U": (((0, 6), (0, 1), (1, 0), (3, 0), (4, 1), (4, 6)),),
    "V": (((0, 6), (2, 0), (4, 6)),),
    "W": (((0, 6), (1, 0), (2, 3.4), (3, 0), (4, 6)),),
    "X": (((0, 0), (4, 6)), ((0, 6), (4, 0))),
    "Y": (((0, 6), (2, 3), (4, 6)), ((2, 3), (2, 0))),
    "Z": (((0, 6), (4, 6), (0, 0), (4, 0)),),
}
"""Polylines of each letter, from its lower left corner."""


def letter_distance(letter: str, points: Float[np.ndarray, "n 2"], height: float) -> Float[np.ndarray, " n"]:
    """Returns the distance to the middle of a letter's nearest stroke.

    Args:
        letter: one of `STROKES`.
        points: relative to the letter's middle, right and up, in any unit.
        height: of the letter, between the middles of its outermost strokes, in that unit.
    """
    starts, ends = _segments(letter)
    scaled = points * np.float32(GRID[1] / height) + np.array(GRID, np.float32) / 2
    nearest = np.full(len(points), np.inf, np.float32)
    for start, end in zip(starts, ends, strict=True):
        axis, offset = end - start, scaled - start
        offset -= np.clip(offset @ axis / (axis @ axis), 0, 1)[:, None] * axis
        np.minimum(nearest, (offset**2).sum(axis=1), out=nearest)
    return np.sqrt(nearest) * np.float32(height / GRID[1])


@cache
def _segments(letter: str) -> tuple[Float[np.ndarray, "segments 2"], Float[np.ndarray, "segments 2"]]:
    """Returns where a letter's straight strokes start and end."""
    pairs = [pair for line in STROKES[letter] for pair in pairwise(line)]
    starts, ends = np.array(pairs, np.float32).transpose(1, 0, 2)
    return starts, ends
