"""Where to sample rays: near the surface, and where there may be one."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.model_components.ray_samplers import PDFSampler, UniformSampler
from torch import Tensor, nn

from privhead_ns.model import kernels, ray_kernels
from privhead_ns.model.field import HeadField
from privhead_ns.model.geometry import Geometry
from privhead_ns.model.segments import Opacity, rendering_weights

HIDDEN_SURFACE = 0.15
"""Weight of an unoccluded coarse segment that may hide a surface, when the samples to render are drawn."""
PADDING = 0.01
"""Share of the samples that are spread evenly."""


class SurfaceSampler(nn.Module):
    """Draws samples in two steps, from the signed distance alone.

    The first, evenly spaced samples look at the signed distance; the second ones are drawn where those found opacity,
    and where they are too far apart to rule out a surface between them. Nothing is random: jittered samples make the
    gradient so noisy that the surface wanders.

    Args:
        num_coarse_samples: evenly spaced samples per ray.
        num_samples: samples per ray at the surface.
        opacity: of segments, from the signed distances at their ends.
    """

    def __init__(self, num_coarse_samples: int, num_samples: int, opacity: Opacity) -> None:
        super().__init__()
        self.opacity, self.num_samples = opacity, num_samples
        self.padding = PADDING / num_coarse_samples
        self.coarse = UniformSampler(num_coarse_samples, train_stratified=False)
        self.fine = PDFSampler(
            num_samples, train_stratified=False, include_original=False, histogram_padding=self.padding
        )
        self.fractions: Tensor
        self.register_buffer("fractions", torch.linspace(0, 1, num_coarse_samples + 1), persistent=False)

    @torch.no_grad()
    def forward(self, rays: RayBundle, field: HeadField, geometry: Geometry) -> Float[Tensor, "rays edges"]:
        """Returns the distances between which the segments to render lie; one more than there are segments."""
        if kernels.supported(geometry.sdf, rays.origins, rays.directions):
            return self.fused(rays, field, geometry)
        with rays.origins.device:  # where Nerfstudio is to make its constants
            coarse = self.coarse(rays)
            distances = bin_edges(coarse)
            sdf = geometry.sdf_at(field.normalize(points_at(rays, distances)))
            return bin_edges(self.fine(rays, coarse, self.density(sdf, distances, field.beta)[..., None]))

    def density(
        self, sdf: Float[Tensor, "rays edges"], distances: Float[Tensor, "rays edges"], beta: Float[Tensor, ""]
    ) -> Float[Tensor, "rays segments"]:
        """Returns the density of samples to render in each coarse segment, unnormalised."""
        weights = rendering_weights(self.opacity(sdf, distances, beta))
        unoccluded = 1 - (weights.cumsum(dim=1) - weights)
        return weights + HIDDEN_SURFACE * unoccluded * may_hide_surface(sdf, distances.diff(dim=1))

    def fused(self, rays: RayBundle, field: HeadField, geometry: Geometry) -> Float[Tensor, "rays edges"]:
        """The same by kernels."""
        assert rays.nears is not None and rays.fars is not None
        coarse = torch.lerp(rays.nears, rays.fars, self.fractions)
        sdf = torch.empty_like(coarse)
        places = (tensor.contiguous() for tensor in (geometry.sdf, field.aabb, rays.origins, rays.directions))
        kernels.run(ray_kernels.sdf_along_rays, len(coarse), *places, coarse, sdf)
        alphas = self.opacity(sdf, coarse, field.beta)
        settings = torch.tensor([HIDDEN_SURFACE, self.padding])
        distances = coarse.new_empty(len(coarse), self.num_samples + 1)
        kernels.run(ray_kernels.resample, len(coarse), settings, alphas, sdf, coarse, distances)
        return distances


def may_hide_surface(
    sdf: Float[Tensor, "rays edges"], lengths: Float[Tensor, "rays segments"]
) -> Bool[Tensor, "rays segments"]:
    """Returns which segments outside the head may enter and leave it between their ends.

    The ball of radius sdf about each end holds no surface; where the two balls do not meet, there may be one.
    """
    start, end = sdf[:, :-1], sdf[:, 1:]
    return (start > 0) & (end > 0) & (start + end < lengths)


def bin_edges(samples: RaySamples) -> Float[Tensor, "rays edges"]:
    """Returns the distances between which the segments of each ray lie; one more than there are segments."""
    return torch.cat([samples.frustums.starts, samples.frustums.ends[:, -1:]], dim=1)[..., 0]


def points_at(rays: RayBundle, distances: Float[Tensor, "rays edges"]) -> Float[Tensor, "rays edges 3"]:
    """Returns the points at the given distances along the rays."""
    return rays.origins[:, None] + rays.directions[:, None] * distances[..., None]
