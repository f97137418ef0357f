"""From rays to colours: the colours at the surface, summed by weights (Eq. 1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn

from privhead_ns.model.density import Rendering
from privhead_ns.model.field import HeadField
from privhead_ns.model.geometry import Geometry
from privhead_ns.model.sampler import SurfaceSampler, points_at
from privhead_ns.model.segments import Opacity, intersect

MIN_WEIGHT = 1e-3
"""Weight below which a sample's colour is not computed."""


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

    Opacity belongs to segments of the rays, colour to where the ray crosses the surface in two neighbouring ones.

    Args:
        rendering: how opacity follows from signed distance.
        num_coarse_samples: evenly spaced samples per ray.
        num_samples: segments per ray at the surface; an odd number is raised by one.
        opaque_end: whether the last segment of each ray is opaque: in a room it is the wall.
    """

    def __init__(
        self, rendering: Rendering, num_coarse_samples: int, num_samples: int, opaque_end: bool = False
    ) -> None:
        super().__init__()
        self.opacity = Opacity(rendering, opaque_end)
        self.sampler = SurfaceSampler(num_coarse_samples, num_samples + num_samples % 2, self.opacity)

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
        distances = self.sampler(ray_bundle, field, geometry)
        sdf, gradient = geometry.sdf_and_gradient_at(field.normalize(points_at(ray_bundle, distances)))
        alphas = self.opacity(sdf, distances, field.beta)
        seen = intersect(alphas, sdf, gradient, distances, field.beta)
        surface_points = scale_gradient(points_at(ray_bundle, seen.depths), painting_share)
        directions = scale_gradient(ray_bundle.directions, painting_share)[:, None].expand_as(surface_points)
        shaded = seen.normals
        if shading is not None:
            shaded = torch.where(shading[:, None, None], shaded, shaded.detach())
        visible = seen.weights.detach() > MIN_WEIGHT
        colors, magnitudes = field.appearance(
            surface_points, scale_gradient(shaded, painting_share), directions, visible, with_magnitude
        )
        weights = scale_gradient(seen.weights, painting_share)[..., None]
        return Rendered(
            rgb=(weights * colors).sum(dim=1),
            accumulation=seen.accumulation.clamp(max=1),
            depth=seen.depth / seen.accumulation.clamp(min=MIN_WEIGHT),
            normals=F.normalize(seen.normal, dim=-1),
            magnitude=None if magnitudes is None else (weights * magnitudes).sum(dim=1),
        )


def scale_gradient(values: Float[Tensor, "*batch"], factor: float) -> Float[Tensor, "*batch"]:
    """Returns the values unchanged, and multiplies the gradient that they pass on."""
    return values if factor == 1 else torch.lerp(values.detach(), values, factor)
