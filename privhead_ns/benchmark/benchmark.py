"""The paper's Table 1 for one's own captures: trains every variant on every head, and measures each against the truth.

Everything lies in one folder, one measured run per file, so that a benchmark goes on where it was stopped. That folder
is for the owner of the photographs alone: its picture shows them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from privhead_ns.batch.board import run_all
from privhead_ns.batch.jobs import Executor, Job
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import ProtectedCapture, load_protected_capture
from privhead_ns.capture.transforms import read_json
from privhead_ns.errors import UserError
from privhead_ns.folders import make_private
from privhead_ns.mesh.evaluate import MEASURE, Evaluation, evaluate, load_truth
from privhead_ns.mesh.export import export_mesh
from privhead_ns.mesh.files import load_mesh, replacing
from privhead_ns.operators import OperatorConfig
from privhead_ns.phases import PhaseSchedule
from privhead_ns.training_run import TrainingRun, train

RESOLUTION = 192
"""Voxels along the longest side of the head's box in the benchmark's meshes."""
PHOTOGRAPHS = "--pipeline.datamanager.dataparser.photographs"
"""Flag that tells privhead-rgb where the photographs are."""


@dataclass(frozen=True)
class Variant:
    """A way to train, for a row of the table."""

    label: str
    """Its name in tables and pictures."""
    method: str
    """Registered method."""
    flags: dict[str, object] = field(default_factory=dict)
    """Flags of `ns-train` beyond the benchmark's own."""
    sees_photographs: bool = False
    """Whether it is given the raw capture."""
    every_checkpoint: bool = False
    """Whether to measure all checkpoints, the first of which ends phase 1, and not only the last."""
    timed: bool = False
    """Whether it gets a time budget instead of steps."""


VARIANTS = {
    "silhouettes": Variant("silhouettes alone", "privhead", {"--max-num-iterations": 1}),
    "stage-2": Variant("stage 2", "privhead", every_checkpoint=True),
    "full-rgb": Variant("full RGB", "privhead-rgb", sees_photographs=True),
    "no-lipschitz": Variant("no Lipschitz", "privhead", {"--pipeline.phases.lipschitz": 0.0}),
    "paper": Variant("paper's VolSDF", "privhead-paper", every_checkpoint=True, timed=True),
}
"""All variants by the names that --variants takes."""
PROBE_STEPS = 4
"""Steps whose time tells how many fit a time budget; the first is not counted."""
STAGE_1 = "stage 1"
"""Label of the state of `stage-2` at the end of phase 1."""


@dataclass(frozen=True)
class Settings:
    """What all runs of a benchmark share."""

    seed: int
    """Of every run."""
    size: int
    """Side of the protected views in pixels."""
    phase2_steps: int
    """Steps of phase 2 at 64 pixels, which are also what full RGB gets; larger photographs get more."""
    paper_minutes: float
    """Time budget of the paper's own configuration."""

    def schedule(self, capture: ProtectedCapture) -> PhaseSchedule:
        """Returns the phases of every run on a capture."""
        schedule = PhaseSchedule(phase2_steps=self.phase2_steps).for_size(max(capture.width, capture.height))
        return schedule.without_phase1() if capture.hides_all else schedule


@dataclass(frozen=True)
class Measurement:
    """One mesh, measured; see `Scores`. Distances in `unit`, angles in degrees; the face's are None where not known."""

    head: str
    """Name of the raw capture's folder."""
    label: str
    """Which variant, or stage 1."""
    final: bool
    """Whether this is what the table shows of that variant; others are points on its way there."""
    step: int
    """Last step that was trained."""
    seconds: float
    """Time of training up to there, without Nerfstudio's start."""
    peak_memory: float | None
    """Most resident memory in MB of the whole run; None where the system does not tell."""
    unit: str
    chamfer: float
    f_score: float
    normal_error: float
    face_chamfer: float | None
    face_normal_error: float | None
    chamfer_point_to_point: float
    face_chamfer_point_to_point: float | None
    mesh: str
    """The mesh, relative to the benchmark's folder."""


def run_benchmark(
    heads: list[Path],
    output_dir: Path,
    variants: list[str],
    settings: Settings,
    console: Console,
    executor: Executor | None = None,
) -> list[Measurement]:
    """Measures what is not yet measured; where one run fails, the others are made first.

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


def protect_once(head: Path, output_dir: Path, settings: Settings, console: Console) -> Path:
    """Returns the protected capture of a head in the benchmark's folder, made if it is not there yet."""
    protected = output_dir / head.resolve().name / "protected"
    if not protected.exists():
        protected.parent.mkdir(parents=True, exist_ok=True)
        protect(head, protected, OperatorConfig(), size=settings.size, console=console)
    return protected


