"""Chooses as many neutral and sensitive views as a comparison asks for, spread evenly about the head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from privhead_ns.errors import UserError

Counts = tuple[int, int]
"""Numbers of neutral and of sensitive views."""


def choose_views(
    poses: Float[np.ndarray, "n 4 4"], centre: Float[np.ndarray, " 3"], sensitive: Sequence[bool], counts: Counts
) -> list[int]:
    """Returns the chosen views in their order.

    Args:
        poses: camera-to-world matrices.
        centre: of the head.
        sensitive: for each view.
        counts: see `Counts`.

    Raises:
        UserError: if there are fewer of a kind.
    """
    towards = poses[:, :3, 3] - centre
    directions = towards / np.linalg.norm(towards, axis=1, keepdims=True)
    chosen: list[int] = []
    for private, count in zip((False, True), counts, strict=True):
        views = np.flatnonzero(np.array(sensitive) == private)
        if len(views) < count:
            kind = "sensitive" if private else "neutral"
            raise UserError(
                f"--views asks for {count} {kind} views, but there are {len(views)}: ask for fewer, or declare more "
                f"with --{kind} GLOB."
            )
        chosen += views[spread(directions[views], count)].tolist()
    return sorted(chosen)


def spread(directions: Float[np.ndarray, "n 3"], count: int) -> list[int]:
    """Returns directions far from each other: each next one is the farthest from those before (Gonzalez 1985).

    Args:
        directions: unit vectors.
        count: at most n.
    """
    if count == 0:
        return []
    nearest = np.full(len(directions), np.inf)
    chosen = [int(np.argmax(directions @ directions.mean(axis=0)))]
    while len(chosen) < count:
        nearest = np.minimum(nearest, 1 - directions @ directions[chosen[-1]])
        nearest[chosen] = -1  # two photographs may have one direction
        chosen.append(int(np.argmax(nearest)))
    return chosen
