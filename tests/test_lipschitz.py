"""The colour network's Lipschitz bound: it holds, is tight, and does nothing until it must."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from privhead_ns.model.lipschitz import LipschitzLinear, LipschitzMLP

WIDTHS = (5, 16, 16, 3)


def network(seed: int = 0) -> LipschitzMLP:
    torch.manual_seed(seed)
    return LipschitzMLP(WIDTHS)


def steepest(mlp: LipschitzMLP) -> Tensor:
    """Largest slope in the max-norm between random points, near ones and far ones."""
    x = torch.randn(4000, WIDTHS[0], dtype=torch.float64) * 3
    y = x + torch.randn_like(x) * torch.logspace(-3, 1, len(x), dtype=torch.float64)[:, None]
    mlp = mlp.double()
    with torch.no_grad():
        return ((mlp(x) - mlp(y)).abs().amax(dim=1) / (x - y).abs().amax(dim=1)).max()


def fit(mlp: LipschitzMLP, weight: float, steps: int = 60) -> None:
    """Trains towards a steep function, with the bound's loss at some weight."""
    optimizer = torch.optim.Adam(mlp.parameters(), lr=0.02)
    x = torch.rand(256, WIDTHS[0])
    target = torch.sin(20 * x[:, :3])
    for _ in range(steps):
        loss = (mlp(x) - target).square().mean() + weight * mlp.lipschitz
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def shrink(mlp: LipschitzMLP, by: float = 2.0) -> None:
    for layer in mlp.layers:
        assert isinstance(layer, LipschitzLinear)
        layer.bound.data -= by


def test_at_first_the_bound_changes_nothing() -> None:
    mlp = network()
    plain: list[nn.Module] = []
    for layer in mlp.layers:
        assert isinstance(layer, LipschitzLinear)
        linear = nn.Linear(layer.in_features, layer.out_features)
        linear.load_state_dict({"weight": layer.weight, "bias": layer.bias})
        plain += [linear, nn.ReLU()]
    x = torch.randn(100, WIDTHS[0])
    torch.testing.assert_close(mlp(x), nn.Sequential(*plain[:-1])(x))


def test_a_layers_constant_is_softplus_and_m_starts_at_twice_the_largest_row_sum() -> None:
    layer = LipschitzLinear(6, 4)
    largest = layer.weight.detach().abs().sum(dim=1).max()
    torch.testing.assert_close(layer.bound.detach(), 2 * largest)
    torch.testing.assert_close(layer.lipschitz.detach(), F.softplus(2 * largest))
    layer.bound.data.fill_(0.0)
    assert math.isclose(float(layer.lipschitz.detach()), math.log(2), rel_tol=1e-6)
    layer.bound.data.fill_(1.0)
    assert math.isclose(float(layer.lipschitz.detach()), math.log(1 + math.e), rel_tol=1e-6)


def test_a_layer_scales_only_the_rows_that_are_too_large() -> None:
    layer = LipschitzLinear(2, 2)
    layer.weight.data = torch.tensor([[3.0, -1.0], [0.1, 0.2]])
    layer.bias.data.zero_()
    layer.bound.data.fill_(0.0)
    effective = layer(torch.eye(2)).T
    expected = torch.tensor([[0.75 * math.log(2), -0.25 * math.log(2)], [0.1, 0.2]])
    torch.testing.assert_close(effective, expected)


def test_weights_may_double_before_the_bound_binds() -> None:
    layer = LipschitzLinear(6, 4)
    layer.weight.data *= 2
    x = torch.randn(20, 6)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


def test_a_layers_bound_is_reached() -> None:
    layer = LipschitzLinear(6, 4)
    layer.bound.data -= 5
    largest = layer.weight.detach().abs().sum(dim=1).argmax()
    x = layer.weight.detach()[largest].sign()
    change = (layer(x) - layer(-x)).abs().max() / 2
    torch.testing.assert_close(change, layer.lipschitz)


def test_the_networks_bound_is_the_product() -> None:
    mlp = network()
    shrink(mlp, 0.5)
    expected = math.prod(float(F.softplus(layer.bound.detach())) for layer in mlp.layers)  # type: ignore[arg-type]
    assert math.isclose(float(mlp.lipschitz.detach()), expected, rel_tol=1e-5)


def test_the_bound_holds_at_first_after_training_and_after_shrinking() -> None:
    mlp = network()
    assert steepest(mlp) <= mlp.lipschitz
    mlp.float()
    fit(mlp, weight=0.0)
    assert steepest(mlp) <= mlp.lipschitz
    shrink(mlp)
    slope = steepest(mlp)
    assert 0 < slope <= mlp.lipschitz


def test_minimising_the_bound_flattens_the_network() -> None:
    free, bounded = network(), network()
    fit(free, weight=0.0, steps=300)
    fit(bounded, weight=0.5, steps=300)
    assert bounded.lipschitz < 0.5 * free.lipschitz
    assert steepest(bounded) < 0.5 * steepest(free)


def test_the_loss_reaches_only_the_bounds() -> None:
    mlp = network()
    mlp.lipschitz.backward()
    for layer in mlp.layers:
        assert isinstance(layer, LipschitzLinear)
        assert layer.bound.grad is not None and layer.bound.grad > 0
        assert layer.weight.grad is None
