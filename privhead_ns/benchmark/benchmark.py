"""Reproduces the paper's Table 1 on given captures: trains every variant on every head and measures the meshes.

All results lie in one folder, one file per measured run, so that a benchmark continues where it was stopped. The folder
is for the owner of the photographs alone: benchmark.png shows them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from privhead_ns.batch.board import run_all
from privhead_ns.batch.jobs import Executor, Job
from privhead_ns.benchmark.neutral_views import Layout, Selection, select
from privhead_ns.benchmark.results import FewerNeutral, Measurement, figures, stored_measurements, write_result
from privhead_ns.benchmark.settings import Settings, check_heads, check_settings
from privhead_ns.benchmark.training import train_timed, train_variant
from privhead_ns.benchmark.variants import OURS, STAGE_1, VARIANTS, Variant
from privhead_ns.capture.protect import protect
from privhead_ns.mesh.evaluate import evaluate
from privhead_ns.mesh.export import export_mesh
from privhead_ns.operators import OperatorConfig
from privhead_ns.training_run import TrainingRun

RESOLUTION = 192
"""Voxels along the longest side of the head's box in the benchmark's meshes."""


def run_benchmark(
    heads: list[Path],
    output_dir: Path,
    variants: list[str],
    settings: Settings,
    console: Console,
    executor: Executor | None = None,
) -> list[Measurement]:
    """Trains and measures the runs that have no result yet; if one fails, the others are finished first.

    Args:
        heads: raw captures with ground truth; their folders' names must differ.
        output_dir: folder for all results; may hold some already, of the same settings.
        variants: keys of `VARIANTS`.
        settings: of all runs.
        console: where progress is shown.
        executor: runs them; None for one after the other.

    Raises:
        UserError: if a capture cannot be used, `output_dir` holds a benchmark of other settings or captures, or
            training fails.
    """
    check_heads(heads)
    check_settings(output_dir, heads, settings)
    jobs = []
    for head in heads:
        protect_once(head, output_dir, settings, console)
        for name in variants:
            do = partial(measure, head, output_dir, name, settings)
            jobs.append(Job(f"{head.resolve().name}, {VARIANTS[name].label}", do))
    return [measurement for found in run_all(jobs, executor, console) for measurement in found]


def run_neutral_views(
    heads: list[Path],
    output_dir: Path,
    counts: Sequence[int],
    layouts: Sequence[Layout],
    settings: Settings,
    console: Console,
    executor: Executor | None = None,
) -> list[FewerNeutral]:
    """Measures stage 1 and stage 2 with fewer neutral views (Fig. 5), so far as not yet measured.

    All captures are protected before the first training.

    Args:
        heads: see `run_benchmark`, also for the further arguments.
        counts: numbers of neutral views.
        layouts: which ones stay neutral; see `select`.

    Raises:
        UserError: see `run_benchmark`; also if a head has fewer neutral views than a count, or a count is 0 and
            there are no masks and none can be made.
    """
    check_heads(heads)
    selections = [(head, selection) for head in heads for selection in select(head, list(counts), list(layouts))]
    check_settings(output_dir, heads, settings)
    jobs: dict[Path, Job] = {}  # layouts that keep the same views share a folder, and one training
    for head, selection in selections:
        protect_once(head, output_dir, settings, console, selection)
        do = partial(measure, head, output_dir, "stage-2", settings, selection=selection)
        name = f"{head.resolve().name}, {selection.count} neutral views ({selection.layout})"
        jobs.setdefault(head_folder(head, output_dir, selection), Job(name, do))
    measured = dict(zip(jobs, run_all(list(jobs.values()), executor, console), strict=True))
    results = []
    for head, selection in selections:
        stages = {found.label: found for found in measured[head_folder(head, output_dir, selection)]}
        results.append(FewerNeutral(selection, stages.get(STAGE_1), stages[OURS]))
    return results


def measure(
    head: Path,
    output_dir: Path,
    name: str,
    settings: Settings,
    console: Console,
    selection: Selection | None = None,
) -> list[Measurement]:
    """Trains a variant on a head and measures its checkpoints, unless that was done before.

    With a `selection`, its other neutral views are protected.

    The training run itself is deleted once it is measured: checkpoints of full RGB hold the face's colours.
    """
    folder = head_folder(head, output_dir, selection) / name
    result = folder / "result.json"
    if result.exists():
        return stored_measurements(result, head, output_dir, console)
    protected = protect_once(head, output_dir, settings, console, selection)
    training, variant = folder / "training", VARIANTS[name]
    shutil.rmtree(folder, ignore_errors=True)  # what a run left that failed or was killed
    try:
        train_it = train_timed if variant.timed else train_variant
        run = train_it(variant, head, protected, training, settings, console)
        steps = run.checkpoints if variant.every_checkpoint else run.checkpoints[-1:]
        measurements = [measure_step(variant, head, output_dir, folder, run, step) for step in steps]
    finally:
        shutil.rmtree(training / "run", ignore_errors=True)  # train.log stays, for a failed run's reason
    write_result(result, measurements)
    return measurements


def protect_once(
    head: Path, output_dir: Path, settings: Settings, console: Console, selection: Selection | None = None
) -> Path:
    """Returns the folder of a head's protected capture, which is made unless it was before.

    Raises:
        UserError: see `protect`.
    """
    folder = head_folder(head, output_dir, selection) / "protected"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        globs = selection.globs if selection else ()
        protect(head, folder, OperatorConfig(), size=settings.size, sensitive=globs, console=console)
    return folder


def head_folder(head: Path, output_dir: Path, selection: Selection | None) -> Path:
    """Returns the folder of the results of a head, with all of its neutral views or a selection of them."""
    folder = output_dir / head.resolve().name
    return folder / selection.folder if selection else folder


def measure_step(
    variant: Variant, head: Path, output_dir: Path, folder: Path, run: TrainingRun, step: int
) -> Measurement:
    """Extracts the mesh of a checkpoint and compares it with the truth."""
    path = folder / f"step-{step}.ply"
    mesh = export_mesh(run.config, path, RESOLUTION, millimetres=False, load_step=step)
    is_stage_1 = ends_phase1(variant, step, run.checkpoints)
    return Measurement(
        head=head.resolve().name,
        label=STAGE_1 if is_stage_1 else variant.label,
        final=is_stage_1 or step == run.checkpoints[-1],
        step=step,
        seconds=run.seconds_at(step),
        peak_memory=run.peak_memory,
        mesh=str(path.relative_to(output_dir)),
        **figures(evaluate(mesh, head)),
    )


def ends_phase1(variant: Variant, step: int, steps: list[int]) -> bool:
    """Returns whether a checkpoint ends phase 1: the first of several, which are all measured."""
    return variant.every_checkpoint and not variant.timed and step == steps[0] != steps[-1]
