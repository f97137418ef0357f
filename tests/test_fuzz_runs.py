"""Runs whose config.yml and checkpoints are broken at random are exported and forgotten rightly, or refused."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from fuzz import one_sentence, within_seconds
from fuzz_json import WEIRD, nodes
from hypothesis import given
from hypothesis import strategies as st
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.utils import writer
from raw_folder import write_raw_capture

from privhead_ns.capture.protect import protect
from privhead_ns.checkpoint import is_painted
from privhead_ns.errors import UserError
from privhead_ns.forget import forget
from privhead_ns.mesh.export import export_mesh
from privhead_ns.operators import OperatorConfig
from privhead_ns.trainer import PrivheadTrainerConfig

CHECKPOINT = "nerfstudio_models/step-000000000.ckpt"
SCALARS: list[str] = [
    *("null", "true", "0", "-1", "1", "3", "1000000000", "1e-320", ".nan", ".inf", "-.inf", "9" * 400, "''", "text"),
    *("[]", "{}", "[1, 2]", "!!python/tuple [1]", "!!python/name:os.system ''", "!!python/object:a.B {}", "&a [*a]"),
    *("!!python/object/apply:pathlib.PosixPath [a]", "*id001", "2001-01-01", "!!binary aGk=", "volsdf", '"\\0"'),
]
"""What may stand in YAML where something else belongs."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a capture and two runs on it of other settings, of one checkpoint each, which is painted."""
    folder = tmp_path_factory.mktemp("runs")
    protect(write_raw_capture(folder / "raw", masks=False), folder / "protected", OperatorConfig())
    for name, units in (("run", 8), ("other", 4)):
        config = deepcopy(all_methods["privhead"])
        assert isinstance(config, PrivheadTrainerConfig)
        config.pipeline.datamanager.data = folder / "protected"
        config.output_dir, config.vis, config.machine.device_type = folder / name, "tensorboard", "cpu"
        model: Any = config.pipeline.model
        model.max_voxels, model.hidden_units = 40_000, units
        config.timestamp = config.experiment_name = "run"
        config.save_config()
        writer.EVENT_STORAGE.clear()
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
        trainer.pipeline.train()
        trainer.train_iteration(0)
        trainer.pipeline.model.painted = True
        trainer.save_checkpoint(0)
        shutil.move(trainer.base_dir, folder / "moved")
        shutil.rmtree(folder / name)
        shutil.move(folder / "moved", folder / name)
        path = folder / name / "config.yml"
        path.write_text(re.sub(r"(- \.\.\n( *)){4}- protected", r"- ..\n\2- protected", path.read_text()))
    return folder


def change_scalar(run: Path, random: Random) -> None:
    """Replaces a value of config.yml."""
    path = run / "config.yml"
    lines = path.read_text("utf8").split("\n")
    index = random.choice([index for index, line in enumerate(lines) if ": " in line] or [0])
    lines[index] = re.sub(r": .*", lambda _: f": {random.choice(SCALARS)}", lines[index], count=1)
    path.write_text("\n".join(lines), "utf8")


def change_lines(run: Path, random: Random) -> None:
    """Removes, repeats, exchanges or indents lines of config.yml, or cuts it."""
    path = run / "config.yml"
    lines = path.read_text("utf8").split("\n")
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.choice(["remove", "repeat", "exchange", "indent", "cut", "block"])
    if kind == "remove":
        del lines[one]
    elif kind == "repeat":
        lines.insert(other, lines[one])
    elif kind == "exchange":
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == "indent":
        lines[one] = "  " + lines[one]
    elif kind == "cut":
        lines = lines[:one]
    else:
        del lines[min(one, other) : max(one, other)]
    path.write_text("\n".join(lines), "utf8")


def change_state(run: Path, random: Random) -> None:
    """Replaces or removes a value of the checkpoint, or changes a tensor."""
    path = run / CHECKPOINT
    try:
        content = torch.load(path, weights_only=True)
        holder, key = random.choice(list(nodes(content)))
    except Exception:  # broken before
        return
    value = holder[key]
    kind = random.choice(["weird", "remove", "tensor", "tensor"])
    if kind == "remove":
        del holder[key]
    elif isinstance(value, torch.Tensor) and kind == "tensor":
        noise = torch.full_like(value, random.choice([0, 1, -1])) if not value.is_floating_point() else value
        holder[key] = random.choice([
            noise * float(random.choice(["nan", "inf", "0", "1e30", "-1"])), value[:1], value.flatten(), value.double(),
            value.bool(), value[None], torch.zeros(0), value.to_sparse() if value.dim() else value, value.half(),
        ])  # fmt: skip
    else:
        holder[key] = random.choice([*WEIRD, torch.zeros(3)])
    torch.save(content, path)


