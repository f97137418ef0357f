"""Workers on this machine: one process for each job, so that a killed job does not affect the others."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from privhead_ns.batch.jobs import Job, Outcome, Step, perform
from privhead_ns.parent import end_with


@dataclass(frozen=True)
class Processes:
    """Runs as many jobs at a time as there are environments."""

    environments: list[dict[str, str]]
    """Environment variables of each worker: its threads, its GPU."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Step | Outcome]:
        """See `Executor`. Ends all workers if the caller stops early."""
        waiting = iter(jobs)
        free = list(reversed(range(len(self.environments))))
        running: dict[Connection, Worker] = {}
        try:
            while True:
                while free and (job := next(waiting, None)) is not None:
                    worker = Worker.start(job, free.pop(), self.environments)
                    running[worker.connection] = worker
                    yield Step(job.name, "Starting", 0, 0)
                if not running:
                    return
                for connection in wait(list(running)):
                    assert isinstance(connection, Connection)
                    event = running[connection].receive()
                    if isinstance(event, Outcome):
                        free.append(running.pop(connection).slot)
                    yield event
        finally:
            for worker in running.values():
                worker.process.terminate()
            for worker in running.values():
                worker.end()


@dataclass(frozen=True)
class Worker:
    """A process that does one job."""

    job: Job
    slot: int
    """Which environment it has."""
    process: SpawnProcess
    connection: Connection

    @classmethod
    def start(cls, job: Job, slot: int, environments: list[dict[str, str]]) -> Worker:
        """Starts a process."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, pickle.dumps(job.function), environments[slot], os.getpid())
        )
        process.start()
        theirs.close()  # else its end would never be noticed
        return cls(job, slot, process, ours)

    def receive(self) -> Step | Outcome:
        """Waits for the next event of the process; if there is none, the process was killed."""
        try:
            kind, *values = self.connection.recv()
        except (EOFError, OSError):
            self.end()
            code = self.process.exitcode or 0
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
            return Outcome(self.job.name, error=f"Its worker {how}; run the same command again to do it anew.")
        if kind == "step":
            return Step(self.job.name, *values)
        self.end()
        return Outcome(self.job.name, *values)

    def end(self, seconds: float = 30) -> None:
        """Waits for the process to end, and kills what is left of it and of its own processes."""
        self.process.join(seconds)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.join()
        self.connection.close()


def _work(connection: Connection, pickled: bytes, environment: dict[str, str], parent: int) -> None:
    """Runs a job in its own process group, with its output discarded."""
    os.setpgid(0, 0)
    os.environ.update(environment)
    signal.signal(signal.SIGTERM, _stop)
    end_with(parent)
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(silence, stream)
    with suppress(BrokenPipeError):
        result, error = perform(pickled, lambda *step: connection.send(("step", *step)))
        connection.send(("end", result, error))


def _stop(number: int, _: FrameType | None) -> None:
    """Raises SystemExit on a signal, so that temporary folders are removed and a training is ended."""
    raise SystemExit(128 + number)
