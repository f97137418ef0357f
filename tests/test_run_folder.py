"""What a run's folder holds and tells: no names of its machine, no painted face; and that it works after a move."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import forked
import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup
from raw_folder import write_raw_capture
from small_runs import STEPS, small_config, start

from privhead_ns.capture.protect import protect
from privhead_ns.checkpoint import checkpoints, read_checkpoint
from privhead_ns.cli import app
from privhead_ns.errors import UserError
from privhead_ns.forget import forget
from privhead_ns.mesh.export import export_mesh, load_model, newest
from privhead_ns.operators import OperatorConfig
from privhead_ns.pipeline import EXTRA_STATE
from privhead_ns.run_folder import portable, resolved
from privhead_ns.training_run import TrainingRun

USER, HOST = "plantedname", "plantedhost"
STOPPED = 5
"""Steps of the run that is stopped early; every second one is kept."""


@dataclass
class Machine:
    """A home folder with a capture without masks, and a run of it outside, on a host with a name."""

    folder: Path
    environment: dict[str, str]
    output: str = ""

    @property
    def capture(self) -> Path:
        return self.folder / USER / "captures" / "protected"

    @property
    def config(self) -> Path:
        return self.folder / "scratch" / "x" / "privhead" / "run" / "config.yml"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A run that was stopped early, in phase 2, with all its checkpoints."""
    folder = tmp_path_factory.mktemp("machine")
    environment = {"HOME": str(folder / USER), "USER": USER, "LOGNAME": USER}
    machine = Machine(folder, environment)
    machine.capture.parent.mkdir(parents=True)
    protect(write_raw_capture(folder / "raw", masks=False), machine.capture, OperatorConfig())
    result = train(machine, "--max-num-iterations", STOPPED, "--steps-per-save", 2)
    assert result.returncode == 0, result.stdout + result.stderr
    machine.output = " ".join(result.stdout.split())
    return machine


def train(machine: Machine, *flags: object) -> subprocess.CompletedProcess[str]:
    """Runs ns-train on the machine."""
    arguments = ["privhead", "--data", machine.capture, "--output-dir", machine.config.parents[3]]
    arguments += ["--experiment-name", "x", "--timestamp", "run", "--vis", "tensorboard"]
    arguments += ["--pipeline.phases.phase1-steps", 2, "--pipeline.phases.phase2-steps", STEPS - 2]
    arguments += ["--save-only-latest-checkpoint", "False", *flags]
    return forked.run(["ns-train", *arguments], env=os.environ | machine.environment, before=rename_host)


def rename_host() -> None:
    """Gives the machine of this process another name."""
    socket.gethostname = lambda: HOST


