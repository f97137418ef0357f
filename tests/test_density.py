"""Opacity of a segment against fine quadrature, exact formulas and limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from privhead_ns.model.density import ALPHA, laplace_cdf, neus_alpha, primitive, volsdf_alpha

ON_SURFACE = "flat on the surface"
"""Where the density has a kink in its second derivative, and autograd no say."""
SEGMENTS = {
    "crosses": (0.3, -0.2, 0.5, 0.05),
    "crosses, longer than the sdf falls": (0.04, -0.03, 0.2, 0.1),
    "grazes": (0.05, 0.01, 0.3, 0.03),
    "flat outside": (0.02, 0.02, 0.1, 0.04),
    ON_SURFACE: (0.0, 0.0, 0.02, 0.05),
    "flat inside": (-0.03, -0.03, 0.02, 0.05),
    "nearly flat": (0.02, 0.0203, 0.1, 0.04),
    "just too steep to count as flat": (0.02, 0.0205, 0.1, 0.04),
    "recedes": (-0.02, 0.3, 0.4, 0.1),
    "ends on the surface with tiny beta": (0.5, 0.0, 0.5, 1e-3),
    "far outside with tiny beta": (0.5, 0.4, 0.1, 1e-3),
    "enters a little with tiny beta": (0.1, -5e-4, 0.1005, 1e-3),
}
"""sdf at both ends, length and beta."""


def tensors(*values: float, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.tensor(value, dtype=dtype) for value in values]


def test_laplace_cdf_has_its_known_values() -> None:
    beta = torch.tensor(0.2, dtype=torch.float64)
    sdf = beta * torch.tensor([0.0, math.log(2), -math.log(2), 100, -100], dtype=torch.float64)
    expected = torch.tensor([0.5, 0.25, 0.75, 0, 1], dtype=torch.float64)
    torch.testing.assert_close(laplace_cdf(sdf, beta), expected)


def test_laplace_cdf_is_symmetric_and_falls() -> None:
    sdf, beta = torch.linspace(-1, 1, 101, dtype=torch.float64), torch.tensor(0.1)
    values = laplace_cdf(sdf, beta)
    torch.testing.assert_close(values + values.flip(0), torch.ones_like(values))
    assert (values.diff() < 0).all()


def test_primitive_differentiates_to_the_cdf() -> None:
    sdf = torch.linspace(-1, 1, 40, dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(0.1, dtype=torch.float64)
    (slope,) = torch.autograd.grad(primitive(sdf, beta).sum(), sdf)
    torch.testing.assert_close(slope, laplace_cdf(sdf.detach(), beta))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("segment", SEGMENTS.values(), ids=SEGMENTS.keys())
def test_volsdf_alpha_equals_quadrature(segment: tuple[float, ...], dtype: torch.dtype) -> None:
    start, end, length, beta = tensors(*segment)
    middles = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    density = laplace_cdf(start + (end - start) * middles, beta) / beta
    expected = 1 - torch.exp(-density.mean() * length)
    alpha = volsdf_alpha(*tensors(*segment, dtype=dtype))
    assert float(alpha) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("segment", SEGMENTS.values(), ids=SEGMENTS.keys())
def test_optical_depths_of_halves_add_up(segment: tuple[float, ...]) -> None:
    start, end, length, beta = tensors(*segment)
    length = 0.05 * length  # or all the light is gone, and the logarithm with it
    middle = (start + end) / 2

    def depth(a: Tensor, b: Tensor, delta: Tensor) -> Tensor:
        return -torch.log1p(-volsdf_alpha(a, b, delta, beta))

    halves = depth(start, middle, length / 2) + depth(middle, end, length / 2)
    torch.testing.assert_close(halves, depth(start, end, length), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("segment", [s for name, s in SEGMENTS.items() if "tiny" not in name and name != ON_SURFACE])
def test_volsdf_gradients_are_those_of_finite_differences(segment: tuple[float, ...]) -> None:
    inputs = [value.requires_grad_() for value in tensors(*segment)]
    # where the segment counts as flat, the gradient is the midpoint rule's
    assert torch.autograd.gradcheck(volsdf_alpha, inputs, eps=1e-7, atol=1e-3)


@pytest.mark.parametrize("rendering", ALPHA)
@pytest.mark.parametrize("beta", [1e-5, 1e-2, 10.0])
def test_opacity_and_gradients_are_sane_everywhere(rendering: str, beta: float) -> None:
    ends = torch.tensor([-1e3, -1.0, -1e-3, -1e-6, 0.0, 1e-7, 1e-3, 1.0, 1e3])
    start, end = torch.meshgrid(ends, ends, indexing="ij")
    start, end = start.clone().requires_grad_(), end.clone().requires_grad_()
    scale = torch.tensor(beta, requires_grad=True)
    alpha = ALPHA[rendering](start, end, torch.full_like(start, 0.1), scale)
    assert ((alpha >= 0) & (alpha <= 1)).all()
    for gradient in torch.autograd.grad(alpha.sum(), [start, end, scale]):
        assert torch.isfinite(gradient).all()


def test_volsdf_sees_a_flat_inside_as_a_uniform_medium() -> None:
    sdf, length, beta = tensors(-10.0, 0.3, 0.1)
    assert float(volsdf_alpha(sdf, sdf, length, beta)) == pytest.approx(1 - math.exp(-3))


def test_neus_alpha_is_its_formula() -> None:
    start, end, length, beta = tensors(0.1, -0.05, 0.3, 0.05)
    before, after = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))
    assert float(neus_alpha(start, end, length, beta)) == pytest.approx((before - after) / before, abs=1e-5)


def test_neus_alpha_is_zero_where_the_ray_recedes() -> None:
    start = torch.tensor([0.1, -0.1, -0.3, 0.0])
    length, beta = torch.tensor(0.1), torch.tensor(0.02)
    assert (neus_alpha(start, start + torch.tensor([0.05, 0.2, 0.1, 0.0]), length, beta) == 0).all()


@pytest.mark.parametrize("rendering", ALPHA)
@pytest.mark.parametrize("cosine", [1.0, 0.5])
def test_a_plane_is_opaque_and_seen_where_it_is(rendering: str, cosine: float) -> None:
    beta, plane = 0.02, 1.3
    distances = torch.linspace(0, 3, 2000)
    sdf = cosine * (plane - distances)
    alpha = ALPHA[rendering](sdf[:-1], sdf[1:], distances.diff(), torch.tensor(beta))
    weights = alpha * torch.cat([torch.ones(1), torch.cumprod(1 - alpha, 0)[:-1]])
    depth = (weights * (distances[1:] + distances[:-1]) / 2).sum()
    assert float(weights.sum()) == pytest.approx(1, abs=1e-3)
    assert abs(float(depth) - plane) < 1.2 * beta
