"""Masks are moved to where colours change, but only where the outlines of all views then fit each other better."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from raw_folder import DISTANCE, FOCAL, SIZE, disc, edit, look_at, pinhole, ring
from scipy.ndimage import gaussian_filter

from privhead_ns.capture.hull import View
from privhead_ns.capture.masks import enlarged
from privhead_ns.capture.outline_misfit import outline_misfit
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.capture.refined_masks import cut_by_colour, fit_better, half_covered, refine_mask
from privhead_ns.capture.survey import survey
from privhead_ns.capture.views import plan_like
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig

COUNT, SIDE = 16, 96
TRUE = disc(SIDE) > 0
HEAD, ROOM = (190, 140, 110), (40, 70, 120)


def picture(seed: int = 0, room: tuple[int, int, int] = ROOM) -> np.ndarray:
    """Returns a photograph of the ball: two colours with some noise."""
    noise = np.random.default_rng(seed).normal(0, 6, (SIDE, SIDE, 3))
    return np.clip(np.where(TRUE[..., None], HEAD, room) + noise, 0, 255).astype(np.uint8)


def rough(seed: int, pixels: float = 1.5) -> np.ndarray:
    """Returns the ball's mask with an outline that strays at random."""
    stray = gaussian_filter(np.random.default_rng(seed).normal(size=TRUE.shape), 3)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2
    radius = FOCAL * SIDE / SIZE / np.sqrt(DISTANCE**2 - 1)
    return np.hypot(x, y) + pixels * stray / stray.std() <= radius


def wrong(mask: np.ndarray) -> float:
    """Returns the share of the ball's pixels in which a mask is wrong."""
    return float((mask != TRUE).sum() / TRUE.sum())


def views(masks: list[np.ndarray]) -> list[View]:
    return [View(pose, pinhole(SIDE), mask.astype(np.uint8)) for pose, mask in zip(ring(COUNT), masks, strict=True)]


def write_ball(folder: Path, masks: list[np.ndarray], room: tuple[int, int, int] = ROOM) -> Path:
    """Writes a raw capture of the ball whose first views are neutral."""
    folder.mkdir()
    frames = []
    for index, (pose, mask) in enumerate(zip(ring(COUNT), masks, strict=True)):
        Image.fromarray(picture(index, room)).save(folder / f"{index}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"mask_{index}.png")
        frame = {"file_path": f"{index}.png", "mask_path": f"mask_{index}.png", "transform_matrix": pose.tolist()}
        frames.append(frame | {"sensitive": index > 2})
    lens = pinhole(SIDE)
    content = {"fl_x": lens.fl_x, "fl_y": lens.fl_y, "cx": lens.cx, "cy": lens.cy, "w": SIDE, "h": SIDE}
    (folder / "transforms.json").write_text(json.dumps(content | {"frames": frames}))
    return folder


def stored_masks(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(folder / f"masks/{index:03d}.png")) > 127 for index in range(COUNT)]


def test_an_outline_moves_to_where_colours_change() -> None:
    given = rough(1)
    refined = refine_mask(picture(), given.astype(np.uint8) * 255)
    assert wrong(given) > 0.05
    assert wrong(refined) < 0.01


def test_large_photographs_are_refined_at_a_lower_resolution() -> None:
    size = (1200, 1200)
    large = cv2.resize(picture(), size, interpolation=cv2.INTER_NEAREST)
    mask = cv2.resize(rough(1).astype(np.uint8) * 255, size, interpolation=cv2.INTER_NEAREST)
    refined = refine_mask(large, mask)
    assert max(refined.shape) < 500
    assert max(refine_mask(large, mask, width=500).shape) > 500
    back = cv2.resize(enlarged(refined, *size), (SIDE, SIDE), interpolation=cv2.INTER_AREA) > 127
    assert wrong(back) < 0.015


