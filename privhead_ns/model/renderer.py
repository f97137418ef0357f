"""From rays to colours: samples near the surface, opacity from signed distances, weighted sums (Eq. 1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.model_components.ray_samplers import PDFSampler, UniformSampler
from torch import Tensor, nn

from privhead_ns.model.density import ALPHA, Rendering
from privhead_ns.model.field import HeadField
from privhead_ns.model.geometry import Geometry

MIN_WEIGHT = 1e-3
"""Weight below which a segment's colour is not computed."""
HIDDEN_SURFACE = 0.15
"""Weight of an unoccluded coarse segment that may hide a surface, when the samples to render are drawn."""
MIN_SLOPE = 0.1
"""Change of sdf per unit of length below which the gradient of `surface_fraction` is damped: 84° from the normal."""


class Rendered(NamedTuple):
    """Rendered quantities of rays."""

    rgb: Float[Tensor, "rays 3"]
    """Colour in [0, 1], black where the ray misses the head."""
    accumulation: Float[Tensor, "rays 1"]
    """Opacity in [0, 1]."""
    depth: Float[Tensor, "rays 1"]
    """Mean distance of the surface along the unit ray, in capture units; undefined where the ray misses the head."""
    normals: Float[Tensor, "rays 3"]
    """Unit normals in the capture's frame; zero where the ray misses the head."""
    magnitude: Float[Tensor, "rays 1"] | None = None
    """Magnitude that the places on the surface carry, in colour units per pixel; only where asked for."""


class SurfaceRenderer(nn.Module):
    """Renders a head's field with few samples per ray.

    The first, evenly spaced samples look only at the signed distance; the second ones are drawn where those found
    opacity, and where they are too far apart to rule out a surface between them. Opacity belongs to segments between
    neighbouring samples, colour to where the ray crosses the surface in them. Nothing is random: jittered samples make
    the gradient so noisy that the surface wanders.

    Args:
        rendering: how opacity follows from signed distance.
        num_coarse_samples: evenly spaced samples per ray.
        num_samples: samples per ray at the surface.
        opaque_end: whether the last segment of each ray is opaque: in a room it is the wall.
    """

    def __init__(
        self, rendering: Rendering, num_coarse_samples: int, num_samples: int, opaque_end: bool = False
    ) -> None:
        super().__init__()
        self.opaque_end = opaque_end
        self.alpha = ALPHA[rendering]
        self.coarse = UniformSampler(num_coarse_samples, train_stratified=False)
        self.fine = PDFSampler(
            num_samples, train_stratified=False, include_original=False, histogram_padding=0.01 / num_coarse_samples
        )

    def forward(
        self,
        ray_bundle: RayBundle,
        field: HeadField,
        geometry: Geometry,
        with_magnitude: bool = False,
        shading: Bool[Tensor, " rays"] | None = None,
        painting_share: float = 1.0,
    ) -> Rendered:
        """Renders rays that carry their nears and fars.

        Args:
            ray_bundle: the rays.
            field: what they look at.
            geometry: its shape.
            with_magnitude: whether magnitudes are wanted.
            shading: rays whose colours pass a gradient to the normals; by default all.
            painting_share: factor on the gradient that colours and magnitudes pass to shape and rays.
        """
        with torch.no_grad(), ray_bundle.origins.device:  # where Nerfstudio is to make its constants
            coarse = self.coarse(ray_bundle)
            distances = bin_edges(coarse)
            sdf = geometry.sdf_at(field.normalize(points_at(ray_bundle, distances)))
            distances = bin_edges(self.fine(ray_bundle, coarse, self.histogram(sdf, distances, field.beta)[..., None]))
        positions = points_at(ray_bundle, distances)
        sdf, gradient = geometry.sdf_and_gradient_at(field.normalize(positions))
        weights = self.weights(sdf, distances, field.beta)
        t = surface_fraction(sdf[:, :-1], sdf[:, 1:], MIN_SLOPE * torch.maximum(distances.diff(dim=1), field.beta))
        normals = F.normalize(lerp_samples(gradient, t), dim=-1)
        surface_points = scale_gradient(lerp_samples(positions, t), painting_share)
        directions = scale_gradient(ray_bundle.directions, painting_share)[:, None].expand_as(surface_points)
        shaded = normals if shading is None else torch.where(shading[:, None, None], normals, normals.detach())
        shaded = scale_gradient(shaded, painting_share)
        visible = weights.detach() > MIN_WEIGHT
        colors, magnitudes = field.appearance(surface_points, shaded, directions, visible, with_magnitude)
        weights = weights[..., None]
        accumulation, paint_weights = weights.sum(dim=1), scale_gradient(weights, painting_share)
        return Rendered(
            rgb=(paint_weights * colors).sum(dim=1),
            accumulation=accumulation.clamp(max=1),
            depth=(weights * lerp_samples(distances[..., None], t)).sum(dim=1) / accumulation.clamp(min=MIN_WEIGHT),
            normals=F.normalize((weights * normals).sum(dim=1), dim=-1),
            magnitude=None if magnitudes is None else (paint_weights * magnitudes).sum(dim=1),
        )

    def weights(
        self, sdf: Float[Tensor, "rays edges"], distances: Float[Tensor, "rays edges"], beta: Float[Tensor, ""]
    ) -> Float[Tensor, "rays samples"]:
        """Returns ω = T α of each segment (Eq. 1), from the signed distances at the segments' ends."""
        alphas = self.alpha(sdf[:, :-1], sdf[:, 1:], distances.diff(dim=1), beta)
        if self.opaque_end:
            alphas = torch.cat([alphas[:, :-1], torch.ones_like(alphas[:, -1:])], dim=1)
        return RaySamples.get_weights_and_transmittance_from_alphas(alphas[..., None], weights_only=True)[..., 0]

    def histogram(
        self, sdf: Float[Tensor, "rays edges"], distances: Float[Tensor, "rays edges"], beta: Float[Tensor, ""]
    ) -> Float[Tensor, "rays samples"]:
        """Returns the density of samples to render in each coarse segment, unnormalised."""
        weights = self.weights(sdf, distances, beta)
        transmittance = 1 - (weights.cumsum(dim=1) - weights)
        return weights + HIDDEN_SURFACE * transmittance * may_hide_surface(sdf, distances.diff(dim=1))


