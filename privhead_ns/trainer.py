"""Nerfstudio's trainer with checks of flags and input, and clean stops on NaN and Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
import yaml
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from nerfstudio.utils import writer
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE

from privhead_ns.checkpoint import checkpoints, find_checkpoint, fitting, read_checkpoint, write_checkpoint
from privhead_ns.config_file import read_config_file
from privhead_ns.cpu import training_settings
from privhead_ns.data.datamanager import PrivheadDataManagerConfig
from privhead_ns.data.dataparser import PrivheadDataParserConfig
from privhead_ns.errors import UserError
from privhead_ns.folders import replacing
from privhead_ns.model.model import PrivheadModel, PrivheadModelConfig
from privhead_ns.parent import end_with_starter
from privhead_ns.pipeline import PrivheadPipeline, PrivheadPipelineConfig, painted_warning, warn_if_painted
from privhead_ns.random_state import random_state, set_random_state
from privhead_ns.refused_flags import check_flags, check_not_shared
from privhead_ns.run_folder import (
    anonymous_host,
    config_being_loaded,
    disk_errors,
    portable,
    resolved,
    run_being_evaluated,
)

FINITE_LOSS_INTERVAL = 10
"""Steps between two checks for a finite loss, each of which synchronises the GPU; NaN persists once it occurs."""


@dataclass
class PrivheadTrainerConfig(TrainerConfig):
    """Configuration of a training run."""

    _target: type = field(default_factory=lambda: PrivheadTrainer)
    """Class to instantiate."""
    max_num_iterations: int = 1_000_000
    """Most steps to run now; training ends with phase 2 at the latest."""
    keep_painted_colors: bool = False
    """Whether the last checkpoint keeps the colours that training paints on a face that it never saw in colour. They
    come near enough to the true ones for face recognition; earlier checkpoints have them, for training goes on there.
    """
    allow_cloud_logging: bool = False
    """Whether --vis may name wandb or comet, services that the configuration and rendered pictures are uploaded to, and
    whether the viewer may be shared by a public address.
    """
    run_folder: Path | None = field(default=None, init=False, repr=False)
    """Where config.yml was read from; None for a new run."""

    def __post_init__(self) -> None:
        """Checks the file that `ns-train --load-config` names, before Nerfstudio's unsafe loader reads it.

        Raises:
            UserError: if it is no config.yml of this package.
        """
        if self.load_config is not None:
            read_own_config(self.load_config)

    def __setattr__(self, name: str, value: Any) -> None:
        """Keeps the host of the first viewer configuration when another one replaces it.

        `ns-viewer` replaces the whole configuration by its own, which listens on all interfaces.

        Raises:
            UserError: if that viewer would have a public address.
        """
        if name == "viewer" and "viewer" in vars(self):
            check_not_shared(value, self.allow_cloud_logging)
            value = replace(value, websocket_host=self.viewer.websocket_host)
        super().__setattr__(name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores the config from YAML, with paths resolved from the present location of its config.yml."""
        vars(self).update(state)
        path = config_being_loaded()
        if path is not None:
            self.locate(path.parent)

    def locate(self, folder: Path) -> None:
        """Makes the paths of a config.yml in `folder` absolute, and sets `folder` as the run's folder."""
        self.run_folder = folder.resolve()
        self._map_paths(lambda path: resolved(path, folder))

    def get_base_dir(self) -> Path:
        """Returns the run's folder."""
        return super().get_base_dir() if self.run_folder is None else self.run_folder

    def get_checkpoint_dir(self) -> Path:
        """Returns the folder of the run's checkpoints.

        Before ns-viewer, ns-eval, ns-export or ns-render loads the latest of them, which reports nothing of a broken
        one but a traceback, it is read here.

        Raises:
            UserError: if that one is broken, or there is none.
        """
        folder = super().get_checkpoint_dir()
        if run_being_evaluated():
            read_checkpoint(find_checkpoint(folder, None, "--load-config needs a run that has been trained")[1])
        return folder

    def portable(self) -> PrivheadTrainerConfig:
        """Returns the config as stored: paths relative to the run's folder, and no flags of a resume."""
        stored, folder = deepcopy(self), self.get_base_dir()
        stored._map_paths(lambda path: portable(path, folder))
        stored.load_dir = stored.load_step = stored.load_checkpoint = stored.load_config = stored.run_folder = None
        return stored

    def _map_paths(self, change: Callable[[Path], Path]) -> None:
        """Applies a function to every path to a folder."""
        datamanager = cast(PrivheadDataManagerConfig, self.pipeline.datamanager)
        for owner, name in (
            (self, "data"),
            (self, "output_dir"),
            (datamanager, "data"),
            (datamanager.dataparser, "data"),
            (datamanager.dataparser, "photographs"),
        ):
            path = getattr(owner, name, None)
            if path is not None and path != Path():
                setattr(owner, name, change(Path(path)))

    def save_config(self) -> None:
        """Checks flags and capture, adapts the phases to it, and writes config.yml.

        Nerfstudio calls this before it builds anything, so bad input leaves no files.

        Raises:
            UserError: if --data is missing or no protected capture, another dataparser is to read it, it is a room and
                the method does not train rooms, a flag is refused, there is nothing to resume or it is broken, or the
                run's folder cannot be written to.
        """
        end_with_starter()
        self._check_flags()
        pipeline = cast(PrivheadPipelineConfig, self.pipeline)
        datamanager = cast(PrivheadDataManagerConfig, pipeline.datamanager)
        dataparser = datamanager.dataparser
        if not isinstance(dataparser, PrivheadDataParserConfig):
            raise UserError("ns-train privhead reads protected captures only: leave the name of the dataparser out.")
        data = datamanager.data or dataparser.data
        if data is None or data == Path():
            raise UserError(
                "ns-train needs --data with a protected capture, the folder that `privhead protect` writes."
            )
        capture = dataparser.check(Path(data))
        if capture.subject == "room" and not isinstance(pipeline.model, PrivheadModelConfig):
            raise UserError(
                f"{data} is a room, and {self.method_name} trains heads and objects: use ns-train privhead."
            )
        phases = pipeline.phases.for_size(max(capture.width, capture.height))
        pipeline.phases = phases.without_phase1() if capture.hides_all else phases
        self.data = datamanager.data = Path(data).resolve()
        self.output_dir = self.output_dir.resolve()
        path = self.get_base_dir() / "config.yml"
        CONSOLE.log(f"Saving config to: {path}")
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_text(yaml.dump(self.portable()), "utf8")

    def resumed_checkpoint(self) -> Path | None:
        """Returns the checkpoint to resume from; None for a new run."""
        if self.load_dir is None:
            return self.load_checkpoint
        return find_checkpoint(self.load_dir, self.load_step, "give --load-dir a run")[1]

    def _check_flags(self) -> None:
        """Checks the flags, and finds the checkpoint to resume from.

        Raises:
            UserError: if a flag is refused, or the checkpoint is missing or broken.
        """
        check_flags(self, self.allow_cloud_logging)
        if self.load_dir is not None:
            self.load_step, path = find_checkpoint(self.load_dir, self.load_step, "give --load-dir a run")
            self.load_dir = path.parent
            read_checkpoint(path)
        elif self.load_checkpoint is not None:
            if not self.load_checkpoint.is_file():
                raise UserError(
                    f"There is no file {self.load_checkpoint}; give --load-checkpoint a .ckpt file of a run."
                )
            read_checkpoint(self.load_checkpoint)


