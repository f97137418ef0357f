"""Freed memory is reused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from privhead_ns import allocator

COUNT_FAULTS = """if True:
    import resource, torch
    {setup}
    def step():
        return torch.zeros(10_000_000) + 1
    for _ in range(10):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
KEEP = "from privhead_ns.allocator import keep_freed_memory; keep_freed_memory()"


def faults(setup: str) -> int:
    """Page faults of five steps that allocate and free 80 MB each, when ten have run."""
    code = COUNT_FAULTS.format(setup=setup)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_training_steps_reuse_freed_memory() -> None:
    assert faults(KEEP) < 100


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: pytest.fail("asked for the C library"))
    allocator.keep_freed_memory()
