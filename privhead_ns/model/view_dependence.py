"""How much of what the views show depends on the viewing direction, and so cannot be painted on the surface.

Where a flash moves with the camera or the head shines, neighbouring views agree about a place and distant ones do not.
Noise and a wrong surface make all of them disagree.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from privhead_ns.model.agreement import Agreement
from privhead_ns.model.field import HeadField
from privhead_ns.model.surface_points import surface_points

LOW, HIGH = 60.0, 90.0
"""Half angles in degrees up to which painting bends the surface least, and from which on it does so fully. After 5 % of
training it is 30 for a shiny bronze, 42 for a skull under a flash that moves with the camera, 120 for a marble, and 107
and 165 for rendered heads.
"""
LEAST_SHARE = 0.1
"""Least share of the gradient. With more, bronze and skull become rough; with less, a rendered head under a flash loses
detail of its face, for its skin has more texture than theirs.
"""
SIDE = 128
"""Pixels along the longer side of the views that are compared; larger ones are reduced. A surface that is wrong by more
than their pixels, as it is so early, would make distant views disagree more than near ones.
"""
CHUNK = 1000
"""Points evaluated at once."""
BIN = 10.0
"""Degrees of the angle between two views that are averaged over."""
LARGEST = 70.0
"""Largest angle that counts, in degrees: beyond, patches are slanted in one of the views."""
FEWEST_PAIRS = 200
"""Pairs of patches that a bin needs to count; a patch counts as far as it has texture."""
FEWEST_BINS = 3
"""Bins that the decline is measured from."""
FLOOR = 0.05
"""Least mean NCC of a bin, as a share of the greatest, in the fit; that of unrelated patches is about 0."""


def painting_share(half_angle: float) -> float:
    """Returns the share of the gradient of painted colours and magnitudes that is to bend the surface."""
    share = min(1.0, max(0.0, (half_angle - LOW) / (HIGH - LOW)))
    return LEAST_SHARE + share * (1 - LEAST_SHARE)


@torch.no_grad()
def half_angle(field: HeadField, agreement: Agreement, poses: Float[Tensor, "views 3 4"]) -> float:
    """Returns the angle between two views, in degrees, over which the NCC of their patches falls to a half.

    Fits an exponential to the mean NCC in bins of the angle; infinite where that does not fall or cannot be measured.
    """
    number, agreement = int(LARGEST / BIN), agreement.reduced(SIDE)
    sums, weights = torch.zeros(2, number, dtype=torch.float64)
    points, normals = surface_points(field, field.sdf_grids())
    for chunk in zip(points.split(CHUNK), normals.split(CHUNK), strict=True):
        pairs = agreement.among_views(*chunk, poses)
        index = (torch.rad2deg(pairs.cosine.clamp(-1, 1).acos()) / BIN).long()
        texture = pairs.texture[:, None, None].expand_as(pairs.ncc)
        chosen = pairs.compared & (index < number)
        index, texture, ncc = (values[chosen].cpu() for values in (index, texture, pairs.ncc))
        sums.index_add_(0, index, (texture * ncc).double())
        weights.index_add_(0, index, texture.double())
    used = weights >= FEWEST_PAIRS
    if used.sum() < FEWEST_BINS or (sums[used] <= 0).all():
        return math.inf
    means, weights = sums[used] / weights[used], weights[used] / weights[used].sum()
    angle, log_ncc = BIN * (torch.arange(number)[used] + 0.5), means.clamp(min=FLOOR * float(means.max())).log()
    angle, log_ncc = (values - (weights * values).sum() for values in (angle, log_ncc))
    slope = float((weights * angle * log_ncc).sum() / (weights * angle.square()).sum())
    return math.inf if slope >= 0 else math.log(2) / -slope
