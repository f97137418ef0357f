"""Which views are neutral, and how frames are named by globs."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from raw_folder import edit, rename, write_raw_capture

from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.capture.sensitivity import classify, matches
from privhead_ns.errors import UserError


def test_a_view_is_neutral_only_if_declared_and_not_contradicted(tmp_path: Path) -> None:
    """All combinations of what flag, globs and angle may say about one frame."""
    towards = {None: None, "neutral": (1.0, 0.0, 0.0), "sensitive": (-1.0, 0.0, 0.0)}
    combinations = itertools.product((None, False, True), (False, True), (False, True), towards)
    folder = write_raw_capture(tmp_path / "raw")
    for flag, glob_neutral, glob_sensitive, angle in combinations:
        # frame 0 stands at -x; of frames 1 and 3 at least one is neutral and one sensitive, whatever the angle says
        edit(folder, lambda content, flag=flag: content["frames"][0].update(sensitive=flag))
        result = classify(
            load_raw_capture(folder),
            neutral=["view_0.png"] * glob_neutral,
            sensitive=["images/view_0.png"] * glob_sensitive,
            face_direction=towards[angle],
            neutral_beyond_deg=80.0,
        )[0]
        says_sensitive = flag is True or glob_sensitive or angle == "sensitive"
        says_neutral = flag is False or glob_neutral or angle == "neutral"
        assert result == (says_sensitive or not says_neutral), (flag, glob_neutral, glob_sensitive, angle)


def test_angle_is_measured_about_the_point_looked_at(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw")

    def shift(content: dict) -> None:
        for frame in content["frames"]:
            frame.pop("sensitive", None)
            frame["transform_matrix"][0][3] += 100

    edit(folder, shift)
    # cameras at azimuths 180, 240, 300, 0, 60, 120 degrees
    result = classify(load_raw_capture(folder), face_direction=(2.0, 0.0, 0.0), neutral_beyond_deg=130.0)
    assert result == [False, True, True, True, True, True]


@pytest.mark.parametrize(
    "glob",
    [
        "./images/view_[1]*",
        "images//view_1.png",
        "images\\view_1.png",
        ".\\images\\VIEW_1.*",
        "IMAGES/View_1.PNG",
        "view_1.PNG",
        "{folder}/images/view_1.png",
        "{folder}/Images/*_1.png",
        "raw/images/view_1*",
        "./raw/./images/view_1*",
        "elsewhere/../raw/images/view_1*",
        "{link}/images/view_1*",
    ],
)
def test_ways_to_write_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glob: str) -> None:
    folder, link = write_raw_capture(tmp_path / "raw"), tmp_path / "link"
    link.symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    found = matches(load_raw_capture(folder), [glob.format(folder=folder, link=link)], "--neutral")
    assert [index for index, one in enumerate(found) if one] == [1]


@pytest.mark.parametrize("name", ["./images/view_0.png", "images\\view_0.png"])
def test_frames_may_be_written_otherwise_as_well(tmp_path: Path, name: str) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    (folder / "images\\view_0.png").write_bytes((folder / "images/view_0.png").read_bytes())
    rename(folder, 0, name)
    assert matches(load_raw_capture(folder), ["images/view_0.png"], "--neutral")[0]


def test_a_name_with_brackets_means_itself(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    (folder / "images/view_3.png").rename(folder / "images/view_[1].png")
    rename(folder, 3, "images/view_[1].png")
    capture = load_raw_capture(folder)
    expected = [index == 3 for index in range(len(capture.frames))]
    for glob in ("view_[1].png", "images/view_[1].png"):
        assert matches(capture, [glob], "--neutral") == expected


def test_a_glob_that_matches_as_written_matches_nothing_else(tmp_path: Path) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    (folder / "images/view_3.png").rename(folder / "images/VIEW_3.png")
    rename(folder, 3, "images/VIEW_3.png")
    found = matches(load_raw_capture(folder), ["images/view_*"], "--neutral")
    assert [index for index, one in enumerate(found) if not one] == [3]


@pytest.mark.parametrize("glob", ["View_*", "IMAGES/[F-V]iew_1.png"])
def test_case_is_not_guessed_where_it_may_matter(tmp_path: Path, glob: str) -> None:
    folder = write_raw_capture(tmp_path / "raw")
    (folder / "images/view_3.png").rename(folder / "images/VIEW_3.png")
    rename(folder, 3, "images/VIEW_3.png")
    with pytest.raises(UserError, match="another case"):
        matches(load_raw_capture(folder), [glob], "--neutral")
