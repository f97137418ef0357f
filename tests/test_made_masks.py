"""Masks that `protect` makes from colours and cameras, against those of a ball."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from raw_folder import look_at
from rich.console import Console

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.made_masks.make import Silhouettes, make_masks
from privhead_ns.capture.made_masks.of_capture import with_made_masks
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.capture.raw import load_raw_capture, read_image, read_unsure
from privhead_ns.capture.silhouettes import overlap
from privhead_ns.capture.views import plan_like
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig

LENS = Intrinsics(64, 64, 96.0, 96.0, 32.0, 32.0)
VIEWS = 8
QUIET = Console(quiet=True)
UP = np.array([0.0, 0.0, 1.0])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops that are not enlarged, in which masks are a little worse."""
    monkeypatch.setattr("privhead_ns.capture.made_masks.make.ENLARGED", 1.0)


def cameras() -> list[PosedCamera]:
    angles = np.arange(VIEWS) * 2 * np.pi / VIEWS
    return [PosedCamera(look_at(4 * np.array([np.cos(a), np.sin(a), 0.3])), LENS) for a in angles]


def small_photographs() -> tuple[list[np.ndarray], np.ndarray]:
    """Returns photographs of 64 pixels of the unit ball, whose outline mixes light of ball and room, and its mask."""
    finer, distance = 16, np.linalg.norm(cameras()[0].camera_to_world[:3, 3])
    y, x = (np.mgrid[: 64 * finer, : 64 * finer] + 0.5) / finer - 32
    ball = np.hypot(x, y) <= LENS.fl_x / np.sqrt(distance**2 - 1)
    share = cv2.resize(ball.astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)[..., None]
    light = share * (np.array([200, 160, 120]) / 255) ** 2.2 + (1 - share) * (np.array([40, 60, 90]) / 255) ** 2.2
    noise = np.random.default_rng(0).normal(0, 3, (VIEWS, 64, 64, 3))
    return list(np.clip(light ** (1 / 2.2) * 255 + noise, 0, 255).astype(np.uint8)), share[..., 0] >= 0.5


def write_ball(folder: Path, pictures: list[np.ndarray]) -> Path:
    folder.mkdir()
    frames = []
    for index, (camera, picture) in enumerate(zip(cameras(), pictures, strict=True)):
        Image.fromarray(picture).save(folder / f"{index}.png")
        pose = camera.camera_to_world.tolist()
        frames.append({"file_path": f"{index}.png", "transform_matrix": pose, "sensitive": index > 0})
    content = {"fl_x": LENS.fl_x, "fl_y": LENS.fl_y, "cx": LENS.cx, "cy": LENS.cy, "w": 64, "h": 64, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def test_masks_of_small_photographs_cover_what_is_half_head() -> None:
    pictures, truth = small_photographs()
    made = make_masks(cameras(), pictures, UP, QUIET)
    assert made is not None
    wrong = [np.count_nonzero((mask > 127) != truth) / np.count_nonzero(truth) for mask in made.masks]
    assert np.median(wrong) < 0.03  # 0.09 without the photographs' own pixels


def test_a_head_is_found_in_front_of_a_room_that_moves_against_it() -> None:
    pictures, truth = small_photographs()
    random = np.random.default_rng(1)
    colours = np.array([[200, 160, 120], [40, 60, 90], [120, 30, 30], [220, 220, 210]])  # one is the head's own
    for picture in pictures:
        room = np.kron(colours[random.integers(0, 4, (8, 8))], np.ones((8, 8, 1), int))
        picture[~truth] = room[~truth]
    made = make_masks(cameras(), pictures, UP, QUIET)
    assert made is not None
    assert np.median([overlap(mask > 127, truth) for mask in made.masks]) > 0.9
    assert np.linalg.norm(made.body.sphere.center) < 0.1


@pytest.mark.usefixtures("quick")
def test_protect_makes_masks_where_there_are_none(tmp_path: Path) -> None:
    raw = write_ball(tmp_path / "raw", small_photographs()[0])
    summary = protect(raw, tmp_path / "protected", OperatorConfig(), console=QUIET)
    assert "they were made here" in summary.in_plain_words()
    capture = load_protected_capture(tmp_path / "protected")
    assert capture.masked
    for frame in capture.frames:
        assert frame.mask_path is not None
        mask = np.asarray(Image.open(frame.mask_path)) > 127
        # views are crops about the ball, so their discs differ in size, not in shape
        assert np.count_nonzero(mask) / np.ptp(np.nonzero(mask)[0]) ** 2 == pytest.approx(np.pi / 4, rel=0.1)
    neutral = np.asarray(Image.open(capture.frames[0].path))
    assert neutral[0, 0].tolist() == [0, 0, 0]  # no colour of the room
    plan = plan_like(load_raw_capture(raw), capture)
    np.testing.assert_array_equal(np.round(plan.view(0).rgb * 255), neutral)


def test_with_ignore_masks_none_are_made(tmp_path: Path) -> None:
    raw = write_ball(tmp_path / "raw", small_photographs()[0])
    protect(raw, tmp_path / "protected", OperatorConfig(), ignore_masks=True, console=QUIET)
    assert not load_protected_capture(tmp_path / "protected").masked
    with pytest.raises(UserError, match="sensitive and have no masks, so nothing"):
        protect(raw, tmp_path / "none", OperatorConfig(), ignore_masks=True, sensitive=("*",), console=QUIET)


@pytest.mark.usefixtures("quick")
def test_a_mask_that_does_not_fit_the_others_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, truth = small_photographs()

    def bad_mask(*args: Any, **kwargs: Any) -> Silhouettes | None:
        made = make_masks(*args, **kwargs)
        assert made is not None
        return replace(made, masks=tuple(np.roll(m, 20, 1) if i == 3 else m for i, m in enumerate(made.masks)))

    monkeypatch.setattr("privhead_ns.capture.made_masks.of_capture.make_masks", bad_mask)
    capture = with_made_masks(load_raw_capture(write_ball(tmp_path / "raw", pictures)), "head", QUIET)
    unsure = [read_unsure(frame) for frame in capture.frames]
    assert [where is not None and bool(where.all()) for where in unsure] == [index == 3 for index in range(VIEWS)]
    for frame in capture.frames:
        mask = read_image(frame)[1]
        assert mask is not None
        assert overlap(mask > 127, truth) > 0.85  # the hull's footprint where the mask did not fit


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("photographs", ["grey", "noise"])
def test_photographs_of_nothing_get_no_masks(tmp_path: Path, photographs: str) -> None:
    shape = (VIEWS, 64, 64, 3)
    grey, noise = np.full(shape, 120, np.uint8), np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    raw = write_ball(tmp_path / "raw", list(grey if photographs == "grey" else noise))
    assert with_made_masks(load_raw_capture(raw), "head", QUIET).frames[0].made is None
    with pytest.raises(UserError, match="and none could be made"):
        protect(raw, tmp_path / "none", OperatorConfig(), sensitive=("*",), console=QUIET)
    assert not (tmp_path / "none").exists()
