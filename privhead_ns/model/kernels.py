"""CPU kernels, compiled by numba: look-ups in voxel grids and their gradients. `privhead_ns.model.fused` calls them.

Each kernel does the part [start, stop) of its work: of the points, of the grid's planes along x, or of a batch. Threads
share the work without locks, and the results do not depend on their number: however the planes are split, each gets the
same sum in the same order. All arrays are float32 and contiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from torch import Tensor

Array: TypeAlias = np.ndarray

ZERO, ONE, EPS = np.float32(0), np.float32(1), np.float32(1e-30)
"""In single precision: numba promotes the sum of a float32 and an integer to float64."""
BLOCK = 1 << 12
"""Values that stay in the cache between loops over them."""


def compiled(function: Callable[..., Any], fastmath: set[str], inline: str = "never") -> Callable[..., Any]:
    """Compiles a function at its first call and caches the machine code on disk, in a user folder if need be."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath, "inline": inline}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache is writable
        return njit(**options)(function)


kernel = partial(compiled, fastmath=set())
"""Decorator of kernels, with strict arithmetic: the same sums whichever branch the compiler specialises a loop for."""
inlined = partial(compiled, fastmath=set(), inline="always")
"""Decorator of what kernels consist of: calls that LLVM does not inline take longer than the loops in them."""
sum_kernel = partial(compiled, fastmath={"reassoc"})
"""Decorator of kernels whose sums may be reordered, to vectorise them. NaN and infinity are kept."""


def supported(*tensors: Tensor) -> bool:
    """Returns whether the kernels can be used: on CPU, in single precision."""
    return all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)