def read_own_config(path: Path) -> PrivheadTrainerConfig:
    """Reads the config.yml of a run of this package without running code that it names.

    Raises:
        UserError: if there is no such file, it belongs to another method, or it names what no run of this package does.
    """
    config = read_config_file(path)
    pipeline = config.pipeline if isinstance(config, PrivheadTrainerConfig) else None
    ours = isinstance(pipeline, PrivheadPipelineConfig)
    if not ours or not isinstance(pipeline.datamanager, PrivheadDataManagerConfig):
        raise UserError(f"{path} belongs to another method; give the config.yml of an `ns-train privhead` run.")
    return config


class PrivheadTrainer(Trainer):
    """Trainer that saves no checkpoint with NaN, and saves one when interrupted."""

    config: PrivheadTrainerConfig
    interrupted: bool = False
    """Whether Ctrl-C was pressed in training."""

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Builds pipeline, optimizers and writers; TensorBoard's files contain no names of user and host."""
        with disk_errors(self.base_dir), anonymous_host():
            super().setup(test_mode)
        for event in writer.EVENT_STORAGE:
            if event["write_type"] is writer.EventType.CONFIG:
                event["event"] = asdict(self.config.portable())

    def train(self) -> None:
        """Trains to the end, or until Ctrl-C, after which a checkpoint to resume from is saved."""
        before = signal.signal(signal.SIGINT, self._interrupt)
        model = cast(PrivheadModel, self.pipeline.model)
        try:
            with disk_errors(self.base_dir), self._settings(model):
                super().train()
            warn_if_painted(model)
        except KeyboardInterrupt:
            if self.training_state == "completed":
                raise
            self.save_checkpoint(self.step)
            stopped = f"Stopped at step {self.step}; to resume, run the same command with --load-dir {self.base_dir}."
            raise UserError(f"{stopped} {painted_warning(model)}".rstrip()) from None
        finally:
            signal.signal(signal.SIGINT, before)

    def _settings(self, model: PrivheadModel) -> AbstractContextManager[None]:
        """Returns the settings of the process that suit the device."""
        return training_settings(model.field.short_steps) if self.device == "cpu" else nullcontext()

    def _interrupt(self, *_: object) -> None:
        """Ends training after the current step; a second Ctrl-C, or one outside training, ends at once."""
        if self.interrupted or self.training_state != "training":
            raise KeyboardInterrupt
        self.interrupted = True

    def _load_checkpoint(self) -> None:
        """Loads the checkpoint to resume from, if any, and limits the steps to those left in phase 2.

        A run that is resumed draws what it would have drawn unbroken.

        Raises:
            UserError: if there are none, or the checkpoint is not one of such a run.
        """
        if (path := self.config.resumed_checkpoint()) is not None:
            with fitting(self.base_dir / "config.yml", path):
                super()._load_checkpoint()
                set_random_state(read_checkpoint(path, mmap=True).get("random", {}), self.device)
        self.step = self._start_step
        total = cast(PrivheadPipelineConfig, self.config.pipeline).phases.total_steps
        if self._start_step >= total:
            if path is not None and path.parent.resolve() == self.checkpoint_dir.resolve():
                self._remove_others(path, before=self._start_step - 1)  # it may have been killed before it did
            raise UserError(
                f"The checkpoint has done step {self._start_step - 1}, the last of {total}: it is trained to the end, "
                "unless --pipeline.phases.phase2-steps makes phase 2 longer."
            )
        self.config.max_num_iterations = min(self.config.max_num_iterations, total - self._start_step)

    def train_iteration(self, step: int) -> tuple:
        """Runs a step.

        Raises:
            UserError: if the loss is no longer finite, which is checked every few steps; the last checkpoint is kept.
            KeyboardInterrupt: if Ctrl-C was pressed during the step.
        """
        loss, *others = super().train_iteration(step)
        if step % FINITE_LOSS_INTERVAL == 0 and not torch.isfinite(loss):
            raise UserError(f"The loss became {float(loss)} by step {step}: {self._what_remains()}")
        if self.interrupted:
            raise KeyboardInterrupt
        return loss, *others

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Saves a checkpoint, unless a parameter is no longer finite.

        The last one holds no colours of places that no neutral view sees, nor what the optimizers remember of them,
        unless --keep-painted-colors is set or the model cannot forget.

        Raises:
            UserError: if one is not finite, or the disk is full; the last checkpoint is kept.
        """
        for name, parameter in self.pipeline.named_parameters():
            if not torch.isfinite(parameter).all():
                raise UserError(f"{name} became NaN by step {step}: {self._what_remains()}")
        pipeline = cast(PrivheadPipeline, self.pipeline)
        last = step + 1 >= pipeline.config.phases.total_steps
        forgets = pipeline.model.can_forget and not self.config.keep_painted_colors
        if last and forgets and pipeline.forget_painted_colors():
            for optimizer in self.optimizers.optimizers.values():
                optimizer.state.clear()
        path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        content = {
            "step": step,
            "pipeline": pipeline.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.optimizers.items()},
            "schedulers": {name: scheduler.state_dict() for name, scheduler in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
            "random": random_state(self.device),
        }
        write_checkpoint(content, path)
        self._remove_others(path)

    def _remove_others(self, path: Path, before: int | None = None) -> None:
        """Removes the run's other checkpoints, or those before a step, if only the latest is wanted."""
        if self.config.save_only_latest_checkpoint:
            for step, other in checkpoints(self.checkpoint_dir).items():
                if other.name != path.name and (before is None or step < before):
                    other.unlink()

    def _what_remains(self) -> str:
        saved = sorted(self.checkpoint_dir.glob("*.ckpt"))
        kept = f"the last good checkpoint is {saved[-1]}" if saved else "no checkpoint had been saved yet"
        return f"training stopped, and {kept}; lower the learning rates in --optimizers and resume with --load-dir."
