"""Settings of the C library's memory allocator."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt, from malloc.h."""


def keep_freed_memory() -> None:
    """Makes glibc reuse freed memory instead of giving it back to Linux. Does nothing on other systems.

    Each training step on CPU allocates and frees gradients of the voxel grids, 50 MB and more. By default glibc maps
    each of them anew, and Linux zeroes it page by page at its first use.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
