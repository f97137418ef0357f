"""The protection operator σ: gradient magnitude of a photograph (Eq. 6).

The same module runs on the owner's machine, on photographs, and in the training loss, on rendered patches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from privhead_ns.errors import UserError

SMOOTHING = {
    "sobel": (2 / 4, 1 / 4),
    "scharr": (10 / 16, 3 / 16),
    "prewitt": (1 / 3, 1 / 3),
    "central": (1.0, 0.0),
}
"""Smoothing weights across the direction of differentiation, of a pixel and of the one on either side of it; along
the direction of differentiation, all take half the difference of neighbours.
"""


class Operator(Protocol):
    """Interface of a protection operator: any `torch.nn.Module` with these three members."""

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
    back to the photograph. All filters are sums of slices, not convolutions: cuDNN would compute those in TF32, off by
    more than the step of the stored magnitudes, and by an algorithm that may change from run to run.

    Args:
        kernel: a key of `SMOOTHING`.
        blur: standard deviation in pixels of a Gaussian applied before differentiation; 0 for none.
    """

    def __init__(self, kernel: str = "sobel", blur: float = 0.0) -> None:
        super().__init__()
        radius = math.ceil(3 * blur)
        gaussian = [math.exp(-0.5 * (offset / blur) ** 2) if offset else 1.0 for offset in range(radius + 1)]
        total = 2 * sum(gaussian) - 1
        self.smoothing = SMOOTHING[kernel]
        self.gaussian = tuple(weight / total for weight in gaussian)
        self.margin = 1 + radius
        self.maximum = math.sqrt(3.0)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch inner_height inner_width"]:
        """Returns the magnitude where all the pixels it needs exist: `margin` fewer pixels on each side."""
        if self.margin > 1:
            image = smooth(smooth(image, self.gaussian, dim=-1), self.gaussian, dim=-2)
        x = smooth(difference(image, dim=-1), self.smoothing, dim=-2)
        y = smooth(difference(image, dim=-2), self.smoothing, dim=-1)
        # vector_norm has gradient 0 where the colour is flat, so Eq. 6 needs no epsilon
        return torch.linalg.vector_norm(x, dim=1) + torch.linalg.vector_norm(y, dim=1)


def smooth(image: Float[Tensor, "*batch"], weights: tuple[float, ...], dim: int) -> Float[Tensor, "*smaller"]:
    """Filters along one dimension, which becomes `len(weights) - 1` pixels shorter on both sides.

    Args:
        image: of any number of dimensions.
        weights: of a pixel and of those 1, 2, … away on either side.
        dim: the dimension.
    """
    radius = len(weights) - 1
    length = image.shape[dim] - 2 * radius
    total = weights[0] * image.narrow(dim, radius, length)
    for offset, weight in enumerate(weights[1:], start=1):
        if weight > 0:
            pair = image.narrow(dim, radius - offset, length) + image.narrow(dim, radius + offset, length)
            total = total + weight * pair
    return total


def difference(image: Float[Tensor, "*batch"], dim: int) -> Float[Tensor, "*smaller"]:
    """Returns half the difference of each pixel's two neighbours along one dimension, 1 pixel shorter on both sides."""
    length = image.shape[dim] - 2
    return (image.narrow(dim, 2, length) - image.narrow(dim, 0, length)) / 2


@dataclass(frozen=True)
class OperatorConfig:
    """Configuration of the σ that protected a capture; stored in the capture and read by the training loss."""

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
