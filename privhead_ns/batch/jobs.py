"""Jobs, events of running jobs, and the function that a worker runs.

This module imports nothing heavy, because a worker imports it before its number of threads is set.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from privhead_ns.errors import UserError
from privhead_ns.progress import Report, reporting


@dataclass(frozen=True)
class Job:
    """Work that needs no other job's result."""

    name: str
    """Unique among the jobs of a run."""
    function: Callable[[Console], Any]
    """The work. It and its result must be picklable if it runs in another process."""


@dataclass(frozen=True)
class Step:
    """Progress of a running job."""

    name: str
    doing: str
    done: int
    """Steps of that which are done."""
    total: int
    """Steps of it in all; 0 if it does not count any."""


@dataclass(frozen=True)
class Outcome:
    """End of a job."""

    name: str
    result: Any = None
    error: str | None = None
    """Why there is no result, in a sentence."""


class Executor(Protocol):
    """Runs jobs."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Step | Outcome]:
        """Runs every job; each yields one outcome, independently of the others.

        Args:
            jobs: read one by one, as workers become free.
        """
        ...


def perform(pickled: bytes, report: Report) -> tuple[Any, str | None]:
    """Runs a job's function in a worker; returns its result, or why there is none.

    Args:
        pickled: the function, still pickled: reading it may import torch, which reads the environment then.
        report: told of every step.
    """
    try:
        with reporting(report):
            return pickle.loads(pickled)(Console(quiet=True)), None
    except UserError as error:
        return None, str(error)
    except BrokenPipeError:  # the parent is gone
        raise
    except Exception as error:  # one job's defect must not hold up the others
        return None, defect(error)


def defect(error: Exception) -> str:
    """Describes an unexpected error and its place in the code in one sentence."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
