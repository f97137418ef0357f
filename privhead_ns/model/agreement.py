"""Photo-consistency of the views at points on the surface: patches of magnitudes on its tangent plane, compared by NCC.

Normalised cross-correlation, here of magnitudes as Geo-NeuS (Fu et al. 2022) does it of grey values, is blind to
exposure, and the best few of several views pass over what is hidden or shines. Nothing is painted for it: only the
surface can make views agree.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

NEIGHBOURS, BEST = 6, 3
"""Views that each view is compared with, the nearest in direction; and how many count at a place, the most alike."""
APART = 0.03
"""Distance between two cameras in a room below which one shows no depth in the other, in longest sides of its box."""
LEAST_ANGLE = 5.0
"""Degrees between the directions of two views below which depth is too uncertain."""
RADIUS = 3
"""Pixels from the middle of a patch to its sides."""
FACING = 0.2
"""Least cosine between the normal and the direction to a camera."""
FRONTAL, FEWEST, FRONTAL_FACING = 12, 3, 0.3
"""Number of most frontal views that `among_views` compares in pairs, the least number of them, and their `FACING`."""
NOISE = 0.005
"""Standard deviation of magnitudes, in colour units per pixel, below which a patch counts as flat."""
NOT_SEEN = -2.0
"""Stands for the correlation with a view that does not show a patch."""


class Patches(NamedTuple):
    """Magnitudes around points in several views."""

    values: Float[Tensor, "rays views pixels"]
    seen: Bool[Tensor, "rays views"]
    """Whether a view shows all of a patch, nothing but the head in it, and not too slanted."""


class Pairs(NamedTuple):
    """Patches around points, compared in all pairs of several views."""

    ncc: Float[Tensor, "points views views"]
    """Normalised cross-correlation, near 0 where a patch is flat."""
    compared: Bool[Tensor, "points views views"]
    """Whether both views show the patch, and are two."""
    cosine: Float[Tensor, "points views views"]
    """Cosine of the angle between the directions to both cameras."""
    texture: Float[Tensor, " points"]
    """Share of the patches' variance that is not noise: 0 where they are flat, or fewer than `FEWEST` views see it."""

    @property
    def mean(self) -> Float[Tensor, " points"]:
        """Mean NCC of the compared pairs; 0 where there are none."""
        return (self.ncc * self.compared).sum(dim=(1, 2)) / self.compared.sum(dim=(1, 2)).clamp(min=1)


