"""Trainings of a few steps in this process."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from nerfstudio.configs.method_configs import all_methods
from nerfstudio.utils import writer

from privhead_ns.trainer import PrivheadTrainer, PrivheadTrainerConfig

STEPS = 6
"""Of a whole run: two in phase 1, four in phase 2."""


def small_config(capture: Path, output_dir: Path, method: str = "privhead") -> PrivheadTrainerConfig:
    """A method, with as few steps as the machine's run."""
    config = all_methods[method]
    assert isinstance(config, PrivheadTrainerConfig)
    config = deepcopy(config)
    config.data = config.pipeline.datamanager.data = capture
    config.output_dir, config.vis, config.machine.device_type = output_dir, "tensorboard", "cpu"
    config.timestamp = "run"
    config.pipeline.phases.phase1_steps, config.pipeline.phases.phase2_steps = 2, STEPS - 2  # type: ignore[attr-defined]
    return config


def start(config: PrivheadTrainerConfig) -> PrivheadTrainer:
    config.save_config()
    writer.EVENT_STORAGE.clear()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer
