"""Chooses as many neutral and sensitive views as a comparison asks for, spread evenly about the head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from privhead_ns.capture.camera import farthest_first
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
        if count:
            facing = directions[views]
            first = int(np.argmax(facing @ facing.mean(axis=0)))
            chosen += views[farthest_first(facing, first)[:count]].tolist()
    return sorted(chosen)
