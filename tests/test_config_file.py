"""A config.yml is read as data: what could run code is refused, and every config of this package is read."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
import tyro
import yaml
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.writer import EventName

from privhead_ns.checkpoint import read_checkpoint
from privhead_ns.cli import app
from privhead_ns.config_file import read_config_file
from privhead_ns.errors import UserError
from privhead_ns.trainer import PrivheadTrainerConfig

METHODS = ("privhead", "privhead-rgb", "privhead-paper")
FLAGS = [
    ["--keep-painted-colors", "True", "--vis", "viewer+tensorboard", "--pipeline.model.rendering", "volsdf"],
    ["--pipeline.phases.rgb-in-phase2", "0", "--viewer.websocket-port", "7010", "--max-num-iterations", "5"],
    ["--allow-cloud-logging", "True", "--vis", "wandb", "--viewer.make-share-url", "True", "--output-dir", "/a b/c"],
    ["--optimizers.sdf.optimizer.lr", "1e-5", "--optimizers.sdf.optimizer.max-norm", "0.1", "--machine.seed", "1"],
    ["--logging.local-writer.max-log-size", "0", "--data", "ünïcode/protected", "--steps-per-save", "7"],
    ["--pipeline.datamanager.pixel-sampler.patches", "2", "--pipeline.datamanager.eval-image-indices", "1", "2"],
]


@cache
def stored(method: str, flags: tuple[str, ...] = ()) -> str:
    """What ns-train writes for a method with some flags."""
    kind = tyro.conf.FlagConversionOff[PrivheadTrainerConfig]  # as ns-train has it
    config = tyro.cli(kind, default=deepcopy(all_methods[method]), args=list(flags))
    assert isinstance(config, PrivheadTrainerConfig)
    config.set_timestamp()
    config.set_experiment_name()
    return yaml.dump(config.portable())


@pytest.mark.parametrize(
    ("method", "flags"), [*((method, []) for method in METHODS), *(("privhead", f) for f in FLAGS)]
)
def test_every_config_of_ours_reads_as_nerfstudio_reads_it(tmp_path: Path, method: str, flags: list[str]) -> None:
    path = tmp_path / "config.yml"
    path.write_text(stored(method, tuple(flags)), "utf8")
    config = read_config_file(path)
    assert config == yaml.load(path.read_text("utf8"), Loader=yaml.Loader)
    assert isinstance(config, PrivheadTrainerConfig) and config.method_name == method


def test_members_of_enumerations_are_read_as_python_3_11_0_to_3_11_3_write_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EventName, "__reduce_ex__", lambda event, _: (getattr, (EventName, event.name)))
    stored.cache_clear()
    text = stored("privhead")
    stored.cache_clear()
    assert "builtins.getattr" in text
    path = tmp_path / "config.yml"
    path.write_text(text, "utf8")
    assert read_config_file(path) == yaml.load(text, Loader=yaml.Loader)


def test_a_config_of_an_older_version_gets_defaults_for_what_it_lacks(tmp_path: Path) -> None:
    text = stored("privhead")
    older = text.replace("    agreement_rays: 256\n", "").replace("keep_painted_colors: false\n", "gone: 3\n")
    assert older.count("\n") == text.count("\n") - 1
    path = tmp_path / "config.yml"
    path.write_text(older)
    config = read_config_file(path)
    assert config.pipeline.model.agreement_rays == 256 and config.keep_painted_colors is False
    assert not hasattr(config, "gone")


ATTACKS = {
    "call": "!!python/object/apply:os.system ['touch MARKER']",
    "call with keywords": "!!python/object/apply:subprocess.run {args: [[touch, MARKER]]}",
    "new": "!!python/object/new:subprocess.Popen [[touch, MARKER]]",
    "new with state": "!!python/object/new:type {args: [x, !!python/tuple [], {}], state: {a: 1}, listitems: [1]}",
    "module": "!!python/module:antigravity",
    "name": "!!python/name:os.system",
    "name of ours": "!!python/name:privhead_ns.folders.whole_folder",
    "object": "!!python/object:pathlib.PosixPath {}",
    "object of ours that is no setting": "!!python/object:privhead_ns.pipeline.PrivheadPipeline {}",
    "object of a module of ours": "!!python/object:privhead_ns.trainer.yaml {}",
    "object that a module of ours imports": "!!python/object:privhead_ns.trainer.TrainerConfig {}",
    "path of a call": "!!python/object/apply:pathlib.PosixPath [!!python/object/apply:os.system [touch MARKER]]",
    "path with keywords": "!!python/object/apply:pathlib.PosixPath {args: [a], state: {_str: b}}",
    "attribute": "!!python/object/apply:builtins.getattr [!!python/name:os '', system]",
    "attribute of an event": "!!python/object/apply:builtins.getattr "
    "[!!python/name:nerfstudio.utils.writer.EventName '', __class__]",
    "attribute of a string": "!!python/object/apply:builtins.getattr [nerfstudio.utils.writer.EventName, ETA]",
    "event that is none": "!!python/object/apply:nerfstudio.utils.writer.EventName [nothing]",
    "long tag": "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch MARKER']",
    "escaped tag": "!!python/object/apply:os%2Esystem ['touch MARKER']",
    "tag of its own": "!code 'touch MARKER'",
    "bytes": "!!python/bytes 'aGk='",
    "complex": "!!python/complex 1j",
}


def at_the_end(text: str, attack: str) -> str:
    return f"{text}another: {attack}\n"


def as_prompt(text: str, attack: str) -> str:
    return text.replace("\nprompt: null", f"\nprompt: {attack}")


def as_optimizer(text: str, attack: str) -> str:
    return text.replace("  sdf:\n", f"  more: {attack}\n  sdf:\n")


def alone(_: str, attack: str) -> str:
    return f"--- {attack}\n"


def as_key(text: str, attack: str) -> str:
    return f"{text}? {attack}\n: 1\n"


def refused(path: Path, text: str) -> str:
    """Reads a config that must be refused in one sentence, without a module imported for it; returns the sentence."""
    path.write_text(text)
    before = set(sys.modules)
    with pytest.raises(UserError) as error:
        read_config_file(path)
    assert not {name for name in set(sys.modules) - before if not name.startswith("privhead_ns")}
    sentence = str(error.value)
    assert len(sentence.splitlines()) == 1 and len(sentence) < 500 and sentence.startswith(str(path))
    assert list(path.parent.iterdir()) == [path]
    return sentence


@pytest.mark.parametrize("place", [at_the_end, as_prompt, as_optimizer, alone, as_key])
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_names_code_is_refused_and_not_run(
    tmp_path: Path, attack: str, place: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    original = stored("privhead")
    text = place(original, ATTACKS[attack].replace("MARKER", str(tmp_path / "marker")))
    assert text != original
    assert "so it was not loaded" in refused(tmp_path / "config.yml", text)


@pytest.mark.parametrize("attack", ["call", "call with keywords", "path of a call", "long tag"])
def test_the_attacks_work_on_the_loader_that_nerfstudio_uses(tmp_path: Path, attack: str) -> None:
    text = ATTACKS[attack].replace("MARKER", str(tmp_path / "marker"))
    with suppress(TypeError):  # the status is no path
        yaml.load(text, Loader=yaml.Loader)
    assert (tmp_path / "marker").exists()


EVENT_AS_WRITTEN = "CURR_TEST_PSNR" if "getattr" in yaml.dump(EventName.CURR_TEST_PSNR) else "Test PSNR"
"""Python 3.11.0 to 3.11.3 write an event's name, others its value."""
TARGETS = {
    "another target": ("privhead_ns.model.model.PrivheadModel ''", "os.system ''"),
    "another target of ours": ("privhead_ns.model.model.PrivheadModel ''", "privhead_ns.folders.make_private ''"),
    "another collate function": ("nerfstudio.data.utils.nerfstudio_collate.nerfstudio_collate ''", "builtins.eval ''"),
    "another optimizer": ("torch.optim.adam.Adam ''", "shutil.rmtree ''"),
    "a name where there was none": ("mixed_precision: false", "mixed_precision: !!python/name:os.system ''"),
    "a model that is a machine": (
        "object:privhead_ns.model.model.PrivheadModelConfig",
        "object:nerfstudio.configs.base_config.MachineConfig",
    ),
    "a pipeline that is text": (
        "pipeline: !!python/object:privhead_ns.pipeline.PrivheadPipelineConfig",
        "pipeline: a\nb:",
    ),
    "a target that is text": ("_target: !!python/name:privhead_ns.pipeline.PrivheadPipeline ''", "_target: os.system"),
    "a target that is nothing": ("_target: !!python/name:privhead_ns.pipeline.PrivheadPipeline ''", "_target: null"),
    "a number that is text": ("hidden_units: 32", "hidden_units: many"),
    "a path that is a number": ("output_dir: !!python/object/apply:pathlib.PosixPath", "output_dir: 3\nb:"),
    "another event": (f"- {EVENT_AS_WRITTEN}", "- Test"),
}


