"""`prepare`, `benchmark`, `audit-sweep` and `batch` that are killed: finished work is kept, all other done again."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import kill_jobs
import pytest
import trimesh
from kill_jobs import kill_at_random, run
from PIL import Image
from raw_folder import edit, write_raw_capture
from textured_ball import SIDE, rotation_errors, write_photographs

from privhead_ns.capture.protect import protect
from privhead_ns.capture.raw import load_raw_capture, read_image
from privhead_ns.mesh.files import load_mesh, save_mesh
from privhead_ns.operators import OperatorConfig

VIEWS = 8
"""Photographs of the ball, side by side, that are enough for COLMAP."""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw capture with ground truth."""
    folder = write_raw_capture(tmp_path_factory.mktemp("kills") / "head")
    save_mesh(trimesh.creation.icosphere(2), folder / "gt_mesh.ply")
    return folder


def hidden(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob(".*")}


def trained(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def kill_and_go_on(
    work: Callable[[], object], out: Path, log: Path, finished: Callable[[], set[str]], seed: int
) -> None:
    """Kills work again and again, and checks that none is done twice.

    Args:
        work: writes into `out`, and notes each piece that it begins in `log`.
        out: its folder.
        log: a file.
        finished: pieces of which there are whole results, which it checks.
        seed: of the moments.
    """
    seconds = run(work)
    everything = finished()
    assert set(trained(log)) == everything and len(everything) > 1
    shutil.rmtree(out)
    log.unlink()
    before: set[str] = set()

    def check(done: bool) -> None:
        nonlocal before
        assert not before & set(trained(log)), "what is finished is not done again"
        before = finished()
        if done:
            assert before == everything and not hidden(out)
            shutil.rmtree(out)
            before = set()
        log.unlink(missing_ok=True)

    kill_at_random(work, check, seconds, seed)
    run(work)
    assert set(trained(log)) == everything - before
    assert finished() == everything and not hidden(out)


def test_prepare(demo_capture: Path, tmp_path: Path) -> None:
    data, out = shutil.copytree(demo_capture, tmp_path / "data"), tmp_path / "out"
    edit(data, lambda content: content.update(frames=content["frames"][::3]))
    work = partial(kill_jobs.prepare, data, out)
    seconds = run(work)
    whole = sorted(path.relative_to(out) for path in out.rglob("*"))
    shutil.rmtree(out)

    def check(done: bool) -> None:
        assert out.exists() or not done
        if out.exists():
            assert [read_image(frame)[0].shape for frame in load_raw_capture(out).frames] == [(32, 32, 3)] * 10
            assert sorted(path.relative_to(out) for path in out.rglob("*")) == whole
            shutil.rmtree(out)

    kill_at_random(work, check, seconds, seed=5)
    run(work)
    assert set(tmp_path.iterdir()) == {data, out}


@pytest.mark.skipif(not kill_jobs.LONG, reason="three seconds a kill: with --hypothesis-profile=long")
def test_prepare_from_photographs(tmp_path: Path) -> None:
    ball, out = tmp_path / "ball", tmp_path / "out"
    true = write_photographs(ball)[:VIEWS]
    for path in sorted((ball / "images").iterdir())[VIEWS:]:
        path.unlink()
    work = partial(kill_jobs.prepare, ball / "images", out, ball / "masks")

    def check_capture() -> None:
        frames = load_raw_capture(out).frames
        assert [read_image(frame)[0].shape for frame in frames] == [(SIDE, SIDE, 3)] * VIEWS
        assert rotation_errors([frame.camera_to_world for frame in frames], true).max() < 1.0
        assert {path.name for path in out.iterdir()} == {"images", "masks", "sheet.png", "transforms.json"}
        shutil.rmtree(out)

    def check(done: bool) -> None:
        left = [path for path in tmp_path.iterdir() if path not in (ball, out)]
        assert not (done and left), "what is kept for the next call is removed at the end"
        assert out.exists() or not done
        assert len([path for path in left if ".tmp-" in path.name]) <= 1, "each start removes what the one before left"
        assert all(path.name.startswith(".out.") and path.stat().st_mode & 0o077 == 0 for path in left)
        if out.exists():
            check_capture()

    seconds = run(work)
    check(True)
    kill_at_random(work, check, seconds, seed=9)
    run(work)
    check(True)


def test_benchmark(head: Path, tmp_path: Path) -> None:
    protect(head, tmp_path / "protected", OperatorConfig())
    run(partial(kill_jobs.stop_early, tmp_path / "protected", tmp_path / "runs"))
    out, log = tmp_path / "out", tmp_path / "log"

    def finished() -> set[str]:
        found = set()
        for result in out.rglob("result.json"):
            for measured in json.loads(result.read_text())["measurements"]:
                assert len(load_mesh(out / measured["mesh"]).faces) > 10
            found.add(str(result.parent / "training"))
            assert not (result.parent / "training" / "run").exists()
        return found

    work = partial(kill_jobs.benchmark, head, out, tmp_path / "runs" / "x" / "privhead" / "x", log)
    kill_and_go_on(work, out, log, finished, seed=6)
    assert not list(out.rglob("*.ckpt"))


def test_sweep(head: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"

    def finished() -> set[str]:
        return {json.loads(path.read_text())["setting"] for path in out.glob("sobel*.json")}

    kill_and_go_on(partial(kill_jobs.sweep, head, out, log), out, log, finished, seed=7)
    assert len(json.loads((out / "sweep.json").read_text())["settings"]) == 3
    assert {path.suffix for path in out.iterdir()} == {".json", ".png"}


def test_batch(tmp_path: Path) -> None:
    raw, out, log = write_raw_capture(tmp_path / "raw"), tmp_path / "out", tmp_path / "log"
    data = [tmp_path / name for name in ("a", "b", "c")]
    for folder in data:
        protect(raw, folder, OperatorConfig())

    def finished() -> set[str]:
        found = set()
        for record in out.glob("*/head.json"):
            content = json.loads(record.read_text())
            assert len(load_mesh(out / content["mesh"]).vertices) == 2562
            Image.open(record.with_name("head.png")).load()
            assert not (record.parent / "run").exists()
            found.add(content["head"])
        return found

    kill_and_go_on(partial(kill_jobs.batch, data, out, log), out, log, finished, seed=8)
    assert len(list(csv.reader((out / "batch.csv").open()))) == 4
    assert {path.name for path in out.iterdir()} == {
        "a",
        "b",
        "c",
        "batch.json",
        "batch.csv",
        "settings.json",
        "sheet.png",
    }


@pytest.mark.parametrize("note", [".settings-999999999.json", ".sweep_of-999999999.json"])
def test_a_command_that_was_killed_before_its_first_note_begins_again(tmp_path: Path, head: Path, note: str) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    out.mkdir()
    (out / note).write_text('{"se')
    if "sweep" in note:
        run(partial(kill_jobs.sweep, head, out, log))
    else:
        protect(write_raw_capture(tmp_path / "raw"), tmp_path / "protected", OperatorConfig())
        run(partial(kill_jobs.batch, [tmp_path / "protected"], out, log))
    assert not hidden(out) and trained(log)
