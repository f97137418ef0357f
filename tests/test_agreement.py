"""Patches of a textured sphere, seen by cameras around it: views agree at its surface, and nowhere else."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from privhead_ns.model.agreement import Agreement, correlation, nearest_views, tangents

RADIUS, DISTANCE, SIZE, FOCAL = 0.4, 3.0, 96, 300.0
VIEWS = 12


def directions(number: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(number, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)


def texture(points: Tensor) -> Tensor:
    """Returns magnitudes between 0 and 0.3 that vary over some hundredths of the unit of length."""
    waves = 40 * points @ directions(8, seed=1).T
    return 0.15 + 0.15 * torch.sin(waves + torch.arange(8)).mean(dim=-1)


def cameras() -> Tensor:
    """Returns cameras around the z axis that look at the origin."""
    poses = []
    for angle in torch.arange(VIEWS) * 2 * math.pi / VIEWS:
        backward = torch.stack([angle.cos(), angle.sin(), torch.zeros(())])
        right = torch.stack([-angle.sin(), angle.cos(), torch.zeros(())])
        poses.append(torch.stack([right, torch.tensor([0.0, 0, 1]), backward, DISTANCE * backward], dim=1))
    return torch.stack(poses)


@pytest.fixture(scope="module")
def agreement() -> Agreement:
    """The sphere in all views."""
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    local = F.normalize(torch.stack([(x - SIZE / 2) / FOCAL, (SIZE / 2 - y) / FOCAL, -torch.ones_like(x)], -1), dim=-1)
    poses = cameras()
    rays = torch.einsum("vij,hwj->vhwi", poses[..., :3], local)
    along = (rays * poses[:, None, None, :, 3]).sum(-1)
    root = along.square() - DISTANCE**2 + RADIUS**2
    points = poses[:, None, None, :, 3] + (-along - root.clamp(min=0).sqrt())[..., None] * rays
    lenses = torch.tensor([FOCAL, FOCAL, SIZE / 2, SIZE / 2]).expand(VIEWS, 4)
    return Agreement(texture(points) * (root > 0), (root > 0).float(), poses, lenses)


def facing(number: int) -> tuple[Tensor, Tensor]:
    """Returns unit normals that face a view, and the view."""
    view = torch.arange(number) % VIEWS
    return F.normalize(cameras()[view, :, 2] + 0.4 * directions(number, seed=3), dim=-1), view


def test_views_agree_at_the_surface_and_nowhere_else(agreement: Agreement) -> None:
    normals, view = facing(60)
    at_surface, seen = agreement(RADIUS * normals, normals, view, cameras())
    assert seen.all()
    assert at_surface.mean() > 0.8
    for factor in (0.9, 1.1):
        beside, seen = agreement(factor * RADIUS * normals, normals, view, cameras())
        assert beside[seen].mean() < at_surface.mean() - 0.2


def test_views_agree_where_they_really_stood(agreement: Agreement) -> None:
    normals, view = facing(60)
    turns = torch.tensor([0.08, -0.08]).repeat(VIEWS // 2)  # about z, in radians: four pixels at the surface
    rotations = torch.zeros(VIEWS, 3, 3)
    rotations[:, 2, 2] = 1
    rotations[:, 0, 0] = rotations[:, 1, 1] = turns.cos()
    rotations[:, 1, 0], rotations[:, 0, 1] = turns.sin(), -turns.sin()
    known, _ = agreement(RADIUS * normals, normals, view, cameras())
    assumed, seen = agreement(RADIUS * normals, normals, view, rotations @ cameras())
    assert assumed[seen].mean() < known.mean() - 0.2


@pytest.mark.parametrize(("factor", "sign"), [(0.98, -1), (1.02, 1)])
def test_the_gradient_leads_to_the_surface(agreement: Agreement, factor: float, sign: int) -> None:
    normals, view = facing(60)
    scale = torch.full((60, 1), factor, requires_grad=True)
    ncc, seen = agreement(scale * RADIUS * normals, normals, view, cameras())
    (slope,) = torch.autograd.grad((1 - ncc)[seen].sum(), scale)
    assert sign * slope.mean() > 0
    assert (sign * slope[seen] > 0).float().mean() > 0.9


def test_what_no_view_shows_is_not_compared(agreement: Agreement) -> None:
    normals, view = facing(6)
    away = (view + VIEWS // 2) % VIEWS
    assert not agreement(RADIUS * normals, normals, away, cameras())[1].any()
    outside, seen = agreement(torch.full((6, 3), 2.0), normals, view, cameras())
    assert not seen.any()
    assert torch.equal(outside, torch.zeros(6))


def test_correlation_is_blind_to_exposure_and_not_to_noise() -> None:
    patch = 0.1 * torch.rand(5, 49, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(correlation(patch, 3 * patch + 0.2), torch.ones(5), rtol=0, atol=0.1)
    torch.testing.assert_close(correlation(patch, 0.5 - patch), -torch.ones(5), rtol=0, atol=0.1)
    assert correlation(patch, torch.full((5, 49), 0.2)).abs().max() < 1e-6
    assert (correlation(patch, 1e-4 * patch) < 0.05).all()


def test_tangents_are_orthonormal() -> None:
    normals = torch.cat([directions(20), torch.eye(3)])
    frames = torch.stack([normals, *tangents(normals)], dim=1)
    torch.testing.assert_close(frames @ frames.mT, torch.eye(3).expand(23, 3, 3), rtol=0, atol=1e-5)


def test_a_view_is_compared_with_those_beside_it_but_not_at_its_place() -> None:
    angles = torch.deg2rad(torch.tensor([0.0, 2, 10, 20, 30, 40, 50, 60, 90]))
    positions = torch.stack([angles.cos(), angles.sin(), torch.zeros(9)], dim=1)
    assert nearest_views(positions)[0].tolist() == [2, 3, 4, 5, 6, 7]
    assert nearest_views(positions[:3])[0].tolist() == [2, 1]
