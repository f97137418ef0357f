"""The protection operator σ: what remains of a photograph of a face (Eq. 6).

The same module runs on the owner's machine, on photographs, and in the training loss, on rendered patches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from privhead_ns.errors import UserError

SMOOTHING = {
    "sobel": (1 / 4, 2 / 4, 1 / 4),
    "scharr": (3 / 16, 10 / 16, 3 / 16),
    "prewitt": (1 / 3, 1 / 3, 1 / 3),
    "central": (0.0, 1.0, 0.0),
}
"""Smoothing weights across the direction of differentiation; along it, all take half the difference of neighbours."""


class Operator(Protocol):
    """What a protection operator must offer; any `torch.nn.Module` with these three is one."""

    margin: int
    """Pixels that the operator needs, and loses, on each side of an image."""
    maximum: float
    """Upper bound of the output for colours in [0, 1]; the stored images are scaled by it."""

    def __call__(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch inner_height inner_width"]: ...


class GradientMagnitude(nn.Module):
    """Magnitude of the colour gradient, Eq. 6: |∂c/∂x| + |∂c/∂y|, each an L2 norm over the colour channels.

    Derivatives are in colour units per pixel. Signs and directions are dropped: the signed derivatives would integrate
    back to the photograph.

    Args:
        kernel: a key of `SMOOTHING`.
        blur: standard deviation in pixels of a Gaussian applied before differentiation; 0 for none.
    """

    def __init__(self, kernel: str = "sobel", blur: float = 0.0) -> None:
        super().__init__()
        smoothing = torch.tensor(SMOOTHING[kernel])
        difference = torch.tensor([-0.5, 0.0, 0.5])
        radius = math.ceil(3 * blur)
        offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
        gaussian = torch.exp(-0.5 * (offsets / blur) ** 2) if blur > 0 else torch.ones(1)
        self.margin = 1 + radius
        self.maximum = math.sqrt(3.0)
        self.derivatives: Tensor
        self.gaussian: Tensor
        self.register_buffer(
            "derivatives",
            torch.stack([torch.outer(smoothing, difference), torch.outer(difference, smoothing)])[:, None],
            persistent=False,
        )
        self.register_buffer("gaussian", gaussian / gaussian.sum(), persistent=False)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch inner_height inner_width"]:
        """Returns the magnitude where all the pixels it needs exist: `margin` fewer pixels on each side."""
        batch, channels, height, width = image.shape
        planes = image.reshape(batch * channels, 1, height, width)
        if self.margin > 1:
            planes = F.conv2d(F.conv2d(planes, self.gaussian.view(1, 1, 1, -1)), self.gaussian.view(1, 1, -1, 1))
        gradient = F.conv2d(planes, self.derivatives).unflatten(0, (batch, channels))
        # vector_norm has gradient 0 where the colour is flat, so no epsilon bends Eq. 6
        return torch.linalg.vector_norm(gradient, dim=1).sum(dim=1)


@dataclass(frozen=True)
class OperatorConfig:
    """Which σ protected a capture; it is written into the capture and read back by the training loss."""

    name: str = "sobel"
    """One of sobel, scharr, prewitt, central, or a name in the entry point group `privhead_ns.operators`."""
    blur: float = 0.0
    """Standard deviation in pixels of a Gaussian blur before differentiation."""
    levels: int = 65536
    """Number of evenly spaced values that a stored magnitude can take, 2 to 65536."""

    def setup(self) -> Operator:
        """Builds the operator.

        Raises:
            UserError: if the name is not registered, or blur or levels are out of range.
        """
        if not (math.isfinite(self.blur) and 0 <= self.blur <= 32):
            raise UserError(f"--blur must lie between 0 and 32 pixels, not {self.blur}.")
        if not 2 <= self.levels <= 65536:
            raise UserError(f"--levels must lie between 2 and 65536, not {self.levels}.")
        operators = registered_operators()
        if self.name not in operators:
            raise UserError(f"There is no operator '{self.name}'; choose one of {', '.join(sorted(operators))}.")
        return operators[self.name](blur=self.blur)

    def to_dict(self) -> dict[str, Any]:
        """Returns the form that is stored in a protected capture."""
        return asdict(self)


def registered_operators() -> dict[str, Callable[..., Operator]]:
    """Returns every operator by name: the four of `SMOOTHING` and those of the entry point group.

    An entry point must name a callable that takes `blur` as a keyword and returns an `Operator`.
    """
    own: dict[str, Callable[..., Operator]] = {
        kernel: lambda blur, kernel=kernel: GradientMagnitude(kernel, blur) for kernel in SMOOTHING
    }
    return own | {entry.name: entry.load() for entry in entry_points(group="privhead_ns.operators")}


def rounding(maximum: float, levels: int) -> float:
    """Returns the largest difference between a magnitude in [0, maximum] and the nearest of `levels` values.

    It is in the magnitude's own units: of colour per pixel.
    """
    return maximum / (levels - 1) / 2


def quantise(magnitude: Float[Tensor, "*batch"], maximum: float, levels: int) -> Float[Tensor, "*batch"]:
    """Rounds magnitudes in [0, maximum] to the nearest of `levels` evenly spaced values; returns them in [0, 1]."""
    return torch.round((magnitude / maximum).clamp(0, 1) * (levels - 1)) / (levels - 1)
