"""A run's folder: relocatable paths without names of user and host, and errors of the disk."""

from __future__ import annotations

import errno
import getpass
import inspect
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from privhead_ns.errors import UserError

UNWRITABLE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EIO),
}
"""Errors of a disk that is full, read-only or forbidden, and of folders that cannot be made."""
EVAL_SETUP = ("nerfstudio.utils.eval_utils", "eval_setup")
"""Module and name of the function by which Nerfstudio's commands load a trained run."""


def local_names() -> dict[str, str]:
    """Returns the names of user, home folder and host by the placeholders that stand for them in config.yml."""
    host = socket.gethostname()
    names = {"{home}": Path.home().name, "{host}": host, "{short-host}": host.partition(".")[0]}
    with suppress(KeyError, OSError):  # a user without a name
        names["{user}"] = getpass.getuser()
    return {placeholder: name for placeholder, name in names.items() if name}


def portable(path: Path, folder: Path) -> Path:
    """Returns a path relative to a run's folder, with placeholders for the names of user and host in it."""
    relative = os.path.relpath(path.resolve(), folder.resolve())
    for placeholder, name in local_names().items():
        relative = re.sub(rf"(?<![A-Za-z0-9{{]){re.escape(name)}(?![A-Za-z0-9}}])", placeholder, relative)
    return Path(relative)


def resolved(path: Path, folder: Path) -> Path:
    """Returns the absolute path that `portable` was given, on the same machine or where everything was moved alike."""
    name = str(path)
    for placeholder, local in local_names().items():
        name = name.replace(placeholder, local)
    return Path(os.path.normpath(folder.resolve() / name))


def config_being_loaded() -> Path | None:
    """Returns the config.yml that Nerfstudio is loading, if it is.

    Nerfstudio hands YAML the text of the file without its path, so only the frame of the caller knows that:
    `eval_setup`, which all commands on a trained run call, or `ns-train --load-config`.
    """
    if (values := _caller(EVAL_SETUP)) is not None:
        return values["config_path"]
    values = _caller(("nerfstudio.scripts.train", "main"))
    return values["config"].load_config if values is not None else None


def run_being_evaluated() -> bool:
    """Says whether the caller is Nerfstudio's `eval_setup`, which loads the latest checkpoint of a trained run."""
    return _caller(EVAL_SETUP) is not None


def _caller(function: tuple[str, str]) -> dict[str, Any] | None:
    """Returns the local variables of the innermost caller of that module and name; None if there is none."""
    frame = inspect.currentframe()
    while frame is not None:
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) == function:
            return frame.f_locals
        frame = frame.f_back
    return None


@contextmanager
def anonymous_host() -> Iterator[None]:
    """Replaces the host's name inside the block, because TensorBoard writes it into file names."""
    true_name = socket.gethostname
    socket.gethostname = lambda: "localhost"
    try:
        yield
    finally:
        socket.gethostname = true_name


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Converts errors of a full, read-only or forbidden disk to a UserError.

    Args:
        path: the file being written, if the system does not name it.

    Raises:
        UserError: if the disk cannot be written to.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise UserError(
            f"{error.filename or path} could not be written ({error.strerror}): see that the disk has room and can be "
            "written to, or choose another --output-dir."
        ) from error
