"""`privhead prepare`: photographs to a raw capture, through the real programs."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from textured_ball import FOCAL, SIDE, rotation_errors, write_photographs

from privhead_ns.capture.raw import load_raw_capture, read_image
from privhead_ns.errors import UserError
from privhead_ns.prepare import matches, poses
from privhead_ns.prepare.posing import kept_work
from privhead_ns.prepare.prepare import prepare
from privhead_ns.prepare.wishes import Wishes

QUIET = Console(quiet=True)
FEWER = 12
"""Photographs of the ball, side by side, that are enough for COLMAP."""


@pytest.fixture(scope="module")
def photographed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    folder = tmp_path_factory.mktemp("ball")
    return folder, write_photographs(folder)


@pytest.fixture(scope="module")
def kept(photographed: tuple[Path, list[np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a call leaves that was killed after it had matched the photographs."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    output = tmp_path_factory.mktemp("killed") / "raw"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(poses, "estimate_cameras", killed)
        prepare(photographed[0] / "images", output, Wishes(masks=photographed[0] / "masks"), QUIET)
    return output.with_name(".raw.prepare")


@pytest.fixture(scope="module")
def prepared(photographed: tuple[Path, list[np.ndarray]], kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw capture of a call that went on where another was killed."""
    output = tmp_path_factory.mktemp("prepared") / "raw"
    shutil.copytree(kept, output.with_name(kept.name), symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matches, "_extract", lambda *_: pytest.fail("features are there already"))
        prepare(photographed[0] / "images", output, Wishes(masks=photographed[0] / "masks"), QUIET)
    return output


def poses_of(folder: Path) -> list[np.ndarray]:
    return [frame.camera_to_world for frame in load_raw_capture(folder).frames]


def test_cameras_are_found_from_photographs_alone(prepared: Path, photographed: tuple[Path, list[np.ndarray]]) -> None:
    assert rotation_errors(poses_of(prepared), photographed[1]).max() < 1.0
    focal = [frame.intrinsics.fl_x for frame in load_raw_capture(prepared).frames]
    assert np.median(focal) == pytest.approx(FOCAL, rel=0.03)


def test_the_head_fills_the_unit_sphere_and_stands_upright(prepared: Path) -> None:
    poses = np.stack(poses_of(prepared))
    assert poses[:, 2, 1].min() > 0.8  # every camera's y axis points up
    distance = np.linalg.norm(poses[:, :3, 3], axis=1)
    assert distance == pytest.approx(distance.mean(), rel=0.02)
    assert 2.5 < distance.mean() < 4.0  # 4 radii of the ball, which the unit sphere holds with a margin


def test_masks_and_pictures_are_those_given(prepared: Path, photographed: tuple[Path, list[np.ndarray]]) -> None:
    frame = load_raw_capture(prepared).frames[3]
    rgb, coverage = read_image(frame)
    given = photographed[0]
    assert np.array_equal(coverage, np.asarray(Image.open(given / "masks/03.png")))
    assert np.array_equal(rgb, np.asarray(Image.open(given / "images/03.png")))


def test_everything_is_sensitive_where_no_face_is_found(prepared: Path) -> None:
    assert all(frame.sensitive for frame in load_raw_capture(prepared).frames)
    assert "mm_per_unit" not in json.loads((prepared / "transforms.json").read_text())


def test_nothing_but_the_capture_is_left_and_its_owner_alone_reads_it(prepared: Path) -> None:
    assert {path.name for path in prepared.parent.iterdir()} == {"raw"}
    assert {path.name for path in prepared.iterdir()} == {"images", "masks", "sheet.png", "transforms.json"}
    assert prepared.stat().st_mode & 0o077 == 0


def test_a_turntable_in_a_still_room_comes_out_right_from_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privhead_ns.prepare.prepare.make_masks", lambda *_: None)  # takes long
    true = write_photographs(tmp_path / "ball", turntable=True)[:FEWER]
    for path in sorted((tmp_path / "ball/images").iterdir())[FEWER:]:
        path.unlink()
    prepare(tmp_path / "ball/images", tmp_path / "raw", Wishes(), QUIET)
    assert len(poses_of(tmp_path / "raw")) == len(true)
    assert rotation_errors(poses_of(tmp_path / "raw"), true).max() < 1.0


