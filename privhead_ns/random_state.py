"""The state of PyTorch's random generators, so that a resumed training draws what it would have drawn unbroken."""

from __future__ import annotations

import torch
from torch import Tensor


def random_state(device: str) -> dict[str, Tensor]:
    """Returns the state of the CPU's generator and, where training runs on a GPU, of that one's, as bytes."""
    state = {"cpu": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: str) -> None:
    """Sets what `random_state` returned, as far as this device has it; an empty state changes nothing."""
    if "cpu" in state:
        torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.device(device).type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
