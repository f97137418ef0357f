"""The command `privhead`: everything around training, which is Nerfstudio's own `ns-train privhead`."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from importlib.metadata import version
from types import FrameType

import tyro

from privhead_ns.commands.audit import audit, audit_sweep
from privhead_ns.commands.batch import batch
from privhead_ns.commands.benchmark import benchmark
from privhead_ns.commands.capture import prepare, protect
from privhead_ns.commands.demo import demo
from privhead_ns.commands.mesh import evaluate, export, forget
from privhead_ns.errors import UserError
from privhead_ns.quick_start import quicken

COMMANDS = (prepare, protect, export, forget, evaluate, demo, batch, benchmark, audit, audit_sweep)
app = tyro.extras.SubcommandApp()
for command in COMMANDS:
    app.command(command)


def entrypoint() -> None:
    """Runs the command line; a `UserError` ends it with one sentence on standard error and status 1.

    Files that it writes are readable by their owner only (umask 077). Temporary folders are removed also on SIGTERM and
    SIGHUP.
    """
    quicken()
    warnings.filterwarnings("ignore", category=FutureWarning)  # raised by Nerfstudio's imports
    os.umask(os.umask(0o077) | 0o077)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # which nohup sets
            signal.signal(number, _end)
    if sys.argv[1:] == ["--version"]:
        print(f"privhead-ns {version('privhead-ns')}")
        return
    try:
        _run()
    except UserError as error:
        raise SystemExit(str(error)) from None


def _run() -> None:
    """Parses the arguments and runs the command.

    Raises:
        UserError: of the command; also if the system refuses a file, such as on a full or read-only disk.
    """
    try:
        app.cli(prog="privhead", description="Head meshes from photographs whose faces never leave their owner.")
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenPipeError:  # `privhead … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        reason = error.strerror or str(error)
        where = "" if error.filename is None else f"{error.filename}: "
        raise UserError(f"{where}{reason}; free space or choose a path that can be read and written.") from None


def _end(number: int, _: FrameType | None) -> None:
    """Raises SystemExit on a signal, so that context managers clean up."""
    raise SystemExit(128 + number)
