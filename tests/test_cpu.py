"""Freed memory is reused, and the number of threads restored."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from privhead_ns import cpu

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
KEEP = "from privhead_ns.cpu import keep_freed_memory; keep_freed_memory()"


def faults(setup: str) -> int:
    """Page faults of five steps that allocate and free 80 MB each, when ten have run."""
    code = COUNT_FAULTS.format(setup=setup)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_training_steps_reuse_freed_memory() -> None:
    assert faults(KEEP) < 100


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu.sys, "platform", "darwin")
    monkeypatch.setattr(cpu.ctypes, "CDLL", lambda _: pytest.fail("asked for the C library"))
    cpu.keep_freed_memory()


@pytest.mark.parametrize(("one_thread", "expected"), [(True, 1), (False, 3)])
def test_the_number_of_threads_is_restored(one_thread: bool, expected: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with cpu.training_settings(one_thread):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
