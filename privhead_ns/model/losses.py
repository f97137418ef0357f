"""The terms of Eq. 9, those of masks and surface magnitudes, and means of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from privhead_ns.operators import Operator


def masked_mean(values: Float[Tensor, "*batch"], mask: Bool[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """Mean of the values where `mask`; 0, with zero gradient, where that is nowhere. NaN outside the mask is ignored.

    The shapes do not depend on the mask's content, so that nothing waits for it on a GPU.
    """
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)


def mean(values: Float[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """Mean of the values; 0 if there are none."""
    return values.sum() / max(1, values.numel())


def rgb_loss(rendered: Float[Tensor, "*batch 3"], image: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """L1 distance of colours, averaged over the channels (Eq. 2)."""
    return (rendered - image).abs().mean(dim=-1)


def gradient_loss(
    rendered: Float[Tensor, "patches edge edge 3"],
    magnitude: Float[Tensor, "patches edge edge"],
    operator: Operator,
    rounding: float,
) -> Float[Tensor, "patches inner inner"]:
    """L1 distance of gradient magnitudes (Eq. 5): σ of the rendered patches against the protected ones.

    Stored magnitudes are rounded, so that what differs by less than that is no difference.

    Args:
        rendered: rendered colours.
        magnitude: protected views at the same pixels; the operator's margin is left out of the comparison.
        operator: σ.
        rounding: how far a protected view may be from the magnitude that was rounded, in colour units per pixel.
    """
    inner = slice(operator.margin, magnitude.shape[1] - operator.margin)
    return F.relu((operator(rendered.permute(0, 3, 1, 2)) - magnitude[:, inner, inner]).abs() - rounding)


def surface_magnitude_loss(
    surface_magnitude: Float[Tensor, "*batch 1"],
    magnitude: Float[Tensor, "*batch 1"],
    interior: Float[Tensor, "*batch 1"],
    rounding: Float[Tensor, "*batch 1"],
) -> Float[Tensor, "*batch 1"]:
    """L1 distance of the magnitudes that places on the surface carry from those of the views, where `interior`.

    Eq. 5 alone leaves the sign of every edge open, and where patches settle on different signs they bend the surface to
    make ends meet. Here a place has one magnitude for all views, as it would have one colour: an edge must then lie
    where the views agree, and no sign comes into it.

    Args:
        surface_magnitude: rendered magnitudes.
        magnitude: σ of the views at the same pixels.
        interior: share to which σ saw nothing but the head there; at the outline it sees the background, too.
        rounding: how far `magnitude` may be from what was rounded, in colour units per pixel.
    """
    return interior * F.relu((surface_magnitude - magnitude).abs() - rounding)


def eikonal_loss(gradient: Float[Tensor, "3 *batch"]) -> Float[Tensor, "*batch"]:
    """Squared deviation of the sdf's gradient from unit length (Eq. 4)."""
    return ((gradient.square().sum(dim=0) + 1e-12).sqrt() - 1).square()


def mask_loss(accumulation: Float[Tensor, "*batch 1"], mask: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 1"]:
    """Binary cross-entropy of opacity and mask, as in NeuS (Wang et al. 2021); NaN where the opacity is.

    Opacity is mapped to [1e-4, 1 - 1e-4] linearly, not clamped: a ray that misses the head has a gradient, too.
    """
    opacity = 1e-4 + (1 - 2e-4) * accumulation
    return -torch.lerp(torch.log1p(-opacity), opacity.log(), mask)  # torch's own raises an error at NaN
