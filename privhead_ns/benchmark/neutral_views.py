"""Selects the neutral views that stay neutral when a benchmark trains with fewer of them (the paper's Fig. 5).

The others become protected: the paper varies what counts as private, and a stricter definition takes colours away, not
photographs. Its text names neither the views of its two layouts of 10 views nor how they were chosen. The two here are
its extremes: spread over all neutral directions, or as far from the face as can be.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np

from privhead_ns.capture.camera import farthest_first, look_at_centre
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.capture.sensitivity import classify
from privhead_ns.errors import UserError
from privhead_ns.mesh.ground_truth import load_truth

Layout = Literal["even", "rear"]
"""`even`: spread over all directions of the neutral views; `rear`: those furthest from the direction of the face."""
LAYOUTS: tuple[Layout, ...] = ("even", "rear")


@dataclass(frozen=True)
class Selection:
    """The neutral views of a head that stay neutral."""

    layout: Layout
    count: int
    """Views that stay neutral."""
    protected: tuple[str, ...]
    """Names of the neutral frames that become protected; empty where all stay neutral."""
    same_as: Layout
    """The first layout that selects the same views, whose results are these too."""

    @property
    def folder(self) -> str:
        """Name of the folder of its results inside the head's; the head's own where all stay neutral."""
        return f"neutral-{self.count}-{self.same_as}" if self.protected else ""

    @property
    def globs(self) -> tuple[str, ...]:
        """Globs for `protect` that match the frames that become protected."""
        return tuple(glob.escape(name) for name in self.protected)


def select(head: Path, counts: Sequence[int], layouts: Sequence[Layout]) -> list[Selection]:
    """Returns the selections of every layout and count, without repetition.

    Args:
        head: raw capture with ground truth.
        counts: numbers of neutral views.
        layouts: see `Layout`.

    Raises:
        UserError: if a count is negative, or the head has fewer neutral views.
    """
    capture = load_raw_capture(head)
    neutral = [index for index, private in enumerate(classify(capture)) if not private]
    for count in counts:
        if not 0 <= count <= len(neutral):
            raise UserError(
                f"--neutral-views {count}: {head} has {len(neutral)} neutral views; choose numbers from 0 to that."
            )
    poses = np.stack([frame.camera_to_world for frame in capture.frames])
    directions = poses[neutral, :3, 3] - look_at_centre(poses)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rearmost_first = np.argsort(directions @ load_truth(head).face_axis, kind="stable")
    orders: dict[Layout, list[int]] = {
        "even": farthest_first(directions, int(rearmost_first[0])) if neutral else [],
        "rear": [int(i) for i in rearmost_first],
    }
    selections = []
    for layout, count in product(LAYOUTS, dict.fromkeys(counts)):
        if layout in layouts:
            kept = {name: set(orders[name][:count]) for name in LAYOUTS}
            protected = [capture.frames[neutral[i]].name for i in range(len(neutral)) if i not in kept[layout]]
            same_as: Layout = next(name for name in LAYOUTS if kept[name] == kept[layout])
            selections.append(Selection(layout, count, tuple(protected), same_as))
    return selections
