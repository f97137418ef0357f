"""Rendering of a sphere and of planes whose depth and normals are known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from privhead_ns.model.density import ALPHA
from privhead_ns.model.field import HeadField
from privhead_ns.model.renderer import MIN_WEIGHT, Rendered, SurfaceRenderer
from privhead_ns.model.sampler import may_hide_surface
from privhead_ns.model.segments import surface_fraction

AABB = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
RADIUS = 0.5
NEAR, FAR = 2.0, 4.0


def field(sdf: Tensor, beta: float) -> HeadField:
    """A field of a given sdf at the points of the finest grid."""
    torch.manual_seed(0)
    head = HeadField(AABB, 2 / 63.5, feature_channels=4, hidden_units=16, beta=beta)
    for grid in head.sdf_grids.grids:
        grid.data.zero_()
    head.sdf_grids.grids[-1].data[:] = sdf
    return head


def points() -> Tensor:
    axis = torch.linspace(-1, 1, 65)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def sphere(beta: float = 0.005) -> HeadField:
    return field(points().norm(dim=-1) - RADIUS, beta)


def plane(normal: Tensor, offset: float, beta: float = 0.003) -> HeadField:
    return field(points() @ normal - offset, beta)


def rays(offsets: Tensor) -> RayBundle:
    """Rays down the z axis, from z = 3, at offsets in x and y."""
    number = len(offsets)
    return RayBundle(
        origins=torch.cat([offsets, torch.full((number, 1), 3.0)], dim=1),
        directions=torch.tensor([[0.0, 0.0, -1.0]]).expand(number, 3),
        pixel_area=torch.ones(number, 1),
        nears=torch.full((number, 1), NEAR),
        fars=torch.full((number, 1), FAR),
    )


def disc(number: int, radius: float) -> Tensor:
    """Random points of a disc."""
    generator = torch.Generator().manual_seed(1)
    angle = 2 * math.pi * torch.rand(number, generator=generator)
    return radius * torch.rand(number, 1, generator=generator).sqrt() * torch.stack([angle.cos(), angle.sin()], dim=1)


def render(rendering: str, head: HeadField, offsets: Tensor, coarse: int = 32, fine: int = 16) -> Rendered:
    renderer = SurfaceRenderer(rendering, coarse, fine).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        return renderer(rays(offsets), head, head.geometry(), with_magnitude=True)


@pytest.mark.parametrize("rendering", ALPHA)
def test_a_sphere_is_seen_where_it_is(rendering: str) -> None:
    offsets = disc(500, 0.8 * RADIUS)
    seen = render(rendering, sphere(), offsets)
    height = (RADIUS**2 - offsets.square().sum(dim=1)).sqrt()
    torch.testing.assert_close(seen.depth[:, 0], 3 - height, rtol=0, atol=0.015)
    assert abs(float((seen.depth[:, 0] - 3 + height).mean())) < 0.005
    assert (seen.accumulation > 0.95).all()
    normals = torch.cat([offsets, height[:, None]], dim=1) / RADIUS
    assert (seen.normals * normals).sum(dim=1).min() > math.cos(math.radians(3))
    torch.testing.assert_close(seen.normals.norm(dim=1), torch.ones(500))


@pytest.mark.parametrize("rendering", ALPHA)
def test_a_slanted_plane_is_seen_where_it_is(rendering: str) -> None:
    normal, offset = F.normalize(torch.tensor([0.3, -0.4, 1.0]), dim=0), 0.1
    offsets = disc(300, 0.8)
    seen = render(rendering, plane(normal, offset), offsets)
    height = (offset - offsets @ normal[:2]) / normal[2]
    torch.testing.assert_close(seen.depth[:, 0], 3 - height, rtol=0, atol=0.015)
    torch.testing.assert_close(seen.normals, normal.expand(300, 3), rtol=0, atol=1e-3)


@pytest.mark.parametrize("rendering", ALPHA)
def test_rays_that_miss_see_nothing(rendering: str) -> None:
    hit, miss = torch.zeros(1, 2), torch.tensor([[0.8, 0.0], [0.7, 0.7], [0.0, -0.9]])
    seen = render(rendering, sphere(), torch.cat([hit, miss]))
    assert seen.accumulation[0] > 0.95
    assert (seen.accumulation[1:] < 1e-3).all()
    assert (seen.rgb[1:] < 1e-3).all()


@pytest.mark.parametrize("rendering", ALPHA)
def test_all_rays_may_miss(rendering: str) -> None:
    seen = render(rendering, sphere(), torch.tensor([[0.8, 0.0], [0.7, 0.7]]))
    assert (seen.accumulation < 1e-3).all()
    assert (seen.rgb == 0).all()


@pytest.mark.parametrize("rendering", ALPHA)
def test_few_samples_see_what_many_see(rendering: str) -> None:
    head, offsets = sphere(), disc(200, 0.8 * RADIUS)
    for table in head.features.tables:
        table.data = torch.randn(table.shape, generator=torch.Generator().manual_seed(4))
    few, many = (render(rendering, head, offsets, n, m) for n, m in ((32, 16), (256, 256)))
    torch.testing.assert_close(few.depth, many.depth, rtol=0, atol=0.02)
    assert (few.depth - many.depth).abs().mean() < 0.004
    assert (few.rgb - many.rgb).abs().mean() < 0.02


@pytest.mark.parametrize("beta", [1e-4, 0.003, 0.03, 0.3])
@pytest.mark.parametrize("rendering", ALPHA)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_stay_in_range(rendering: str, beta: float, training: bool) -> None:
    torch.manual_seed(0)
    head = sphere(beta)
    renderer = SurfaceRenderer(rendering, 16, 16).train(training)  # type: ignore[arg-type]
    seen = renderer(rays(disc(200, 1.0)), head, head.geometry(), with_magnitude=True)
    assert (seen.accumulation >= 0).all() and (seen.accumulation <= 1 + 1e-4).all()
    assert (seen.rgb >= 0).all() and (seen.rgb <= 1 + 1e-4).all()
    met = seen.depth[seen.accumulation > MIN_WEIGHT]
    assert len(met) > 0 and (met >= NEAR - 1e-3).all() and (met <= FAR + 1e-3).all()
    assert all(value is not None and torch.isfinite(value).all() for value in seen)


@pytest.mark.parametrize("beta", [0.003, 0.01, 0.03])
@pytest.mark.parametrize("rendering", ALPHA)
def test_a_ray_through_the_middle_is_fully_stopped(rendering: str, beta: float) -> None:
    seen = render(rendering, sphere(beta), torch.zeros(1, 2))
    exact = render(rendering, sphere(beta), torch.zeros(1, 2), 512, 512)
    torch.testing.assert_close(seen.accumulation, exact.accumulation, rtol=0, atol=0.025)


@pytest.mark.parametrize("rendering", ALPHA)
def test_colour_and_magnitude_are_what_the_field_says_on_the_surface(rendering: str) -> None:
    head = plane(torch.tensor([0.0, 0.0, 1.0]), 0.0)
    offsets = disc(50, 0.5)
    seen = render(rendering, head, offsets)
    surface = torch.cat([offsets, torch.zeros(50, 1)], dim=1)
    normals = torch.tensor([[0.0, 0.0, 1.0]]).expand(50, 3)
    visible = torch.ones(50, dtype=torch.bool)
    colors, magnitudes = head.appearance(surface, normals, -normals, visible, True)
    assert seen.magnitude is not None and magnitudes is not None
    torch.testing.assert_close(seen.rgb / seen.accumulation, colors.detach(), rtol=0, atol=0.02)
    torch.testing.assert_close(seen.magnitude / seen.accumulation, magnitudes.detach(), rtol=0.02, atol=0)


@pytest.mark.parametrize("rendering", ALPHA)
def test_gradients_flow_to_shape_and_colour(rendering: str) -> None:
    torch.manual_seed(0)
    head = sphere(0.01)
    renderer = SurfaceRenderer(rendering, 32, 16)  # type: ignore[arg-type]
    seen = renderer(rays(disc(100, RADIUS)), head, head.geometry())
    ((seen.rgb - 0.2).abs().mean() + seen.accumulation.mean() + seen.depth.mean()).backward()
    parts = [*head.sdf_grids.parameters(), *head.features.parameters(), *head.color_network.parameters()]
    for parameter in parts:
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
    for parameter in [*head.sdf_grids.parameters(), *head.features.parameters()]:
        assert parameter.grad is not None and parameter.grad.abs().max() > 0


@pytest.mark.parametrize("rendering", ALPHA)
def test_depth_grows_as_the_head_shrinks(rendering: str) -> None:
    head = sphere(0.01)
    renderer = SurfaceRenderer(rendering, 32, 16).eval()  # type: ignore[arg-type]
    renderer(rays(disc(100, 0.3)), head, head.geometry()).depth.sum().backward()
    grid = head.sdf_grids.grids[0]
    assert grid.grad is not None
    assert grid.grad.sum() > 0  # a larger sdf is a smaller head, seen farther away


def test_a_segment_is_seen_where_the_ray_crosses_the_surface() -> None:
    start, end = torch.tensor([[3.0, 2.0, -1.0, -2.0, 2.0]]), torch.tensor([[2.0, -1.0, -2.0, 1.0, -1.0]])
    t = surface_fraction(start, end, torch.tensor([[0.1, 0.1, 0.1, 0.1, 50.0]]))
    torch.testing.assert_close(t, torch.tensor([[0.5, 2 / 3, 0.5, 0.5, 2 / 3]]))


def test_the_gradient_of_a_crossing_is_exact_where_the_sdf_falls_fast_enough() -> None:
    start, end = (torch.tensor([[value]], dtype=torch.float64, requires_grad=True) for value in (0.3, -0.2))
    least = torch.tensor([[0.1]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: surface_fraction(a, b, least), (start, end))
    expected = torch.autograd.grad(start / (start - end), (start, end))
    gradient = torch.autograd.grad(surface_fraction(start, end, least), (start, end))
    for found, exact in zip(gradient, expected, strict=True):
        torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("change", [1e-3, 1e-6, 1e-12, 1e-30])
def test_the_gradient_of_a_crossing_is_bounded(change: float) -> None:
    start = torch.tensor([[0.7 * change]], requires_grad=True)
    end = torch.tensor([[-0.3 * change]], requires_grad=True)
    t = surface_fraction(start, end, torch.tensor([[0.01]]))
    torch.testing.assert_close(t, torch.tensor([[0.7]]))
    for gradient in torch.autograd.grad(t, (start, end)):
        assert 0 < gradient.abs() <= 1 / 0.01


@pytest.mark.parametrize("rendering", ALPHA)
def test_a_thin_plate_between_two_coarse_samples_is_found(rendering: str) -> None:
    """At the coarse samples its opacity is 0."""
    distances = torch.linspace(NEAR, FAR, 33)
    middle, half_thickness = 3 - float(distances[10] + distances[11]) / 2, 0.008
    head = field((points()[..., 2] - middle).abs() - half_thickness, beta=2e-4)
    offsets = disc(20, 0.5)
    seen = render(rendering, head, offsets)
    assert (seen.accumulation > 0.9).all()
    torch.testing.assert_close(seen.depth, torch.full_like(seen.depth, 3 - middle - half_thickness), rtol=0, atol=0.01)


@pytest.mark.parametrize("rendering", ALPHA)
def test_a_thin_plate_before_the_head_is_found_and_the_head_behind_it_is_not_lost(rendering: str) -> None:
    distances = torch.linspace(NEAR, FAR, 33)
    middle = 3 - float(distances[10] + distances[11]) / 2
    plate, head = (points()[..., 2] - middle).abs() - 0.016, points()[..., 2]
    offsets = disc(20, 0.5)
    both = render(rendering, field(torch.minimum(plate, head), beta=2e-4), offsets)
    torch.testing.assert_close(both.depth, torch.full_like(both.depth, 3 - middle - 0.016), rtol=0, atol=0.05)
    alone = render(rendering, field(head, beta=2e-4), offsets)
    torch.testing.assert_close(alone.depth, torch.full_like(alone.depth, 3.0), rtol=0, atol=0.01)


def test_only_segments_outside_that_are_too_long_may_hide_a_surface() -> None:
    sdf = torch.tensor([[0.6, 0.5, 0.4, 0.2, -0.1, -0.1, 0.3]])
    lengths = torch.tensor([[1.0, 1.0, 0.5, 1.0, 1.0, 1.0]])
    expected = torch.tensor([[False, True, False, False, False, False]])
    assert torch.equal(may_hide_surface(sdf, lengths), expected)


@pytest.mark.parametrize("rendering", ALPHA)
def test_colour_moves_the_surface_even_where_opacity_is_a_step(rendering: str) -> None:
    """With β far below the sample spacing the depth's gradient is still that of the true surface, one unit per unit."""
    head = plane(torch.tensor([0.0, 0.0, 1.0]), 0.1234, beta=1e-5)
    shift = torch.zeros((), requires_grad=True)
    geometry = head.geometry()
    moved = replace(geometry, sdf=geometry.sdf + shift)
    renderer = SurfaceRenderer(rendering, 32, 16)  # type: ignore[arg-type]
    depth = renderer(rays(disc(20, 0.3)), head, moved).depth
    torch.testing.assert_close(depth, torch.full_like(depth, 3 - 0.1234), rtol=0, atol=1e-3)
    depth.mean().backward()
    assert shift.grad is not None
    assert float(shift.grad) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("rendering", ALPHA)
def test_training_renders_the_same_rays_alike_every_time(rendering: str) -> None:
    head, renderer = sphere(), SurfaceRenderer(rendering, 32, 16).train()  # type: ignore[arg-type]
    first, second = (renderer(rays(disc(50, 0.6)), head, head.geometry()) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_only_rays_that_shade_pass_a_gradient_to_the_normals(monkeypatch: pytest.MonkeyPatch) -> None:
    head, given = sphere(), []
    appearance = head.appearance
    monkeypatch.setattr(
        head, "appearance", lambda places, normals, *rest: given.append(normals) or appearance(places, normals, *rest)
    )
    shading = torch.arange(50) % 2 == 0
    SurfaceRenderer("neus", 32, 16)(rays(disc(50, RADIUS / 2)), head, head.geometry(), False, shading)
    for part, passes in ((given[0][shading], True), (given[0][~shading], False)):
        (slope,) = torch.autograd.grad(part.square().sum() + part.sum(), head.sdf_grids.grids[-1], retain_graph=True)
        assert bool(slope.any()) is passes
