"""Folders appear whole or not at all, are private, and a killed process leaves none for long."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path

import pytest

from privhead_ns.errors import UserError
from privhead_ns.folders import check_new_folder, holds_nothing, make_private, replacing, temporary_folder, whole_folder
from privhead_ns.results_folder import check_same, open_results
from privhead_ns.text_files import as_read, read_json, write_json


@pytest.fixture(autouse=True)
def ordinary_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_folder_appears_at_the_end_and_is_private(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as folder:
        (folder / "file").touch()
        assert mode(folder) == 0o700
        assert list(tmp_path.iterdir()) == [folder]
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"]
    assert mode(tmp_path / "out") == 0o700


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_one_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), whole_folder(tmp_path / "out") as folder:
        (folder / "file").touch()
        raise error
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in (f".out[1].tmp-{gone.pid}", f".out[1].tmp-{os.getppid()}", f".out1.tmp-{gone.pid}", ".out[1].tmp-x"):
        (tmp_path / name / "images").mkdir(parents=True)
    with temporary_folder(tmp_path / "out[1]") as folder:
        left = {path.name for path in tmp_path.iterdir()} - {folder.name}
    assert left == {f".out[1].tmp-{os.getppid()}", f".out1.tmp-{gone.pid}", ".out[1].tmp-x"}


@pytest.mark.parametrize(("age", "stays"), [(3600, True), (25 * 3600, False)])
def test_what_another_machine_makes_is_left_alone_for_a_day(tmp_path: Path, age: int, stays: bool) -> None:
    folder, file = tmp_path / ".out.tmp-0123456789ab-1", tmp_path / ".a-0123456789ab-1.json"
    folder.mkdir()
    file.touch()
    for path in (folder, file):
        os.utime(path, (time.time() - age, time.time() - age))
    assert holds_nothing(tmp_path) is not stays
    with temporary_folder(tmp_path / "out"), replacing(tmp_path / "a.json") as new:
        new.touch()
        assert folder.exists() is file.exists() is stays


def test_a_full_disk_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError) as error, whole_folder(tmp_path / "out"), open("/dev/full", "w") as full:
        full.write("much" * 10000)
    assert error.value.filename == str(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_the_user_keeps_its_mode(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "new")
    assert mode(tmp_path / "a" / "new") == 0o700
    (tmp_path / "own").mkdir()
    make_private(tmp_path / "own")
    assert mode(tmp_path / "own") == 0o755


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "missing" / "out"):
        with pytest.raises(UserError, match="--output-dir"):
            check_new_folder(path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="cannot be written"):
        check_new_folder(tmp_path / "out")


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "head.ply").write_text("before")
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*/head\.ply'"),
        replacing(tmp_path / "head.ply") as new,
    ):
        new.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path, content = tmp_path / "a.json", {"a": (1, 2)}
    write_json(path, content)
    assert read_json(path) == as_read(content) == {"a": [1, 2]}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": [1, 2]} and list(tmp_path.iterdir()) == [path]


def test_results_of_another_kind_or_other_settings_are_refused(tmp_path: Path) -> None:
    assert open_results(tmp_path / "new", "note.json", "batch") is None
    write_json(tmp_path / "new/note.json", {"size": 3})
    noted = open_results(tmp_path / "new", "note.json", "batch")
    assert noted == {"size": 3}
    check_same(tmp_path, noted, {"size": 3, "seed": 1})
    with pytest.raises(UserError, match="was made with size 3, not 4"):
        check_same(tmp_path, noted, {"size": 4})
    with pytest.raises(UserError, match="exists and is no batch"):
        open_results(tmp_path, "note.json", "batch")
