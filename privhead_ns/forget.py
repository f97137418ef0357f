"""Removes painted colours from the checkpoints of a run, as training does for the last checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from privhead_ns.checkpoint import (
    checkpoints,
    find_checkpoint,
    fitting,
    is_painted,
    read_checkpoint,
    unfinished_elsewhere,
    write_checkpoint,
)
from privhead_ns.errors import UserError
from privhead_ns.mesh.export import read_config
from privhead_ns.pipeline import PrivheadPipeline


def forget(load_config: Path, load_step: int | None = None) -> str:
    """Rewrites checkpoints of a run without the colours that training painted where no neutral view looks.

    Args:
        load_config: the run's config.yml.
        load_step: step of the one checkpoint to rewrite; None for all.

    Returns:
        What was done, and which checkpoints still hold such colours, or may hold them.

    Raises:
        UserError: if there is no such run or checkpoint, its capture is not where config.yml says, or the method cannot
            forget, as privhead-rgb and privhead-paper cannot.
    """
    config = read_config(load_config)
    latest, _ = find_checkpoint(load_config.parent, load_step, "--load-config needs a run that has been trained")
    steps = [latest] if load_step is not None else list(checkpoints(load_config.parent))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with fitting(load_config, checkpoints(load_config.parent)[latest]):
        pipeline = cast(PrivheadPipeline, config.pipeline.setup(device=device, test_mode="inference"))
    dataset = pipeline.datamanager.train_dataset
    if dataset is None or not any(dataset.protected):
        raise UserError(f"{load_config} learned from photographs of the face: it cannot forget, so keep it here.")
    forgotten = [step for step in steps if _rewrite(pipeline, load_config, checkpoints(load_config.parent)[step])]
    remaining = [step for step, path in checkpoints(load_config.parent).items() if is_painted(path)]
    run = load_config.parent
    done = f"{run}: forgot the painted colours of {_steps(forgotten)}." if forgotten else f"{run}: nothing to forget."
    if remaining:
        done = f"{done} {_steps(remaining).capitalize()} still has them."
    unfinished = [f"{path} may have them: another machine writes it." for path in unfinished_elsewhere(run)]
    return " ".join([done, *unfinished])


def _rewrite(pipeline: PrivheadPipeline, load_config: Path, path: Path) -> bool:
    """Rewrites a checkpoint without painted colours and optimizer state; returns whether it had painted colours."""
    content = read_checkpoint(path)
    with fitting(load_config, path):
        pipeline.restore(content["pipeline"], content["step"])
        if not pipeline.forget_painted_colors():
            return False
        optimizers = {name: state | {"state": {}} for name, state in content["optimizers"].items()}
    write_checkpoint(content | {"pipeline": pipeline.state_dict(), "optimizers": optimizers}, path)
    return True


def _steps(steps: list[int]) -> str:
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(map(str, steps))}"
