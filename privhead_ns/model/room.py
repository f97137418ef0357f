"""Where training of a room starts: its free space, carved along the views' rays up to where the views agree best.

Plane sweeps of magnitudes give a rough depth for a few rays of each view, and their signed distances are averaged on a
grid (Curless and Levoy 1996). No colour is needed, and no view needs a mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor

from privhead_ns.model.agreement import BEST, NOT_SEEN, Agreement, correlation

RAYS = 12
"""Rays along each side of a view."""
DEPTHS = 32
"""Depths that are tried on each ray, evenly spaced from the camera to where the ray leaves the box."""
LEAST_AGREEMENT = 0.3
"""Mean NCC below which a depth does not count."""
CHUNK = 8192
"""Rays whose patches are compared at once."""
CELLS = 48
"""Cells along the longest side of the grid in which free space is carved."""
REACH = 0.08
"""Distance before and behind a depth that it tells about, in longest sides of the box."""
FREE = 0.05
"""Distance from the cameras up to which there is no wall unless the views tell of one, in longest sides of the box."""

Box = Float[Tensor, "2 3"]
"""Lower and upper corner."""


class Depths(NamedTuple):
    """What plane sweeps found on the rays of each view."""

    depth: Float[Tensor, "views rows columns"]
    """Along the optical axis."""
    weight: Float[Tensor, "views rows columns"]
    """Squared NCC there; 0 where the views agree too little."""


@torch.no_grad()
def free_space_sdf(agreement: Agreement, aabb: Box) -> Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]]:
    """Returns about the signed distance of points to the walls of a room, positive in its free space.

    Args:
        agreement: compares the magnitudes of all views.
        aabb: the room's box; its faces are wall, and so is what no view tells of.
    """
    carved = carve(agreement, aabb, sweep(agreement, aabb))
    inner = np.pad(np.ones([count - 2 for count in carved.shape], dtype=bool), 1)
    free = inner & (gaussian_filter(carved.numpy(), 1.0) > 0)
    if not free.any():
        free = inner
    cell = float((aabb[1] - aabb[0]).max()) / CELLS
    distance = (np.asarray(distance_transform_edt(free)) - np.asarray(distance_transform_edt(~free))) * cell
    grid = torch.from_numpy(gaussian_filter(distance, 1.0)).to(aabb)[None, None]

    def sdf(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        places = 2 * (points - aabb[0]) / (aabb[1] - aabb[0]) - 1
        return F.grid_sample(grid, places.flip(-1)[None, None, None], align_corners=True)[0, 0, 0, 0]

    return sdf


def sweep(agreement: Agreement, aabb: Box) -> Depths:
    """Finds the depth on each ray at which a patch that faces the camera agrees best with its neighbours.

    Agreement is averaged over neighbouring rays and depths.
    """
    poses = agreement.poses
    count, height, width = agreement.images.shape[:3]
    rows, columns = (torch.arange(RAYS) + 0.5) * height / RAYS, (torch.arange(RAYS) + 0.5) * width / RAYS
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    fl_x, fl_y, cx, cy = agreement.intrinsics[:, :, None, None].unbind(1)
    local = torch.stack([(x - cx) / fl_x, (cy - y) / fl_y, -torch.ones_like(x - cx)], dim=-1)
    rays = torch.einsum("vij,vrcj->vrci", poses[:, :, :3], local)
    origins = poses[:, None, None, :, 3]
    leaves = torch.where(rays > 0, (aabb[1] - origins) / rays, (aabb[0] - origins) / rays).amin(dim=-1)
    views = torch.cat([torch.arange(count)[:, None], agreement.neighbours], dim=1).repeat_interleave(RAYS**2, dim=0)
    normals = poses[:, :, 2].repeat_interleave(RAYS**2, dim=0)
    scores = []
    for share in (torch.arange(DEPTHS) + 1) / DEPTHS:
        places = (origins + rays * (leaves * share)[..., None]).reshape(-1, 3)
        chunks = zip(places.split(CHUNK), normals.split(CHUNK), views.split(CHUNK), strict=True)
        scores.append(torch.cat([best_agreement(agreement, *chunk) for chunk in chunks]).reshape(leaves.shape))
    volume = F.avg_pool3d(torch.stack(scores, dim=1)[:, None], 3, stride=1, padding=1, count_include_pad=False)[:, 0]
    ncc, place = volume.max(dim=1)
    return Depths(leaves * (place + 1) / DEPTHS, torch.where(ncc > LEAST_AGREEMENT, ncc.square(), 0))


def best_agreement(
    agreement: Agreement,
    places: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    views: Int[Tensor, "n chosen"],
) -> Float[Tensor, " n"]:
    """Returns the mean NCC of patches in the first view with the `BEST` of the others; 0 with what does not show it."""
    patches = agreement.patches(places, normals, views, agreement.poses)
    ncc = correlation(patches.values[:, :1], patches.values[:, 1:])
    ncc = torch.where(patches.seen[:, :1] & patches.seen[:, 1:], ncc, NOT_SEEN)
    best = ncc.topk(min(BEST, ncc.shape[1]), dim=1).values
    return torch.where(best > NOT_SEEN, best, 0).mean(dim=1)


def carve(agreement: Agreement, aabb: Box, depths: Depths) -> Float[Tensor, "x y z"]:
    """Returns how far before the depths of the rays that come near it each cell of a box lies, up to `REACH`.

    It is positive where rays pass. Of cells that no ray comes near, those between the cameras, or `FREE` beyond, count
    as free.
    """
    side = aabb[1] - aabb[0]
    counts = [max(3, round(CELLS * share) + 1) for share in (side / side.max()).tolist()]
    axes = [torch.linspace(low, high, count) for low, high, count in zip(*aabb.tolist(), counts, strict=True)]
    points = torch.cartesian_prod(*axes)
    total, weights = torch.zeros(len(points)), torch.zeros(len(points))
    for view in range(len(agreement.poses)):
        before, weight = before_depth(points, agreement, depths, view)
        tells = (weight > 0) & (before > -REACH)
        total += torch.where(tells, weight * before.clamp(max=REACH), 0)
        weights += torch.where(tells, weight, 0)
    cameras = agreement.poses[:, :, 3]
    between = ((points >= cameras.amin(dim=0) - FREE) & (points <= cameras.amax(dim=0) + FREE)).all(dim=-1)
    unknown = torch.where(between, REACH, -REACH)
    return torch.where(weights > 0, total / weights.clamp(min=1e-6), unknown).reshape(counts)


def before_depth(
    points: Float[Tensor, "n 3"], agreement: Agreement, depths: Depths, view: int
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Returns how far points lie before the depth of a view's nearest ray, and its weight, 0 if not in view."""
    height, width = agreement.images.shape[1:3]
    pose, (fl_x, fl_y, cx, cy) = agreement.poses[view], agreement.intrinsics[view]
    local = (points - pose[:, 3]) @ pose[:, :3]
    distance = -local[:, 2]
    x = fl_x * local[:, 0] / distance.clamp(min=1e-6) + cx
    y = cy - fl_y * local[:, 1] / distance.clamp(min=1e-6)
    seen = (distance > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    row, column = ((place * RAYS / side).long().clamp(0, RAYS - 1) for place, side in ((y, height), (x, width)))
    return depths.depth[view, row, column] - distance, torch.where(seen, depths.weight[view, row, column], 0)
