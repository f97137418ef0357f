"""Eikonal loss and curvature of an sdf grid on CPU, with their gradient, row by row: no array beside the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from privhead_ns.model.kernels import ONE, ZERO, Array, inlined, kernel, neighbours, run, sum_kernel

HALF, TWO, EPSILON = np.float32(0.5), np.float32(2), np.float32(1e-12)


class FusedRegularisers(Function):
    """Means over the grid of `losses.eikonal_loss` of its gradient and of `voxels.grid_curvature`."""

    @staticmethod
    def forward(
        ctx: Any, sdf: Float[Tensor, "x y z"], spacing: Float[Tensor, "3"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Returns both means."""
        sdf = sdf.contiguous()
        ctx.save_for_backward(sdf, spacing)
        sums = torch.empty(len(sdf), 2, dtype=torch.float64)
        run(regularisers, len(sdf), sdf, spacing, sums)
        eikonal, curvature = (sums.sum(dim=0) / counts(sdf)).float()
        return eikonal, curvature

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, eikonal: Float[Tensor, ""], curvature: Float[Tensor, ""]
    ) -> tuple[Float[Tensor, "x y z"], None]:
        """Returns the gradient by the sdf."""
        sdf, spacing = ctx.saved_tensors
        to_sdf = torch.zeros_like(sdf)
        run(regularisers_to_sdf, len(sdf), sdf, spacing, torch.stack([eikonal, curvature]) / counts(sdf), to_sdf)
        return to_sdf, None


def counts(grid: Float[Tensor, "x y z"]) -> Float[Tensor, "2"]:
    """Returns the numbers of all and of the inner grid points."""
    return torch.tensor([grid.numel(), grid[1:-1, 1:-1, 1:-1].numel()])


# In the kernels below each loop runs along a row of the grid and writes to one array: LLVM vectorises such loops only.


@sum_kernel
def regularisers(
    start: int, stop: int, sdf: Float[Array, "x y z"], spacing: Float[Array, "3"], sums: Float[Array, "x 2"]
) -> None:
    """Writes the sums of both over the planes from start to stop, in double precision."""
    rows = np.empty((3, sdf.shape[2]), np.float32)
    for x in range(start, stop):
        sums[x] = 0
        for y in range(sdf.shape[1]):
            differences(sdf, spacing, x, y, rows)
            total = ZERO
            for z in range(rows.shape[1]):
                norm = np.sqrt(rows[0, z] ** 2 + rows[1, z] ** 2 + rows[2, z] ** 2 + EPSILON)
                total += (norm - ONE) * (norm - ONE)
            sums[x, 0] += total
            if is_inner(sdf, x, y):
                second_differences(sdf, spacing, x, y, rows)
                total = ZERO
                for z in range(rows.shape[1]):
                    total += rows[0, z] ** 2 + rows[1, z] ** 2 + rows[2, z] ** 2
                sums[x, 1] += total


@kernel
def regularisers_to_sdf(
    start: int,
    stop: int,
    sdf: Float[Array, "x y z"],
    spacing: Float[Array, "3"],
    upstream: Float[Array, "2"],
    to_sdf: Float[Array, "x y z"],
) -> None:
    """Adds the gradient by the sdf, in the planes from start to stop."""
    nx, ny, nz = sdf.shape
    rows, slope = np.empty((3, nz), np.float32), np.empty(nz, np.float32)
    for x in range(max(start - 1, 0), min(stop + 1, nx)):
        x0, x1, per_x = neighbours(x, nx, spacing[0])
        for y in range(ny):
            y0, y1, per_y = neighbours(y, ny, spacing[1])
            differences(sdf, spacing, x, y, rows)
            for z in range(nz):  # the loss's derivative by the gradient, divided by that gradient
                norm = np.sqrt(rows[0, z] ** 2 + rows[1, z] ** 2 + rows[2, z] ** 2 + EPSILON)
                slope[z] = TWO * upstream[0] * (ONE - ONE / norm)
            for axis in range(3):
                for z in range(nz):
                    rows[axis, z] *= slope[z]
            if start <= x0 < stop:
                add(to_sdf, x0, y, rows, 0, -per_x)
            if start <= x1 < stop:
                add(to_sdf, x1, y, rows, 0, per_x)
            if start <= x < stop:
                add(to_sdf, x, y0, rows, 1, -per_y)
                add(to_sdf, x, y1, rows, 1, per_y)
                rows[2, 0] *= TWO
                rows[2, nz - 1] *= TWO
                add_beside(to_sdf, x, y, rows, -HALF / spacing[2], HALF / spacing[2])
                to_sdf[x, y, 0] -= HALF / spacing[2] * rows[2, 0]
                to_sdf[x, y, nz - 1] += HALF / spacing[2] * rows[2, nz - 1]
            if is_inner(sdf, x, y):
                second_differences(sdf, spacing, x, y, rows)
                factor = TWO * upstream[1]
                if start <= x0 < stop:
                    add(to_sdf, x0, y, rows, 0, factor / spacing[0])
                if start <= x1 < stop:
                    add(to_sdf, x1, y, rows, 0, factor / spacing[0])
                if start <= x < stop:
                    add(to_sdf, x, y0, rows, 1, factor / spacing[1])
                    add(to_sdf, x, y1, rows, 1, factor / spacing[1])
                    add_beside(to_sdf, x, y, rows, factor / spacing[2], factor / spacing[2])
                    for axis in range(3):
                        add(to_sdf, x, y, rows, axis, -TWO * factor / spacing[axis])


