"""A textured sphere and the magnitudes of it that cameras around it see."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from privhead_ns.model.agreement import Agreement

RADIUS, DISTANCE, SIZE, FOCAL = 0.4, 3.0, 96, 300.0
VIEWS = 12


def directions(number: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(number, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)


def texture(points: Tensor, seed: int = 1) -> Tensor:
    """Returns magnitudes between 0 and 0.3 that vary over some hundredths of the unit of length."""
    waves = 40 * points @ directions(8, seed).T
    return 0.15 + 0.15 * torch.sin(waves + torch.arange(8)).mean(dim=-1)


def cameras(views: int = VIEWS) -> Tensor:
    """Returns cameras around the z axis that look at the origin."""
    poses = []
    for angle in torch.arange(views) * 2 * math.pi / views:
        backward = torch.stack([angle.cos(), angle.sin(), torch.zeros(())])
        right = torch.stack([-angle.sin(), angle.cos(), torch.zeros(())])
        poses.append(torch.stack([right, torch.tensor([0.0, 0, 1]), backward, DISTANCE * backward], dim=1))
    return torch.stack(poses)


def seen_sphere(views: int = VIEWS, seed: int = 1) -> Agreement:
    """Returns what compares the views of the sphere."""
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    local = F.normalize(torch.stack([(x - SIZE / 2) / FOCAL, (SIZE / 2 - y) / FOCAL, -torch.ones_like(x)], -1), dim=-1)
    poses = cameras(views)
    rays = torch.einsum("vij,hwj->vhwi", poses[..., :3], local)
    along = (rays * poses[:, None, None, :, 3]).sum(-1)
    root = along.square() - DISTANCE**2 + RADIUS**2
    points = poses[:, None, None, :, 3] + (-along - root.clamp(min=0).sqrt())[..., None] * rays
    lenses = torch.tensor([FOCAL, FOCAL, SIZE / 2, SIZE / 2]).expand(views, 4)
    return Agreement(texture(points, seed) * (root > 0), (root > 0).float(), poses, lenses)