def may_hide_surface(
    sdf: Float[Tensor, "rays edges"], lengths: Float[Tensor, "rays samples"]
) -> Bool[Tensor, "rays samples"]:
    """Returns which segments outside the head may enter and leave it between their ends.

    The ball of radius sdf about each end holds no surface; where the two balls do not meet, there may be one.
    """
    start, end = sdf[:, :-1], sdf[:, 1:]
    return (start > 0) & (end > 0) & (start + end < lengths)


def bin_edges(samples: RaySamples) -> Float[Tensor, "rays edges"]:
    """Returns the distances between which the segments of each ray lie; one more than there are segments."""
    return torch.cat([samples.frustums.starts, samples.frustums.ends[:, -1:]], dim=1)[..., 0]


def points_at(ray_bundle: RayBundle, distances: Float[Tensor, "rays edges"]) -> Float[Tensor, "rays edges 3"]:
    """Returns the points at the given distances along the rays."""
    return ray_bundle.origins[:, None] + ray_bundle.directions[:, None] * distances[..., None]


def surface_fraction(
    sdf_start: Float[Tensor, "rays samples"],
    sdf_end: Float[Tensor, "rays samples"],
    least_change: Float[Tensor, "rays samples"],
) -> Float[Tensor, "rays samples"]:
    """Returns where along each segment the ray enters the head, if sdf runs linearly there; 1/2 where it does not.

    It depends on the sdf, and so does the colour found there: moving the surface moves what is seen of it, also when β
    is so small that the opacity of the segment no longer changes. The derivative by either sdf is at most
    1 / `least_change`, and exact where the sdf falls by more than that.
    """
    enters = (sdf_start > 0) & (sdf_end <= 0)
    change = torch.where(enters, sdf_start - sdf_end, 1).detach()
    t = torch.where(enters, sdf_start.detach() / change, 0.5)
    remainder = torch.lerp(sdf_start, sdf_end, t)  # 0, but for its gradient: that of the implicit function
    return t + torch.where(enters, remainder - remainder.detach(), 0) / torch.maximum(change, least_change)


def scale_gradient(values: Float[Tensor, "*batch"], factor: float) -> Float[Tensor, "*batch"]:
    """Returns the values unchanged, and multiplies the gradient that they pass on."""
    return values if factor == 1 else torch.lerp(values.detach(), values, factor)


def lerp_samples(
    values: Float[Tensor, "rays edges channels"], t: Float[Tensor, "rays samples"]
) -> Float[Tensor, "rays samples channels"]:
    """Returns the values at a share of the way from each edge along the ray to the next."""
    return torch.lerp(values[:, :-1], values[:, 1:], t[..., None])
