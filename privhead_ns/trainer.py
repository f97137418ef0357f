"""Nerfstudio's trainer, made to stop well: at bad input, at NaN, and at Ctrl-C."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from nerfstudio.engine.trainer import Trainer, TrainerConfig

from privhead_ns.data.datamanager import PrivheadDataManagerConfig
from privhead_ns.data.dataparser import PrivheadDataParserConfig
from privhead_ns.errors import UserError
from privhead_ns.pipeline import PrivheadPipeline, PrivheadPipelineConfig

FINITE_LOSS_INTERVAL = 10
"""Steps between two looks at the loss, for each of which a GPU must come to rest; NaN, once there, stays."""


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

    def __setattr__(self, name: str, value: Any) -> None:
        """Keeps a viewer that is put in later on the host of the first.

        `ns-viewer` replaces the whole setting by its own, which would show the head to the network.
        """
        if name == "viewer" and "viewer" in vars(self):
            value = replace(value, websocket_host=self.viewer.websocket_host)
        super().__setattr__(name, value)

    def save_config(self) -> None:
        """Checks the capture, fits the phases to it, and writes config.yml with absolute paths, to work from anywhere.

        Nerfstudio calls this before it builds anything: a capture that cannot be trained on leaves no trace.

        Raises:
            UserError: if --data is missing or no protected capture, or another dataparser is to read it.
        """
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
        pipeline.phases = pipeline.phases.for_size(max(capture.width, capture.height))
        self.data = datamanager.data = Path(data).resolve()
        self.output_dir = self.output_dir.resolve()
        super().save_config()


class PrivheadTrainer(Trainer):
    """Trains; keeps no checkpoint with NaN in it, and leaves one behind when interrupted."""

    config: PrivheadTrainerConfig
    interrupted: bool = False
    """Whether Ctrl-C was pressed in training."""

    def train(self) -> None:
        """Trains to the end, or until Ctrl-C; then a checkpoint to resume from is saved all the same."""
        before = signal.signal(signal.SIGINT, self._interrupt)
        torch.set_flush_denormal(True)  # Adam's moments of voxels no ray meets decay into slow denormals on CPU
        try:
            super().train()
        except KeyboardInterrupt:
            if self.training_state == "completed":
                raise
            self.save_checkpoint(self.step)
            raise UserError(
                f"Stopped at step {self.step}; to resume, run the same command with --load-dir {self.checkpoint_dir}."
            ) from None
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, *_: object) -> None:
        """Ends training after the step at hand, which is then whole; a second Ctrl-C, or one at rest, ends at once."""
        if self.interrupted or self.training_state != "training":
            raise KeyboardInterrupt
        self.interrupted = True

    def _load_checkpoint(self) -> None:
        """Loads the checkpoint to resume from, if any, and leaves the steps up to the end of phase 2 to run.

        Raises:
            UserError: if there are none.
        """
        super()._load_checkpoint()
        self.step = self._start_step
        total = cast(PrivheadPipelineConfig, self.config.pipeline).phases.total_steps
        if self._start_step >= total:
            raise UserError(
                f"The checkpoint has done step {self._start_step - 1}, the last of {total}: it is trained to the end, "
                "unless --pipeline.phases.phase2-steps makes phase 2 longer."
            )
        self.config.max_num_iterations = min(self.config.max_num_iterations, total - self._start_step)

    def train_iteration(self, step: int) -> tuple:
        """Runs a step.

        Raises:
            UserError: if the loss is no longer finite, which is looked for every few steps; the last checkpoint is left
                as it is.
            KeyboardInterrupt: if Ctrl-C was pressed meanwhile.
        """
        loss, *others = super().train_iteration(step)
        if step % FINITE_LOSS_INTERVAL == 0 and not torch.isfinite(loss):
            raise UserError(f"The loss became {float(loss)} by step {step}: {self._what_remains()}")
        if self.interrupted:
            raise KeyboardInterrupt
        return loss, *others

    def save_checkpoint(self, step: int) -> None:
        """Saves a checkpoint, unless a parameter is no longer finite.

        The last one holds no colours of places that no neutral view sees, nor what the optimizers remember of them,
        unless --keep-painted-colors is set or the model cannot forget.

        Raises:
            UserError: if so; the last checkpoint is left as it is.
        """
        for name, parameter in self.pipeline.named_parameters():
            if not torch.isfinite(parameter).all():
                raise UserError(f"{name} became NaN by step {step}: {self._what_remains()}")
        pipeline = cast(PrivheadPipeline, self.pipeline)
        last = step + 1 >= pipeline.config.phases.total_steps
        if last and not self.config.keep_painted_colors and pipeline.forget_painted_colors():
            for optimizer in self.optimizers.optimizers.values():
                optimizer.state.clear()
        super().save_checkpoint(step)

    def _what_remains(self) -> str:
        checkpoints = sorted(self.checkpoint_dir.glob("*.ckpt"))
        kept = f"the last good checkpoint is {checkpoints[-1]}" if checkpoints else "no checkpoint had been saved yet"
        return f"training stopped, and {kept}; lower the learning rates in --optimizers and resume with --load-dir."
