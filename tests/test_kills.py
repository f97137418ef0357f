"""Commands that are killed leave nothing half-written, and the next one removes what they left; so do full disks.

With `--hypothesis-profile=long`, 100 kills each.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import forked
import numpy as np
import pytest
import trimesh
from hypothesis import settings
from raw_folder import write_raw_capture

from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.errors import UserError
from privhead_ns.folders import whole_folder
from privhead_ns.mesh.files import load_mesh, save_mesh
from privhead_ns.operators import OperatorConfig

KILLS = 100 if settings.default is not None and settings.default.max_examples > 1000 else 4


def kill_at_random(work: Callable[[], object], check: Callable[[], None], seed: int) -> None:
    """Runs work in processes of their own that are killed at random moments, and checks what each left."""
    start = time.monotonic()
    work()
    duration = time.monotonic() - start
    for share in np.random.default_rng(seed).uniform(0, 1, KILLS):
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join(share * duration)
        process.kill()
        process.join()
        check()


def test_protect_is_killed_and_starts_again(tmp_path: Path) -> None:
    raw, out = write_raw_capture(tmp_path / "raw"), tmp_path / "out"
    before = sorted(raw.rglob("*"))

    def work() -> None:
        cv2.setNumThreads(1)  # its threads do not live on in a fork
        if out.exists():
            out.rename(tmp_path / f"done-{random.random()}")
        protect(raw, out, OperatorConfig())

    def check() -> None:
        if out.exists():
            load_protected_capture(out)

    kill_at_random(work, check, seed=0)
    work()
    for folder in tmp_path.iterdir():
        if folder != raw:
            assert not folder.name.startswith("."), "nothing is left over"
            load_protected_capture(folder)
    assert sorted(raw.rglob("*")) == before


def test_a_mesh_that_is_being_written_is_killed(tmp_path: Path) -> None:
    path, mesh = tmp_path / "head.ply", trimesh.creation.icosphere(5)

    def work() -> None:
        for _ in range(5):
            save_mesh(mesh, path)

    kill_at_random(work, lambda: assert_same(load_mesh(path), mesh), seed=1)
    (tmp_path / ".head-999999999.ply").touch()  # of a process that does not run
    save_mesh(mesh, path)
    assert list(tmp_path.iterdir()) == [path]


def assert_same(mesh: trimesh.Trimesh, other: trimesh.Trimesh) -> None:
    assert mesh.faces.shape == other.faces.shape


def test_two_at_once_on_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="made by another command meanwhile"), whole_folder(out) as folder:
        (folder / "late").touch()
        out.mkdir()
        (out / "early").touch()  # by whoever was faster
    assert list(tmp_path.rglob("*")) == [out, out / "early"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k,mode=700", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no disk can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_full_and_read_only_disks(small_disk: Path, tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    command = ["privhead", "protect", "--data", raw, "--output-dir", small_disk / "out"]
    full = forked.run(command)
    assert full.returncode == 1 and "No space left on device; free space" in full.stdout
    assert "Traceback" not in full.stdout and not list(small_disk.iterdir())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    locked = forked.run(command)
    assert locked.returncode == 1 and "cannot be written to" in locked.stdout
    assert len(locked.stdout.strip().splitlines()) == 1, "told before any work"
