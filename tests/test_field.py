"""The head's field before training, and that its parts tell the same."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from privhead_ns.model.field import HeadField, evaluate_everywhere, evaluate_where, mirrored

AABB = torch.tensor([[-1.0, -0.8, 0.2], [1.0, 1.2, 2.7]])
VOXEL = 0.0507


def field(aabb: Tensor = AABB, voxel_size: float = VOXEL) -> HeadField:
    torch.manual_seed(0)
    return HeadField(aabb, voxel_size, feature_channels=4, hidden_units=16, beta=0.03)


def dented(scale: float = 1.0) -> HeadField:
    """A field whose finest sdf and features are no longer trivial."""
    head = field(scale * AABB, scale * VOXEL)
    generator = torch.Generator().manual_seed(1)
    finest = head.sdf_grids.grids[-1]
    finest.data = scale * 0.02 * torch.randn(finest.shape, generator=generator)
    for table in head.features.tables:
        table.data = torch.randn(table.shape, generator=generator)
    return head


def inside(number: int, aabb: Tensor = AABB) -> Tensor:
    return aabb[0] + (aabb[1] - aabb[0]) * torch.rand(number, 3, generator=torch.Generator().manual_seed(2))


def test_voxels_are_no_larger_than_wanted() -> None:
    geometry = field().geometry()
    assert (geometry.spacing <= VOXEL).all()
    assert (geometry.spacing > 0.9 * VOXEL).all()
    extent = geometry.spacing * (torch.tensor(geometry.sdf.shape) - 1)
    torch.testing.assert_close(extent, AABB[1] - AABB[0])


@pytest.mark.parametrize("voxel_size", [0.02, 0.04, 0.07, 0.1, 0.15, 0.25])
def test_it_starts_as_an_ellipsoid_of_any_resolution(voxel_size: float) -> None:
    sdf = field(voxel_size=voxel_size).sdf
    center, half = AABB.mean(dim=0), (AABB[1] - AABB[0]) / 2
    assert sdf(center[None]) < -0.2 * half.min()
    directions = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(3)), dim=-1)
    assert (sdf(center + 0.3 * half * directions) < 0).all()
    assert (sdf(center + 0.9 * half * directions) > 0).all()


def test_at_first_its_faces_are_outside_and_its_slope_is_about_one() -> None:
    geometry = field().geometry()
    for axis in range(3):
        assert geometry.sdf.select(axis, 0).min() > 0
        assert geometry.sdf.select(axis, -1).min() > 0
    near = geometry.sdf.abs() < 0.3
    assert 0.7 < geometry.gradient.norm(dim=0)[near].mean() < 1.1


def test_the_table_is_the_sdf_and_its_gradient() -> None:
    head = dented()
    geometry = head.geometry()
    axes = [torch.linspace(a, b, n) for a, b, n in zip(*AABB.tolist(), geometry.sdf.shape, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    torch.testing.assert_close(head.sdf(points), geometry.sdf, rtol=1e-4, atol=1e-5)
    rows = head.trilinear(geometry.table, head.normalize(points)).movedim(-1, 0)
    torch.testing.assert_close(rows, torch.stack([geometry.sdf, *geometry.gradient]), rtol=1e-4, atol=1e-3)
    step = points[11, 10, 10] - points[9, 10, 10]
    slope = (head.sdf(points[11, 10, 10][None]) - head.sdf(points[9, 10, 10][None])) / step[0]
    torch.testing.assert_close(geometry.gradient[0, 10, 10, 10], slope[0], rtol=1e-3, atol=1e-4)


def test_marching_cubes_gets_the_same_sdf() -> None:
    head, positions = dented(), inside(50)
    torch.testing.assert_close(head.forward_geonetwork(positions), head.sdf(positions)[:, None])


def test_outside_the_box_the_nearest_face_answers() -> None:
    head, positions = dented(), 10 * inside(50) - 5
    torch.testing.assert_close(head.sdf(positions), head.sdf(positions.clamp(AABB[0], AABB[1])))


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_a_larger_box_is_the_same_head_in_other_units(scale: float) -> None:
    head, large, positions = dented(), dented(scale), inside(50)
    assert large.geometry().sdf.shape == head.geometry().sdf.shape
    torch.testing.assert_close(large.beta, scale * head.beta)
    torch.testing.assert_close(large.sdf(scale * positions), scale * head.sdf(positions), rtol=1e-4, atol=1e-5 * scale)
    torch.testing.assert_close(large.geometry().gradient, head.geometry().gradient, rtol=1e-4, atol=1e-4)


def test_beta_is_a_fraction_of_the_longest_side() -> None:
    assert float(field().beta) == pytest.approx(2.5 * 0.03)


def test_what_is_not_visible_is_black_and_has_no_magnitude() -> None:
    head, positions = dented(), inside(40)
    normals = torch.nn.functional.normalize(positions, dim=-1)
    visible = torch.arange(40) % 3 == 0
    colors, magnitudes = head.appearance(positions, normals, -normals, visible, True)
    everywhere, all_magnitudes = head.appearance(positions, normals, -normals, torch.ones_like(visible), True)
    assert magnitudes is not None and all_magnitudes is not None
    assert (colors[~visible] == 0).all() and (magnitudes[~visible] == 0).all()
    torch.testing.assert_close(colors[visible], everywhere[visible])
    torch.testing.assert_close(magnitudes[visible], all_magnitudes[visible])
    assert ((everywhere > 0) & (everywhere < 1)).all() and (all_magnitudes > 0).all()
    assert everywhere.std(dim=0).min() > 1e-3


def test_nothing_visible_is_all_black() -> None:
    nowhere = torch.zeros(6, dtype=torch.bool)
    colors, magnitudes = field().appearance(inside(6), torch.zeros(6, 3), torch.zeros(6, 3), nowhere)
    assert (colors == torch.zeros(6, 3)).all()
    assert magnitudes is None


def test_the_ways_of_cpu_and_gpu_agree_with_their_gradients() -> None:
    head, visible = dented(), torch.arange(40) % 3 == 0
    inputs = [inside(40).requires_grad_(), torch.nn.functional.normalize(inside(40) - 0.3, dim=-1)]
    inputs.append(-inputs[1])
    upstream = torch.rand(40, 4, generator=torch.Generator().manual_seed(5))
    weights = [inputs[0], *head.features.parameters(), next(head.color_network.parameters())]
    ways = [evaluate(partial(head.look, True), visible, *inputs) for evaluate in (evaluate_where, evaluate_everywhere)]
    gradients = [torch.autograd.grad((way * upstream).sum(), weights) for way in ways]
    torch.testing.assert_close(ways[0], ways[1])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_colour_and_magnitude_differ_from_side_to_side() -> None:
    head, positions = dented(), inside(40)
    normals, visible = torch.nn.functional.normalize(positions, dim=-1), torch.ones(40, dtype=torch.bool)
    colors, magnitudes = head.appearance(positions, normals, -normals, visible, True)
    colors_aside, magnitudes_aside = head.appearance(positions, normals, normals.roll(1, dims=-1), visible, True)
    assert magnitudes is not None and magnitudes_aside is not None
    assert (colors != colors_aside).any()
    assert (magnitudes != magnitudes_aside).any()


def test_a_mirror_turns_a_ray_around_its_normal() -> None:
    normals = torch.tensor([[0.0, 0, 1], [0, 0, 1], [1, 0, 0]])
    directions = torch.tensor([[0.0, 0, -1], [0.6, 0, -0.8], [0, 1, 0]])
    expected = torch.tensor([[0.0, 0, 1], [0.6, 0, 0.8], [0, 1, 0]])
    torch.testing.assert_close(mirrored(directions, normals), expected)


def test_shine_bends_no_surface() -> None:
    head, positions = dented(), inside(40)
    normals = torch.nn.functional.normalize(torch.randn(40, 3), dim=-1).requires_grad_()
    directions = torch.nn.functional.normalize(torch.randn(40, 3), dim=-1)
    with torch.no_grad():
        head.color_network.layers[0].weight[:, head.features.channels : head.features.channels + 3] = 0
    values = head.look(True, positions, normals, directions)
    (slope,) = torch.autograd.grad(values.sum(), normals)
    assert not slope.any()


@pytest.mark.parametrize("wanted", ["color", "magnitude"])
def test_colour_and_magnitude_share_features_but_no_network(wanted: str) -> None:
    head, positions = field(), inside(40)
    visible = torch.ones(40, dtype=torch.bool)
    colors, magnitudes = head.appearance(
        positions, torch.rand_like(positions), torch.rand_like(positions), visible, True
    )
    assert magnitudes is not None
    own, other = head.color_network, head.magnitude_network
    if wanted == "magnitude":
        own, other = other, own
    (colors if wanted == "color" else magnitudes).sum().backward()
    for parameter in [*head.features.parameters(), next(own.parameters())]:
        assert isinstance(parameter.grad, Tensor)
        assert parameter.grad.abs().max() > 0
    assert not any(parameter.grad is not None and parameter.grad.any() for parameter in other.parameters())


@pytest.mark.parametrize(("voxels", "short"), [(30, True), (104, False)])
def test_steps_of_small_grids_are_short(voxels: int, short: bool) -> None:
    head = HeadField(torch.tensor([[-1.0] * 3, [1.0] * 3]), 2 / voxels, feature_channels=1, hidden_units=4, beta=0.01)
    assert head.short_steps is short
