"""The command `privhead` as a whole: signals, refusals of the system, version and folders."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import forked
import pytest
from raw_folder import write_raw_capture

import privhead_ns.capture.protect as module
from privhead_ns.cli import entrypoint
from privhead_ns.errors import UserError


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., object]]:
    """Runs `privhead` in this process; gives what it exits with."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
    umask = os.umask(0o022)

    def command(*arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", ["privhead", *map(str, arguments)])
        try:
            entrypoint()
        except SystemExit as end:
            return end.code
        return 0

    yield command
    os.umask(umask)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def on_the_way(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Lets something happen when the first magnitude is to be computed."""
    monkeypatch.setattr(module, "magnitude_image", lambda *_: action())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_signals_leave_nothing_and_no_traceback(
    run: Callable[..., object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    number: signal.Signals,
    status: int,
) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    on_the_way(monkeypatch, lambda: signal.raise_signal(number))
    assert run("protect", "--data", raw, "--output-dir", tmp_path / "out") == status
    assert list(tmp_path.iterdir()) == [raw]
    assert "Traceback" not in capfd.readouterr().err


def be_killed_on_the_way() -> None:
    module.magnitude_image = lambda *_: signal.raise_signal(signal.SIGKILL)


def test_the_start_after_a_kill_removes_what_is_left(tmp_path: Path) -> None:
    raw, out = write_raw_capture(tmp_path / "raw"), tmp_path / "out"
    ended = forked.run(["privhead", "protect", "--data", raw, "--output-dir", out], before=be_killed_on_the_way)
    assert ended.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    module.protect(raw, out, module.OperatorConfig())
    assert sorted(tmp_path.iterdir()) == [out, raw]


def write_little() -> None:
    """Limits the size of files, which stands for a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    raw, out = write_raw_capture(tmp_path / "raw"), tmp_path / "out"
    ended = forked.run(["privhead", "protect", "--data", raw, "--output-dir", out], before=write_little)
    assert ended.returncode == 1
    *progress, sentence = ended.stdout.strip().splitlines()
    assert sentence == f"{out}: File too large; free space or choose a path that can be read and written."
    assert "Traceback" not in ended.stdout and all("%" in line for line in progress)
    assert list(tmp_path.iterdir()) == [raw]


def test_refusals_of_the_system_name_the_path(
    run: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_raw_capture(tmp_path / "raw")

    def refuse() -> None:
        raise PermissionError(13, "Permission denied", "/some/where")

    on_the_way(monkeypatch, refuse)
    words = run("protect", "--data", raw, "--output-dir", tmp_path / "out")
    assert str(words).startswith("/some/where: Permission denied; ")


def test_nothing_is_readable_by_others(run: Callable[..., object], tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    assert run("protect", "--data", raw / "transforms.json", "--output-dir", tmp_path / "out") == 0
    for path in (tmp_path / "out", *(tmp_path / "out").rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_version() -> None:
    command = [str(Path(sysconfig.get_path("scripts")) / "privhead"), "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("privhead-ns 0.")


def test_an_uncaught_user_error_is_one_sentence_in_commands_of_nerfstudio() -> None:
    """Importing any of the entry points installs this; other exceptions keep their traceback."""
    program = "import privhead_method_configs\nfrom privhead_ns.errors import UserError\nraise {}('a\\nb')"
    for name, printed in (("UserError", r"^a\\nb\n$"), ("ValueError", r"^Traceback[\s\S]*\nValueError: a\nb\n$")):
        ended = subprocess.run([sys.executable, "-c", program.format(name)], capture_output=True, text=True)
        assert ended.returncode == 1 and re.match(printed, ended.stderr), ended.stderr


def test_a_user_error_in_a_thread_reaches_the_caller_and_broad_handlers() -> None:
    def fail() -> None:
        raise UserError("No head.")

    with ThreadPoolExecutor(1) as pool:
        assert isinstance(pool.submit(fail).exception(), Exception)
