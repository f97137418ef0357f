"""Bounds of the numbers in a run's settings, so that none asks for more memory than a machine has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from privhead_ns.errors import UserError

LARGEST_GRID = 60_000_000
"""Points in one voxel grid, forty times as many as by default: 2 GB at 8 values each, four times that in training."""

BOUNDS: dict[str, dict[str, tuple[float, float]]] = {
    "model": {
        "voxel_size": (1e-3, 1e3),
        "max_voxels": (1, 50_000_000),
        "feature_channels": (1, 16),
        "hidden_units": (1, 2048),
        "num_coarse_samples": (1, 1024),
        "num_samples": (1, 1024),
        "agreement_rays": (1, 1_000_000),
        "eval_num_rays_per_chunk": (1, 1_000_000),
        "hidden_layers": (1, 32),
        "position_frequencies": (1, 64),
        "direction_frequencies": (1, 64),
    },
    "model.sampler": {
        "initial": (2, 1024),
        "added": (2, 1024),
        "rendered": (1, 1024),
        "extra": (1, 1024),
        "rounds": (0, 100),
        "bisections": (0, 100),
    },
    "datamanager": {
        "train_num_rays_per_batch": (1, 65_536),
        "eval_num_rays_per_batch": (1, 65_536),
    },
    "datamanager.pixel_sampler": {
        "neutral_rays": (0, 65_536),
        "silhouette_rays": (0, 65_536),
        "neutral_rays_in_phase2": (0, 65_536),
        "patches": (0, 64),
        "patch_size": (1, 32),
        "outline_width": (0, 1000),
    },
}
"""Least and greatest value of settings, by the place of their owner below `pipeline`."""


def check_settings(pipeline: Any, source: Path | None = None) -> None:
    """Checks the numbers of a run's settings against `BOUNDS`.

    Args:
        pipeline: the pipeline's configuration.
        source: the config.yml that it is from; None for flags of ns-train.

    Raises:
        UserError: if one is out of bounds.
    """
    for place, name, value, (low, high) in _bounded(pipeline):
        if not low <= value <= high:  # so NaN is refused, too
            setting = f"pipeline.{place}.{name}"
            shown = f"{source}: {setting}" if source is not None else f"--{setting.replace('_', '-')}"
            raise UserError(f"{shown} must lie between {low:g} and {high:g}, not {_short(value)}; correct it.")


def check_grid(resolution: tuple[int, int, int]) -> None:
    """Checks the size of a voxel grid before it is made.

    Raises:
        UserError: if it has more than `LARGEST_GRID` points.
    """
    if math.prod(resolution) > LARGEST_GRID:
        points = " x ".join(_short(count) for count in resolution)
        raise UserError(
            f"A voxel grid of {points} points would be larger than {LARGEST_GRID:g} points: reduce "
            "--pipeline.model.max-voxels, or correct the head's box."
        )


def _bounded(pipeline: Any) -> Iterator[tuple[str, str, float, tuple[float, float]]]:
    """Yields place, name, value and bounds of each setting that this pipeline has."""
    for place, bounds in BOUNDS.items():
        owner = pipeline
        for part in place.split("."):
            owner = getattr(owner, part, None)
        for name, limits in bounds.items():
            if (value := getattr(owner, name, None)) is not None:
                yield place, name, value, limits


def _short(value: float) -> str:
    """Writes a number in few digits."""
    text = str(value)
    return text if len(text) <= 20 else f"{text[:10]}… ({len(text)} digits)"
