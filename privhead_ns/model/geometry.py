"""The shape of one training step: signed distances on the finest grid, and what is computed of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from privhead_ns.model import kernels
from privhead_ns.model.fused import FusedSdfAndGradient
from privhead_ns.model.losses import eikonal_loss
from privhead_ns.model.regularisers import FusedRegularisers
from privhead_ns.model.voxels import Trilinear, grid_curvature, grid_gradient


@dataclass(frozen=True)
class Geometry:
    """The signed distance function on the finest grid.

    On CPU nothing else is tabulated: a training step there waits for memory, and the grid is large.
    """

    sdf: Float[Tensor, "x y z"]
    """Signed distance in capture units, negative inside."""
    spacing: Float[Tensor, "3"]
    """Distance between grid points, in capture units."""
    trilinear: Trilinear
    """Interpolation between the grid points."""

    @cached_property
    def gradient(self) -> Float[Tensor, "3 x y z"]:
        """Gradient of the sdf at the grid points, without unit."""
        return grid_gradient(self.sdf, self.spacing)

    @cached_property
    def table(self) -> Float[Tensor, "x y z 4"]:
        """Signed distance and gradient, channels last."""
        return torch.stack([self.sdf, *self.gradient], dim=-1)

    def sdf_at(self, positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Interpolates the signed distance at positions in [0, 1]."""
        return self.trilinear(self.sdf[..., None], positions)[..., 0]

    def sdf_and_gradient_at(
        self, positions: Float[Tensor, "*batch 3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3"]]:
        """Interpolates the signed distance and its gradient at positions in [0, 1].

        By the positions, the signed distance is differentiable to first order: its derivative is the gradient returned.
        """
        fixed = positions.detach()
        if kernels.supported(self.sdf, fixed):
            flat = FusedSdfAndGradient.apply(self.sdf, self.spacing, fixed.reshape(-1, 3))
            values = flat.reshape(*positions.shape[:-1], 4)
        else:
            values = self.trilinear(self.table, fixed)
        sdf, gradient = values[..., 0], values[..., 1:]
        if positions.requires_grad:
            moved = (positions - fixed) * self.spacing * self.trilinear.last
            sdf = sdf + (moved * gradient.detach()).sum(dim=-1)
        return sdf, gradient

    def regularisers(self) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Returns the means over the grid of eikonal loss (Eq. 4) and curvature."""
        if kernels.supported(self.sdf):
            return FusedRegularisers.apply(self.sdf, self.spacing)
        return eikonal_loss(self.gradient).mean(), grid_curvature(self.sdf, self.spacing).mean()
