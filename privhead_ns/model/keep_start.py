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
from privhead_ns.model.surface_points import surface_points

LEAST_GAIN, LEAST_GAIN_WITHOUT_PAINTING = 0.015, 0.06
"""Gain in NCC from which the trained shape is kept unchanged, where painting bends the surface fully and not at all.
Its median over marble and rendered heads is 0.03 to 0.1, and 95 % of their surfaces have more than 0; on a shiny bronze
it is -0.02, and 75 % have less than 0.005. Without painting, training follows nothing but that NCC, which then grows by
more.
"""
CHUNK = 1000
"""Points evaluated at once."""
REACH = 0.1
"""Standard deviation of the Gaussian over which gains are averaged, in the frame of training."""
FLAT = 0.05
"""Weight of the least gain itself in that average, so that the trained shape is kept where patches have no texture."""
CELLS = 24
"""Points along each side of the grid on which the average is tabulated."""


@torch.no_grad()
def keep_start(
    field: HeadField,
    start: Float[Tensor, "x y z"],
    agreement: Agreement,
    poses: Float[Tensor, "views 3 4"],
    painting_share: float = 1.0,
) -> float:
    """Blends the trained signed distance with the initial one; returns the share of the initial one on the surface.

    Args:
        field: trained; its signed distance is replaced.
        start: signed distances on its finest grid before training.
        agreement: compares the magnitudes of all views.
        poses: camera-to-world matrices, with the learned movements.
        painting_share: how far painting bent the surface, see `view_dependence`.
    """
    least_gain = LEAST_GAIN_WITHOUT_PAINTING + painting_share * (LEAST_GAIN - LEAST_GAIN_WITHOUT_PAINTING)
    trained = field.sdf_grids()
    points, *evidence = compare(field, trained, agreement, poses)
    start_points, *start_evidence = compare(field, start, agreement, poses)
    if not len(points) or not len(start_points):
        return 0.0

    def kept(queries: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        ncc, texture = average(queries, points, *evidence)
        start_ncc, start_texture = average(queries, start_points, *start_evidence)
        texture = torch.minimum(texture, start_texture)
        gain = (texture * (ncc - start_ncc) + FLAT * least_gain) / (texture + FLAT)
        return (gain / least_gain).clamp(0, 1)

    axes = [torch.linspace(low, high, CELLS, device=start.device) for low, high in field.aabb.T.tolist()]
    cells = kept(torch.cartesian_prod(*axes)).reshape(1, 1, CELLS, CELLS, CELLS)
    share = F.interpolate(cells, size=trained.shape, mode="trilinear", align_corners=True)[0, 0]
    field.set_sdf(torch.lerp(start, trained, share))
    return 1 - float(kept(points).mean())


def compare(
    field: HeadField, sdf: Float[Tensor, "x y z"], agreement: Agreement, poses: Float[Tensor, "views 3 4"]
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Returns points on the zero level of a grid, and their NCC and texture of `Agreement.among_views`."""
    points, normals = surface_points(field, sdf)
    pairs = [
        agreement.among_views(*chunk, poses) for chunk in zip(points.split(CHUNK), normals.split(CHUNK), strict=True)
    ]
    return points, torch.cat([chunk.mean for chunk in pairs]), torch.cat([chunk.texture for chunk in pairs])


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
