"""VolSDF's sampler: so many samples that the error of opacity stays below a bound (Yariv et al. 2021, section 3.3).

All lengths are in the units of the signed distance. Density is σ = Ψ_β(-sdf) / β.

Numbers and order of steps are those of the authors' code (github.com/lioryariv/volsdf, `ErrorBoundSampler` with
`confs/dtu.conf`). These differ:

- Rays begin and end at the head's box; theirs at the camera and at twice the radius of a bounding sphere.
- The last sample only ends the last interval; theirs begins another one, of length 1e10.
- Quantiles are interpolated in every interval; theirs fall on its start where it has less than 1e-5 of the mass.
- Intervals to add samples in get 1e-6 on top of the bound, as in their `confs/bmvs.conf`; 0 in `confs/dtu.conf`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from privhead_ns.model.density import laplace_cdf

RaySdf = Callable[[Float[Tensor, "rays samples"]], Float[Tensor, "rays samples"]]
"""Signed distance at distances along each ray."""
Beta = Float[Tensor, "#rays 1"]
LARGEST_EXPONENT = math.log(1e6)
"""Error integrals are cut here: the bound is then useless anyway, and its exponential stays finite."""


@dataclass(frozen=True)
class SamplerSettings:
    """Numbers of VolSDF's Algorithm 1."""

    initial: int = 128
    """Evenly spaced samples to start from, jittered in training."""
    added: int = 128
    """Samples that every round adds where the bound is large."""
    rendered: int = 64
    """Samples that are drawn in proportion to the weight of what lies there."""
    extra: int = 32
    """Samples of all rounds that are rendered as well, besides both ends of the ray."""
    tolerance: float = 0.1
    """ε, the wanted bound of the error of opacity."""
    rounds: int = 4
    """Most rounds of adding samples."""
    bisections: int = 10
    """Steps of the search for β₊."""


def least_distance(sdf: Float[Tensor, "rays n"], spacing: Float[Tensor, "rays m"]) -> Float[Tensor, "rays m"]:
    """Returns d*, which the distance to the surface exceeds all along each interval (Yariv et al. 2021, Eq. 14).

    The balls of radius |sdf| about both ends hold no surface; d* is the distance from the interval to their
    complement. 0 where the balls do not overlap, or the ends lie on different sides.
    """
    a, b = sdf[:, :-1].abs(), sdf[:, 1:].abs()
    half = (a + b + spacing) / 2
    area = (half * (half - a) * (half - b) * (half - spacing)).clamp(min=0).sqrt()  # Heron's formula
    height = 2 * area / spacing.clamp(min=1e-12)
    distance = torch.where((a.square() - b.square()).abs() >= spacing.square(), torch.minimum(a, b), height)
    apart = (a + b <= spacing) | (sdf[:, :-1] * sdf[:, 1:] <= 0)
    return distance.masked_fill(apart, 0.0)


def opacity_bound(
    sdf: Float[Tensor, "rays n"], distances: Float[Tensor, "rays n"], beta: Beta
) -> Float[Tensor, "rays m"]:
    """Returns, for each interval, a bound of how far opacity by the rectangle rule is off within it.

    With R̂ the rectangle rule's integral of σ up to the interval's start, and Ê = Σ δ² exp(-d*/β) / (4 β²) up to its
    end, it is exp(-R̂) (exp(Ê) - 1) (Yariv et al. 2021, Theorem 1 and Eq. 12-13, with α = 1/β).
    """
    spacing = distances.diff(dim=1)
    errors = spacing.square() * torch.exp(-least_distance(sdf, spacing) / beta) / (4 * beta.square())
    error = errors.cumsum(dim=1).clamp(max=LARGEST_EXPONENT)
    masses = spacing * laplace_cdf(sdf[:, :-1], beta) / beta
    return torch.exp(masses - masses.cumsum(dim=1)) * torch.expm1(error)


def safe_beta(distances: Float[Tensor, "rays n"], tolerance: float) -> Beta:
    """Returns β₊ at which the bound is at most the tolerance whatever the sdf (Yariv et al. 2021, Lemma 2)."""
    total = distances.diff(dim=1).square().sum(dim=1, keepdim=True)
    return (total / (4 * math.log1p(tolerance))).sqrt()


def bisect_beta(
    sdf: Float[Tensor, "rays n"],
    distances: Float[Tensor, "rays n"],
    beta: Beta,
    upper: Beta,
    settings: SamplerSettings,
) -> Beta:
    """Returns about the smallest β₊ between the wanted β and `upper` whose bound is below the tolerance."""
    low, high = torch.broadcast_tensors(beta, upper)
    high = torch.maximum(low, high)
    enough = error_bound_holds(sdf, distances, low, settings.tolerance)
    high = torch.where(enough, low, high)
    for _ in range(settings.bisections):
        middle = (low + high) / 2
        enough = error_bound_holds(sdf, distances, middle, settings.tolerance)
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return high


