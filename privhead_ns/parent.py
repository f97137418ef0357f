"""Processes that end with the one that started them, even where that was killed and could not tell them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from privhead_ns.temporary_names import runs

PARENT = "PRIVHEAD_PARENT"
"""Environment variable with the number of the process that started a training."""
PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""


def end_with(parent: int) -> None:
    """Makes Linux send this process SIGTERM when its parent ends, and ends if the process `parent` has already.

    A launcher may stand between the two.

    Raises:
        SystemExit: if it has ended.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if not runs(parent):
        raise SystemExit(128 + signal.SIGTERM)


def end_with_starter() -> None:
    """Makes a training that a command of `privhead` started end with that command; see `end_with`."""
    if (parent := os.environ.get(PARENT, "")).isdecimal():
        end_with(int(parent))
