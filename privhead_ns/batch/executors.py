"""Creates the workers that a command's flags request."""

from __future__ import annotations

import os

from privhead_ns.batch.jobs import Executor
from privhead_ns.batch.processes import Processes
from privhead_ns.batch.ray_cluster import RayCluster
from privhead_ns.errors import UserError

CLUSTER_THREADS = 2
"""Default number of threads of a job on a cluster."""


def chosen_executor(address: str | None, workers: int, threads: int | None, gpus: float | None) -> Executor:
    """Returns the executor that the flags request.

    Raises:
        UserError: if flags contradict each other, or there is no such cluster.
    """
    for flag, value in (("--workers", workers), ("--threads", threads)):
        if value is not None and value < 1:
            raise UserError(f"{flag} must be at least 1, not {value}.")
    if address is None:
        if gpus is not None:
            raise UserError("--gpus needs --address: on this machine each worker gets one GPU in turn.")
        return Processes(local_environments(workers, threads))
    if workers > 1:
        raise UserError("--workers is for this machine alone: leave it out, the cluster at --address decides.")
    if gpus is not None and gpus < 0:
        raise UserError(f"--gpus must not be negative, but is {gpus}.")
    return RayCluster.join(address, threads or CLUSTER_THREADS, gpus)


def local_executor(workers: int) -> Executor | None:
    """Returns that many workers of this machine; None for one, so that jobs run in this process.

    Raises:
        UserError: if there are to be none.
    """
    if workers < 1:
        raise UserError(f"--workers must be at least 1, not {workers}.")
    return None if workers == 1 else Processes(local_environments(workers))


def local_environments(workers: int, threads: int | None = None) -> list[dict[str, str]]:
    """Returns the environment variables of each worker on this machine: its share of the cores, and one GPU.

    Args:
        workers: how many there are.
        threads: of each; None for OMP_NUM_THREADS, or else the cores divided among them.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = threads or (int(given) if given.isdecimal() else max(1, cores // workers))
    devices = visible_gpus()
    environments = [{"OMP_NUM_THREADS": str(threads)} for _ in range(workers)]
    for number, environment in enumerate(environments):
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    return environments


def visible_gpus() -> list[str]:
    """Returns the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    count = torch.cuda.device_count()
    return names[:count] if names else [str(number) for number in range(count)]