@inlined
def is_inner(grid: Float[Array, "x y z"], x: int, y: int) -> bool:
    """Returns whether a row has neighbours on all four sides."""
    return 0 < x < grid.shape[0] - 1 and 0 < y < grid.shape[1] - 1


@inlined
def differences(
    sdf: Float[Array, "x y z"], spacing: Float[Array, "3"], x: int, y: int, rows: Float[Array, "3 z"]
) -> None:
    """Writes the gradient along a row of the grid: central differences, one-sided on the faces."""
    last = sdf.shape[2] - 1
    x0, x1, per_x = neighbours(x, sdf.shape[0], spacing[0])
    y0, y1, per_y = neighbours(y, sdf.shape[1], spacing[1])
    for z in range(last + 1):
        rows[0, z] = per_x * (sdf[x1, y, z] - sdf[x0, y, z])
    for z in range(last + 1):
        rows[1, z] = per_y * (sdf[x, y1, z] - sdf[x, y0, z])
    for z in range(1, last):
        rows[2, z] = HALF / spacing[2] * (sdf[x, y, z + 1] - sdf[x, y, z - 1])
    rows[2, 0] = (sdf[x, y, 1] - sdf[x, y, 0]) / spacing[2]
    rows[2, last] = (sdf[x, y, last] - sdf[x, y, last - 1]) / spacing[2]


@inlined
def second_differences(
    sdf: Float[Array, "x y z"], spacing: Float[Array, "3"], x: int, y: int, rows: Float[Array, "3 z"]
) -> None:
    """Writes the second differences divided by the spacing along an inner row of the grid; 0 at its ends."""
    last = sdf.shape[2] - 1
    for z in range(1, last):
        rows[0, z] = (sdf[x - 1, y, z] + sdf[x + 1, y, z] - TWO * sdf[x, y, z]) / spacing[0]
    for z in range(1, last):
        rows[1, z] = (sdf[x, y - 1, z] + sdf[x, y + 1, z] - TWO * sdf[x, y, z]) / spacing[1]
    for z in range(1, last):
        rows[2, z] = (sdf[x, y, z - 1] + sdf[x, y, z + 1] - TWO * sdf[x, y, z]) / spacing[2]
    for axis in range(3):
        rows[axis, 0] = rows[axis, last] = ZERO


@inlined
def add(out: Float[Array, "x y z"], x: int, y: int, rows: Float[Array, "3 z"], axis: int, factor: float) -> None:
    """Adds a row to a row of the grid."""
    for z in range(out.shape[2]):
        out[x, y, z] += factor * rows[axis, z]


@inlined
def add_beside(out: Float[Array, "x y z"], x: int, y: int, rows: Float[Array, "3 z"], low: float, high: float) -> None:
    """Adds the row of the z axis to the points before and behind its own."""
    for z in range(1, out.shape[2]):
        out[x, y, z - 1] += low * rows[2, z]
    for z in range(1, out.shape[2]):
        out[x, y, z] += high * rows[2, z - 1]