@pytest.mark.parametrize("change", TARGETS)
def test_no_field_holds_another_kind_of_value(tmp_path: Path, change: str) -> None:
    before, after = TARGETS[change]
    text = stored("privhead")
    assert before in text
    assert "so it was not loaded" in refused(tmp_path / "config.yml", text.replace(before, after))


BROKEN = {
    "nothing": ("", "belongs to another method"),
    "no pipeline": ("!!python/object:privhead_ns.trainer.PrivheadTrainerConfig {}", "belongs to another method"),
    "a list": ("[1, 2]", "belongs to another method"),
    "unfinished": ("{a: [", "cannot be read"),
    "deep": ("[" * 5_000, "cannot be read"),
    "null byte": ("a: \0", "cannot be read"),
    "day": ("a: 2001-13-45", "cannot be read"),
    "digits": ("a: " + "9" * 5000, "cannot be read"),
    "holds itself": ("&a [*a]", "belongs to another method"),
    "merges": ("a: &a {b: 1}\nc: {<<: *a}", "merges mappings"),
    "long": ("a" * 1_000_001, "larger than any"),
    "another method": (yaml.dump(TrainerConfig(method_name="other")), "TrainerConfig, which is no setting"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_config_is_told_by_the_command(tmp_path: Path, kind: str) -> None:
    text, words = BROKEN[kind]
    path = tmp_path / "config.yml"
    path.write_text(text)
    for command in (["export", "--output-path", str(tmp_path / "a.ply")], ["forget"]):
        with pytest.raises(UserError, match=words) as error:
            app.cli(args=[*command, "--load-config", str(path)])
        assert len(str(error.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_ns_train_reads_no_config_that_names_code(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    attack = ATTACKS["call"].replace("MARKER", str(tmp_path / "marker"))
    for text, words in ((attack, r"calls os\.system"), ("[1, 2]", "belongs to another method")):
        path.write_text(text)
        default = deepcopy(all_methods["privhead"])
        with pytest.raises(UserError, match=words):
            tyro.cli(PrivheadTrainerConfig, default=default, args=["--load-config", str(path)])
    assert list(tmp_path.iterdir()) == [path]


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


def test_no_checkpoint_runs_code(tmp_path: Path) -> None:
    path, marker = tmp_path / "step-000000001.ckpt", tmp_path / "marker"
    for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        write({"step": 1, "pipeline": {}, "more": Payload(marker)}, path)
        with pytest.raises(UserError, match=r"ckpt cannot be read"):
            read_checkpoint(path)
        config = deepcopy(all_methods["privhead"])
        config.load_checkpoint = path
        with pytest.raises(UserError, match=r"ckpt cannot be read"):
            config.save_config()
        assert not marker.exists()
    torch.save({"step": 1, "state_dict": {}}, path)
    with pytest.raises(UserError, match="no checkpoint of ns-train"):
        read_checkpoint(path)
    torch.load(path, weights_only=False)
