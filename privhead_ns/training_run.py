"""Runs `ns-train` as a user would, shows its progress, and measures time and memory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sysconfig
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from privhead_ns.checkpoint import checkpoints
from privhead_ns.errors import UserError
from privhead_ns.parent import PARENT
from privhead_ns.progress import stepwise

EXPERIMENT = "run"
"""Name of the experiment, and of its one run, below the output folder."""


@dataclass
class TrainingRun:
    """A finished run of `ns-train`."""

    config: Path
    """Its config.yml."""
    reported: dict[int, float] = field(default_factory=dict)
    """Seconds from the first step to the steps that the run reported."""
    peak_memory: float | None = None
    """Most resident memory in MB that the process ever held; None where the system does not tell."""

    @property
    def seconds(self) -> float:
        """Seconds between the first and the last reported step."""
        return max(self.reported.values(), default=0.0)

    def seconds_at(self, step: int) -> float:
        """Seconds from the first step to the last one reported up to `step`."""
        return max((seconds for number, seconds in self.reported.items() if number <= step), default=0.0)

    @property
    def checkpoints(self) -> list[int]:
        """Steps whose checkpoints were kept."""
        return list(checkpoints(self.config.parent))

    def keep_last_checkpoint(self) -> None:
        """Deletes all checkpoints but the last, which alone has forgotten the colours painted on the face."""
        for path in list(checkpoints(self.config.parent).values())[:-1]:
            path.unlink()


def train(
    method: str,
    data: Path,
    output_dir: Path,
    total_steps: int,
    console: Console,
    flags: dict[str, object],
    seconds: float | None = None,
) -> TrainingRun:
    """Runs `ns-train` in a process; its output goes to `output_dir`/train.log.

    Args:
        method: name of a registered method.
        data: the protected capture.
        output_dir: folder for the run.
        total_steps: steps of the whole run, for the progress bar.
        console: where progress is shown.
        flags: further flags of `ns-train`.
        seconds: time after which the run is interrupted; None to let it end.

    Raises:
        UserError: if training fails.
    """
    flags = {
        "--data": data,
        "--output-dir": output_dir,
        "--experiment-name": EXPERIMENT,
        "--timestamp": EXPERIMENT,
        "--vis": "tensorboard",
        "--save-only-latest-checkpoint": False,
        "--logging.local-writer.max-log-size": 0,
        **flags,
    }
    options = [str(part) for pair in flags.items() for part in pair]
    console.print("ns-train", method, *options, soft_wrap=True, highlight=False)
    command = [str(Path(sysconfig.get_path("scripts")) / "ns-train"), method, *options]
    output_dir.mkdir(parents=True, exist_ok=True)
    log = output_dir / "train.log"
    run = TrainingRun(output_dir / EXPERIMENT / method / EXPERIMENT / "config.yml")
    stopped, line = False, ""
    with (
        log.open("w") as file,
        stepwise("Starting Nerfstudio", total_steps, console) as progress,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {PARENT: str(os.getpid())},
        ) as process,
        ExitStack() as stack,
    ):
        stack.push(lambda kind, *_: kind is not None and process.terminate())  # no training outlives its command
        start = None
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            run.peak_memory = _peak_memory(process.pid) or run.peak_memory
            if match := re.match(r"(\d+) \([\d.]+%\)", line):
                step, now = int(match[1]), time.monotonic()
                start = now if start is None else start
                run.reported[step] = now - start
                progress(f"{method}, step {step}", step)
                if seconds is not None and now - start > seconds and not stopped:
                    stopped = True
                    process.send_signal(signal.SIGINT)
    if process.returncode != 0 and not (stopped and run.checkpoints):
        last = f" ({line.strip()})" if process.returncode > 0 and line.strip() else ""
        raise UserError(f"ns-train ended with status {process.returncode}{last}; read {log} for the reason.")
    return run


def _peak_memory(process: int) -> float | None:
    """Returns the high-water mark of a process's resident memory in MB, where /proc tells it."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(match[1]) / 1024 if match else None
