"""The command that measures accuracy on captures with ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console

from privhead_ns.errors import UserError


def benchmark(
    data: tuple[Path, ...],
    output_dir: Path,
    variants: tuple[Literal["silhouettes", "stage-2", "full-rgb", "no-lipschitz", "paper"], ...] = (
        "silhouettes",
        "stage-2",
        "full-rgb",
        "no-lipschitz",
    ),
    size: int = 128,
    seed: int = 42,
    phase2_steps: int | None = None,
    paper_minutes: float = 60.0,
    neutral_views: tuple[int, ...] = (),
    neutral_layout: tuple[Literal["even", "rear"], ...] = (),
    workers: int = 1,
) -> None:
    """Measure stage 1, stage 2, full RGB and stage 2 without Lipschitz regularisation on captures with ground truth.

    Of the output folder's pictures benchmark.png shows the photographs: keep it on their owner's machine. The others
    show meshes alone: stages.png (the paper's Fig. 2), close-ups.png (Fig. 3), lipschitz.png (Fig. 4), and with
    --neutral-views neutral-views.png (Fig. 5) and neutral-views-meshes.png. The same command again goes on where it was
    stopped; further captures, variants or numbers of neutral views are added.

    Args:
        data: Folders of raw captures, each with gt_mesh.ply.
        output_dir: Folder for meshes, tables and the picture.
        variants: What to train; stage 1 is measured on the way to stage 2. `silhouettes` is where training starts, and
            `paper` the paper's own configuration.
        size: Side of the protected views in pixels; smaller where the photographs have fewer on the head.
        seed: Seed of every run.
        phase2_steps: Steps of phase 2 at 64 pixels, by default as in ns-train; full RGB gets as many in all.
        paper_minutes: Time that `paper` gets per head, at least what 6 of its steps take; phase 1 is 40 % of them.
        neutral_views: Numbers of neutral views to also train stage 1 and stage 2 with, e.g. 10 6 3 1 0. The capture's
            other neutral views become protected, none is dropped; with 0 there is no stage 1.
        neutral_layout: Which views --neutral-views keeps: `even`, the default, are spread over all directions of the
            neutral views, `rear` the furthest from the direction of the face. The paper compares two layouts and does
            not say which.
        workers: Trainings at a time; with more than one, they share the cores, and their times grow.
    """
    from privhead_ns.batch.executors import local_executor
    from privhead_ns.benchmark.benchmark import run_benchmark, run_neutral_views
    from privhead_ns.benchmark.neutral_report import write_neutral_report
    from privhead_ns.benchmark.report import write_report
    from privhead_ns.benchmark.settings import Settings
    from privhead_ns.capture.transforms import capture_folder
    from privhead_ns.phases import PhaseSchedule

    if neutral_layout and not neutral_views:
        raise UserError(
            "--neutral-layout says which views --neutral-views keeps: give --neutral-views as well, or leave both out."
        )
    console = Console()
    schedule = PhaseSchedule() if phase2_steps is None else PhaseSchedule(phase2_steps=phase2_steps)
    settings = Settings(seed, size, schedule.phase2_steps, paper_minutes)
    heads = [capture_folder(path) for path in data]
    fewer, executor = [], local_executor(workers)
    if neutral_views:
        layouts = neutral_layout or ("even",)
        fewer = run_neutral_views(heads, output_dir, neutral_views, layouts, settings, console, executor)
    measurements = run_benchmark(heads, output_dir, list(variants), settings, console, executor)
    write_report(measurements, heads, output_dir, console)
    if fewer:
        write_neutral_report(fewer, heads, output_dir, console)
