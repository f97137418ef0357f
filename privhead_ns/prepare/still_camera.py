"""Recognises a camera that stood still while the head turned: on a turntable, or a swivel chair.

The room then moves in no photograph, and where cameras are estimated from it they come out wrong. Photographs may be
cropped: between two of them the room moves by the difference of two offsets, one for each photograph. If such offsets
explain the matches of most pairs, the camera stood still, and features that move like that are of the room. The offsets
tell where the lens's centre lies in each crop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from privhead_ns.prepare.matches import Offsets, Pairs

TOLERANCE = 3.0
"""Pixels by which matches of the room may stray."""
LEAST_MATCHES = 10
"""Matches that a pair needs to be asked."""
MOST_MATCHES = 400
"""Matches of a pair that are looked at."""
STILL = 0.7
"""Share of pairs that offsets must explain: they explained 0.92 of a turntable's pairs, 0.12 and 0.37 of hand-held."""
ROUNDS, FIRST_SCALE, SHRINK = 40, 100.0, 0.8
"""Iterations of the robust fit, and its scale in pixels at first and from one to the next."""


class StillCamera(NamedTuple):
    """What tells of a camera that stood still, by the pictures' ids."""

    room: dict[int, Bool[np.ndarray, " features"]]
    """Which features are of the room."""
    offsets: Offsets
    """Pixels from a picture's middle to the lens's centre, which lies where the room says; 0 for most pictures."""


def find_still_camera(
    keypoints: dict[int, Float[np.ndarray, "features 2"]], matches: Pairs, sizes: dict[int, Float[np.ndarray, " 2"]]
) -> StillCamera | None:
    """Returns the features of a room that stood still, and where it lies in each picture; None if the camera moved.

    Args:
        keypoints: pixels, by the pictures' ids.
        matches: of all pairs.
        sizes: widths and heights of the pictures.
    """
    asked = {pair: match for pair, match in matches.items() if len(match) >= LEAST_MATCHES}
    if not asked:
        return None
    moves = {pair: keypoints[pair[1]][match[:, 1]] - keypoints[pair[0]][match[:, 0]] for pair, match in matches.items()}
    common = {pair: _most_common(moves[pair]) for pair in asked}
    order = {index: place for place, index in enumerate(keypoints)}
    first, second = (np.array([order[pair[side]] for pair in asked]) for side in (0, 1))
    movement = np.array([movement for movement, _ in common.values()])
    count = np.array([count for _, count in common.values()], dtype=np.float64)
    share = count / [min(len(match), MOST_MATCHES) for match in asked.values()]
    offsets = _fit_offsets(first, second, movement, count * share**2, len(order))
    residual = np.linalg.norm(offsets[second] - offsets[first] - movement, axis=1)
    if (residual < TOLERANCE).mean() < STILL:
        return None
    room = {index: np.zeros(len(features), dtype=bool) for index, features in keypoints.items()}
    for (one, other), match in matches.items():
        expected = offsets[order[other]] - offsets[order[one]]
        still = np.linalg.norm(moves[one, other] - expected, axis=1) < 2 * TOLERANCE
        room[one][match[still, 0]] = True
        room[other][match[still, 1]] = True
    shifts = offsets - np.array([sizes[index] for index in order]) / 2
    shifts -= np.median(shifts, axis=0)
    placed = {index: room[index].sum() >= LEAST_MATCHES for index in keypoints}
    return StillCamera(room, {index: shifts[place] * placed[index] for index, place in order.items()})


def _most_common(moves: Float[np.ndarray, "matches 2"]) -> tuple[Float[np.ndarray, " 2"], int]:
    """Returns the movement that most matches share, and how many do."""
    moves = moves[:: -(-len(moves) // MOST_MATCHES)]
    near = np.linalg.norm(moves[:, None] - moves[None], axis=2) < TOLERANCE
    best = near.sum(axis=1).argmax()
    return moves[near[best]].mean(axis=0), int(near[best].sum())


def _fit_offsets(
    first: np.ndarray, second: np.ndarray, movement: Float[np.ndarray, "pairs 2"], weight: np.ndarray, pictures: int
) -> Float[np.ndarray, "pictures 2"]:
    """Finds offsets whose differences are the movements, by iteratively reweighted least squares (Geman-McClure)."""
    rows = np.arange(len(first))
    differences = np.zeros((len(first), pictures))
    differences[rows, second], differences[rows, first] = 1, -1
    anchor = 1e-3 * np.eye(pictures)
    offsets = np.zeros((pictures, 2))
    robust = weight
    for step in range(ROUNDS):
        root = np.sqrt(robust)[:, None]
        system, target = np.vstack([root * differences, anchor]), np.vstack([root * movement, 0 * offsets])
        offsets = np.linalg.lstsq(system, target, rcond=None)[0]
        residual = np.linalg.norm(differences @ offsets - movement, axis=1)
        scale = max(TOLERANCE, FIRST_SCALE * SHRINK**step)
        robust = weight / (1 + (residual / scale) ** 2) ** 2
    return offsets
