"""A colour network whose layers carry trainable Lipschitz bounds (Eqs. 7 and 8, after Rosu and Behnke 2023)."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

EPS = 1e-12
"""Lower bound of a row's sum; a row of zeros has no scale."""


class LipschitzLinear(nn.Linear):
    """A linear layer whose weight Ŵ = a(W, softplus(m)) maps unit changes to at most softplus(m), in the max-norm.

    `a` scales each row of W down until its sum of absolute values is at most softplus(m). As in PermutoSDF, m starts at
    twice the largest row sum, so that the bound does not bind at first.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.bound = nn.Parameter(2 * self.weight.detach().abs().sum(dim=1).max())

    @property
    def lipschitz(self) -> Float[Tensor, ""]:
        """The layer's Lipschitz constant, softplus(m) = ln(1 + eᵐ) of Eq. 7."""
        return F.softplus(self.bound)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        row_sums = self.weight.abs().sum(dim=1, keepdim=True)
        return F.linear(x, self.weight * (self.lipschitz / row_sums.clamp(min=EPS)).clamp(max=1), self.bias)


class LipschitzMLP(nn.Module):
    """ReLU layers of `LipschitzLinear` with a linear output.

    Args:
        widths: number of inputs, of units of each hidden layer, and of outputs.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LipschitzLinear(a, b) for a, b in pairwise(widths))

    @property
    def bounds(self) -> list[nn.Parameter]:
        """Parameters m of the layers."""
        return [cast(LipschitzLinear, layer).bound for layer in self.layers]

    @property
    def lipschitz(self) -> Float[Tensor, ""]:
        """Product of the layers' constants: an upper bound for the network, and L_lip of Eq. 8."""
        return F.softplus(torch.stack(tuple(self.bounds))).prod()

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)
