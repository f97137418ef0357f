"""What the workers of the tests of `privhead batch` do; a module that a worker can read fast."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from privhead_ns.errors import UserError
from privhead_ns.progress import stepwise


def meet(mine: Path, theirs: Path, console: Console) -> bool:
    """Waits for another job that runs at the same time."""
    mine.touch()
    until = time.monotonic() + 20
    while not theirs.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return theirs.exists()


def environment(names: tuple[str, ...], console: Console) -> dict[str, str | None]:
    """Returns variables of the worker."""
    return {name: os.environ.get(name) for name in names}


def count_to_three(console: Console) -> int:
    """Shows progress as a training does."""
    with stepwise("counting", 3, console) as step:
        for number in (1, 2, 3):
            step(f"at {number}", number)
    return 3


def refuse(console: Console) -> None:
    """Fails as a user's mistake does."""
    raise UserError("This capture has no head.")


def divide(console: Console) -> float:
    """Fails as a defect does."""
    return 1 / 0


def be_killed(console: Console) -> None:
    """Dies as the system kills what takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_in_a_child(note: Path, console: Console) -> None:
    """Starts a process, as a training is one, and waits for it."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        note.with_suffix(".new").write_text(str(child.pid))
        note.with_suffix(".new").replace(note)


def with_killed_parent(note: Path, console: Console) -> None:
    """Starts a process, and dies before it."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    note.write_text(str(child.pid))
    os.kill(os.getpid(), signal.SIGKILL)