def check_heads(heads: list[Path]) -> None:
    """Reads every capture and its truth once.

    Raises:
        UserError: if two captures have the same name, or one is broken or has no truth.
    """
    names = [head.resolve().name for head in heads]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"Two captures in --data are named {min(repeated)}: rename one, results go by that name.")
    for head in heads:
        load_truth(head)


def check_settings(output_dir: Path, heads: list[Path], settings: Settings) -> None:
    """Notes the settings in the folder, or compares them with those noted there.

    Raises:
        UserError: if they differ, or `output_dir` is something else.
    """
    path = output_dir / "settings.json"
    if not path.exists():
        if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
            raise UserError(f"--output-dir {output_dir} exists and is no benchmark; choose another folder.")
        make_private(output_dir)
    noted = read_json(path) if path.exists() else {}
    captures = noted.get("heads", {}) | {}
    for head in heads:
        name, place = head.resolve().name, str(head.resolve())
        if captures.setdefault(name, place) != place:
            raise UserError(f"{output_dir} has results of another {name}, {captures[name]}; choose another folder.")
    for key, value in asdict(settings).items():
        if noted.get(key, value) != value:
            raise UserError(
                f"{output_dir} was made with {key} {noted[key]}, not {value}; choose another --output-dir, or go on "
                f"with --{key.replace('_', '-')} {noted[key]}."
            )
    write_json(path, asdict(settings) | {"heads": captures})


def measure(head: Path, output_dir: Path, name: str, settings: Settings, console: Console) -> list[Measurement]:
    """Trains a variant on a head and measures its checkpoints, unless that was done before.

    The training run itself is deleted once it is measured: checkpoints of full RGB hold the face's colours.
    """
    folder = output_dir / head.resolve().name / name
    result = folder / "result.json"
    if result.exists():
        return stored_measurements(result, head, output_dir, console)
    protected = protect_once(head, output_dir, settings, console)
    training, variant = folder / "training", VARIANTS[name]
    shutil.rmtree(training, ignore_errors=True)
    try:
        train_it = train_timed if variant.timed else train_variant
        run = train_it(variant, head, protected, training, settings, console)
        steps = run.checkpoints if variant.every_checkpoint else run.checkpoints[-1:]
        measurements = [measure_step(variant, head, output_dir, folder, run, step) for step in steps]
    finally:
        shutil.rmtree(training / "run", ignore_errors=True)  # train.log stays, for a failed run's reason
    write_result(result, measurements)
    return measurements


def stored_measurements(result: Path, head: Path, output_dir: Path, console: Console) -> list[Measurement]:
    """Reads what was measured before; meshes that were measured in another way are measured again.

    Raises:
        UserError: if such a mesh is missing or broken.
    """
    content = read_json(result)
    if content.get("measure") == MEASURE:
        console.print(f"Measured before: {result}")
        return [Measurement(**entry) for entry in content["measurements"]]
    console.print(f"{result} was measured in another way than {MEASURE}: measuring its meshes again")
    measurements = [
        Measurement(**entry | figures(evaluate(load_mesh(output_dir / entry["mesh"]), head)))
        for entry in content["measurements"]
    ]
    write_result(result, measurements)
    return measurements


def write_result(result: Path, measurements: list[Measurement]) -> None:
    """Writes the measurements of a variant on a head."""
    write_json(result, {"measure": MEASURE, "measurements": [asdict(measurement) for measurement in measurements]})


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
    """Trains a variant until its time is up, with five checkpoints on the way.

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
    """Says whether a checkpoint is that of the end of phase 1: the first of several, which are all measured."""
    return variant.every_checkpoint and not variant.timed and step == steps[0] != steps[-1]


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """Returns the fields of a `Measurement` that come from comparing its mesh with the truth."""
    head, face = evaluation.head, evaluation.face
    return {
        "unit": evaluation.unit,
        "chamfer": head.chamfer,
        "f_score": head.f_score,
        "normal_error": head.normal_error,
        "face_chamfer": face.chamfer if face else None,
        "face_normal_error": face.normal_error if face else None,
        "chamfer_point_to_point": head.chamfer_point_to_point,
        "face_chamfer_point_to_point": face.chamfer_point_to_point if face else None,
    }


def write_json(path: Path, content: dict) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))
