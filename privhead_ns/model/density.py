"""Opacity of a ray segment from the signed distance at its two ends: VolSDF's density, and NeuS's alpha."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Rendering = Literal["volsdf", "neus"]


def laplace_cdf(sdf: Float[Tensor, "*batch"], beta: Float[Tensor, ""]) -> Float[Tensor, "*batch"]:
    """VolSDF's Ψ_β(-sdf): 0 far outside, 1/2 on the surface, 1 deep inside (Yariv et al. 2021, Eq. 3)."""
    tail = 0.5 * torch.exp(-sdf.abs() / beta)
    return torch.where(sdf > 0, tail, 1 - tail)


def volsdf_alpha(
    sdf_start: Float[Tensor, "*batch"],
    sdf_end: Float[Tensor, "*batch"],
    deltas: Float[Tensor, "*batch"],
    beta: Float[Tensor, ""],
) -> Float[Tensor, "*batch"]:
    """Opacity 1 - exp(-∫ Ψ_β(-sdf)/β dt) of segments of length `deltas`, along which sdf runs linearly.

    VolSDF takes the density at one point of each segment. Here the integral is exact for a linear sdf: with
    F(s) = min(s, 0) - β/2 · exp(-|s|/β), whose derivative is Ψ_β(-s), it is δ/β · (F(s₁) - F(s₀)) / (s₁ - s₀).
    A few samples then suffice even when β is much smaller than their spacing.
    """
    step = sdf_end - sdf_start
    flat = step.abs() < 1e-2 * beta
    integral = primitive(sdf_end, beta) - primitive(sdf_start, beta)
    mean = torch.where(flat, laplace_cdf((sdf_start + sdf_end) / 2, beta), integral / torch.where(flat, beta, step))
    return 1 - torch.exp(-deltas * mean / beta)


def primitive(sdf: Float[Tensor, "*batch"], beta: Float[Tensor, ""]) -> Float[Tensor, "*batch"]:
    """An antiderivative of `laplace_cdf` with respect to sdf."""
    return sdf.clamp(max=0) - 0.5 * beta * torch.exp(-sdf.abs() / beta)


def neus_alpha(
    sdf_start: Float[Tensor, "*batch"],
    sdf_end: Float[Tensor, "*batch"],
    deltas: Float[Tensor, "*batch"],
    beta: Float[Tensor, ""],
) -> Float[Tensor, "*batch"]:
    """NeuS's discrete opacity max((Φ(s₀) - Φ(s₁)) / Φ(s₀), 0), Φ the sigmoid of scale β (Wang et al. 2021, Eq. 13)."""
    del deltas
    ratio = F.logsigmoid(sdf_end / beta) - F.logsigmoid(sdf_start / beta)
    return -torch.expm1(ratio.clamp(max=0))


ALPHA = {"volsdf": volsdf_alpha, "neus": neus_alpha}
"""Opacity function of each kind of `Rendering`."""
