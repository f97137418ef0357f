"""Starts the trainings of a benchmark."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from privhead_ns.benchmark.settings import Settings
from privhead_ns.benchmark.variants import Variant
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.training_run import TrainingRun, train

PHOTOGRAPHS = "--pipeline.datamanager.dataparser.photographs"
"""Flag that tells privhead-rgb where the photographs are."""
PROBE_STEPS = 4
"""Steps whose time tells how many fit a time budget; the first is not counted."""


def train_variant(
    variant: Variant, head: Path, protected: Path, training: Path, settings: Settings, console: Console
) -> TrainingRun:
    """Trains a variant from the start, with a checkpoint at the end of phase 1, if there is one."""
    schedule = settings.schedule(load_protected_capture(protected))
    flags: dict[str, object] = {
        "--machine.seed": settings.seed,
        "--steps-per-save": (schedule.phase1_steps or schedule.total_steps) - 1,
        "--steps-per-eval-image": 0,
        "--pipeline.phases.phase2-steps": settings.phase2_steps,
    }
    if variant.sees_photographs:
        flags[PHOTOGRAPHS] = head.resolve()
    return train(variant.method, protected, training, schedule.total_steps, console, flags | variant.flags)


def train_timed(
    variant: Variant, head: Path, protected: Path, training: Path, settings: Settings, console: Console
) -> TrainingRun:
    """Trains a variant for a given time, with five checkpoints.

    A probe of a few steps tells how many fit; phase 1 gets 40 % of them. Should the run be slower than its probe, it is
    interrupted when the time is up.
    """
    del head
    flags: dict[str, object] = {
        "--machine.seed": settings.seed,
        "--steps-per-eval-image": 0,
        "--logging.steps-per-log": 1,
        "--steps-per-save": 1_000_000,
    }
    probe = train(
        variant.method, protected, training, PROBE_STEPS, console, flags | {"--max-num-iterations": PROBE_STEPS}
    )
    every = steps_between_checkpoints(60 * settings.paper_minutes, probe.seconds / (PROBE_STEPS - 1))
    shutil.rmtree(training)
    flags |= {
        "--steps-per-save": every,
        "--pipeline.phases.phase1-steps": 2 * every + 1,  # the first step is number 0, and its checkpoint is not kept
        "--pipeline.phases.phase2-steps": 3 * every,
    }
    seconds = 60 * settings.paper_minutes
    return train(variant.method, protected, training, 5 * every + 1, console, flags | variant.flags, seconds)


def steps_between_checkpoints(seconds: float, seconds_per_step: float) -> int:
    """Returns a fifth of the steps that fit the time, and at least 1."""
    return max(1, int(seconds / (5 * max(seconds_per_step, 1e-6))))
