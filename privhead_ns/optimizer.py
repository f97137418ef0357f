"""Adam as Nerfstudio configures it: fused for dense grids on CPU, and damped where gradients disagree."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig, OptimizerConfig
from torch import Tensor

from privhead_ns.model import kernels

EPS = 1e-30
"""Keeps 0 / 0 away where there is neither gradient nor damping."""


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Configuration of fused Adam."""

    eps: float = 1e-15
    """Added to the denominator; tiny, for the gradients of single voxels are."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the running averages of gradient and squared gradient."""
    fused: bool = True
    """Whether one kernel updates all of a tensor."""


@dataclass
class DampedAdamConfig(OptimizerConfig):
    """Configuration of `DampedAdam`."""

    _target: type = field(default_factory=lambda: DampedAdam)
    """Class to instantiate."""
    eps: float = 1e-15
    """Added to the denominator; tiny, for the gradients of single voxels are."""
    betas: tuple[float, float] = (0.97, 0.99)
    """Decay of the running averages of gradient and squared gradient."""
    damping: float = 0.3
    """Ratio of mean gradient to its root mean square at which a step is half of Adam's; 0 without masks."""


class DampedAdam(torch.optim.Optimizer):
    """Adam whose step falls where the gradients of one parameter disagree.

    Adam moves a parameter by about the learning rate even where rays from different views pull it to and fro, as they
    do under highlights: the surface crumbles there. With r = m / √v, the ratio of the running averages of gradient and
    squared gradient, the step here is r · r² / (r² + damping²), in the spirit of variance adaptation (Balles and Hennig
    2018, Dissecting Adam).

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        betas: decay of both running averages.
        eps: added to the denominator.
        damping: ratio r at which the step is half of Adam's.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, betas: tuple[float, float], eps: float, damping: float
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "damping": damping})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Updates all parameters that have a gradient; returns what `closure`, which computes them, does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter, parameter.grad, group)
        return loss

    def update(self, parameter: Tensor, gradient: Tensor, group: dict) -> None:
        """Updates one parameter."""
        state = self.state[parameter]
        if not state:
            state |= {"step": 0, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
        state["step"] += 1
        average, square = state["exp_avg"], state["exp_avg_sq"]
        (beta1, beta2), step = group["betas"], state["step"]
        corrections = 1 - beta1**step, 1 - beta2**step
        if kernels.supported(parameter, gradient):
            settings = torch.tensor([group["lr"], beta1, beta2, *corrections, group["eps"], group["damping"]])
            flat = [tensor.view(-1) for tensor in (gradient.contiguous(), average, square, parameter)]
            kernels.run(kernels.damped_adam, parameter.numel(), settings, *flat)
            return
        average.lerp_(gradient, 1 - beta1)
        square.lerp_(gradient.square(), 1 - beta2)
        ratio = average / corrections[0] / ((square / corrections[1]).sqrt() + group["eps"])
        parameter.sub_(group["lr"] * ratio**3 / (ratio.square() + group["damping"] ** 2).clamp(min=EPS))
