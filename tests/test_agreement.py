"""Patches of a textured sphere, seen by cameras around it: views agree at its surface, and nowhere else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from seen_sphere import RADIUS, VIEWS, cameras, directions, seen_sphere
from torch import Tensor

from privhead_ns.model.agreement import Agreement, correlation, nearest_views, tangents


@pytest.fixture(scope="module")
def agreement() -> Agreement:
    return seen_sphere()


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
