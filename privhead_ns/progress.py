"""Progress bars as context managers; in a worker process they report their steps instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")
Report = Callable[[str, int, int], None]
"""Takes the name of the work, the number of finished steps and the total."""
_report: ContextVar[Report | None] = ContextVar("report", default=None)


@contextmanager
def tracked(items: Sequence[Item], description: str, console: Console | None) -> Iterator[Iterator[Item]]:
    """Yields the items under a progress bar.

    `rich.progress.track` leaves its bar to the garbage collector where an error ends the loop, and deadlocks where that
    runs in the thread of another bar.
    """
    with Progress(console=console) as progress:
        task = progress.add_task(description, total=len(items))

        def advance() -> Iterator[Item]:
            for item in items:
                yield item
                progress.advance(task)

        yield advance()


@contextmanager
def reporting(report: Report) -> Iterator[None]:
    """Makes `stepwise` call `report` instead of showing a bar, inside this block."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


@contextmanager
def stepwise(description: str, total: int, console: Console) -> Iterator[Callable[[str, int], None]]:
    """Yields a function that takes the name of the work and the number of finished steps, and shows or reports them."""
    if report := _report.get():
        report(description, 0, total)
        yield lambda doing, done: report(doing, done, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(description, total=total)
        yield lambda doing, done: progress.update(task, description=doing, completed=done)
        progress.update(task, completed=total)