def test_protect_takes_what_prepare_wrote(prepared: Path, tmp_path: Path) -> None:
    from privhead_ns.capture.protect import protect
    from privhead_ns.operators import OperatorConfig

    summary = protect(prepared, tmp_path / "protected", OperatorConfig("sobel", 0.0, 65536), size=64)
    assert summary.protected == 20
    assert summary.silhouettes == 20


def test_a_capture_with_cameras_keeps_its_frame_and_its_flags(prepared: Path, tmp_path: Path) -> None:
    content = json.loads((prepared / "transforms.json").read_text())
    content["frames"] = content["frames"][:12]
    for index, frame in enumerate(content["frames"]):
        frame["sensitive"] = index < 9
    for name in ("images", "masks"):
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source" / name).symlink_to(prepared / name)
    (tmp_path / "source/transforms.json").write_text(json.dumps(content | {"mm_per_unit": 100.0}))
    prepare(tmp_path / "source", tmp_path / "again", Wishes(), QUIET)
    again = load_raw_capture(tmp_path / "again")
    assert np.allclose(poses_of(tmp_path / "again"), poses_of(prepared)[:12])
    assert [frame.sensitive for frame in again.frames] == [index < 9 for index in range(12)]
    assert again.mm_per_unit == 100.0


def test_photographs_from_too_far_apart_get_advice_and_leave_nothing(tmp_path: Path) -> None:
    write_photographs(tmp_path / "ball", views=9)
    with pytest.raises(UserError, match=r"of 9 photographs go together.*10 to 15 degrees apart"):
        prepare(tmp_path / "ball/images", tmp_path / "raw", Wishes(), QUIET)
    assert {path.name for path in tmp_path.iterdir()} == {"ball"}


def test_what_a_killed_call_keeps_is_for_its_owner_alone(kept: Path) -> None:
    assert kept.stat().st_mode & 0o077 == 0


def test_other_photographs_of_the_same_names_start_anew(
    photographed: tuple[Path, list[np.ndarray]], kept: Path, tmp_path: Path
) -> None:
    shutil.copytree(kept, tmp_path / kept.name, symlinks=True)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        for path in (photographed[0] / part).iterdir():
            Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / part / path.name)
            os.utime(tmp_path / part / path.name, ns=(0, path.stat().st_mtime_ns))
    prepare(tmp_path / "images", tmp_path / "raw", Wishes(masks=tmp_path / "masks"), QUIET)
    sides = [np.cross(a[:3, 3], b[:3, 3])[2] for a, b in itertools.pairwise(poses_of(tmp_path / "raw"))]
    assert max(sides) < 0  # the camera goes the other way round


