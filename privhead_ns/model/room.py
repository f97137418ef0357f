"""A room seen from within as a signed distance: where training starts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

WALL = 0.04
"""Thickness of the walls that training starts from, in sides of the room's box."""


def walls_sdf(points: Float[Tensor, "n 3"], aabb: Float[Tensor, "2 3"]) -> Float[Tensor, " n"]:
    """Returns the signed distance to walls along the faces of a box, positive in the free space, negative in them.

    It is exact in the free space, and on the faces of the box.
    """
    half = (aabb[1] - aabb[0]) / 2
    return torch.min((1 - 2 * WALL) * half - (points - aabb.mean(dim=0)).abs(), dim=-1).values
