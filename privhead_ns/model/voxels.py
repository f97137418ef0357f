"""Dense voxel grids over the head's box, in several resolutions: coarse ones carry the shape, fine ones the detail.

Explicit voxel grids reach a given surface in far fewer operations than a network does (Voxurf, arXiv 2208.12697).
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from privhead_ns.model import kernels
from privhead_ns.model.fused import FusedRefinement, FusedTrilinear

Resolution = tuple[int, int, int]
"""Grid points along x, y and z; the outermost ones lie on the box's faces."""


def pyramid(finest: Resolution, levels: int) -> list[Resolution]:
    """Returns the resolutions of `levels` grids, coarsest first, each with about twice as many points a side."""
    return [
        (max(2, -(-finest[0] // 2**i)), max(2, -(-finest[1] // 2**i)), max(2, -(-finest[2] // 2**i)))
        for i in reversed(range(levels))
    ]


class Trilinear(nn.Module):
    """Trilinear interpolation between the points of one grid.

    What depends on the resolution alone is kept as buffers: to make it in each call would copy it to the GPU each time,
    and wait for that.
    """

    def __init__(self, resolution: Resolution) -> None:
        super().__init__()
        self.last: Tensor
        self.strides: Tensor
        self.offsets: Tensor
        strides = torch.tensor([resolution[1] * resolution[2], resolution[2], 1])
        corner = torch.cartesian_prod(*[torch.arange(2)] * 3)
        self.register_buffer("last", torch.tensor(resolution) - 1, persistent=False)
        self.register_buffer("strides", strides, persistent=False)
        self.register_buffer("offsets", (corner * strides).sum(dim=1), persistent=False)

    def forward(
        self, table: Float[Tensor, "x y z channels"], positions: Float[Tensor, "*batch 3"]
    ) -> Float[Tensor, "*batch channels"]:
        """Interpolates; differentiable with respect to the table and, within a cell, the positions.

        Args:
            table: values at the grid points, channels last, so that each of the eight corners is one row of memory.
            positions: in [0, 1] from the first to the last grid point along each axis; clamped to that range.
        """
        points = positions.reshape(-1, 3)
        if kernels.supported(table, points):
            values = FusedTrilinear.apply(table, points)
        else:
            rows, weights = self.corners(points)
            flat = table.reshape(-1, table.shape[-1])
            values = F.embedding_bag(rows, flat, per_sample_weights=weights, mode="sum")
        return values.reshape(*positions.shape[:-1], table.shape[-1])

    def corners(self, positions: Float[Tensor, "n 3"]) -> tuple[Int[Tensor, "n 8"], Float[Tensor, "n 8"]]:
        """Returns row numbers and weights of the eight grid points around each position in [0, 1]."""
        scaled = positions.clamp(0, 1) * self.last
        cell = scaled.long().clamp(min=0).minimum(self.last - 1)  # NaN as an integer is any number
        fraction = scaled - cell
        x, y, z = torch.stack([1 - fraction, fraction], dim=-1).unbind(-2)
        weights = x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]
        return (cell * self.strides).sum(dim=-1, keepdim=True) + self.offsets, weights.flatten(1)


class ScalarPyramid(nn.Module):
    """A scalar field as the sum of grids, so that one step of the optimizer can move the whole head or a wrinkle.

    Args:
        resolutions: of the grids, coarsest first.
    """

    def __init__(self, resolutions: list[Resolution]) -> None:
        super().__init__()
        self.grids = nn.ParameterList(torch.zeros(*resolution) for resolution in resolutions)
        self.upsamples = nn.ModuleList(Upsample(*pair) for pair in pairwise(resolutions))

    def forward(self) -> Float[Tensor, "x y z"]:
        """Returns the sum at the finest grid's points; coarser grids are interpolated trilinearly."""
        first, *others = self.grids
        total = first
        for refine, grid in zip(self.upsamples, others, strict=True):
            total = grid + refine(total)
        return total


class Upsample(nn.Module):
    """Trilinear interpolation of a grid at the points of a finer one; on a GPU, as a matrix product along each axis."""

    def __init__(self, coarse: Resolution, fine: Resolution) -> None:
        super().__init__()
        self.x: Tensor
        self.y: Tensor
        self.z: Tensor
        self.fine = torch.Size(fine)
        for axis, few, many in zip("xyz", coarse, fine, strict=True):
            places = torch.linspace(0, few - 1, many)[:, None]
            self.register_buffer(axis, (1 - (places - torch.arange(few)).abs()).clamp(min=0), persistent=False)

    def forward(self, grid: Float[Tensor, "x y z"]) -> Float[Tensor, "fine_x fine_y fine_z"]:
        """Interpolates."""
        if kernels.supported(grid):
            return FusedRefinement.apply(grid, self.fine)
        rows = self.y @ (grid @ self.z.T)
        return (self.x @ rows.flatten(1)).unflatten(1, rows.shape[1:])


class FeaturePyramid(nn.Module):
    """A vector field whose channels are those of several grids side by side.

    Args:
        resolutions: of the grids.
        channels: per grid.
    """

    def __init__(self, resolutions: list[Resolution], channels: int) -> None:
        super().__init__()
        self.tables = nn.ParameterList(torch.zeros(*resolution, channels) for resolution in resolutions)
        self.interpolations = nn.ModuleList(Trilinear(resolution) for resolution in resolutions)
        self.channels = channels * len(resolutions)

    def forward(self, positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch channels"]:
        """Interpolates every grid at positions in [0, 1]."""
        pairs = zip(self.interpolations, self.tables, strict=True)
        return torch.cat([interpolate(table, positions) for interpolate, table in pairs], dim=-1)

    @torch.no_grad()
    def forget_all_but(self, positions: Float[Tensor, "n 3"]) -> None:
        """Sets the grid points that are nearest to no position in [0, 1] to the mean of those that are to one.

        Not all that surround a position are kept: what surrounds the border of what is kept reaches beyond it.
        """
        for interpolate, table in zip(self.interpolations, self.tables, strict=True):
            rows, weights = cast(Trilinear, interpolate).corners(positions)
            kept = torch.zeros(table.shape[:3].numel(), dtype=torch.bool, device=table.device)
            kept[rows.gather(1, weights.argmax(dim=1, keepdim=True))] = True
            flat = table.view(-1, table.shape[-1])
            flat[~kept] = flat[kept].mean(dim=0) if kept.any() else 0.0


def grid_gradient(grid: Float[Tensor, "x y z"], spacing: Float[Tensor, "3"]) -> Float[Tensor, "3 x y z"]:
    """Returns central differences at the grid points, one-sided on the faces.

    Args:
        grid: values at the grid points.
        spacing: distance between neighbouring grid points along each axis.
    """
    return torch.stack([torch.gradient(grid, dim=axis)[0] / spacing[axis] for axis in range(3)])


def grid_curvature(
    grid: Float[Tensor, "x y z"], spacing: Float[Tensor, "3"]
) -> Float[Tensor, "inner_x inner_y inner_z"]:
    """Returns the sum over the axes of the squared second difference divided by the spacing, at the inner grid points.

    For an sdf it is about (spacing · curvature)², without unit: 0 on planes, and small on all that the grid resolves.
    """
    inner = grid[1:-1, 1:-1, 1:-1]
    neighbours = (
        grid[2:, 1:-1, 1:-1] + grid[:-2, 1:-1, 1:-1],
        grid[1:-1, 2:, 1:-1] + grid[1:-1, :-2, 1:-1],
        grid[1:-1, 1:-1, 2:] + grid[1:-1, 1:-1, :-2],
    )
    x, y, z = ((pair - 2 * inner) / step for pair, step in zip(neighbours, spacing, strict=True))
    return x**2 + y**2 + z**2