def run(function: Callable[..., Any], count: int, *tensors: Tensor) -> None:
    """Runs a kernel over range(count), in as many threads as torch uses."""
    arrays = [tensor.detach().numpy() for tensor in tensors]
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        function(0, count, *arrays)
        return
    bounds = [count * i // threads for i in range(threads + 1)]
    list(thread_pool(threads).map(lambda part: function(*part, *arrays), pairwise(bounds)))


@cache
def thread_pool(threads: int) -> ThreadPoolExecutor:
    """Returns the pool of that many threads. It is not numba's own: that one aborts the process after a fork."""
    return ThreadPoolExecutor(threads)


@inlined
def locate(coordinate: np.float32, points: int) -> tuple[int, np.float32]:
    """Returns the cell that a coordinate in [0, 1] lies in, and its place in the cell, in [0, 1] or NaN."""
    if coordinate < ZERO:
        coordinate = ZERO
    elif coordinate > ONE:
        coordinate = ONE
    scaled = coordinate * np.float32(points - 1)
    cell = min(int(scaled), points - 2) if scaled > ZERO else 0
    return cell, scaled - np.float32(cell)


@kernel
def trilinear(
    start: int,
    stop: int,
    table: Float[Array, "x y z channels"],
    positions: Float[Array, "n 3"],
    values: Float[Array, "n channels"],
) -> None:
    """Writes the table's values at positions in [0, 1]."""
    nx, ny, nz, channels = table.shape
    for i in range(start, stop):
        x, u = locate(positions[i, 0], nx)
        y, v = locate(positions[i, 1], ny)
        z, w = locate(positions[i, 2], nz)
        for channel in range(channels):
            values[i, channel] = ZERO
        for a in range(2):
            for b in range(2):
                for c in range(2):
                    weight = (u if a else ONE - u) * (v if b else ONE - v) * (w if c else ONE - w)
                    for channel in range(channels):
                        values[i, channel] += weight * table[x + a, y + b, z + c, channel]


@kernel
def trilinear_to_table(
    start: int,
    stop: int,
    positions: Float[Array, "n 3"],
    upstream: Float[Array, "n channels"],
    to_table: Float[Array, "x y z channels"],
) -> None:
    """Adds the gradient by the table, in its planes from start to stop."""
    nx, ny, nz, channels = to_table.shape
    for i in range(len(positions)):
        x, u = locate(positions[i, 0], nx)
        if x + 1 < start or x >= stop:
            continue
        y, v = locate(positions[i, 1], ny)
        z, w = locate(positions[i, 2], nz)
        for a in range(2):
            if not start <= x + a < stop:
                continue
            for b in range(2):
                for c in range(2):
                    weight = (u if a else ONE - u) * (v if b else ONE - v) * (w if c else ONE - w)
                    for channel in range(channels):
                        to_table[x + a, y + b, z + c, channel] += weight * upstream[i, channel]


@kernel
def trilinear_to_positions(
    start: int,
    stop: int,
    table: Float[Array, "x y z channels"],
    positions: Float[Array, "n 3"],
    upstream: Float[Array, "n channels"],
    to_positions: Float[Array, "n 3"],
) -> None:
    """Writes the gradient by the positions, 0 where they are not within (0, 1)."""
    nx, ny, nz, channels = table.shape
    for i in range(start, stop):
        x, u = locate(positions[i, 0], nx)
        y, v = locate(positions[i, 1], ny)
        z, w = locate(positions[i, 2], nz)
        slope_x = slope_y = slope_z = ZERO
        for a in range(2):
            for b in range(2):
                for c in range(2):
                    value = ZERO
                    for channel in range(channels):
                        value += upstream[i, channel] * table[x + a, y + b, z + c, channel]
                    along_x, along_y, along_z = (u if a else ONE - u), (v if b else ONE - v), (w if c else ONE - w)
                    slope_x += (value if a else -value) * along_y * along_z
                    slope_y += (value if b else -value) * along_x * along_z
                    slope_z += (value if c else -value) * along_x * along_y
        to_positions[i, 0] = slope_x * np.float32(nx - 1) if ZERO < positions[i, 0] < ONE else ZERO
        to_positions[i, 1] = slope_y * np.float32(ny - 1) if ZERO < positions[i, 1] < ONE else ZERO
        to_positions[i, 2] = slope_z * np.float32(nz - 1) if ZERO < positions[i, 2] < ONE else ZERO


@inlined
def neighbours(point: int, points: int, spacing: np.float32) -> tuple[int, int, np.float32]:
    """Returns between which points the difference at a point is taken along an axis, and the inverse distance."""
    low, high = max(point - 1, 0), min(point + 1, points - 1)
    return low, high, ONE / (spacing * np.float32(high - low))


@kernel
def sdf_and_gradient(
    start: int,
    stop: int,
    sdf: Float[Array, "x y z"],
    spacing: Float[Array, "3"],
    positions: Float[Array, "n 3"],
    values: Float[Array, "n 4"],
) -> None:
    """Writes what `trilinear` does of a table of the sdf and its `grid_gradient`, without that table."""
    nx, ny, nz = sdf.shape
    for i in range(start, stop):
        x, u = locate(positions[i, 0], nx)
        y, v = locate(positions[i, 1], ny)
        z, w = locate(positions[i, 2], nz)
        value = slope_x = slope_y = slope_z = ZERO
        for a in range(2):
            x0, x1, per_x = neighbours(x + a, nx, spacing[0])
            for b in range(2):
                y0, y1, per_y = neighbours(y + b, ny, spacing[1])
                for c in range(2):
                    z0, z1, per_z = neighbours(z + c, nz, spacing[2])
                    weight = (u if a else ONE - u) * (v if b else ONE - v) * (w if c else ONE - w)
                    value += weight * sdf[x + a, y + b, z + c]
                    slope_x += weight * per_x * (sdf[x1, y + b, z + c] - sdf[x0, y + b, z + c])
                    slope_y += weight * per_y * (sdf[x + a, y1, z + c] - sdf[x + a, y0, z + c])
                    slope_z += weight * per_z * (sdf[x + a, y + b, z1] - sdf[x + a, y + b, z0])
        values[i, 0], values[i, 1], values[i, 2], values[i, 3] = value, slope_x, slope_y, slope_z


@kernel
def sdf_and_gradient_to_sdf(
    start: int,
    stop: int,
    spacing: Float[Array, "3"],
    positions: Float[Array, "n 3"],
    upstream: Float[Array, "n 4"],
    to_sdf: Float[Array, "x y z"],
) -> None:
    """Adds the gradient by the sdf, in its planes from start to stop."""
    nx, ny, nz = to_sdf.shape
    for i in range(len(positions)):
        x, u = locate(positions[i, 0], nx)
        if x + 2 < start or x - 1 >= stop:
            continue
        y, v = locate(positions[i, 1], ny)
        z, w = locate(positions[i, 2], nz)
        for a in range(2):
            x0, x1, per_x = neighbours(x + a, nx, spacing[0])
            for b in range(2):
                y0, y1, per_y = neighbours(y + b, ny, spacing[1])
                for c in range(2):
                    weight = (u if a else ONE - u) * (v if b else ONE - v) * (w if c else ONE - w)
                    along_x = weight * per_x * upstream[i, 1]
                    if start <= x0 < stop:
                        to_sdf[x0, y + b, z + c] -= along_x
                    if start <= x1 < stop:
                        to_sdf[x1, y + b, z + c] += along_x
                    if start <= x + a < stop:
                        z0, z1, per_z = neighbours(z + c, nz, spacing[2])
                        along_y, along_z = weight * per_y * upstream[i, 2], weight * per_z * upstream[i, 3]
                        to_sdf[x + a, y + b, z + c] += weight * upstream[i, 0]
                        to_sdf[x + a, y0, z + c] -= along_y
                        to_sdf[x + a, y1, z + c] += along_y
                        to_sdf[x + a, y + b, z0] -= along_z
                        to_sdf[x + a, y + b, z1] += along_z


@kernel
def stretch(
    start: int, stop: int, coarse: Float[Array, "batch few columns"], fine: Float[Array, "batch many columns"]
) -> None:
    """Adds linear interpolation of rows between the first and the last."""
    many, columns = fine.shape[1:]
    step = 1 / (many - 1)
    for i in range(start, stop):
        for j in range(many):
            k, t = locate(np.float32(j * step), coarse.shape[1])
            for column in range(columns):
                fine[i, j, column] += (ONE - t) * coarse[i, k, column] + t * coarse[i, k + 1, column]


@kernel
def stretch_to_coarse(
    start: int, stop: int, upstream: Float[Array, "batch many columns"], to_coarse: Float[Array, "batch few columns"]
) -> None:
    """Adds the gradient by the rows that were interpolated."""
    many, columns = upstream.shape[1:]
    step = 1 / (many - 1)
    for i in range(start, stop):
        for j in range(many):
            k, t = locate(np.float32(j * step), to_coarse.shape[1])
            for column in range(columns):
                to_coarse[i, k, column] += (ONE - t) * upstream[i, j, column]
            for column in range(columns):
                to_coarse[i, k + 1, column] += t * upstream[i, j, column]


@kernel
def damped_adam(
    start: int,
    stop: int,
    settings: Float[Array, "7"],
    gradients: Float[Array, " n"],
    averages: Float[Array, " n"],
    squares: Float[Array, " n"],
    values: Float[Array, " n"],
) -> None:
    """Updates values as `privhead_ns.optimizer.DampedAdam` does, and the running averages in place.

    Settings are learning rate, both β, both bias corrections, ε and damping.
    """
    rate, beta1, beta2, correction1, correction2, eps, damping = settings
    least = damping * damping + EPS
    for first in range(start, stop, BLOCK):
        block = slice(first, min(first + BLOCK, stop))
        gradient, average, square, value = gradients[block], averages[block], squares[block], values[block]
        for i in range(len(value)):
            average[i] += (ONE - beta1) * (gradient[i] - average[i])
        for i in range(len(value)):
            square[i] += (ONE - beta2) * (gradient[i] * gradient[i] - square[i])
        for i in range(len(value)):
            ratio = average[i] / correction1 / (np.sqrt(square[i] / correction2) + eps)
            value[i] -= rate * ratio * ratio * ratio / (ratio * ratio + least)