def error_bound_holds(
    sdf: Float[Tensor, "rays n"], distances: Float[Tensor, "rays n"], beta: Beta, tolerance: float
) -> Tensor:
    """Returns for each ray whether the bound stays below the tolerance: (rays, 1)."""
    return opacity_bound(sdf, distances, beta).amax(dim=1, keepdim=True) <= tolerance


def converged(upper: Beta, wanted: Beta) -> bool:
    """Returns whether the bound holds on all rays with the density's own β. On a GPU, the host waits for the answer."""
    return bool((upper <= wanted).all())


def rendering_weights(
    sdf: Float[Tensor, "rays n"], distances: Float[Tensor, "rays n"], beta: Float[Tensor, "*any"]
) -> Float[Tensor, "rays m"]:
    """Returns the weight T (1 - exp(-σ δ)) of each interval, σ taken at its start (Yariv et al. 2021, Eq. 10)."""
    masses = distances.diff(dim=1) * laplace_cdf(sdf[:, :-1], beta) / beta
    return torch.exp(masses - masses.cumsum(dim=1)) * -torch.expm1(-masses)


def inverse_cdf(
    distances: Float[Tensor, "rays n"], mass: Float[Tensor, "rays m"], quantiles: Float[Tensor, "rays count"]
) -> Float[Tensor, "rays count"]:
    """Returns the distances at the quantiles, in [0, 1], of a density that is proportional to each interval's mass."""
    cdf = (mass / mass.sum(dim=1, keepdim=True)).cumsum(dim=1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], dim=1)
    after = torch.searchsorted(cdf, quantiles.contiguous(), right=True).clamp(1, cdf.shape[1] - 1)
    start, end = cdf.gather(1, after - 1), cdf.gather(1, after)
    t = ((quantiles - start) / (end - start).clamp(min=1e-12)).clamp(0, 1)
    return torch.lerp(distances.gather(1, after - 1), distances.gather(1, after), t)


def jitter(distances: Float[Tensor, "rays n"]) -> Float[Tensor, "rays n"]:
    """Moves each distance at random, at most half the way to its neighbours; the order stays."""
    middles = (distances[:, 1:] + distances[:, :-1]) / 2
    low = torch.cat([distances[:, :1], middles], dim=1)
    high = torch.cat([middles, distances[:, -1:]], dim=1)
    return torch.lerp(low, high, torch.rand_like(distances))


@torch.no_grad()
def error_bounded_samples(
    ray_sdf: RaySdf,
    nears: Float[Tensor, "rays 1"],
    fars: Float[Tensor, "rays 1"],
    beta: Float[Tensor, ""],
    settings: SamplerSettings,
    random: bool,
) -> Float[Tensor, "rays samples"]:
    """Runs VolSDF's Algorithm 1.

    Args:
        ray_sdf: signed distance along the rays.
        nears: where the rays begin.
        fars: where they end.
        beta: of the density.
        settings: numbers of samples, rounds and the tolerance.
        random: whether to draw at random, as in training.

    Returns:
        `rendered` + `extra` + 2 distances of each ray, in order.
    """

    def even(count: int) -> Tensor:
        return torch.linspace(0, 1, count, device=nears.device).expand(len(nears), count)

    distances = torch.lerp(nears, fars, even(settings.initial))
    distances = jitter(distances) if random else distances
    sdf = ray_sdf(distances)
    wanted, upper = beta.reshape(1, 1), safe_beta(distances, settings.tolerance)
    upper = bisect_beta(sdf, distances, wanted, upper, settings)
    for _ in range(settings.rounds):
        if converged(upper, wanted):
            break
        more = inverse_cdf(distances, opacity_bound(sdf, distances, upper) + 1e-6, even(settings.added))
        distances, order = torch.cat([distances, more], dim=1).sort(dim=1)
        sdf = torch.cat([sdf, ray_sdf(more)], dim=1).gather(1, order)
        upper = bisect_beta(sdf, distances, wanted, upper, settings)
    quantiles = even(settings.rendered)
    quantiles = torch.rand_like(quantiles) if random else quantiles
    drawn = inverse_cdf(distances, rendering_weights(sdf, distances, upper) + 1e-5, quantiles)
    count = distances.shape[1]
    last = torch.linspace(0, count - 1, settings.extra, device=distances.device).long()
    chosen = torch.randperm(count, device=distances.device)[: settings.extra] if random else last
    return torch.cat([nears, drawn, distances[:, chosen], fars], dim=1).sort(dim=1).values
