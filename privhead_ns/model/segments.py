"""Segments of rays: their opacity and weights (Eq. 1), and where they cross the surface."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.rays import RaySamples
from torch import Tensor

from privhead_ns.model import kernels
from privhead_ns.model.density import ALPHA, Rendering
from privhead_ns.model.fused import FusedCrossings
from privhead_ns.model.ray_kernels import MIN_WEIGHT

MIN_SLOPE = 0.1
"""Change of sdf per unit of length below which the gradient of `surface_fraction` is damped: 84° from the normal."""


class Crossings(NamedTuple):
    """Where rays cross the surface, as samples to colour, each of two neighbouring segments, and as sums over a ray."""

    weights: Float[Tensor, "rays samples"]
    """ω = T α of Eq. 1, summed over both segments."""
    depths: Float[Tensor, "rays samples"]
    """Weighted mean of the distances at which both cross the surface, or of the middles of those that do not."""
    normals: Float[Tensor, "rays samples 3"]
    """Unit normals: the weighted mean of those there."""
    accumulation: Float[Tensor, "rays 1"]
    """Sum of all weights."""
    depth: Float[Tensor, "rays 1"]
    """Sum of weight times distance over the segments."""
    normal: Float[Tensor, "rays 3"]
    """Sum of weight times unit normal over the segments."""


class Opacity:
    """Opacity of segments from the signed distances at their ends.

    Args:
        rendering: how it follows from them.
        opaque_end: whether the last segment of each ray is opaque: in a room it is the wall.
    """

    def __init__(self, rendering: Rendering, opaque_end: bool) -> None:
        self.alpha, self.opaque_end = ALPHA[rendering], opaque_end

    def __call__(
        self, sdf: Float[Tensor, "rays edges"], distances: Float[Tensor, "rays edges"], beta: Float[Tensor, ""]
    ) -> Float[Tensor, "rays segments"]:
        """Returns α of each segment."""
        alphas = self.alpha(sdf[:, :-1], sdf[:, 1:], distances.diff(dim=1), beta)
        return torch.cat([alphas[:, :-1], torch.ones_like(alphas[:, -1:])], dim=1) if self.opaque_end else alphas


def intersect(
    alphas: Float[Tensor, "rays segments"],
    sdf: Float[Tensor, "rays edges"],
    gradient: Float[Tensor, "rays edges 3"],
    distances: Float[Tensor, "rays edges"],
    beta: Float[Tensor, ""],
) -> Crossings:
    """Returns where an even number of segments cross the surface, given their opacity, and the sdf at their ends.

    Colours need fewer samples than opacity does: two neighbouring segments share one, which passes no gradient to the
    ratio of their weights. The gradient of `surface_fraction` is damped for segments along which the sdf changes by
    less than `MIN_SLOPE` times their length, or β if that is longer.
    """
    if kernels.supported(alphas, sdf, gradient, distances):
        return Crossings(*FusedCrossings.apply(alphas, sdf, gradient, distances, MIN_SLOPE, beta))
    least_change = MIN_SLOPE * torch.maximum(distances.diff(dim=1), beta)
    t = surface_fraction(sdf[:, :-1], sdf[:, 1:], least_change)
    depths = torch.lerp(distances[:, :-1], distances[:, 1:], t)
    normals = F.normalize(torch.lerp(gradient[:, :-1], gradient[:, 1:], t[..., None]), dim=-1)
    weights = rendering_weights(alphas)
    pairs = weights.unflatten(1, (-1, 2))
    shares = (pairs / pairs.sum(dim=2, keepdim=True).clamp(min=float(MIN_WEIGHT))).detach()
    return Crossings(
        weights=pairs.sum(dim=2),
        depths=(shares * depths.unflatten(1, (-1, 2))).sum(dim=2),
        normals=F.normalize((shares[..., None] * normals.unflatten(1, (-1, 2))).sum(dim=2), dim=-1),
        accumulation=weights.sum(dim=1, keepdim=True),
        depth=(weights * depths).sum(dim=1, keepdim=True),
        normal=(weights[..., None] * normals).sum(dim=1),
    )


def rendering_weights(alphas: Float[Tensor, "rays segments"]) -> Float[Tensor, "rays segments"]:
    """Returns ω = T α of each segment (Eq. 1)."""
    return RaySamples.get_weights_and_transmittance_from_alphas(alphas[..., None], weights_only=True)[..., 0]


def surface_fraction(
    sdf_start: Float[Tensor, "rays segments"],
    sdf_end: Float[Tensor, "rays segments"],
    least_change: Float[Tensor, "rays segments"],
) -> Float[Tensor, "rays segments"]:
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
