"""Restores the initial shape wherever training did not increase the photo-consistency of the views.

Highlights move with the light, not with the surface. Training follows them nevertheless, and the surface becomes rough
to show each view what it saw. But views agree no better about points of that surface than of the initial one.
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
"""Gain in NCC from which the trained shape is kept unchanged. Its median over marble and rendered heads is 0.03 to 0.1,
and 95 % of their surfaces have more than 0; on a shiny bronze it is -0.02, and 75 % have less than 0.005.
"""
SAMPLES = 6000
"""Most points of each surface whose patches are compared."""
CHUNK = 1000
"""Points evaluated at once."""
REACH = 0.1
"""Standard deviation of the Gaussian over which gains are averaged, in the frame of training."""
FLAT = 0.05
"""Weight of `LEAST_GAIN` itself in that average, so that the trained shape is kept where patches have no texture."""
CELLS = 24
"""Points along each side of the grid on which the average is tabulated."""


@torch.no_grad()
def keep_start(
    field: HeadField, start: Float[Tensor, "x y z"], agreement: Agreement, poses: Float[Tensor, "views 3 4"]
) -> float:
    """Blends the trained signed distance with the initial one; returns the share of the initial one on the surface.

    Args:
        field: trained; its signed distance is replaced.
        start: signed distances on its finest grid before training.
        agreement: compares the magnitudes of all views.
        poses: camera-to-world matrices, with the learned movements.
    """
    trained = field.sdf_grids()
    points, *evidence = compare(field, trained, agreement, poses)
    start_points, *start_evidence = compare(field, start, agreement, poses)
    if not len(points) or not len(start_points):
        return 0.0

    def kept(queries: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        ncc, texture = average(queries, points, *evidence)
        start_ncc, start_texture = average(queries, start_points, *start_evidence)
        texture = torch.minimum(texture, start_texture)
        gain = (texture * (ncc - start_ncc) + FLAT * LEAST_GAIN) / (texture + FLAT)
        return (gain / LEAST_GAIN).clamp(0, 1)

    axes = [torch.linspace(low, high, CELLS, device=start.device) for low, high in field.aabb.T.tolist()]
    cells = kept(torch.cartesian_prod(*axes)).reshape(1, 1, CELLS, CELLS, CELLS)
    share = F.interpolate(cells, size=trained.shape, mode="trilinear", align_corners=True)[0, 0]
    field.set_sdf(torch.lerp(start, trained, share))
    return 1 - float(kept(points).mean())


def compare(
    field: HeadField, sdf: Float[Tensor, "x y z"], agreement: Agreement, poses: Float[Tensor, "views 3 4"]
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Returns points on the zero level of a grid, and their NCC and texture of `Agreement.among_views`."""
    low, high = field.aabb
    geometry = Geometry(sdf, (high - low) / field.trilinear.last, field.trilinear)
    unit = zero_crossings(sdf)
    unit = unit[:: max(1, len(unit) // SAMPLES)]
    normals = F.normalize(geometry.sdf_and_gradient_at(unit)[1], dim=-1)
    points = low + unit * (high - low)
    chunks = zip(points.split(CHUNK), normals.split(CHUNK), strict=True)
    ncc, texture = (torch.cat(parts) for parts in zip(*(agreement.among_views(*c, poses) for c in chunks), strict=True))
    return points, ncc, texture


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
    queries: Float[Tensor, "n 3"], points: Float[Tensor, "m 3"], ncc: Float[Tensor, " m"], texture: Float[Tensor, " m"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Returns the NCC of points averaged about each query with their texture as weight, and the mean texture.

    The Gaussian is normalised, so that queries far from the surface get the average of the nearest points.
    """
    means = []
    for part in queries.split(CHUNK):
        gaussian = torch.softmax(-torch.cdist(part, points).square() / (2 * REACH**2), dim=1)
        mean = gaussian @ texture
        means.append(torch.stack([gaussian @ (texture * ncc) / mean.clamp(min=1e-6), mean]))
    ncc, texture = torch.cat(means, dim=1)
    return ncc, texture
