"""Trainings, exports and forgetting that are killed: what goes on afterwards ends as if nothing had happened."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import kill_jobs
import numpy as np
import pytest
import torch
from kill_jobs import STEPS, kill_at_random, run
from raw_folder import write_raw_capture

from privhead_ns.capture.protect import protect
from privhead_ns.checkpoint import checkpoints, is_painted, read_checkpoint, write_checkpoint
from privhead_ns.errors import UserError
from privhead_ns.forget import forget
from privhead_ns.mesh.export import load_model, surface, warn_of_earlier
from privhead_ns.mesh.files import load_mesh
from privhead_ns.operators import OperatorConfig
from privhead_ns.parent import PARENT
from privhead_ns.temporary_names import runs, this_machine

RUN = Path("x") / "privhead" / "x"
LAST = f"step-{STEPS - 1:09d}.ckpt"


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    protect(write_raw_capture(folder / "raw"), folder / "protected", OperatorConfig())
    return folder / "protected"


@pytest.fixture(scope="module")
def stopped(capture: Path) -> Path:
    """A run that was stopped in phase 2, with all its checkpoints."""
    run(partial(kill_jobs.stop_early, capture, capture.parent / "stopped"))
    return capture.parent / "stopped" / RUN


def hidden(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob(".*")}


def same_state(one: Path, other: Path) -> bool:
    """Says whether two checkpoints hold the same, bit for bit."""
    states = [read_checkpoint(path)["pipeline"] for path in (one, other)]
    assert states[0].keys() == states[1].keys()
    tensors = [name for name, value in states[0].items() if isinstance(value, torch.Tensor)]
    return len(tensors) > 10 and all(torch.equal(states[0][name], states[1][name]) for name in tensors)


def test_a_training_that_is_killed_and_resumed_ends_as_an_unbroken_one(capture: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    seconds = run(partial(kill_jobs.train, capture, whole))
    mesh = surface(load_model(whole / RUN / "config.yml"), 32)

    def same_as_unbroken() -> None:
        assert [path.name for path in (broken / RUN / "nerfstudio_models").iterdir()] == [LAST]
        assert same_state(whole / RUN / "nerfstudio_models" / LAST, broken / RUN / "nerfstudio_models" / LAST)
        assert np.array_equal(surface(load_model(broken / RUN / "config.yml"), 32).vertices, mesh.vertices)
        assert not hidden(broken) and not is_painted(broken / RUN / "nerfstudio_models" / LAST)

    def check(done: bool) -> None:
        for step, path in checkpoints(broken / RUN).items():
            assert read_checkpoint(path)["step"] == step
        unfinished = [path for path in (broken / RUN).glob(".*") if path.suffix == ".part"]
        assert len(unfinished) <= 1, "each start removes what the one before left"
        if done:
            same_as_unbroken()
            shutil.rmtree(broken)

    kill_at_random(partial(kill_jobs.train, capture, broken), check, seconds, seed=2)
    run(partial(kill_jobs.train, capture, broken))
    same_as_unbroken()
    (broken / RUN / "nerfstudio_models" / "step-000000010.ckpt").touch()  # killed before it removed this one
    run(partial(kill_jobs.train, capture, broken))
    same_as_unbroken()


def test_forgetting_that_is_killed_leaves_whole_checkpoints(stopped: Path, capture: Path) -> None:
    copy = shutil.copytree(stopped, capture.parent / "copy" / RUN)
    work = partial(kill_jobs.forget, copy / "config.yml")
    seconds = run(work)
    painted = [step for step, path in checkpoints(stopped).items() if is_painted(path)]
    assert painted == [4, 6, 8, 9]

    def check(done: bool) -> None:
        assert checkpoints(copy).keys() == checkpoints(stopped).keys()
        for step, path in checkpoints(copy).items():
            assert read_checkpoint(path)["step"] == step
            assert not (done and is_painted(path))
        shutil.copytree(stopped, copy, dirs_exist_ok=True)

    kill_at_random(work, check, seconds, seed=3)
    (copy / ".step-000000009-999999999.part").write_bytes(b"half a checkpoint")
    run(work)
    assert not hidden(copy) and not any(map(is_painted, checkpoints(copy).values()))


def test_an_export_that_is_killed_leaves_no_half_mesh(stopped: Path, tmp_path: Path) -> None:
    path = tmp_path / "head.ply"
    work = partial(kill_jobs.export, stopped / "config.yml", path)
    seconds = run(work)
    mesh = load_mesh(path)

    def check(_: bool) -> None:
        assert not path.exists() or np.array_equal(load_mesh(path).vertices, mesh.vertices)
        path.unlink(missing_ok=True)

    kill_at_random(work, check, seconds, seed=4)
    run(work)
    assert [found.name for found in tmp_path.iterdir()] == ["head.ply"]


def test_the_next_command_on_a_run_removes_what_a_killed_one_left(stopped: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(stopped, tmp_path / "run")
    here = f".step-000000009-{this_machine()}-"
    ours = copy / f"{here}{os.getppid()}.part"  # of a process that runs
    for name in (f"{here}999999999.part", ".step-000000009-999999999.part", ".step-000000009.ckpt.part", ours.name):
        (copy / name).write_bytes(b"half a checkpoint")
    load_model(copy / "config.yml")
    assert hidden(copy) == {ours.name}


def test_what_another_machine_writes_on_a_shared_disk_is_left_for_a_day(
    stopped: Path, capture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(stopped, capture.parent / "shared" / RUN)
    written: list[Path] = []

    def killed(content: object, path: Path) -> None:
        path.write_bytes(b"half a checkpoint")
        written.append(path.rename(path.with_name(path.name.replace(str(os.getpid()), "999999999"))))
        raise KeyboardInterrupt

    with monkeypatch.context() as elsewhere, pytest.raises(KeyboardInterrupt):
        elsewhere.setattr(platform, "node", lambda: "secret-host")
        elsewhere.setattr(torch, "save", killed)
        write_checkpoint({}, copy / "nerfstudio_models" / "step-000000009.ckpt")
    (theirs,) = written
    assert "secret" not in theirs.name and hidden(copy) == {theirs.name}
    load_model(copy / "config.yml")
    assert hidden(copy) == {theirs.name}
    warn_of_earlier(copy / "config.yml")
    assert f"{theirs.name}wasbegunbyanothermachine" in "".join(capsys.readouterr().out.split())
    assert f"{theirs} may have them" in forget(copy / "config.yml")

    os.utime(theirs, (time.time() - 2 * 86400,) * 2)
    load_model(copy / "config.yml")
    assert not hidden(copy)


def test_a_run_tells_of_all_its_painted_checkpoints(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_of_earlier(stopped / "config.yml")
    printed = "".join(capsys.readouterr().out.split())
    assert "step-000000006.ckptholdscoloursthattrainingpainted" in printed
    assert "step-000000002.ckptholds" not in printed, "it is of phase 1"


@pytest.mark.parametrize("state", [3, {"cpu": 3}, {"cpu": torch.zeros(3, dtype=torch.uint8)}, None])
def test_a_checkpoint_to_resume_from_without_a_sound_random_state(
    state: object, stopped: Path, capture: Path, tmp_path: Path
) -> None:
    content = read_checkpoint(checkpoints(stopped)[2])
    broken = content | {"random": state} if state else {key: content[key] for key in content if key != "random"}
    write_checkpoint(broken, tmp_path / "nerfstudio_models" / "step-000000002.ckpt")
    config = kill_jobs.training_config(capture, tmp_path / "outputs")
    config.load_dir = tmp_path
    config.save_config()
    from nerfstudio.utils import writer  # its modules import each other: not before the configuration has

    writer.EVENT_STORAGE.clear()
    trainer = config.setup(local_rank=0, world_size=1)
    if state is None:  # of an older version
        trainer.setup()
        assert trainer.step == 3
        return
    with pytest.raises(UserError, match=r"step-000000002\.ckpt does not fit .*config\.yml"):
        trainer.setup()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a process that its parent has ended")
def test_no_training_outlives_a_command_that_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "note"
    child = (
        "import os, pathlib, sys, time; from privhead_ns.parent import end_with_starter; end_with_starter(); "
        f"pathlib.Path({str(note)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    parent = (
        "import os, subprocess, sys; "
        f"subprocess.run([sys.executable, '-c', {child!r}], env=os.environ | {{{PARENT!r}: str(os.getpid())}})"
    )
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        until = time.monotonic() + 30
        while (not note.exists() or not note.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    while runs(int(note.read_text())) and time.monotonic() < until:
        time.sleep(0.02)
    assert time.monotonic() < until
    late = subprocess.run([sys.executable, "-c", child], env=os.environ | {PARENT: "999999999"}, check=False)
    assert late.returncode == 128 + signal.SIGTERM, "its parent had ended before it began"