@pytest.fixture
def at_home(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this process run as the machine's user."""
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.setenv(name, machine.environment[name])


def test_no_file_of_a_run_names_user_host_or_absolute_paths(machine: Machine) -> None:
    run = machine.config.parent
    files = [path for path in run.rglob("*") if path.is_file()]
    assert {".yml", ".json", ".ckpt", ".0"} <= {path.suffix for path in files}
    tree = [USER, HOST, str(machine.folder), machine.folder.parent.name, os.sep + machine.folder.parts[1]]
    for path in files:
        content = path.read_bytes()
        for name in tree:
            assert name not in str(path.relative_to(run)), f"{name} in the name of {path}"
            assert name.encode() not in content, f"{name} in {path}"


def test_a_moved_run_uses_the_capture_that_was_moved_along(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_home: None
) -> None:
    monkeypatch.chdir(tmp_path)
    config, pipeline, path, _ = eval_setup(Path(os.path.relpath(machine.config)), test_mode="inference")
    assert path.parent == machine.config.parent / "nerfstudio_models"
    assert config.data == machine.capture
    shutil.copytree(machine.folder, tmp_path / "disk")
    moved = tmp_path / "disk" / machine.config.relative_to(machine.folder)
    config, pipeline, path, _ = eval_setup(moved, test_mode="inference")
    assert path.parent == moved.parent / "nerfstudio_models"
    assert pipeline.datamanager.train_dataset is not None
    assert all(name.is_relative_to(tmp_path) for name in pipeline.datamanager.train_dataset.image_filenames)


def test_a_copied_run_is_exported_without_its_capture(machine: Machine, tmp_path: Path) -> None:
    shutil.copytree(machine.config.parent, tmp_path / "copy")
    config = tmp_path / "copy" / "config.yml"
    for path in list(checkpoints(machine.config.parent).values())[:-1]:
        (tmp_path / "copy" / "nerfstudio_models" / path.name).unlink()
    assert len(export_mesh(config, tmp_path / "head.ply", 24, millimetres=False).faces) > 100
    with pytest.raises(UserError, match=r"no checkpoint of step 2: choose one of 4"):
        load_model(config, 2)  # though the original has it
    with pytest.raises(UserError, match=r"There is no protected capture at .* put it or a link to it there"):
        eval_setup(config, test_mode="inference")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: os.truncate(path, path.stat().st_size // 2), "cannot be read"),
    "empty": (lambda path: os.truncate(path, 0), "cannot be read"),
    "another file": (lambda path: torch.save({}, path), "is no checkpoint of ns-train"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_nerfstudio_names_a_broken_checkpoint_before_it_builds_anything(
    machine: Machine, tmp_path: Path, at_home: None, kind: str
) -> None:
    change, words = BROKEN[kind]
    run = shutil.copytree(machine.config.parent, tmp_path / "run")  # without its capture
    change(checkpoints(run)[4])
    with pytest.raises(UserError, match=rf"step-000000004\.ckpt {words}.*; remove it, or copy it again\.$"):
        eval_setup(run / "config.yml", test_mode="inference")


@pytest.mark.parametrize(
    ("command", "flags"), [("ns-viewer", []), ("ns-eval", []), ("ns-export", ["tsdf", "--output-dir", "x"])]
)
def test_nerfstudios_commands_tell_a_broken_checkpoint_in_a_sentence(
    machine: Machine, tmp_path: Path, command: str, flags: list[str]
) -> None:
    run = shutil.copytree(machine.config.parent, tmp_path / "run")
    os.truncate(checkpoints(run)[4], 1000)
    environment = os.environ | machine.environment
    result = forked.run([command, *flags, "--load-config", run / "config.yml"], env=environment, before=rename_host)
    assert result.returncode == 1
    assert result.stdout.endswith("step-000000004.ckpt cannot be read (RuntimeError); remove it, or copy it again.\n")
    assert "Traceback" not in result.stdout
    shutil.rmtree(run / "nerfstudio_models")
    if command == "ns-eval":
        result = forked.run([command, "--load-config", run / "config.yml"], env=environment, before=rename_host)
        assert result.returncode == 1 and "There is no checkpoint in" in result.stdout


def test_of_several_runs_the_newest_is_exported(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    older = tmp_path / "config.yml"
    older.touch()
    os.utime(older, (0, 0))
    runs = [str(machine.config), str(older)]
    app.cli(args=["export", "--load-config", *runs, "--output-path", str(tmp_path / "a.ply"), "--resolution", "16"])
    output = capsys.readouterr().out
    assert f"newest: {machine.config}" in output and "vertices" in output
    with pytest.raises(UserError, match="There is no file"):
        newest([machine.config, tmp_path / "missing.yml"])


def test_an_earlier_checkpoint_with_painted_colours_is_named(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture, at_home: None
) -> None:
    shutil.copytree(machine.folder, tmp_path / "disk")
    config = tmp_path / "disk" / machine.config.relative_to(machine.folder)
    *others, latest = sorted((config.parent / "nerfstudio_models").iterdir())
    for other in others:
        other.unlink()
    mesh = ["--output-path", str(tmp_path / "a.ply"), "--resolution", "16"]
    app.cli(args=["export", "--load-config", str(config), *mesh])
    assert "holds colours" not in capsys.readouterr().out
    shutil.copy(latest, earlier := latest.with_name("step-000000000.ckpt"))
    app.cli(args=["export", "--load-config", str(config), *mesh])
    assert f"{earlier} holds colours" in capsys.readouterr().out


def painted(path: Path) -> bool:
    return read_checkpoint(path)["pipeline"][EXTRA_STATE]["painted"]


def test_painted_checkpoints_say_so_and_forget(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture, at_home: None
) -> None:
    assert "holds the colours that training painted on what is sensitive" in machine.output
    assert "privhead forget" in machine.output
    shutil.copytree(machine.folder, tmp_path / "disk")
    config = tmp_path / "disk" / machine.config.relative_to(machine.folder)
    assert {step: painted(path) for step, path in checkpoints(config.parent).items()} == {2: True, 4: True}
    eval_setup(config, test_mode="inference")
    assert "privhead forget" in capsys.readouterr().out
    before = load_model(config)
    assert "privhead forget" in capsys.readouterr().out

    (config.parent / ".step-000000004.ckpt.part").touch()  # of a run that was killed
    assert "forgot the painted colours of step 2. Step 4 still has them" in " ".join(forget(config, 2).split())
    assert not list(config.parent.glob(".*"))
    assert not painted(checkpoints(config.parent)[2])
    capsys.readouterr()
    app.cli(args=["forget", "--load-config", str(config)])
    assert capsys.readouterr().out.strip().endswith("forgot the painted colours of step 4.")
    assert forget(config).endswith("nothing to forget.")
    content = read_checkpoint(checkpoints(config.parent)[4])
    assert not any(optimizer["state"] for optimizer in content["optimizers"].values())
    capsys.readouterr()
    after = load_model(config)
    assert "privhead forget" not in capsys.readouterr().out
    changed = [bool((a != b).any()) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert any(changed)
    for grid, same in zip(before.field.sdf_grids.parameters(), after.field.sdf_grids.parameters(), strict=True):
        assert torch.equal(grid, same), "the shape stays"
    assert after.background is not None and not any(table.any() for table in after.background.features.tables)


def test_a_checkpoint_of_an_older_version_is_refused(machine: Machine, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(machine.config.parent, run)
    path = checkpoints(run)[4]
    content = read_checkpoint(path)
    del content["pipeline"][EXTRA_STATE]["capture"]["pixel_size"]
    torch.save(content, path)
    with pytest.raises(UserError, match="older version of privhead-ns: train again"):
        load_model(run / "config.yml", 4)


def test_forgotten_runs_can_be_trained_on_and_are_painted_again(machine: Machine, tmp_path: Path) -> None:
    config = small_config(machine.capture, tmp_path)
    config.load_dir, config.load_step, config.keep_painted_colors = machine.config.parent, 2, True
    trainer = start(config)
    assert trainer.step == 3
    model = trainer.pipeline.model
    assert trainer.pipeline.forget_painted_colors() and not model.painted  # type: ignore[attr-defined]
    trainer.train()
    assert model.painted
    assert {step: painted(path) for step, path in checkpoints(trainer.base_dir).items()} == {STEPS - 1: True}
    assert str(tmp_path) not in (trainer.base_dir / "config.yml").read_text()


def test_another_capture_is_not_resumed_on(machine: Machine, tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw", masks=False, mm_per_unit=2.0)
    protect(raw, tmp_path / "protected", OperatorConfig(), neutral=("*view_2.png",))
    config = small_config(tmp_path / "protected", tmp_path / "outputs")
    config.load_dir = machine.config.parent
    with pytest.raises(UserError, match="trained on another capture, of 6 views, 4 of them protected"):
        start(config)


def test_the_demo_keeps_only_the_checkpoint_that_has_forgotten(machine: Machine, tmp_path: Path) -> None:
    shutil.copytree(machine.config.parent, tmp_path / "copy")
    run = TrainingRun(tmp_path / "copy" / "config.yml")
    assert run.checkpoints == [2, 4]
    run.keep_last_checkpoint()
    assert run.checkpoints == [4]


def test_full_rgb_is_not_said_to_have_nothing_to_forget(machine: Machine, tmp_path: Path) -> None:
    config = small_config(machine.capture, tmp_path, "privhead-rgb")
    config.pipeline.datamanager.dataparser.photographs = machine.folder / "raw"  # type: ignore[attr-defined]
    trainer = start(config)
    trainer.save_checkpoint(0)
    stored = (trainer.base_dir / "config.yml").read_text()
    assert str(machine.folder) not in stored and machine.folder.name in stored, "the photographs' path is relative"
    with pytest.raises(UserError, match="photographs"):
        forget(trainer.base_dir / "config.yml")


def test_paths_survive_names_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    monkeypatch.setenv("HOME", "/homes/ann.b")
    run, capture = Path("/runs/planned/x"), Path("/data/ann/planned/ann-2 of ann.b")
    stored = portable(capture, run)
    assert stored == Path("../../../data/{user}/planned/{user}-2 of {home}")
    assert resolved(stored, run) == capture
    monkeypatch.setenv("LOGNAME", "bob")
    monkeypatch.setenv("HOME", "/homes/bob")
    assert resolved(stored, run) == Path("/data/bob/planned/bob-2 of bob")
