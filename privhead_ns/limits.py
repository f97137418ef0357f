"""Bounds of the numbers in a run's settings, and of their products, so that none asks for more memory than there is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from privhead_ns.errors import UserError

LARGEST_GRID = 60_000_000
"""Points in one voxel grid, forty times as many as by default: 2 GB at 8 values each, four times that in training."""
LARGEST_STEP = 3_000_000_000
"""Values in the hidden layers of a step's samples, a thousand times as many as by default and 4 times as many as of
`privhead-paper`: 75 GB at 25 bytes each, as measured in its training.
"""

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
    """Checks the numbers of a run's settings against `BOUNDS`, and their products against `LARGEST_STEP`.

    Args:
        pipeline: the pipeline's configuration.
        source: the config.yml that it is from; None for flags of ns-train.

    Raises:
        UserError: if one is out of bounds.
    """
    prefix = "" if source is None else f"{source}: "
    for place, name, value, (low, high) in _bounded(pipeline):
        if not low <= value <= high:  # so NaN is refused, too
            shown = _shown(f"{place}.{name}", source)
            raise UserError(f"{prefix}{shown} must lie between {low:g} and {high:g}, not {_short(value)}; correct it.")
    samples, rendered, sample_settings = _samples(pipeline.model)
    units, layers = pipeline.model.hidden_units, getattr(pipeline.model, "hidden_layers", 2)
    for rays, ray_settings in _rays(pipeline):
        if rays * units * (samples + rendered * layers) > LARGEST_STEP:
            settings = [*ray_settings, *sample_settings, "model.hidden_units"]
            shown = ", ".join(_shown(setting, source) for setting in settings)
            raise UserError(
                f"{prefix}{rays:,} rays at a time with {samples:,} samples each and networks of {units:,} units take "
                f"more memory than machines have: reduce some of {shown}."
            )


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


def _samples(model: Any) -> tuple[int, int, list[str]]:
    """Returns the samples of a ray, how many of them are rendered, and the settings that they follow from."""
    if (sampler := getattr(model, "sampler", None)) is None:
        names = ["model.num_coarse_samples", "model.num_samples"]
        return model.num_coarse_samples + model.num_samples, model.num_samples, names
    rendered = sampler.rendered + sampler.extra + 2
    names = [f"model.sampler.{name}" for name in ("initial", "added", "rounds", "rendered", "extra")]
    return sampler.initial + sampler.rounds * sampler.added + rendered, rendered, names


def _rays(pipeline: Any) -> Iterator[tuple[int, list[str]]]:
    """Yields the rays of a step of each phase and of a part of a picture, and the settings that they follow from."""
    pixels, place = pipeline.datamanager.pixel_sampler, "datamanager.pixel_sampler"
    yield pixels.neutral_rays + pixels.silhouette_rays, [f"{place}.neutral_rays", f"{place}.silhouette_rays"]
    names = [f"{place}.{name}" for name in ("neutral_rays_in_phase2", "patches", "patch_size")]
    yield pixels.neutral_rays_in_phase2 + pixels.patches * pixels.patch_size**2, names
    yield pipeline.model.eval_num_rays_per_chunk, ["model.eval_num_rays_per_chunk"]


def _shown(setting: str, source: Path | None) -> str:
    """Returns a setting as config.yml names it, or as a flag."""
    setting = f"pipeline.{setting}"
    return setting if source is not None else f"--{setting.replace('_', '-')}"


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
