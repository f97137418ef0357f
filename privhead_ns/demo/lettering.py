"""A line of letters on a flat panel that faces +x, and where it lies; places are right and up as one reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from privhead_ns.demo.letters import GRID, letter_distance


@dataclass(frozen=True)
class Lettering:
    """A panel in the plane x = `front`, its middle at y = 0, with a text in its middle; lengths in units."""

    text: str
    front: float
    middle: float
    """Height of the panel's middle along z."""
    half: tuple[float, float]
    """Half width and half height of the panel."""
    letter_height: float
    """Height of a letter between the middles of its strokes."""
    stroke: float
    """Half width of a stroke."""
    pitch: float
    """Distance between letters."""
    embossed: float
    """Height of the letters above the panel; 0 where they are painted."""
    near: float
    """Distance to the box around a letter up to which the letter itself is looked at; beyond, the box's stands for it.
    """

    @property
    def cell_half(self) -> Float[np.ndarray, " 2"]:
        """Half width and half height of what belongs to one letter."""
        return np.array(GRID) / GRID[1] * self.letter_height / 2 + self.stroke

    def middles(self, text: str) -> Float[np.ndarray, "letters 2"]:
        """Returns where a text's letters have their middles, from the panel's middle."""
        across = (np.arange(len(text)) - (len(text) - 1) / 2) * self.pitch
        return np.stack([across, np.zeros(len(text))], axis=1).astype(np.float32)

    def places(self, points: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "n 2"]:
        """Returns the places of points, from the panel's middle."""
        return np.stack([points[1], points[2] - np.float32(self.middle)], axis=1)

    def ink_distance(self, places: Float[np.ndarray, "n 2"], text: str) -> Float[np.ndarray, " n"]:
        """Returns the distance from places on the panel to a text's strokes, negative in them.

        Farther than `near` from a letter it is a lower bound.
        """
        half = np.array(GRID, np.float32) / GRID[1] * self.letter_height / 2 + np.float32(self.stroke)
        nearest = np.full(len(places), np.inf, np.float32)
        for letter, middle in zip(text, self.middles(text), strict=True):
            offset = places - middle
            distance = np.hypot(*np.maximum(np.abs(offset) - half, 0).T)
            near = np.flatnonzero(distance < self.near)
            distance[near] = letter_distance(letter, offset[near], self.letter_height) - np.float32(self.stroke)
            np.minimum(nearest, distance, out=nearest)
        return nearest
