"""Points and normals of a surface that is the zero level of an sdf grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from privhead_ns.model.field import HeadField
from privhead_ns.model.geometry import Geometry

SAMPLES = 6000
"""Points to choose of a surface, about."""


def surface_points(field: HeadField, sdf: Float[Tensor, "x y z"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Returns about `SAMPLES` points of the zero level of an sdf on the finest grid, and their unit normals."""
    low, high = field.aabb
    geometry = Geometry(sdf, (high - low) / field.trilinear.last, field.trilinear)
    unit = zero_crossings(sdf)
    unit = unit[:: max(1, len(unit) // SAMPLES)]
    return low + unit * (high - low), F.normalize(geometry.sdf_and_gradient_at(unit)[1], dim=-1)


def zero_crossings(sdf: Float[Tensor, "x y z"]) -> Float[Tensor, "n 3"]:
    """Returns where the grid's edges cross its zero level, in [0, 1] from the first to the last grid point."""
    last = torch.tensor(sdf.shape, device=sdf.device) - 1
    found = []
    for axis in range(3):
        length = sdf.shape[axis] - 1
        start, end = sdf.narrow(axis, 0, length), sdf.narrow(axis, 1, length)
        crosses = (start > 0) != (end > 0)
        points = crosses.nonzero().to(sdf)
        points[:, axis] += start[crosses] / (start[crosses] - end[crosses])
        found.append(points / last)
    return torch.cat(found)