class Agreement(nn.Module):
    """Compares the magnitudes of all views.

    Args:
        magnitudes: σ of every view.
        interior: 1 where σ saw nothing but the head, 0 elsewhere.
        poses: camera-to-world matrices in the frame of training, OpenGL convention.
        intrinsics: fl_x, fl_y, cx and cy of every view.
        inside_out: whether the cameras stand in a room; its views are compared with those that look the same way.
    """

    def __init__(
        self,
        magnitudes: Float[Tensor, "views height width"],
        interior: Float[Tensor, "views height width"],
        poses: Float[Tensor, "views 3 4"],
        intrinsics: Float[Tensor, "views 4"],
        inside_out: bool = False,
    ) -> None:
        super().__init__()
        self.images: Tensor
        self.poses: Tensor
        self.intrinsics: Tensor
        self.neighbours: Tensor
        self.offsets: Tensor
        self.register_buffer("images", torch.stack([magnitudes, interior], dim=-1), persistent=False)
        self.register_buffer("poses", poses, persistent=False)
        self.register_buffer("intrinsics", intrinsics, persistent=False)
        neighbours = alike_views(poses) if inside_out else nearest_views(poses[:, :, 3])
        self.register_buffer("neighbours", neighbours, persistent=False)
        steps = torch.arange(-RADIUS, RADIUS + 1.0)
        self.register_buffer("offsets", torch.cartesian_prod(steps, steps), persistent=False)

    def reduced(self, side: int) -> Agreement:
        """Returns the same views with at most `side` pixels along their longer sides; magnitudes stay per pixel."""
        height, width = self.images.shape[1:3]
        scale = side / max(height, width)
        if scale >= 1:
            return self
        smaller = max(1, round(height * scale)), max(1, round(width * scale))
        magnitudes, interior = F.interpolate(self.images.permute(0, 3, 1, 2), size=smaller, mode="area").unbind(dim=1)
        across, down = smaller[1] / width, smaller[0] / height
        lenses = self.intrinsics * self.intrinsics.new_tensor([across, down, across, down])
        return Agreement(magnitudes / scale, (interior > 0.999).float(), self.poses, lenses).to(self.images.device)

    def forward(
        self,
        places: Float[Tensor, "rays 3"],
        normals: Float[Tensor, "rays 3"],
        view: Int[Tensor, " rays"],
        poses: Float[Tensor, "views 3 4"],
    ) -> tuple[Float[Tensor, " rays"], Bool[Tensor, " rays"]]:
        """Returns the mean NCC of each place with the views that agree best, and whether there is such a view.

        Args:
            places: on the surface.
            normals: unit normals there.
            view: number of the view that found each place.
            poses: `self.poses`, or what is known better of them by now.
        """
        patches = self.patches(places, normals, torch.cat([view[:, None], self.neighbours[view]], dim=1), poses)
        ncc = correlation(patches.values[:, :1], patches.values[:, 1:])
        ncc = torch.where(patches.seen[:, :1] & patches.seen[:, 1:], ncc, NOT_SEEN)
        best = ncc.topk(min(BEST, ncc.shape[1]), dim=1).values
        good = best > NOT_SEEN
        return torch.where(good, best, 0).sum(dim=1) / good.sum(dim=1).clamp(min=1), good.any(dim=1)

    @torch.no_grad()
    def among_views(
        self, places: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"], poses: Float[Tensor, "views 3 4"]
    ) -> Pairs:
        """Compares the most frontal views of each place in pairs.

        Args:
            places: on a surface.
            normals: unit normals there.
            poses: as in `forward`.
        """
        to_cameras = F.normalize(poses[:, :, 3] - places[:, None], dim=-1)
        facing, chosen = (to_cameras * normals[:, None]).sum(dim=-1).topk(min(FRONTAL, len(poses)), dim=1)
        patches = self.patches(places, normals, chosen, poses)
        seen = patches.seen & (facing > FRONTAL_FACING)
        values = patches.values - patches.values.mean(dim=-1, keepdim=True)
        variance = values.square().mean(dim=-1)
        values = values / (variance + NOISE**2).sqrt()[..., None]
        directions = to_cameras.gather(1, chosen[..., None].expand(-1, -1, 3))
        compared = seen[:, :, None] & seen[:, None] & ~torch.eye(chosen.shape[1], dtype=torch.bool, device=seen.device)
        count = seen.sum(dim=1)
        mean_variance = (seen * variance).sum(dim=1) / count.clamp(min=1)
        return Pairs(
            ncc=values @ values.transpose(1, 2) / values.shape[-1],
            compared=compared,
            cosine=directions @ directions.transpose(1, 2),
            texture=(count >= FEWEST) * mean_variance / (mean_variance + NOISE**2),
        )

    def patches(
        self,
        places: Float[Tensor, "rays 3"],
        normals: Float[Tensor, "rays 3"],
        views: Int[Tensor, "rays chosen"],
        poses: Float[Tensor, "views 3 4"],
    ) -> Patches:
        """Returns the magnitudes on the tangent plane of each place, as many pixels apart as in its first view."""
        first = views[:, 0]
        distance = (places - poses[first, :, 3]).norm(dim=-1).detach()
        step = (distance / self.intrinsics[first, 0])[:, None, None]
        u, v = tangents(normals)
        points = places[:, None] + step * (self.offsets[:, :1] * u[:, None] + self.offsets[:, 1:] * v[:, None])
        return self.look_up(points, normals, views, poses)

    def look_up(
        self,
        points: Float[Tensor, "rays pixels 3"],
        normals: Float[Tensor, "rays 3"],
        views: Int[Tensor, "rays chosen"],
        poses: Float[Tensor, "views 3 4"],
    ) -> Patches:
        """Interpolates the magnitudes of points in views bilinearly."""
        pose = poses[views]
        local = (points[:, None] - pose[:, :, None, :, 3]) @ pose[..., :3]
        fl_x, fl_y, cx, cy = self.intrinsics[views][:, :, None].unbind(-1)
        depth = (-local[..., 2]).clamp(min=1e-6)
        x, y = fl_x * local[..., 0] / depth + cx - 0.5, cy - fl_y * local[..., 1] / depth - 0.5
        height, width = self.images.shape[1:3]
        inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
        left, top = x.detach().long().clamp(0, width - 2), y.detach().long().clamp(0, height - 2)
        across, down = (x - left).clamp(0, 1)[..., None], (y - top).clamp(0, 1)[..., None]
        pixel = (views[..., None] * height + top) * width + left
        upper = torch.lerp(self.pixels(pixel), self.pixels(pixel + 1), across)
        lower = torch.lerp(self.pixels(pixel + width), self.pixels(pixel + width + 1), across)
        values, interior = torch.lerp(upper, lower, down).unbind(-1)
        to_camera = F.normalize(pose[..., 3] - points.mean(dim=1, keepdim=True), dim=-1)
        facing = (to_camera * normals[:, None]).sum(dim=-1) > FACING
        return Patches(values, (inside & (interior > 0.99)).all(dim=-1) & facing)

    def pixels(self, index: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch 2"]:
        """Returns the pixels of these numbers in all images, row by row."""
        return self.images.flatten(0, 2).index_select(0, index.flatten()).unflatten(0, index.shape)


def correlation(a: Float[Tensor, "*batch pixels"], b: Float[Tensor, "*batch pixels"]) -> Float[Tensor, "*batch"]:
    """Returns the normalised cross-correlation of patches, near 0 where one is flat."""
    a, b = (patch - patch.mean(dim=-1, keepdim=True) for patch in (a, b))
    variances = (a.square().mean(dim=-1) + NOISE**2) * (b.square().mean(dim=-1) + NOISE**2)
    return (a * b).mean(dim=-1) / variances.sqrt()


def tangents(normals: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Returns two unit vectors at right angles to each unit normal and to each other."""
    axis = F.one_hot(normals.detach().abs().argmin(dim=-1), 3).to(normals)
    u = F.normalize(torch.linalg.cross(normals, axis), dim=-1)
    return u, torch.linalg.cross(normals, u)


def nearest_views(positions: Float[Tensor, "views 3"]) -> Int[Tensor, "views chosen"]:
    """Returns for each camera position those nearest in direction from the origin; too near ones come last."""
    directions = F.normalize(positions, dim=-1)
    cosine = directions @ directions.T
    cosine = torch.where(cosine > math.cos(math.radians(LEAST_ANGLE)), cosine - 4, cosine)
    return cosine.fill_diagonal_(-8).topk(min(NEIGHBOURS, len(positions) - 1), dim=1).indices


def alike_views(poses: Float[Tensor, "views 3 4"]) -> Int[Tensor, "views chosen"]:
    """Returns for each view in a room those that look most nearly the same way; cameras too near it come last."""
    cosine = poses[:, :, 2] @ poses[:, :, 2].T
    cosine = torch.where(torch.cdist(poses[:, :, 3], poses[:, :, 3]) > APART, cosine, cosine - 4)
    return cosine.fill_diagonal_(-8).topk(min(NEIGHBOURS, len(poses) - 1), dim=1).indices
