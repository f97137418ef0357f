"""Folders and files that appear whole or not at all, and of which a killed process leaves nothing behind."""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from privhead_ns.errors import UserError
from privhead_ns.temporary_names import is_abandoned, this_process

PRIVATE = 0o700
"""Mode of every folder created here: all contain photographs or data derived from them."""


def check_new_folder(path: Path) -> None:
    """Checks that --output-dir can be created, before long work.

    Raises:
        UserError: if it exists, or its parent folder is missing or read-only.
    """
    if os.path.lexists(path):
        raise UserError(f"--output-dir {path} exists already; remove it or choose another folder.")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise UserError(f"There is no folder {path.parent} to make --output-dir {path} in; make it first.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"The folder {parent} cannot be written to; choose another place for --output-dir {path}.")


def holds_nothing(folder: Path) -> bool:
    """Says whether a folder is missing or empty, but for temporary names that killed processes left in it."""
    if not os.path.lexists(folder):
        return True
    return folder.is_dir() and all(_left_over(path) for path in folder.iterdir())


def _left_over(path: Path) -> bool:
    """Says whether a name is a temporary one, as `temporary_folder` and `replacing` make, of a dead process."""
    owner = re.fullmatch(r"\..+?-([0-9a-f]{12}-\d+|\d+)(\.\w+)?", path.name, re.ASCII)
    return owner is not None and is_abandoned(path, owner[1])


def make_private(path: Path) -> None:
    """Creates a folder with mode 0700, and its parents; an existing folder is left as it is."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=PRIVATE)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields a private folder beside `path`, renamed to `path` at the end, or removed on an exception.

    Raises:
        UserError: if there is something of that name by then.
    """
    with temporary_folder(path) as folder:
        yield folder
        try:
            folder.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise UserError(f"--output-dir {path} was made by another command meanwhile; remove one of them.") from None


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yields a private folder `.NAME.tmp-MACHINE-PID` beside `path`, and removes it at the end.

    Such folders of processes that do not run any more are removed first.
    """
    path = path.absolute()
    prefix = f".{path.name}.tmp-"
    for stale in path.parent.glob(f"{glob.escape(prefix)}*"):
        if is_abandoned(stale, stale.name.removeprefix(prefix)):
            shutil.rmtree(stale, ignore_errors=True)
    folder = path.with_name(f"{prefix}{this_process()}")
    try:
        folder.mkdir(mode=PRIVATE)
        yield folder
    except OSError as error:
        # writing to an open file fails without its name
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`; its file replaces `path` at the end, or is removed on an exception.

    Such files of processes that do not run any more are removed first.

    Raises:
        OSError: of `path`, if the system refuses.
    """
    for stale in path.parent.glob(f".{glob.escape(path.stem)}-*{glob.escape(path.suffix)}"):
        if is_abandoned(stale, stale.stem.removeprefix(f".{path.stem}-")):
            stale.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.stem}-{this_process()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename in (None, temporary, str(temporary)):  # a write that fails names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
