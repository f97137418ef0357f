"""The visual hull of the silhouettes (Laurentini 1994) as a signed distance: where training starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from privhead_ns.outline import signed_distance

OBJECTIONS = 6
"""Most views whose objections are weighed at a point."""
VIEWS_PER_OBJECTION = 5
"""Views for each objection that is weighed: a few views from one side have no second opinion of a point."""
TOLERANCE = 0.01
"""How much deeper each further objecting view may carve, in units of the frame of training."""
SEEN = 0.2
"""Share of the views that must see a point for it to be head."""
FAR = 10.0
"""Longer than any distance in the frame of training."""


class Silhouette(NamedTuple):
    """A view's silhouette and pinhole camera."""

    mask: Float[Tensor, "height width"]
    """Share of each pixel that the head covers."""
    known: Float[Tensor, "height width"]
    """1 where something is known, 0 elsewhere."""
    camera_to_world: Float[Tensor, "3 4"]
    fl_x: float
    fl_y: float
    cx: float
    cy: float


def hull_sdf(points: Float[Tensor, "n 3"], views: Sequence[Silhouette]) -> Float[Tensor, " n"]:
    """Returns about the signed distance of points to the visual hull, negative inside.

    Each view gives the distance to the cone of its silhouette, and the hull's is the largest of them. So that one bad
    mask cannot cut the head, k objecting views carve at most (k - 1) `TOLERANCE` deeper than the (k + 1)-th allows.
    """
    count = min(OBJECTIONS, max(1, len(views) // VIEWS_PER_OBJECTION))
    largest = points.new_full((count, len(points)), -FAR)
    seen = points.new_zeros(len(points))
    for view in views:
        distance, inside = cone_distance(points, view)
        seen += inside
        rows = torch.cat([largest, torch.where(inside, distance, -FAR)[None]])
        largest = rows.sort(dim=0, descending=True).values[:count]
    hull = (largest + TOLERANCE * torch.arange(count)[:, None]).amin(dim=0)
    return torch.where(seen < SEEN * len(views), hull.clamp(min=TOLERANCE), hull)


def cone_distance(points: Float[Tensor, "n 3"], view: Silhouette) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """Returns the distance of points to the cone of a view's silhouette, negative inside, and which points it sees.

    The distance in pixels, times what a pixel covers at the point's depth.
    """
    height, width = view.mask.shape
    local = (points - view.camera_to_world[:, 3]) @ view.camera_to_world[:, :3]
    depth = (-local[:, 2]).clamp(min=1e-6)
    x, y = view.fl_x * local[:, 0] / depth + view.cx, view.cy - view.fl_y * local[:, 1] / depth
    seen = (local[:, 2] < 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1)[None, None]
    images = torch.stack([torch.from_numpy(signed_distance(view.mask.numpy())), 1 - view.known])[None]
    pixels, unknown = F.grid_sample(images, grid, padding_mode="border", align_corners=False)[0, :, 0]
    return pixels * depth / ((view.fl_x + view.fl_y) / 2), seen & (unknown == 0)
