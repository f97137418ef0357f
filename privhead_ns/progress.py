"""A progress bar that ends with its block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

Item = TypeVar("Item")


@contextmanager
def tracked(items: Sequence[Item], description: str, console: Console | None) -> Iterator[Iterator[Item]]:
    """Gives the items one by one under a progress bar.

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
