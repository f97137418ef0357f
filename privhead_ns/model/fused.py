"""The kernels as differentiable functions of CPU tensors in single precision."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from privhead_ns.model import kernels, ray_kernels


class FusedTrilinear(Function):
    """Trilinear interpolation of a table: `voxels.Trilinear` in one pass over the positions."""

    @staticmethod
    def forward(
        ctx: Any, table: Float[Tensor, "x y z channels"], positions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, "n channels"]:
        """Interpolates at positions in [0, 1]."""
        table, positions = table.contiguous(), positions.contiguous()
        ctx.save_for_backward(table, positions)
        values = table.new_empty(len(positions), table.shape[-1])
        kernels.run(kernels.trilinear, len(positions), table, positions, values)
        return values

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, upstream: Float[Tensor, "n channels"]
    ) -> tuple[Float[Tensor, "x y z channels"] | None, Float[Tensor, "n 3"] | None]:
        """Returns the gradients by table and positions."""
        table, positions = ctx.saved_tensors
        upstream = upstream.contiguous()
        to_table = to_positions = None
        if ctx.needs_input_grad[0]:
            to_table = torch.zeros_like(table)
            kernels.run(kernels.trilinear_to_table, len(table), positions, upstream, to_table)
        if ctx.needs_input_grad[1]:
            to_positions = torch.empty_like(positions)
            kernels.run(kernels.trilinear_to_positions, len(positions), table, positions, upstream, to_positions)
        return to_table, to_positions


class FusedSdfAndGradient(Function):
    """Trilinear interpolation of a grid and of its `voxels.grid_gradient`, which is tabulated nowhere."""

    @staticmethod
    def forward(
        ctx: Any, sdf: Float[Tensor, "x y z"], spacing: Float[Tensor, "3"], positions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, "n 4"]:
        """Interpolates at positions in [0, 1]; not differentiable with respect to them."""
        sdf, positions = sdf.contiguous(), positions.contiguous()
        ctx.save_for_backward(spacing, positions)
        ctx.shape = sdf.shape
        values = sdf.new_empty(len(positions), 4)
        kernels.run(kernels.sdf_and_gradient, len(positions), sdf, spacing, positions, values)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Float[Tensor, "n 4"]) -> tuple[Float[Tensor, "x y z"], None, None]:
        """Returns the gradient by the grid."""
        spacing, positions = ctx.saved_tensors
        to_sdf = upstream.new_zeros(ctx.shape)
        kernels.run(kernels.sdf_and_gradient_to_sdf, len(to_sdf), spacing, positions, upstream.contiguous(), to_sdf)
        return to_sdf, None, None


class FusedCrossings(Function):
    """`segments.intersect` in one pass over the rays."""

    @staticmethod
    def forward(
        ctx: Any,
        alphas: Float[Tensor, "rays segments"],
        sdf: Float[Tensor, "rays edges"],
        gradient: Float[Tensor, "rays edges 3"],
        distances: Float[Tensor, "rays edges"],
        min_slope: float,
        min_length: Float[Tensor, ""],
    ) -> tuple[Tensor, ...]:
        """Returns the fields of `Crossings`; not differentiable with respect to the distances."""
        inputs = tuple(tensor.contiguous() for tensor in (alphas, sdf, gradient, distances))
        ctx.save_for_backward(torch.stack([torch.tensor(min_slope), min_length]), *inputs)
        rays, samples = len(alphas), alphas.shape[1] // 2
        shapes = (samples,), (samples,), (samples, 3), (1,), (1,), (3,)
        outputs = tuple(alphas.new_empty(rays, *shape) for shape in shapes)
        kernels.run(ray_kernels.crossings, rays, *inputs, *outputs)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients by alphas, sdf and its gradient."""
        _, alphas, sdf, gradient, _ = ctx.saved_tensors
        to_inputs = torch.empty_like(alphas), torch.zeros_like(sdf), torch.zeros_like(gradient)
        arrays = *ctx.saved_tensors, *(tensor.contiguous() for tensor in upstream), *to_inputs
        kernels.run(ray_kernels.crossings_backward, len(alphas), *arrays)
        return *to_inputs, None, None, None


class FusedRefinement(Function):
    """Trilinear interpolation of a grid at the points of a finer one: `voxels.Upsample`, one axis after the other."""

    @staticmethod
    def forward(ctx: Any, grid: Float[Tensor, "x y z"], shape: torch.Size) -> Float[Tensor, "fine_x fine_y fine_z"]:
        """Interpolates."""
        ctx.shape = grid.shape
        grid = grid.contiguous()
        for coarse, fine in stages(grid.shape, shape):
            finer = grid.new_zeros(fine)
            kernels.run(kernels.stretch, coarse[0], grid.view(coarse), finer)
            grid = finer
        return grid.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Float[Tensor, "fine_x fine_y fine_z"]) -> tuple[Float[Tensor, "x y z"], None]:
        """Returns the gradient by the coarse grid."""
        gradient = upstream.contiguous()
        for coarse, fine in reversed(stages(ctx.shape, upstream.shape)):
            coarser = gradient.new_zeros(coarse)
            kernels.run(kernels.stretch_to_coarse, coarse[0], gradient.view(fine), coarser)
            gradient = coarser
        return gradient.view(ctx.shape), None


def stages(coarse: torch.Size, fine: torch.Size) -> list[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    """Returns the shapes (batch, points, columns) before and after refining z, then y, then x: the long axis last."""
    (x, y, z), (fine_x, fine_y, fine_z) = coarse, fine
    return [
        ((x * y, z, 1), (x * y, fine_z, 1)),
        ((x, y, fine_z), (x, fine_y, fine_z)),
        ((1, x, fine_y * fine_z), (1, fine_x, fine_y * fine_z)),
    ]
