"""Settings of the process for training on a CPU: memory, threads, small numbers."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt, from malloc.h."""


@contextmanager
def training_settings(one_thread: bool) -> Iterator[None]:
    """Sets up the process for training on a CPU, and restores what can be afterwards.

    Args:
        one_thread: whether to use one thread alone.
    """
    threads = torch.get_num_threads()
    keep_freed_memory()
    torch.set_num_threads(1 if one_thread else threads)
    torch.set_flush_denormal(True)  # Adam's moments of voxels that no ray meets decay into slow denormals
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def keep_freed_memory() -> None:
    """Makes glibc reuse freed memory instead of giving it back to Linux. Does nothing on other systems.

    Each training step on CPU allocates and frees gradients of the voxel grids, 50 MB and more. By default glibc maps
    each of them anew, and Linux zeroes it page by page at its first use.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
