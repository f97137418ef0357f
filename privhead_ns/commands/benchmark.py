"""The command that measures accuracy on captures with ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console


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
    workers: int = 1,
) -> None:
    """Measure stage 1, stage 2, full RGB and stage 2 without Lipschitz regularisation on captures with ground truth.

    The output folder's picture shows the photographs: keep it on their owner's machine. The same command again goes on
    where it was stopped; further captures or variants are added.

    Args:
        data: Folders of raw captures, each with gt_mesh.ply.
        output_dir: Folder for meshes, tables and the picture.
        variants: What to train; stage 1 is measured on the way to stage 2. `silhouettes` is where training starts, and
            `paper` the paper's own configuration.
        size: Side of the protected views in pixels; smaller where the photographs have fewer on the head.
        seed: Seed of every run.
        phase2_steps: Steps of phase 2 at 64 pixels, by default as in ns-train; full RGB gets as many in all.
        paper_minutes: Time that `paper` gets per head, at least what 6 of its steps take; phase 1 is 40 % of them.
        workers: Trainings at a time; with more than one, they share the cores, and their times grow.
    """
    from privhead_ns.batch.executors import local_executor
    from privhead_ns.benchmark.benchmark import Settings, run_benchmark
    from privhead_ns.benchmark.report import write_report
    from privhead_ns.capture.transforms import capture_folder
    from privhead_ns.phases import PhaseSchedule

    console = Console()
    schedule = PhaseSchedule() if phase2_steps is None else PhaseSchedule(phase2_steps=phase2_steps)
    settings = Settings(seed, size, schedule.phase2_steps, paper_minutes)
    heads = [capture_folder(path) for path in data]
    measurements = run_benchmark(heads, output_dir, list(variants), settings, console, local_executor(workers))
    write_report(measurements, heads, output_dir, console)
