"""Names of temporary files and folders that tell whose they are, so that what killed processes left can be removed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import time
from contextlib import suppress
from pathlib import Path

MACHINE_ID = Path("/etc/machine-id")
ABANDONED = 24 * 3600
"""Seconds after its last change from which what another machine made is taken for abandoned."""
OWNER = re.compile(r"(?:([0-9a-f]{12})-)?(\d+)", re.ASCII)
"""Machine and number of a process; without a machine, of this one."""


def this_process() -> str:
    """Returns the part of a temporary name that tells this machine and process."""
    return f"{this_machine()}-{os.getpid()}"


def this_machine() -> str:
    """Returns 12 hexadecimal digits that differ from machine to machine, and do not tell the host's name."""
    identity = platform.node().encode()
    with suppress(OSError):  # systems without one
        identity += b"\0" + MACHINE_ID.read_bytes()
    return hashlib.sha256(identity).hexdigest()[:12]


def is_abandoned(path: Path, owner: str) -> bool:
    """Returns whether a process that has ended made a temporary file or folder.

    On a disk that several machines share, what others made is left for a day: their processes are not known here. What
    bears the number of this process was left by an earlier one.

    Args:
        path: the file or folder.
        owner: the part of its name that tells whose it is; False where that is anything but `this_process` makes.
    """
    found = OWNER.fullmatch(owner)
    if found is None:
        return False
    machine, process = found[1] or this_machine(), int(found[2])
    if machine == this_machine():
        return process == os.getpid() or not runs(process)
    with suppress(OSError):  # it is gone
        return time.time() - path.stat().st_mtime > ABANDONED
    return False


def runs(process: int) -> bool:
    """Returns whether a process of this number runs on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
