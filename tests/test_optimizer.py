"""Adam with damping: as fast as Adam where gradients agree, and at rest where they contradict each other."""

from __future__ import annotations

import pytest
import torch
from nerfstudio.engine.optimizers import OptimizerConfig
from torch import Tensor

from privhead_ns.model import kernels
from privhead_ns.optimizer import DampedAdamConfig, FusedAdamConfig

DAMPED, PLAIN = DampedAdamConfig(lr=0.01), FusedAdamConfig(lr=0.01)


def travel(gradients: Tensor, config: OptimizerConfig = DAMPED) -> Tensor:
    """Returns how far parameters have moved after each step, against the sign of the gradients."""
    parameter = torch.zeros(gradients.shape[1], requires_grad=True)
    optimizer = config.setup([parameter])
    path = []
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
        path.append(-parameter.detach().clone())
    return torch.stack(path)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_gradients_that_agree_move_by_nearly_the_learning_rate(scale: float) -> None:
    steps = travel(torch.full((50, 3), scale)).diff(dim=0)
    torch.testing.assert_close(steps, torch.full((49, 3), 0.01 / 1.09), rtol=1e-3, atol=0)


def test_gradients_that_contradict_each_other_hardly_move() -> None:
    noise = torch.randn(400, 1000, generator=torch.Generator().manual_seed(0))
    damped, plain = (travel(noise, config)[-1].square().mean().sqrt() for config in (DAMPED, PLAIN))
    assert damped < plain / 2
    damped, plain = (travel(noise + 1, config)[-1].mean() for config in (DAMPED, PLAIN))
    assert damped > 0.8 * plain, "what stands out from the noise counts"


@pytest.mark.parametrize("by_kernel", [True, False])
def test_without_damping_it_is_adam(monkeypatch: pytest.MonkeyPatch, by_kernel: bool) -> None:
    monkeypatch.setattr(kernels, "supported", lambda *_: by_kernel)
    gradients = torch.randn(30, 40, generator=torch.Generator().manual_seed(3))
    gradients[:, 5] = 0
    damped, plain = DampedAdamConfig(lr=0.01, damping=0.0), FusedAdamConfig(lr=0.01, betas=(0.97, 0.99))
    torch.testing.assert_close(travel(gradients, damped), travel(gradients, plain), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("number", [37, 2 * kernels.BLOCK + 5])
def test_kernel_and_torch_agree(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    gradients = torch.randn(20, number, generator=torch.Generator().manual_seed(1)) + 0.3
    gradients[:, 5] = 0
    by_kernel = travel(gradients)
    monkeypatch.setattr(kernels, "supported", lambda *_: False)
    torch.testing.assert_close(by_kernel, travel(gradients), rtol=1e-5, atol=1e-7)
    assert by_kernel[-1, 5] == 0


def test_its_state_can_be_stored_and_loaded() -> None:
    gradients = torch.randn(6, 9, generator=torch.Generator().manual_seed(2))
    whole = travel(gradients)[-1]
    parameter = torch.zeros(9, requires_grad=True)
    optimizer = DAMPED.setup([parameter])
    for gradient in gradients[:3]:
        parameter.grad = gradient
        optimizer.step()
    resumed = DAMPED.setup([parameter])
    resumed.load_state_dict(optimizer.state_dict())
    for gradient in gradients[3:]:
        parameter.grad = gradient
        resumed.step()
    assert torch.equal(-parameter.detach(), whole)
