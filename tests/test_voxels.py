"""Interpolation and differences on voxel grids against exact functions and torch's own."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from privhead_ns.model.voxels import (
    FeaturePyramid,
    ScalarPyramid,
    Trilinear,
    Upsample,
    grid_curvature,
    grid_gradient,
    pyramid,
)

SHAPE = (5, 7, 4)
SPACING = torch.tensor([0.5, 0.25, 2.0])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def trilinear(table: Tensor, positions: Tensor) -> Tensor:
    return Trilinear((table.shape[0], table.shape[1], table.shape[2]))(table, positions)


def grid_points(shape: tuple[int, int, int] = SHAPE) -> Tensor:
    """Positions in [0, 1] of all grid points."""
    axes = [torch.linspace(0, 1, n) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def test_trilinear_reproduces_affine_functions() -> None:
    matrix, offset = random(3, 2) - 0.5, random(2, seed=1)
    positions = random(50, 3, seed=2)
    torch.testing.assert_close(
        trilinear(grid_points() @ matrix + offset, positions), positions @ matrix + offset, rtol=1e-5, atol=1e-6
    )


def test_trilinear_returns_the_table_at_its_points() -> None:
    table = random(*SHAPE, 3)
    torch.testing.assert_close(trilinear(table, grid_points()), table, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [SHAPE, (2, 2, 2), (2, 9, 3)])
def test_trilinear_equals_grid_sample_with_its_gradient(shape: tuple[int, int, int]) -> None:
    table = random(*shape, 3).requires_grad_()
    positions = (random(4, 25, 3, seed=1) * 1.6 - 0.3).requires_grad_()  # some outside
    upstream = random(4, 25, 3, seed=2)
    grid = (2 * positions - 1).flip(-1).reshape(1, 1, 4, 25, 3)
    expected = F.grid_sample(table.permute(3, 0, 1, 2)[None], grid, align_corners=True, padding_mode="border")
    expected = expected[0, :, 0].permute(1, 2, 0)
    values = trilinear(table, positions)
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5)
    ours = torch.autograd.grad((values * upstream).sum(), (table, positions))
    theirs = torch.autograd.grad((expected * upstream).sum(), (table, positions))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_trilinear_of_nan_reads_no_row_outside_the_table() -> None:
    rows, _ = Trilinear(SHAPE).corners(torch.tensor([[math.nan, 0.5, math.nan]]))
    assert (rows >= 0).all() and (rows < 5 * 7 * 4).all()


def test_trilinear_clamps_outside() -> None:
    table = random(*SHAPE, 2)
    far = torch.tensor([[-9.0, 0.0, 0.0], [2.0, 1.0, 1.0], [1.5, -3.0, 7.0]])
    torch.testing.assert_close(
        trilinear(table, far), torch.stack([table[0, 0, 0], table[-1, -1, -1], table[-1, 0, -1]])
    )


def test_trilinear_takes_no_positions() -> None:
    assert trilinear(random(*SHAPE, 2), torch.zeros(0, 3)).shape == (0, 2)


def coordinates() -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates of grid points that lie SPACING apart."""
    axes = [torch.arange(n) * step for n, step in zip(SHAPE, SPACING, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return x, y, z


def test_gradient_of_an_affine_function_is_exact() -> None:
    x, y, z = coordinates()
    expected = torch.tensor([2.0, -3.0, 0.5])[:, None, None, None].expand(3, *SHAPE)
    torch.testing.assert_close(grid_gradient(2 * x - 3 * y + 0.5 * z + 1, SPACING), expected)


def test_gradient_of_a_quadratic_is_exact_inside() -> None:
    x, y, z = coordinates()
    gradient = grid_gradient(x**2 + 2 * x * y - 3 * z**2, SPACING)
    expected = torch.stack([2 * x + 2 * y, 2 * x, -6 * z])
    inner = (slice(None), slice(1, -1), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(gradient[inner], expected[inner], rtol=1e-5, atol=1e-4)


def test_affine_functions_do_not_bend() -> None:
    x, y, z = coordinates()
    curvature = grid_curvature(x - 2 * y + 3 * z, SPACING)
    assert curvature.shape == tuple(n - 2 for n in SHAPE)
    torch.testing.assert_close(curvature, torch.zeros_like(curvature), rtol=0, atol=1e-8)


def test_curvature_of_a_quadratic_times_spacing_squared() -> None:
    x, y, z = coordinates()
    curvature = grid_curvature(3 * x**2 - 2 * y**2 + 0.5 * z**2 + x * y, SPACING)
    expected = (6 * 0.5) ** 2 + (4 * 0.25) ** 2 + (1 * 2.0) ** 2
    torch.testing.assert_close(curvature, torch.full_like(curvature, expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("finest", [(96, 81, 64), (8, 9, 33)])
def test_pyramid_halves_down_from_the_finest(finest: tuple[int, int, int]) -> None:
    levels = pyramid(finest, 4)
    assert len(levels) == 4
    assert levels[-1] == finest
    for coarse, fine in pairwise(levels):
        for few, many in zip(coarse, fine, strict=True):
            assert few >= 2
            assert few == 2 or 0 <= 2 * few - many <= 1


@pytest.mark.parametrize("fine", [(9, 7, 5), (5, 4, 3), (6, 4, 11)])
def test_upsample_interpolates_trilinearly(fine: tuple[int, int, int]) -> None:
    coarse = random(5, 4, 3)
    expected = F.interpolate(coarse[None, None], size=fine, mode="trilinear", align_corners=True)[0, 0]
    torch.testing.assert_close(Upsample((5, 4, 3), fine)(coarse), expected, rtol=1e-5, atol=1e-6)


def test_scalar_pyramid_interpolates_its_coarse_grids() -> None:
    field = ScalarPyramid([(3, 3, 3), (4, 5, 6), (7, 9, 11)])
    slope = torch.tensor([1.0, -2.0, 0.5])
    field.grids[0].data.copy_(grid_points((3, 3, 3)) @ slope)
    torch.testing.assert_close(field(), grid_points((7, 9, 11)) @ slope, rtol=1e-5, atol=1e-6)


def test_scalar_pyramid_adds_its_grids_and_moves_all_of_them() -> None:
    field = ScalarPyramid([(2, 2, 2), (5, 5, 5)])
    field.grids[0].data.fill_(2.0)
    field.grids[1].data.copy_(random(5, 5, 5))
    torch.testing.assert_close(field(), 2 + random(5, 5, 5))
    field()[2, 2, 2].backward()
    coarse, fine = (grid.grad for grid in field.grids)
    assert coarse is not None and fine is not None
    torch.testing.assert_close(coarse, torch.full_like(coarse, 1 / 8))  # the middle is as far from every corner
    assert fine[2, 2, 2] == 1 and fine.sum() == 1


def test_feature_pyramid_lays_its_grids_side_by_side() -> None:
    features = FeaturePyramid([(4, 4, 4), (2, 3, 2)], 3)
    assert features.channels == 6
    features.tables[0].data.fill_(1.0)
    features.tables[1].data.copy_(grid_points((2, 3, 2)))
    positions = random(2, 5, 3)
    torch.testing.assert_close(features(positions), torch.cat([torch.ones(2, 5, 3), positions], dim=-1))


def test_what_is_forgotten_becomes_the_mean_of_the_rest() -> None:
    features = FeaturePyramid([(9, 9, 9), (3, 3, 3)], 2)
    for seed, table in enumerate(features.tables):
        table.data = random(*table.shape, seed=seed)
    before = [table.detach().clone() for table in features.tables]
    features.forget_all_but(random(20_000, 3) * torch.tensor([0.43, 1.0, 1.0]))  # nearest to x = 0, 1/8, 2/8, 3/8
    for table, old, kept in zip(features.tables, before, (4, 2), strict=True):
        torch.testing.assert_close(table[:kept], old[:kept], rtol=0, atol=0)
        torch.testing.assert_close(table[kept:], old[:kept].mean(dim=(0, 1, 2)).expand_as(table[kept:]))
