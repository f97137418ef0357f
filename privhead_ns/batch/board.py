"""Live table of all jobs with an estimate of the remaining time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from privhead_ns.batch.jobs import Executor, Job, Outcome, Step
from privhead_ns.errors import UserError

ROWS = 20
"""Jobs in the table at a time: those that run, then those that failed, wait, and are done."""
ORDER = ("running", "failed", "waiting", "done")
"""States of jobs, as the table sorts them."""


def run_jobs(jobs: Iterable[Job], names: Sequence[str], executor: Executor, console: Console) -> Iterator[Outcome]:
    """Runs jobs under a live table and yields their outcomes as they end.

    Args:
        jobs: read one by one, as workers become free.
        names: of all jobs.
        executor: runs them.
        console: where the table is shown; the caller may print to it meanwhile.
    """
    board = Board(list(names))
    with Live(get_renderable=board.table, console=console, refresh_per_second=2, transient=True):
        for event in executor.run(jobs):
            board.note(event)
            if isinstance(event, Outcome):
                yield event


def run_all(jobs: Sequence[Job], executor: Executor | None, console: Console) -> list[Any]:
    """Returns the results of jobs in their order; a failed job does not stop the others.

    Args:
        jobs: what to do.
        executor: runs them; None for one after the other in this process, where each shows its own progress.
        console: where progress is shown.

    Raises:
        UserError: after all of them, if some failed.
    """
    if executor is None:
        ended = in_turn(jobs, console)
    else:
        ended = run_jobs(jobs, [job.name for job in jobs], executor, console)
    outcomes = {outcome.name: outcome for outcome in ended}
    if failed := [outcome for outcome in outcomes.values() if outcome.error]:
        raise UserError(" ".join(f"{outcome.name} failed: {outcome.error}" for outcome in failed))
    return [outcomes[job.name].result for job in jobs]


def in_turn(jobs: Sequence[Job], console: Console) -> Iterator[Outcome]:
    """Runs jobs in this process, where each shows its own progress; an error that is no `UserError` ends all."""
    for number, job in enumerate(jobs, 1):
        console.rule(f"{number} of {len(jobs)}: {job.name}")
        try:
            yield Outcome(job.name, job.function(console))
        except UserError as error:
            yield Outcome(job.name, error=str(error))


@dataclass
class Entry:
    """State of one job."""

    state: str = "waiting"
    doing: str = ""
    done: int = 0
    total: int = 0
    start: float = 0.0
    """When it began."""

    @property
    def share(self) -> float:
        """Share of its steps that is done."""
        return self.done / self.total if self.total else 0.0


@dataclass
class Board:
    """State of all jobs."""

    names: list[str]
    entries: dict[str, Entry] = field(init=False)
    durations: list[float] = field(default_factory=list)
    """Seconds of each successful job."""

    def __post_init__(self) -> None:
        self.entries = {name: Entry() for name in self.names}

    def note(self, event: Step | Outcome) -> None:
        """Updates the state by an event of a worker."""
        entry, now = self.entries[event.name], time.monotonic()
        if isinstance(event, Outcome):
            if event.error is None and entry.state == "running":
                self.durations.append(now - entry.start)
            entry.state, entry.doing = ("done", "") if event.error is None else ("failed", event.error)
            return
        if entry.state != "running":
            entry.start = now
        entry.state, entry.doing, entry.done, entry.total = "running", event.doing, event.done, event.total

    def seconds_left(self) -> float | None:
        """Estimates the remaining time: unfinished share of jobs times mean length over running jobs.

        The mean is of the jobs that are done, or else what the steps of those running promise; None before that.
        """
        now = time.monotonic()
        running = [entry for entry in self.entries.values() if entry.state == "running"]
        lengths = self.durations or [(now - entry.start) / entry.share for entry in running if entry.share > 0]
        if not lengths:
            return None
        waiting = sum(entry.state == "waiting" for entry in self.entries.values())
        mean = sum(lengths) / len(lengths)
        left = waiting * mean + sum(max(0.0, mean - (now - entry.start)) for entry in running)
        return left / max(1, len(running))

    def table(self) -> Table:
        """Returns the table as of now."""
        now, counts = time.monotonic(), Counter(entry.state for entry in self.entries.values())
        left = self.seconds_left()
        title = ", ".join(f"{counts[state]} {state}" for state in ("done", "failed", "running", "waiting"))
        title = f"{len(self.names)} in all: {title}" + ("" if left is None else f"; {clock(left)} left")
        table = Table("", "doing", "steps", "time", title=title, title_justify="left")
        shown = sorted(self.entries.items(), key=lambda item: ORDER.index(item[1].state))
        for name, entry in shown[:ROWS]:
            steps = f"{entry.share:.0%}" if entry.state == "running" and entry.total else ""
            elapsed = clock(now - entry.start) if entry.state == "running" else ""
            table.add_row(name, entry.doing if entry.state == "running" else entry.state, steps, elapsed)
        if len(shown) > ROWS:
            table.caption = f"and {len(shown) - ROWS} more"
        return table


def clock(seconds: float) -> str:
    """Writes a time as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
