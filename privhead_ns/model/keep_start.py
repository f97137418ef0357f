"""Keeps the shape that training started from where training made the views agree no better.

Shine moves with the light, not with the surface. Training follows it all the same, and the surface crumbles to show
each view what it saw. But views then agree no better about the places of that surface than about those of the start.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from privhead_ns.model.agreement import Agreement
from privhead_ns.model.field import HeadField
from privhead_ns.model.geometry import Geometry

LEAST_GAIN = 0.015
"""Gain in NCC from which the trained shape is trusted entirely. Over the surface of a marble and of rendered heads the
gain is 0.03 to 0.1, and in 95 % of it above 0; that of a shiny bronze is -0.02, and in 75 % of it below 0.005.
"""
SAMPLES = 6000
"""Most places on each surface whose patches are compared."""
CHUNK = 1000
"""Places that are compared at once."""
REACH = 0.1
"""Standard deviation of the Gaussian over which gains are averaged, in the frame of training."""
FLAT = 0.05
"""Weight of `LEAST_GAIN` itself in that average: the trained shape is kept where patches are flat and say nothing."""
CELLS = 24
"""Points along each side of the grid on which the average is tabulated."""


@torch.no_grad()
def keep_start(
    field: HeadField, start: Float[Tensor, "x y z"], agreement: Agreement, poses: Float[Tensor, "views 3 4"]
) -> float:
    """Blends the signed distance with that of the start, and returns the start's share of the trained surface.

    Args:
        field: trained.
        start: signed distances on its finest grid before training.
        agreement: compares the magnitudes of all views.
        poses: camera-to-world matrices, as well as they are known by now.
    """
    trained = field.sdf_grids()
    places, *evidence = compare(field, trained, agreement, poses)
    start_places, *start_evidence = compare(field, start, agreement, poses)
    if not len(places) or not len(start_places):
        return 0.0

    def trust(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        ncc, said = average(points, places, *evidence)
        start_ncc, start_said = average(points, start_places, *start_evidence)
        said = torch.minimum(said, start_said)
        gain = (said * (ncc - start_ncc) + FLAT * LEAST_GAIN) / (said + FLAT)
        return (gain / LEAST_GAIN).clamp(0, 1)

    axes = [torch.linspace(low, high, CELLS, device=start.device) for low, high in field.aabb.T.tolist()]
    cells = trust(torch.cartesian_prod(*axes)).reshape(1, 1, CELLS, CELLS, CELLS)
    share = F.interpolate(cells, size=trained.shape, mode="trilinear", align_corners=True)[0, 0]
    field.set_sdf(torch.lerp(start, trained, share))
    return 1 - float(trust(places).mean())


def compare(
    field: HeadField, sdf: Float[Tensor, "x y z"], agreement: Agreement, poses: Float[Tensor, "views 3 4"]
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Returns places on the zero level of a grid, and what `Agreement.among_views` says of each."""
    low, high = field.aabb
    geometry = Geometry(sdf, (high - low) / field.trilinear.last, field.trilinear)
    points = zero_crossings(sdf)
    points = points[:: max(1, len(points) // SAMPLES)]
    normals = F.normalize(geometry.sdf_and_gradient_at(points)[1], dim=-1)
    places = low + points * (high - low)
    parts = [
        agreement.among_views(*pair, poses) for pair in zip(places.split(CHUNK), normals.split(CHUNK), strict=True)
    ]
    ncc, said = (torch.cat(part) for part in zip(*parts, strict=True))
    return places, ncc, said


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


def average(
    points: Float[Tensor, "n 3"], places: Float[Tensor, "m 3"], ncc: Float[Tensor, " m"], said: Float[Tensor, " m"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Returns the mean NCC of the places about each point, weighted by what they say, and the mean of that weight.

    The Gaussian is relative to the nearest place, so that points far from the surface get its mean, too.
    """
    means = []
    for part in points.split(CHUNK):
        weight = torch.softmax(-torch.cdist(part, places).square() / (2 * REACH**2), dim=1)
        mean = weight @ said
        means.append(torch.stack([weight @ (said * ncc) / mean.clamp(min=1e-6), mean]))
    ncc, said = torch.cat(means, dim=1)
    return ncc, said