def test_pixels_that_mix_with_an_even_background_count_from_half_on() -> None:
    """GrabCut alone takes whatever is not black for head; light mixes, not the values that are stored."""
    x = np.arange(SIDE) + 0.5
    share = np.clip(SIDE / 2 + 0.3 - x + 0.5, 0, 1) * np.ones((SIDE, 1))
    share[:, SIDE // 2] = np.linspace(0.2, 0.8, SIDE)
    stored = np.array(HEAD) * share[..., None] ** (1 / 2.2)
    refined = half_covered(stored.astype(np.uint8), share > 0)
    np.testing.assert_array_equal(refined[:, : SIDE // 2], True)
    np.testing.assert_array_equal(refined[:, SIDE // 2 + 1 :], False)
    wrong = refined[:, SIDE // 2] != (share[:, SIDE // 2] > 0.5)
    assert wrong.sum() <= 2


def test_colour_decides_near_the_outline_alone() -> None:
    """The whole picture has one colour, or another thing of the head's colour touches it."""
    flat = np.full((SIDE, SIDE, 3), 128, np.uint8)
    spot = picture()
    spot[:, : SIDE // 2] = HEAD
    for rgb in (flat, spot):
        changed = cut_by_colour(rgb, TRUE, 3, 3, 2) != TRUE
        near = cv2.dilate(TRUE.astype(np.uint8), np.ones((7, 7))) - cv2.erode(TRUE.astype(np.uint8), np.ones((7, 7)))
        assert not changed[near == 0].any()


@pytest.mark.parametrize("mask", [np.zeros((SIDE, SIDE), np.uint8), np.full((SIDE, SIDE), 255, np.uint8)])
def test_a_mask_without_outline_stays(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(refine_mask(picture(), mask) * 255, mask)


def test_the_misfit_grows_with_the_distance_by_which_outlines_stray() -> None:
    count, pixels = 40, 3

    def misfit(is_wide: list[bool]) -> float:
        """Returns that of cameras all around, some of whose outlines are too wide."""
        heights, angles = np.linspace(-0.9, 0.9, count), np.arange(count) * 2.4
        sides = [np.sqrt(1 - heights**2) * turn for turn in (np.cos(angles), np.sin(angles))]
        poses = [look_at(DISTANCE * place) for place in np.stack([*sides, heights], axis=1)]
        masks = [(wide if chosen else TRUE).astype(np.uint8) for chosen in is_wide]
        return outline_misfit([View(pose, pinhole(SIDE), mask) for pose, mask in zip(poses, masks, strict=True)])

    disc_3 = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    wide = cv2.dilate(TRUE.astype(np.uint8), disc_3) > 0
    exact = misfit([False] * count)
    one = misfit([True] + [False] * (count - 1)) - exact
    half = misfit([index % 2 == 0 for index in range(count)]) - exact
    assert exact < 0.15
    # the hull of the other views is a little larger than the ball, which hides part of the distance
    assert 0.5 * pixels / count < one <= pixels / count
    assert 0.5 * pixels / 2 < half <= pixels / 2


def test_two_views_cannot_disagree() -> None:
    assert outline_misfit(views([TRUE] * COUNT)[:2]) == 0


def test_what_fits_better_is_kept() -> None:
    strayed, exact = views([rough(index) for index in range(COUNT)]), views([TRUE] * COUNT)
    assert fit_better(exact, strayed)
    assert not fit_better(strayed, exact)
    assert not fit_better(exact, exact)


def test_protect_mends_rough_outlines(tmp_path: Path) -> None:
    raw = write_ball(tmp_path / "raw", [rough(index) for index in range(COUNT)])
    summary = protect(raw, tmp_path / "protected", OperatorConfig())
    capture = load_protected_capture(tmp_path / "protected")
    assert summary.refined_masks and capture.refined_masks
    assert "--keep-masks" in summary.in_plain_words()
    assert np.mean([wrong(mask) for mask in stored_masks(tmp_path / "protected")]) < 0.012
    # the audit and full RGB see the photographs behind the same outlines
    again = plan_like(load_raw_capture(raw), capture)
    for index, mask in enumerate(stored_masks(tmp_path / "protected")):
        coverage = again.view(index).coverage
        assert coverage is not None
        np.testing.assert_array_equal(coverage >= 0.5, mask)


@pytest.mark.parametrize("size", [(1003, 751), (300, 201), (90, 61)])
def test_refined_views_have_the_pixels_of_the_given_ones(tmp_path: Path, size: tuple[int, int]) -> None:
    """Gains look up colours of the given views by pixels of the refined ones."""
    raw = write_ball(tmp_path / "raw", [TRUE] * COUNT)
    for path in raw.glob("*.png"):
        Image.open(path).resize(size, Image.Resampling.NEAREST).save(path)
    lens = pinhole(SIDE).scaled(*size)
    numbers = {"w": size[0], "h": size[1], "fl_x": lens.fl_x, "fl_y": lens.fl_y, "cx": lens.cx, "cy": lens.cy}
    edit(raw, lambda content: content.update(numbers, k1=-0.05))
    surveyed = survey(load_raw_capture(raw))
    for given, refined, thumbnail in zip(surveyed.views, surveyed.refined, surveyed.thumbnails, strict=True):
        assert refined.intrinsics == given.intrinsics
        assert refined.silhouette is not None and refined.silhouette.shape == thumbnail.shape[:2]


def test_photographs_that_lost_their_masks_can_still_be_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privhead_ns.capture.views.with_made_masks", lambda capture, *_: capture)  # none can be made
    raw = write_ball(tmp_path / "raw", [rough(index) for index in range(COUNT)])
    protect(raw, tmp_path / "protected", OperatorConfig())
    edit(raw, lambda content: [frame.pop("mask_path") for frame in content["frames"]])
    plan = plan_like(load_raw_capture(raw), load_protected_capture(tmp_path / "protected"))
    assert plan.view(0).coverage is None


def test_masks_are_kept_where_asked(tmp_path: Path) -> None:
    masks = [rough(index) for index in range(COUNT)]
    summary = protect(write_ball(tmp_path / "raw", masks), tmp_path / "protected", OperatorConfig(), keep_masks=True)
    assert not summary.refined_masks
    assert "--keep-masks" not in summary.in_plain_words()
    np.testing.assert_array_equal(stored_masks(tmp_path / "protected"), masks)


@pytest.mark.parametrize("room", [ROOM, HEAD])
def test_exact_masks_stay_as_they_are(tmp_path: Path, room: tuple[int, int, int]) -> None:
    """Also where the room has the head's colour, so that colour tells nothing."""
    protect(write_ball(tmp_path / "raw", [TRUE] * COUNT, room), tmp_path / "protected", OperatorConfig())
    np.testing.assert_array_equal(stored_masks(tmp_path / "protected"), [TRUE] * COUNT)


def test_a_capture_that_does_not_say_has_its_masks_as_given(tmp_path: Path) -> None:
    protect(write_ball(tmp_path / "raw", [TRUE] * COUNT), tmp_path / "protected", OperatorConfig())
    edit(tmp_path / "protected", lambda content: content["privhead"].pop("refined_masks"))
    assert not load_protected_capture(tmp_path / "protected").refined_masks
    edit(tmp_path / "protected", lambda content: content["privhead"].update(refined_masks="yes"))
    with pytest.raises(UserError, match="refined_masks must be true or false"):
        load_protected_capture(tmp_path / "protected")
