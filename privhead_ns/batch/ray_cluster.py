"""Workers on a cluster of machines, through Ray (https://docs.ray.io), without a shared folder."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from privhead_ns.batch.jobs import Job, Outcome, Step, perform
from privhead_ns.errors import UserError

RETRIES = 2
"""Retries of a job whose worker or machine is lost."""
AHEAD = 2
"""Submitted jobs for each one that can run, so that no worker waits for the next."""


@dataclass(frozen=True)
class RayCluster:
    """Runs as many jobs at a time as the cluster has room for."""

    address: str
    """As `ray.init` takes it: HOST:PORT, ray://HOST:PORT, auto, or local for a cluster of this machine alone."""
    threads: int
    """CPUs of each job."""
    gpus: float
    """Share of a GPU, or GPUs, of each job."""

    @classmethod
    def join(cls, address: str, threads: int, gpus: float | None) -> RayCluster:
        """Joins a cluster.

        Args:
            address: see above.
            threads: see above.
            gpus: None for a whole one where the cluster has any.

        Raises:
            UserError: if Ray is not installed, there is no cluster at the address, or it has no room for a job.
        """
        try:
            import ray  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise UserError('--address needs Ray: pip install ".[batch]", or leave --address out.') from None
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            first = str(error).partition("\n")[0]
            raise UserError(f"There is no Ray cluster at --address {address} ({first}).") from None
        have = ray.cluster_resources()
        cluster = cls(address, threads, (1.0 if have.get("GPU") else 0.0) if gpus is None else gpus)
        if not cluster.room():
            raise UserError(
                f"The cluster has {have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs, and each head is to get "
                f"{threads} and {cluster.gpus:g}; choose other --threads or --gpus."
            )
        return cluster

    def room(self) -> int:
        """Returns how many jobs the cluster runs at a time, as it is now."""
        import ray  # pyright: ignore[reportMissingImports]

        have = ray.cluster_resources()
        rooms = [have.get("CPU", 0) / self.threads]
        if self.gpus:
            rooms.append(have.get("GPU", 0) / self.gpus)
        return int(min(rooms))

    def run(self, jobs: Iterable[Job]) -> Iterator[Step | Outcome]:
        """See `Executor`; `join` comes first. Ends all jobs if the caller stops early."""
        import ray  # pyright: ignore[reportMissingImports]
        from ray.exceptions import RayError, RayTaskError  # pyright: ignore[reportMissingImports]
        from ray.util.queue import Queue  # pyright: ignore[reportMissingImports]

        told = Queue(actor_options={"num_cpus": 0})
        work = ray.remote(num_cpus=self.threads, num_gpus=self.gpus, max_retries=RETRIES)(_work)
        waiting, pending = iter(jobs), {}
        try:
            while True:
                while len(pending) < AHEAD * max(1, self.room()) and (job := next(waiting, None)) is not None:
                    pending[work.remote(job.name, pickle.dumps(job.function), told)] = job.name
                if not pending:
                    return
                ended, _ = ray.wait(list(pending), timeout=0.5)
                for name, *step in told.get_nowait_batch(told.qsize()):
                    if name in pending.values():
                        yield Step(name, *step)
                for reference in ended:
                    name = pending.pop(reference)
                    try:
                        result, error = ray.get(reference)
                    except RayTaskError as failed:  # privhead-ns is not installed there, for one
                        result, error = None, f"{type(failed.cause).__name__}: {failed.cause}"
                    except RayError as lost:
                        result = None
                        error = f"Its worker is gone ({type(lost).__name__}); run the same command again to do it anew."
                    yield Outcome(name, result, error)
        finally:
            ray.shutdown()


def _work(name: str, pickled: bytes, told: Any) -> tuple[Any, str | None]:
    """Runs a job in a worker of Ray with its assigned threads; Ray has set CUDA_VISIBLE_DEVICES."""
    import ray  # pyright: ignore[reportMissingImports]

    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    os.environ["OMP_NUM_THREADS"] = str(max(1, int(cpus)))

    def report(doing: str, done: int, total: int) -> None:
        with suppress(Exception):  # progress is not worth a head
            told.put_nowait((name, doing, done, total))

    report("Starting", 0, 0)
    return perform(pickled, report)
