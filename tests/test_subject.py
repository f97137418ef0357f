"""What is no head: words, the face check, and evaluation without a neck or a nose."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import trimesh
from PIL import Image
from raw_folder import disc, edit, write_raw_capture
from rich.console import Console

from privhead_ns.capture.face_check import ALL_TURNS, WHOLE_SHARE, shows_face
from privhead_ns.capture.protect import protect
from privhead_ns.capture.subject import errors_about, worded
from privhead_ns.commands import capture as commands
from privhead_ns.errors import UserError
from privhead_ns.mesh.evaluate import evaluate, table
from privhead_ns.mesh.ground_truth import load_truth
from privhead_ns.operators import OperatorConfig

REGION = {"name": "plate", "centre": [1.0, 0.0, 0.0], "radius_mm": 60}


def card(turn: int) -> tuple[np.ndarray, np.ndarray]:
    """A white card with a portrait of half its side in the corner, turned by quarter turns, and its mask."""
    picture = np.full((640, 640, 3), 235, np.uint8)
    portrait = skimage.data.astronaut()[:220, 110:330]
    picture[60:380, 60:380] = cv2.resize(portrait, (320, 320), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(np.rot90(picture, -turn)), np.full((640, 640), 255, np.uint8)


def test_words_about_an_object_leave_out_heads_and_faces() -> None:
    message = "make it white on the head; the head's box; those that show the face, not /a/head/b_face.png"
    assert worded(message, "head") == message
    wanted = "make it white on the object; the object's box; those that show what is sensitive, not /a/head/b_face.png"
    assert worded(message, "object") == wanted
    with pytest.raises(UserError, match="white on the object"), errors_about("object"):
        raise UserError("It must be white on the head.")


@pytest.mark.parametrize("turn", ALL_TURNS)
def test_a_small_turned_portrait_is_found_on_an_object(turn: int) -> None:
    picture, mask = card(turn)
    assert shows_face(picture, mask, ALL_TURNS, WHOLE_SHARE)
    assert not shows_face(picture, mask), "on a head a face is larger, and upright"
    assert not shows_face(np.full_like(picture, 235), mask, ALL_TURNS, WHOLE_SHARE)


def test_protect_stops_at_a_portrait_on_an_object_alone(tmp_path: Path) -> None:
    big = {"w": 640, "h": 640, "cx": 320, "cy": 320, "fl_x": 960, "fl_y": 960}
    raw = write_raw_capture(tmp_path / "raw", masks=False, **big)
    for index in range(6):
        Image.fromarray(np.full((640, 640, 3), 90 + index, np.uint8)).save(raw / "images" / f"view_{index}.png")
    edit(raw, lambda content: [content["frames"][i].update(mask_path=f"masks/view_{i}.png") for i in range(6)])
    for index in range(6):
        Image.fromarray(disc(640)).save(raw / "masks" / f"view_{index}.png")
    Image.fromarray(card(1)[0]).save(raw / "images" / "view_1.png")
    quiet = Console(quiet=True)
    protect(raw, tmp_path / "head", OperatorConfig(), console=quiet)
    with pytest.raises(UserError, match=r"images/view_1\.png.*--allow-face"):
        protect(raw, tmp_path / "object", OperatorConfig(), subject="object", console=quiet)
    assert not (tmp_path / "object").exists()


def test_summary_of_an_object_says_that_writing_stays_readable(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    summary = protect(raw, tmp_path / "out", OperatorConfig(), subject="object", console=Console(quiet=True))
    words = summary.in_plain_words()
    assert "outlines of the object" in words and "WRITING STAYS READABLE" in words
    assert "make sure that none shows what is sensitive" in words
    assert not {"head", "face", "skin", "person's"} & set(words.replace(str(tmp_path), "").split())
    assert "WRITING" not in replace(summary, subject="head").in_plain_words()


def test_the_command_speaks_of_the_subject(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(raw / "masks" / "view_0.png")
    with pytest.raises(UserError, match="white on the object"):
        commands.protect(raw, tmp_path / "out", subject="object")
    with pytest.raises(UserError, match="white on the head"):
        commands.protect(raw, tmp_path / "out")


def write_truth(folder: Path, info: dict[str, object]) -> Path:
    """A capture of a ball of 100 mm, seen by six cameras."""
    write_raw_capture(folder)
    trimesh.creation.icosphere(subdivisions=4).export(folder / "gt_mesh.ply")
    (folder / "capture.json").write_text(json.dumps({"mm_per_unit": 100.0, "up_axis": [0, 0, 1], **info}))
    return folder


def test_an_object_is_measured_to_its_lower_end_and_in_its_region(tmp_path: Path) -> None:
    truth = trimesh.creation.icosphere(subdivisions=4)
    dented = truth.copy()
    seen_last = truth.vertices[:, 2] < -0.9  # what a head's neck margin, 10 mm of 200, leaves out
    dented.vertices[seen_last] *= 0.95
    as_head = evaluate(dented, write_truth(tmp_path / "head", {}))
    as_object = evaluate(dented, write_truth(tmp_path / "object", {"subject": "object", "region": REGION}))
    assert as_object.head.accuracy > as_head.head.accuracy
    assert as_head.face is None and as_object.face is not None
    assert as_object.face.chamfer == pytest.approx(0, abs=1e-3), "the dent lies outside the region"
    assert [str(column.header) for column in table(as_object).columns][1:] == ["Whole object", "Plate"]


@pytest.mark.parametrize(
    ("info", "word"),
    [
        ({"subject": "car"}, "subject"),
        ({"region": {"name": "plate", "centre": [0, 0, 1]}}, "region"),
        ({"region": {"name": "plate", "centre": [0, 1], "radius_mm": 3}}, "centre"),
        ({"region": [1, 2]}, "region"),
    ],
)
def test_broken_regions_are_told(tmp_path: Path, info: dict[str, object], word: str) -> None:
    with pytest.raises(UserError, match=word):
        load_truth(write_truth(tmp_path / "raw", info))