def test_the_command_takes_names_with_blanks_and_umlauts_and_leaves_no_log_of_colmap(
    photographed: tuple[Path, list[np.ndarray]], tmp_path: Path
) -> None:
    (tmp_path / "temporary").mkdir()
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        for path in sorted((photographed[0] / part).iterdir())[:FEWER]:
            shutil.copy(path, tmp_path / part / f"WhatsApp Bild (Kopf) ä{path.name}")
    folders = ["--data", tmp_path / "images", "--masks", tmp_path / "masks", "--output-dir", tmp_path / "raw"]
    run = subprocess.run(
        ["privhead", "prepare", *folders],
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not list((tmp_path / "temporary").iterdir())
    assert "bundle_adjustment.cc" not in run.stderr + run.stdout
    assert len(poses_of(tmp_path / "raw")) == FEWER


def test_two_at_once_on_one_output_do_not_meet(tmp_path: Path) -> None:
    images = write_few(tmp_path)
    with kept_work(tmp_path / "raw", QUIET), pytest.raises(UserError, match="Another privhead prepare"):
        prepare(images, tmp_path / "raw", Wishes(), QUIET)


@pytest.mark.parametrize("kind", ["inverted", "black", "photographs", "glob"])
def test_what_is_wrong_with_the_input_is_told_before_long_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(matches, "find_matches", lambda *_: pytest.fail("long work began"))
    images = write_few(tmp_path)
    masks = images.parent / "masks"
    for path in sorted(masks.iterdir())[:3]:
        mask = np.asarray(Image.open(path))
        Image.fromarray({"inverted": 255 - mask, "black": 0 * mask}.get(kind, mask)).save(path)
    wishes, sentence = {
        "inverted": (Wishes(masks=masks), r"masks/00\.png covers .* seems to be inverted"),
        "black": (Wishes(masks=masks), r"masks/00\.png is black all over"),
        "photographs": (Wishes(masks=images), "is the folder of the photographs"),
        "glob": (Wishes(neutral=("rear",)), "--neutral 'rear' matches no photograph"),
    }[kind]
    with pytest.raises(UserError, match=sentence):
        prepare(images, tmp_path / "raw", wishes, QUIET)
    assert {path.name for path in tmp_path.iterdir()} == {"few"}


def write_few(folder: Path) -> Path:
    """Writes a few photographs of the ball and returns their folder."""
    write_photographs(folder / "few", views=9)
    return folder / "few/images"


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        (Wishes(frames=3), "--frames must be at least 20"),
        (Wishes(marker_mm=40, pupils_mm=63), "both give the scale"),
        (Wishes(pupils_mm=6.3), "between 40 and 80 mm"),
        (Wishes(max_side=8), "--max-side must be at least 64"),
    ],
)
def test_impossible_flags_are_refused_before_any_work(tmp_path: Path, wishes: Wishes, sentence: str) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=sentence):
        prepare(tmp_path / "images", tmp_path / "raw", wishes, QUIET)


def test_photographs_are_reduced_to_max_side_and_their_cameras_with_them(prepared: Path, tmp_path: Path) -> None:
    prepare(prepared, tmp_path / "small", Wishes(max_side=120), QUIET)
    one, other = (load_raw_capture(folder).frames[0].intrinsics for folder in (prepared, tmp_path / "small"))
    assert (other.width, other.height) == (120, 120)
    assert other.fl_x == pytest.approx(one.fl_x * 120 / SIDE)


def test_masks_and_the_side_of_the_face_are_found_on_a_head(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    from privhead_ns.demo.capture import write_demo_capture
    from privhead_ns.demo.scenes import HEAD

    write_demo_capture(tmp_path / "demo", 128)
    content = json.loads((tmp_path / "demo/transforms.json").read_text())
    kept = [index for index, view in enumerate(HEAD.views) if index % 3 == 0 or abs(view.azimuth) < 60]
    views, content["frames"] = [HEAD.views[index] for index in kept], [content["frames"][index] for index in kept]
    truth = [tmp_path / "demo" / frame.pop("mask_path") for frame in content["frames"]]
    for frame in content["frames"]:
        del frame["sensitive"]
    (tmp_path / "demo/masks").rename(tmp_path / "truth")  # masks beside the images would be found
    (tmp_path / "demo/transforms.json").write_text(json.dumps(content))
    prepare(tmp_path / "demo", tmp_path / "raw", Wishes(pupils_mm=63.0), QUIET)
    prepared = json.loads((tmp_path / "raw/transforms.json").read_text())
    assert np.degrees(np.arccos(prepared["face_direction"][0])) < 15
    overlaps = []
    for frame, path in zip(prepared["frames"], truth, strict=True):
        made, mask = (
            np.asarray(Image.open(p)) > 127
            for p in (tmp_path / "raw" / frame["mask_path"], tmp_path / "truth" / path.name)
        )
        overlaps.append(np.count_nonzero(made & mask) / np.count_nonzero(made | mask))
    assert np.median(overlaps) > 0.98
    for frame, view in zip(prepared["frames"], views, strict=True):
        assert frame["sensitive"] or abs(view.azimuth) > 100
    assert not all(frame["sensitive"] for frame in prepared["frames"])
    assert 150 < prepared["mm_per_unit"] < 220  # a unit of the demo is 185 mm
