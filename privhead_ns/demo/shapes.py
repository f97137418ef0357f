"""Shared by the distance functions of the demo's scenes: smooth minimum, rounded edges, noise, evaluation in chunks.

Formulas: Inigo Quilez, "smooth minimum", iquilezles.org/articles.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

CHUNK = 16384
"""Points evaluated at a time, so that temporaries stay in the processor's cache."""


def smooth_minimum(
    first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"], width: float
) -> Float[np.ndarray, "n"]:
    """Quadratic polynomial smooth minimum; its gradient is a convex mix of the two, so it is no steeper than they."""
    closeness = np.maximum(width - np.abs(first - second), 0)
    return np.minimum(first, second) - closeness * closeness / (4 * max(width, 1e-6))


def rounded(beyond: Float[np.ndarray, "axes n"], rounding: float) -> Float[np.ndarray, "n"]:
    """Returns the distance to a body, given how far points lie beyond its sides, each drawn in by the rounding."""
    outside = np.maximum(beyond, 0)
    return np.sqrt(np.einsum("in,in->n", outside, outside)) + np.minimum(beyond.max(axis=0), 0) - np.float32(rounding)


def waves(points: Float[np.ndarray, "3 n"], wavelength: float, seed: int, count: int = 8) -> Float[np.ndarray, "n"]:
    """Smooth noise of unit variance: plane waves of random direction and phase with about one wavelength."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(count, 3))
    directions *= random.uniform(0.7, 1.3, (count, 1)) / np.linalg.norm(directions, axis=1, keepdims=True)
    phases = random.uniform(0, 2 * np.pi, (count, 1))
    angles = (2 * np.pi / wavelength * directions).astype(np.float32) @ points + phases.astype(np.float32)
    return np.sin(angles).sum(axis=0) * np.float32(np.sqrt(2 / count))


def in_chunks(
    function: Callable[[Float[np.ndarray, "3 n"]], Float[np.ndarray, "n *rest"]], points: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n *rest"]:
    """Evaluates a function of columns at points, `CHUNK` of them at a time."""
    columns = np.ascontiguousarray(points.T, dtype=np.float32)
    starts = range(0, max(columns.shape[1], 1), CHUNK)
    return np.concatenate([function(columns[:, start : start + CHUNK]) for start in starts])
