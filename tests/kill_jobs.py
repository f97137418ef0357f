"""Commands that the tests of kills run in processes of their own, small or with stand-ins, and how they are killed."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from hypothesis import settings
from PIL import Image
from rich.console import Console

LONG = settings.default is not None and settings.default.max_examples > 1000
KILLS = 100 if LONG else 3
QUIET = Console(quiet=True)
STEPS = 12
"""Of a whole training: four of them in phase 1."""

processes = multiprocessing.get_context("forkserver")
"""Makes processes that have imported what is slow to import, and started no threads."""
processes.set_forkserver_preload(["nerfstudio.scripts.train", "privhead_ns.trainer", "privhead_ns.batch.batch"])


def start(work: Callable[[], object]) -> Any:
    """Starts work, which must be picklable, in a process of its own."""
    process = processes.Process(target=work)
    process.start()
    return process


def run(work: Callable[[], object]) -> float:
    """Does work in a process of its own; returns the seconds that it took."""
    begin = time.monotonic()
    process = start(work)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - begin


def kill_at_random(work: Callable[[], object], check: Callable[[bool], None], seconds: float, seed: int) -> None:
    """Does work in processes that are killed at random moments of its duration.

    Args:
        work: what to do.
        check: called after each kill with whether the work had been done before.
        seconds: that it takes.
        seed: of the moments.
    """
    for share in np.random.default_rng(seed).uniform(0, 1, KILLS):
        process = start(work)
        process.join(share * seconds)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        check(process.exitcode == 0)


def training_config(data: Path, output_dir: Path) -> Any:
    """Returns the configuration of a short training, whose folder is `output_dir`/x/privhead/x."""
    from nerfstudio.configs.method_configs import all_methods

    config: Any = deepcopy(all_methods["privhead"])
    config.pipeline.datamanager.data = data
    config.output_dir, config.vis, config.machine.device_type = output_dir, "tensorboard", "cpu"
    config.experiment_name = config.timestamp = "x"
    config.pipeline.model.max_voxels, config.steps_per_eval_image = 20_000, 5
    config.pipeline.phases.phase1_steps, config.pipeline.phases.phase2_steps = 4, STEPS - 4
    config.steps_per_save = 2
    return config


def train(data: Path, output_dir: Path) -> None:
    """Trains as `ns-train privhead` does, and with --load-dir where there is a checkpoint of an earlier call."""
    from nerfstudio.scripts.train import main

    from privhead_ns.errors import UserError

    config = training_config(data, output_dir)
    run_folder = output_dir / "x" / "privhead" / "x"
    if list((run_folder / "nerfstudio_models").glob("*.ckpt")):
        config.load_dir = run_folder
    try:
        main(config)
    except UserError as error:
        if "trained to the end" not in str(error):  # killed after the last checkpoint
            raise


def stop_early(data: Path, output_dir: Path) -> None:
    """Trains into phase 2, and keeps all checkpoints."""
    from nerfstudio.scripts.train import main

    config = training_config(data, output_dir)
    config.max_num_iterations, config.save_only_latest_checkpoint = STEPS - 2, False
    main(config)


def forget(config: Path) -> None:
    """Forgets the painted colours of a run."""
    from privhead_ns.forget import forget as forget_run

    forget_run(config)


def export(config: Path, path: Path) -> None:
    """Exports a run's mesh."""
    from privhead_ns.mesh.export import export_mesh

    export_mesh(config, path, 64, millimetres=False)


def prepare(data: Path, output_dir: Path, masks: Path | None = None) -> None:
    """Prepares a capture that has cameras, or photographs that have masks."""
    from privhead_ns.prepare.prepare import prepare as make_capture
    from privhead_ns.prepare.wishes import Wishes

    make_capture(data, output_dir, Wishes(masks=masks), QUIET)


def copied_training(finished: Path, log: Path) -> Callable[..., Any]:
    """Returns a stand-in for `training_run.train` that copies a finished run, and notes the folder in a log."""
    from privhead_ns.training_run import TrainingRun

    def train(method: str, data: Path, output_dir: Path, *_: object) -> TrainingRun:
        with log.open("a") as file:
            file.write(f"{output_dir}\n")
        output_dir.mkdir(parents=True)
        (output_dir / "train.log").write_text("log")
        shutil.copytree(finished, output_dir / "run" / method / "run")
        time.sleep(0.1)
        return TrainingRun(output_dir / "run" / method / "run" / "config.yml", {0: 0.0, STEPS - 1: 1.0})

    return train


def benchmark(head: Path, output_dir: Path, finished: Path, log: Path) -> None:
    """Measures two variants on a head, whose trainings are copies of a finished run."""
    from privhead_ns.benchmark import benchmark as module
    from privhead_ns.benchmark import training
    from privhead_ns.benchmark.settings import Settings

    module.RESOLUTION = 24
    training.train = copied_training(finished, log)
    names = ["stage-2", "silhouettes"]
    module.run_benchmark([head], output_dir, names, Settings(1, 32, 20, 1.0), QUIET)


def sweep(head: Path, output_dir: Path, log: Path) -> None:
    """Sweeps over three settings, with a stand-in for what is measured."""
    from privhead_ns.audit import sweep as module
    from privhead_ns.phases import PhaseSchedule

    def measure(data: Path, others: object, setting: Any, folder: Path, *_: object) -> dict[str, Any]:
        with log.open("a") as file:
            file.write(f"{setting.label}\n")
        shutil.copytree(data, folder / "training")
        time.sleep(0.1)
        return {"attacks": {"1.": [0.5]}, "chamfer": 1.0, "face_chamfer": None, "unit": "mm"}

    module.measure = measure  # type: ignore[assignment]
    chosen = module.settings(("sobel",), (0.0, 1.0, 2.0), (65536,), ())
    results = module.run_sweep((head,), (), chosen, output_dir, [], PhaseSchedule(), QUIET)
    module.write_sweep(results, output_dir, QUIET)


class Here:
    """An executor in this process, where functions can be replaced."""

    def run(self, jobs: Iterable[Any]) -> Iterator[Any]:
        from privhead_ns.batch.jobs import Outcome, Step

        for job in jobs:
            yield Step(job.name, "Starting", 0, 0)
            yield Outcome(job.name, job.function(QUIET))


def batch(data: list[Path], output_dir: Path, log: Path) -> None:
    """Trains heads, with a stand-in for training and export."""
    from privhead_ns.batch import head as module
    from privhead_ns.batch.batch import run_batch
    from privhead_ns.batch.sheet import SIZE
    from privhead_ns.mesh.files import save_mesh

    def train_head(head: Any, folder: Path, *_: object) -> Any:
        with log.open("a") as file:
            file.write(f"{head.name}\n")
        shutil.copytree(head.capture, folder / "run")
        save_mesh(trimesh.creation.icosphere(4), folder / "head.ply")
        Image.new("RGB", (SIZE, SIZE)).save(folder / "head.png")
        time.sleep(0.1)
        shutil.rmtree(folder / "run")
        record = module.Record(head.name, "trained", 1.0, 42, f"{head.name}/head.ply", digest=head.digest)
        (folder / "head.json").write_text(json.dumps(asdict(record)))
        return record

    module.train_head = train_head
    settings = module.Settings(1, None, 24, False, "ply", False)
    run_batch(data, output_dir, settings, Here(), QUIET)
