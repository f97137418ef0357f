"""Finds, reads and writes the checkpoint files of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from privhead_ns.errors import UserError
from privhead_ns.run_folder import disk_errors
from privhead_ns.temporary_names import is_abandoned, this_machine, this_process

MODELS = "nerfstudio_models"
"""Folder of the checkpoints in a run's folder."""
EXTRA_STATE = "_model._extra_state"
"""Key of `PrivheadModel.get_extra_state` in the state of a pipeline."""


def checkpoints(run: Path) -> dict[int, Path]:
    """Returns the checkpoints of a run by step, first to last.

    Args:
        run: the run's folder, or its `nerfstudio_models`.
    """
    folder = run / MODELS if (run / MODELS).is_dir() else run
    paths = {path.stem.removeprefix("step-"): path for path in folder.glob("step-*.ckpt")}
    return {int(step): paths[step] for step in sorted(paths) if step.isdecimal()}


def find_checkpoint(run: Path, step: int | None, flag: str) -> tuple[int, Path]:
    """Returns step and path of a run's checkpoint; removes what killed processes left half-written of others.

    Args:
        run: see `checkpoints`.
        step: None for the latest.
        flag: what named the run, for the error.

    Raises:
        UserError: if there is no such checkpoint.
    """
    remove_unfinished(run.parent if run.name == MODELS else run)
    found = checkpoints(run)
    if not found:
        raise UserError(f"There is no checkpoint in {run}: {flag}, the folder that ns-train wrote.")
    if step is not None and step not in found:
        raise UserError(f"{run} has no checkpoint of step {step}: choose one of {', '.join(map(str, found))}.")
    step = max(found) if step is None else step
    return step, found[step]


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU; only tensors and plain values are accepted, so no code in it runs.

    Args:
        path: the file.
        mmap: whether to leave the tensors on the disk until they are looked at.

    Raises:
        UserError: if it is broken, or holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # zip, pickle and torch fail in their own ways
        raise UserError(f"{path} cannot be read ({type(error).__name__}); remove it, or copy it again.") from error
    state, step = (content.get(key) if isinstance(content, dict) else None for key in ("pipeline", "step"))
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state) or not isinstance(step, int):
        raise UserError(f"{path} is no checkpoint of ns-train; remove it, or copy it again.")
    return content


def is_painted(path: Path) -> bool:
    """Says whether a checkpoint holds the colours that training paints on the face.

    Raises:
        UserError: if it is broken.
    """
    extra = read_checkpoint(path, mmap=True)["pipeline"].get(EXTRA_STATE)
    return isinstance(extra, dict) and bool(extra.get("painted"))


@contextmanager
def fitting(load_config: Path, path: Path) -> Iterator[None]:
    """Raises a UserError if building a model from a config.yml and a checkpoint fails.

    Args:
        load_config: the config.yml.
        path: the checkpoint.

    Raises:
        UserError: on any exception but OSError, since both files may hold any value.
    """
    try:
        yield
    except (OSError, UserError):
        raise
    except Exception as error:
        raise UserError(
            f"{path} does not fit {load_config} ({type(error).__name__}): copy the run again, whole, or train again."
        ) from error


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint through a temporary file in the run's folder, where Nerfstudio does not search.

    Raises:
        UserError: if the disk is full or read-only; an earlier file at `path` is kept.
    """
    run = path.parent.parent
    temporary = run / f".{path.stem}-{this_process()}.part"
    try:
        with disk_errors(path):
            remove_unfinished(run)
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(content, temporary)
            temporary.replace(path)
    except RuntimeError as error:  # so torch reports a full disk
        raise UserError(f"{path} could not be written ({error}): see that the disk has room.") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(run: Path) -> None:
    """Removes checkpoints that killed processes left half-written: they may hold colours painted on the face."""
    for path, owner in _unfinished(run):
        if owner is None or is_abandoned(path, owner):
            with suppress(OSError):  # a run that cannot be written to
                path.unlink()


def unfinished_elsewhere(run: Path) -> list[Path]:
    """Returns the checkpoints that other machines are writing, or that were killed there within a day."""
    return [
        path
        for path, owner in _unfinished(run)
        if owner is not None and "-" in owner and not owner.startswith(this_machine()) and not is_abandoned(path, owner)
    ]


def _unfinished(run: Path) -> list[tuple[Path, str | None]]:
    """Returns half-written checkpoints, and whose they are where their names tell it."""
    found = [
        (path, re.fullmatch(r"\.step-\d+-([0-9a-f]{12}-\d+|\d+)\.part", path.name, re.ASCII))
        for path in run.glob(".step-*.part")
    ]
    return sorted((path, owner and owner[1]) for path, owner in found)
