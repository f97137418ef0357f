"""VolSDF's networks: an implicit one for signed distance, and one for colour (Yariv et al. 2021, appendix B)."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.field_components.encodings import NeRFEncoding
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from privhead_ns.model.lipschitz import LipschitzMLP

INITIAL_RADIUS = 0.6
"""Of the sphere that the signed distance starts as, in half sides of the box."""
INITIAL_BETA = 0.1
"""β to start from, in half sides of the box."""
MINIMUM_BETA = 1e-4
"""β never gets smaller, as in VolSDF."""


class Fourier(nn.Module):
    """A position or direction, followed by sines and cosines of 1, 2, 4, … times it (Mildenhall et al. 2020).

    Args:
        num_frequencies: of them.
    """

    def __init__(self, num_frequencies: int) -> None:
        super().__init__()
        self.waves = NeRFEncoding(3, num_frequencies, min_freq_exp=0, max_freq_exp=num_frequencies - 1)
        self.channels = 3 + self.waves.get_out_dim()

    def forward(self, x: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch channels"]:
        if x.numel() == 0:  # which Nerfstudio's encoding cannot reshape
            return F.pad(x, (0, self.channels - 3))
        return torch.cat([x, self.waves(x / (2 * math.pi))], dim=-1)  # the encoding multiplies by 2π


class ImplicitNetwork(nn.Module):
    """Signed distance and a feature vector of a point, by layers with weight normalisation and softplus (β = 100).

    The encoded point enters again half-way. Geometric initialisation makes it a sphere of radius `INITIAL_RADIUS`
    (Atzmon and Lipman 2020, Theorem 1; with encoding and skip as in Yariv et al. 2020): the weights of the waves
    start at 0.

    Args:
        layers: number of hidden layers.
        units: width of each.
        features: size of the feature vector.
        num_frequencies: of the positional encoding.
    """

    def __init__(self, layers: int, units: int, features: int, num_frequencies: int) -> None:
        super().__init__()
        self.encoding = Fourier(num_frequencies)
        encoded = self.encoding.channels
        self.skip = layers // 2
        widths = [encoded, *[units] * layers, 1 + features]
        modules = []
        for number, (inputs, outputs) in enumerate(pairwise(widths)):
            layer = nn.Linear(inputs, outputs - encoded if number + 1 == self.skip else outputs)
            nn.init.zeros_(layer.bias)
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / layer.out_features))
            if number == layers:
                nn.init.normal_(layer.weight, math.sqrt(math.pi / inputs), 1e-4)
                nn.init.constant_(layer.bias, -INITIAL_RADIUS)
            elif number in (0, self.skip):
                nn.init.zeros_(layer.weight[:, inputs - encoded + 3 :].detach())
            modules.append(weight_norm(layer))
        self.layers = nn.ModuleList(modules)

    def forward(self, positions: Float[Tensor, "n 3"]) -> Float[Tensor, "n channels"]:
        """Returns the signed distance, followed by the features; all in the network's units."""
        encoded = self.encoding(positions)
        x = encoded
        for number, layer in enumerate(self.layers):
            if number == self.skip:
                x = torch.cat([x, encoded], dim=-1) / math.sqrt(2)
            x = layer(x)
            if number + 1 < len(self.layers):
                x = F.softplus(x, beta=100)
        return x


class Local(NamedTuple):
    """The field at points, in the network's units."""

    sdf: Float[Tensor, " n"]
    """Signed distance, negative inside."""
    gradient: Float[Tensor, "n 3"]
    """Its gradient."""
    features: Float[Tensor, "n features"]
    """What the colour network learns of the place."""


class PaperField(nn.Module):
    """Signed distance and colour in a box; the networks see it as [-1, 1] along its longest side.

    Args:
        aabb: lower and upper corner of the box, in capture units.
        layers: hidden layers of the implicit network; the colour network has half as many.
        units: width of all hidden layers, and size of the feature vector.
        position_frequencies: of the point's encoding.
        direction_frequencies: of the viewing direction's encoding.
    """

    short_steps = False
    """Whether one thread of a CPU does a training step fastest."""

    def __init__(
        self,
        aabb: Float[Tensor, "2 3"],
        layers: int,
        units: int,
        position_frequencies: int,
        direction_frequencies: int,
    ) -> None:
        super().__init__()
        self.aabb: Tensor
        self.register_buffer("aabb", aabb.clone())
        self.half_side = float((aabb[1] - aabb[0]).max()) / 2
        self.implicit = ImplicitNetwork(layers, units, units, position_frequencies)
        self.encoding = Fourier(direction_frequencies)
        inputs = 3 + self.encoding.channels + 3 + units
        self.color_network = LipschitzMLP((inputs, *[units] * (layers // 2), 3))
        self.raw_beta = nn.Parameter(torch.tensor(INITIAL_BETA - MINIMUM_BETA))

    @property
    def beta(self) -> Float[Tensor, ""]:
        """β of VolSDF's density, learned, in the network's units."""
        return self.raw_beta.abs() + MINIMUM_BETA

    def normalize(self, positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Maps capture units to the network's."""
        return (positions - self.aabb.mean(dim=0)) / self.half_side

    def sdf(self, positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Returns the signed distance in capture units."""
        values = self.implicit(self.normalize(positions).reshape(-1, 3))[:, 0]
        return values.reshape(positions.shape[:-1]) * self.half_side

    def sdf_function(self) -> Callable[[Float[Tensor, "*batch 3"]], Float[Tensor, "*batch"]]:
        """Returns the signed distance as a function of positions, for many calls."""
        return self.sdf

    def forward_geonetwork(self, positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 1"]:
        """What Nerfstudio's marching cubes calls for signed distances."""
        return self.sdf(positions)[..., None]

    def local(self, points: Float[Tensor, "n 3"]) -> Local:
        """Evaluates the implicit network and its gradient, by automatic differentiation, also where that is off."""
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            values = self.implicit(points)
            sdf, features = values[:, :1], values[:, 1:]
            gradient = cast(Tensor, torch.autograd.grad(sdf.sum(), points, create_graph=self.training)[0])
        if self.training:
            return Local(sdf[:, 0], gradient, features)
        return Local(sdf.detach()[:, 0], gradient, features.detach())

    def color(
        self, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"], local: Local
    ) -> Float[Tensor, "n 3"]:
        """Returns colours in [0, 1], from point, direction of view, normal and features."""
        inputs = torch.cat([points, self.encoding(directions), local.gradient, local.features], dim=-1)
        return torch.sigmoid(self.color_network(inputs))
