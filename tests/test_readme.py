"""The commands of the README files: parsers understand all, and those of the main one run as they stand."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import shlex
import shutil
from collections.abc import Callable
from copy import deepcopy
from glob import glob
from pathlib import Path

import forked
import pytest
import tyro

from privhead_ns.cli import COMMANDS, app
from privhead_ns.trainer import PrivheadTrainerConfig

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", *sorted(ROOT.glob("privhead_ns/*/README.md"))]
METHODS = importlib.metadata.entry_points(group="nerfstudio.method_configs")
OTHERS = {"--force-reinstall", "--no-deps", "--hypothesis-profile", "--num-pixels-per-side", "--target-num-faces"}
"""Flags in the text of READMEs that are not of our commands: of pip, pytest and ns-export."""


def commands_of(text: str) -> list[list[str]]:
    """Returns the words of every command in the fenced bash blocks of a text."""
    found = []
    for block in re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            words: list[str] = []
            for word in [*shlex.split(line, comments=True), "&&"]:
                if word != "&&":
                    words.append(word)
                elif words:
                    found.append(words)
                    words = []
    return found


COMMAND_LINES = [(path.relative_to(ROOT), words) for path in READMES for words in commands_of(path.read_text())]


def parse_privhead(arguments: list[str]) -> None:
    """Parses a command line of `privhead` without running it."""
    app = tyro.extras.SubcommandApp()
    for command in COMMANDS:
        app.command(not_run(command))
    app.cli(args=arguments, prog="privhead")


def not_run(command: Callable[..., object]) -> Callable[..., object]:
    """Returns a function with the flags of a command that does nothing."""

    @functools.wraps(command)
    def nothing(*_: object, **__: object) -> None:
        pass

    return nothing


def parse_ns_train(arguments: list[str]) -> None:
    """Parses a command line of `ns-train` as Nerfstudio does."""
    method, *flags = arguments
    default = deepcopy(METHODS[method].load().config)
    tyro.cli(tyro.conf.FlagConversionOff[PrivheadTrainerConfig], default=default, args=flags)  # type: ignore[arg-type]


def parse_pip(arguments: list[str]) -> None:
    """Checks that extras that are to be installed exist."""
    table = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]\n")[2].partition("\n\n")[0]
    extras = re.findall(r"^(\w+) = \[", table, flags=re.MULTILINE)
    for name in re.findall(r"\.\[(\w+)\]", " ".join(arguments)):
        assert name in extras


def parse_pytest(arguments: list[str]) -> None:
    """Checks that tests that are to be run exist."""
    for path in arguments:
        assert not path.startswith("tests/") or list(ROOT.glob(path))


PARSERS = {"privhead": parse_privhead, "ns-train": parse_ns_train, "pip": parse_pip, "pytest": parse_pytest}


@pytest.mark.parametrize("line", COMMAND_LINES, ids=lambda line: f"{line[0]}: {' '.join(line[1])[:60]}")
def test_every_command_is_understood(line: tuple[Path, list[str]]) -> None:
    name, *arguments = line[1]
    PARSERS[name](arguments)


@pytest.mark.parametrize(
    "words", ["privhead protect --data raw --output-dir out --no-such-flag 1", "ns-train no-method"]
)
def test_a_command_that_does_not_exist_is_found(words: str) -> None:
    name, *arguments = words.split()
    with pytest.raises((SystemExit, KeyError)):
        PARSERS[name](arguments)


def flags_of_commands(capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Returns all flags of `privhead` and `ns-train privhead`."""
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            tyro.cli(command, args=["--help"])
    with pytest.raises(SystemExit):
        parse_ns_train(["privhead", "--help"])
    return set(re.findall(r"--[a-z0-9][a-z0-9.-]*", capsys.readouterr().out))


def test_every_flag_in_the_text_exists(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # so that help wraps no flag
    known = flags_of_commands(capsys) | OTHERS
    for path in READMES:
        prose = re.sub(r"^```bash\n.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        named = {flag for code in re.findall(r"`([^`]+)`", prose) for flag in re.findall(r"--[a-z][a-z0-9.-]*", code)}
        assert named - known == set(), path


SMALLER = {
    "ns-train": ["--max-num-iterations", "2", "--vis", "tensorboard"],
    "export": ["--resolution", "48"],
}
"""Flags that make the commands of the main README quick."""


def test_the_commands_of_the_main_readme_run_as_they_stand(
    demo_capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("privhead_ns.mesh.pictures.VIEW_SIZE", 96)
    shutil.copytree(demo_capture, tmp_path / "raw")  # what the first command, `privhead prepare`, is to make
    block = (ROOT / "README.md").read_text().partition("## Your own photographs")[2].partition("| command")[0]
    chain = [words for words in commands_of(block) if words[0] in ("privhead", "ns-train") and words[1] != "prepare"]
    assert [words[1] for words in chain] == ["protect", "privhead", "export", "evaluate"]
    for words in chain:
        name = words[0] if words[0] == "ns-train" else words[1]
        words = [path for word in words for path in (sorted(glob(word)) if "*" in word else [word])]
        words += SMALLER.get(name, [])
        if name == "ns-train":
            result = forked.run(words)
            assert result.returncode == 0, result.stdout
        else:
            app.cli(args=words[1:], prog="privhead")
    assert (tmp_path / "head.ply").is_file() and (tmp_path / "error.png").is_file()