def change_checkpoint_bytes(run: Path, random: Random) -> None:
    """Cuts the checkpoint, or changes bytes of it."""
    path = run / CHECKPOINT
    data = bytearray(path.read_bytes())
    if random.random() < 0.3:
        data = data[: random.randrange(len(data) + 1)]
    else:
        for _ in range(random.choice([1, 20, 200])):
            if data:
                data[random.randrange(len(data))] = random.randrange(256)
    path.write_bytes(data)


def change_run(run: Path, random: Random) -> None:
    """Takes config.yml or checkpoint of another run, or removes one."""
    name = random.choice(["config.yml", CHECKPOINT])
    if random.random() < 0.7:
        shutil.copy(run.parent / "other" / name, run / name)
    else:
        (run / name).write_bytes(random.choice([b"", b"\xff\xfe", b"PK\x03\x04"]))


RUN_CHANGES: dict[str, Callable[[Path, Random], None]] = {
    "scalar": change_scalar,
    "scalar again": change_scalar,
    "lines": change_lines,
    "state": change_state,
    "state again": change_state,
    "checkpoint bytes": change_checkpoint_bytes,
    "run": change_run,
}


def spoil_run(source: Path, folder: Path, names: list[str], random: Random) -> None:
    """Copies both runs into `folder`, links the capture, and breaks one run."""
    for name in ("run", "other"):
        shutil.copytree(source / name, folder / name)
    (folder / "protected").symlink_to(source / "protected")
    for name in names:
        try:
            RUN_CHANGES[name](folder / "run", random)
        except (UnicodeDecodeError, IndexError):  # broken before
            continue


def check_run(source: Path, folder: Path, names: list[str], random: Random) -> str:
    """Exports a spoilt copy of a run in `folder` and checks the mesh; returns the sentence, if any."""
    spoil_run(source, folder, names, random)
    target = folder / "head.ply"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    try:
        with within_seconds(60):
            mesh = export_mesh(folder / "run" / "config.yml", target, 16, millimetres=False)
    except UserError as error:
        one_sentence(error)
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        return str(error)
    assert len(mesh.faces) and np.isfinite(mesh.vertices).all()
    assert set(folder.iterdir()) == {folder / "run", folder / "other", folder / "protected", target}
    return ""


def check_forgetting(source: Path, folder: Path, names: list[str], random: Random) -> str:
    """Forgets in a spoilt copy of a run in `folder` and checks its checkpoint; returns the sentence, if any."""
    spoil_run(source, folder, names, random)
    before = contents(folder)
    try:
        with within_seconds(60):
            told = forget(folder / "run" / "config.yml")
    except UserError as error:
        one_sentence(error)
        assert contents(folder) == before, "the original is kept"
        return str(error)
    assert not is_painted(folder / "run" / CHECKPOINT)
    changed = {path for path, content in contents(folder).items() if before.get(path) != content}
    assert changed == (set() if "nothing to forget" in told else {folder / "run" / CHECKPOINT})
    return ""


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_run_is_sound(runs: Path, tmp_path: Path) -> None:
    for name, check in (("export", check_run), ("forget", check_forgetting)):
        (tmp_path / name).mkdir()
        assert check(runs, tmp_path / name, [], Random(0)) == ""
    assert is_painted(runs / "run" / CHECKPOINT) and not is_painted(tmp_path / "forget" / "run" / CHECKPOINT)


def test_a_box_that_is_turned_inside_out(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "run", tmp_path / "run")
    content = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    [name] = [name for name in content["pipeline"] if name.endswith("field.aabb")]
    content["pipeline"][name] *= -1
    torch.save(content, tmp_path / "run" / CHECKPOINT)
    with pytest.raises(UserError, match=r"ckpt does not fit .*config\.yml"):
        export_mesh(tmp_path / "run" / "config.yml", tmp_path / "head.ply", 16, millimetres=False)


@pytest.mark.parametrize("check", [check_run, check_forgetting])
@given(
    names=st.lists(st.sampled_from(sorted(RUN_CHANGES)), min_size=1, max_size=3),
    random=st.randoms(use_true_random=False),
)
def test_spoilt_runs(
    check: Callable[[Path, Path, list[str], Random], str],
    runs: Path,
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    random: Random,
) -> None:
    folder = tmp_path_factory.mktemp("spoilt")
    try:
        check(runs, folder, names, random)
    finally:
        shutil.rmtree(folder)
