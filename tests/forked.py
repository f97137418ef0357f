"""Runs commands in processes forked from a server that has imported Nerfstudio once, for that takes eight seconds.

Each command has a process of its own as it would from a shell: arguments, environment, output, signals, exit status.
"""

from __future__ import annotations

import atexit
import importlib.metadata
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["nerfstudio.scripts.train", "nerfstudio.data.datasets.base_dataset", "privhead_ns.cli"])


class Popen:
    """What `subprocess.Popen` is for a command of Nerfstudio or of this package, as far as it is used here."""

    def __init__(
        self,
        command: Sequence[str],
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.STDOUT,
        text: bool = True,
        env: Mapping[str, str] | None = None,
        before: Callable[[], object] | None = None,
    ) -> None:
        """Starts the command; `before` is called in its process first, and must be picklable."""
        assert text and stdout == subprocess.PIPE and stderr in (subprocess.PIPE, subprocess.STDOUT)
        ours, theirs = CONTEXT.Pipe(duplex=False)
        self.stdout: IO[str] = os.fdopen(os.dup(ours.fileno()), "r", encoding="utf-8")
        ours.close()
        environment, arguments = dict(os.environ if env is None else env), [str(part) for part in command]
        self._process = CONTEXT.Process(target=_run, args=(arguments, environment, os.getpid(), theirs, before))
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """As of `subprocess.Popen`; negative where a signal ended the process."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Sends a signal, if the process runs still."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ends the process."""
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float | None = 300) -> int:
        """Returns the exit status."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, "the command does not end"
        return self._process.exitcode

    def communicate(self, timeout: float | None = 300) -> tuple[str, None]:
        """Returns the rest of the output."""
        output = self.stdout.read()
        self.wait(timeout)
        return output, None

    def __enter__(self) -> Popen:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        self.wait()


def run(
    command: Sequence[object], env: Mapping[str, str] | None = None, before: Callable[[], object] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; `stdout` of the result holds standard error, too."""
    process = Popen([str(part) for part in command], env=env, before=before)
    output, _ = process.communicate()
    return subprocess.CompletedProcess(list(command), process.wait(), output, "")


def _run(
    command: list[str],
    environment: dict[str, str],
    starter: int,
    output: Connection,
    before: Callable[[], Any] | None,
) -> None:
    """Does in the new process what the script of an entry point does, and what the interpreter does at its end.

    Variables that name the starting process as the parent name the server here, which is the parent.
    """
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    parent = str(os.getppid())
    os.environ.update({name: parent if value == str(starter) else value for name, value in environment.items()})
    status = 0
    try:
        if before is not None:
            before()
        sys.argv = command
        scripts = importlib.metadata.entry_points(group="console_scripts")
        (script,) = {entry.value: entry for entry in scripts if entry.name == Path(command[0]).name}.values()
        script.load()()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)
