"""The room behind the head, for captures without masks: a coarse field of all space outside the head's box."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.field_components.activations import trunc_exp
from nerfstudio.field_components.spatial_distortions import SceneContraction
from torch import Tensor, nn

from privhead_ns.model.voxels import FeaturePyramid


class BackgroundField(nn.Module):
    """Colour of rays that leave the sphere about the head's box, or pass it by.

    Space is contracted to a ball of radius 2 about the box (mip-NeRF 360, Barron et al. 2022, Eq. 10); density and
    colour live on a voxel grid there.

    Args:
        aabb: the head's box.
        num_samples: samples per ray, evenly spaced in inverse distance from the sphere to infinity.
    """

    def __init__(self, aabb: Float[Tensor, "2 3"], num_samples: int = 12) -> None:
        super().__init__()
        self.center: Tensor
        self.radius: Tensor
        self.register_buffer("center", aabb.mean(dim=0))
        self.register_buffer("radius", (aabb[1] - aabb[0]).norm() / 2)
        self.num_samples = num_samples
        self.contraction = SceneContraction()
        self.features = FeaturePyramid([(8, 8, 8), (32, 32, 32)], 4)
        self.network = nn.Sequential(nn.Linear(self.features.channels, 32), nn.ReLU(), nn.Linear(32, 4))

    @torch.no_grad()
    def forget(self) -> None:
        """Makes all of it one grey, from which training can start anew."""
        first, _, last = self.network
        for table in self.features.tables:
            table.zero_()
        cast(nn.Linear, first).reset_parameters()
        for parameter in last.parameters():
            parameter.zero_()

    def forward(self, ray_bundle: RayBundle) -> Float[Tensor, "rays 3"]:
        """Renders the background colour of each ray."""
        origins, directions = (ray_bundle.origins - self.center) / self.radius, ray_bundle.directions
        closest = -(origins * directions).sum(-1, keepdim=True)
        miss = (origins + closest * directions).square().sum(-1, keepdim=True)
        start = (closest + (1 - miss).clamp(min=0).sqrt()).clamp(min=0.05)  # where the ray leaves the unit sphere
        edges = torch.linspace(1, 0.02, self.num_samples + 1, device=origins.device)
        distances = start / edges
        middle = (distances[:, 1:] + distances[:, :-1]) / 2
        contracted = self.contraction(origins[:, None] + directions[:, None] * middle[..., None])
        density, color = self.network(self.features((contracted + 2) / 4)).split([1, 3], dim=-1)
        alpha = 1 - torch.exp(-trunc_exp(density[..., 0]) * (distances[:, 1:] - distances[:, :-1]))
        alpha = torch.cat([alpha[:, :-1], torch.ones_like(alpha[:, -1:])], dim=-1)  # nothing shines through the wall
        transmittance = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1]], dim=-1), dim=-1)
        return ((alpha * transmittance)[..., None] * torch.sigmoid(color)).sum(dim=1)
