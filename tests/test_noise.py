"""The noise of a sensor is removed before the operator sees it; what has none is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_folder import disc, pinhole, ring

from privhead_ns.capture.noise import TEXTURE, denoised, noise_level, without_noise
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture, read_magnitude
from privhead_ns.capture.undistort import ViewPixels
from privhead_ns.operators import OperatorConfig

SIDE = 96
EVERYWHERE = np.ones((SIDE, SIDE), bool)


def shaded() -> np.ndarray:
    """Returns a smooth picture with a line across it."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    picture = np.stack([0.4 + 0.3 * x, 0.3 + 0.2 * y, 0.5 - 0.2 * x * y], axis=-1)
    picture[:, 40:43] *= 0.5
    return picture.astype(np.float32)


def noisy(level: float, seed: int = 0) -> np.ndarray:
    """Returns it with noise of a standard deviation."""
    return (shaded() + np.random.default_rng(seed).normal(0, level, (SIDE, SIDE, 3))).astype(np.float32)


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt((difference**2).mean()))


@pytest.mark.parametrize("level", [0.02, 0.03, 0.05])
def test_noise_is_measured(level: float) -> None:
    assert noise_level(noisy(level), EVERYWHERE) == pytest.approx(level, rel=0.15)


def test_shading_and_lines_are_no_noise() -> None:
    assert noise_level(shaded(), EVERYWHERE) < 1e-3


def test_black_white_and_unmeasured_pixels_tell_no_noise() -> None:
    clipped = np.clip(noisy(0.03), 0, 1)
    clipped[:, :48] = 0
    assert noise_level(clipped, EVERYWHERE) == pytest.approx(0.03, rel=0.15)
    assert noise_level(np.ones((SIDE, SIDE, 3), np.float32), EVERYWHERE) == 0
    assert noise_level(noisy(0.03), np.zeros((SIDE, SIDE), bool)) == 0


def test_noise_goes_and_the_line_stays() -> None:
    level = 0.03
    clean = denoised(noisy(level), level)
    assert rms(clean - shaded()) < 0.45 * rms(noisy(level) - shaded())
    step = clean[:, 39].mean(axis=0) - clean[:, 41].mean(axis=0)
    np.testing.assert_allclose(step, (shaded()[:, 39] - shaded()[:, 41]).mean(axis=0), rtol=0.1)


def test_without_levels_nothing_changes() -> None:
    np.testing.assert_allclose(denoised(shaded(), 0.0), shaded(), atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.8 * TEXTURE, 0.3])
def test_texture_is_left_alone(level: float) -> None:
    view = ViewPixels(np.clip(noisy(level), 0, 1), None, pinhole(SIDE))
    assert without_noise(view) is view


def test_background_and_unknown_pixels_keep_their_colour() -> None:
    coverage, known = (disc(SIDE) > 0).astype(np.float32), EVERYWHERE.copy()
    known[:50] = False
    rgb = np.where((coverage > 0)[..., None] & known[..., None], noisy(0.03), np.float32(0.25))
    clean = without_noise(ViewPixels(rgb, coverage, pinhole(SIDE), known)).rgb
    behind = (coverage == 0) | ~known
    assert (clean[behind] == 0.25).all()
    assert rms(clean[~behind] - shaded()[~behind]) < 0.6 * rms(rgb[~behind] - shaded()[~behind])


def protected_magnitude(folder: Path, picture: np.ndarray, told: bool) -> np.ndarray:
    """Protects a capture of one picture seen eight times, and returns the first magnitude on the head."""
    folder.mkdir()
    mask = disc(SIDE) > 0
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "mask.png")
    Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)).save(folder / "a.png")
    frames = [{"file_path": "a.png", "mask_path": "mask.png", "transform_matrix": pose.tolist()} for pose in ring(8)]
    lens = pinhole(SIDE)
    content = {"fl_x": lens.fl_x, "fl_y": lens.fl_y, "cx": lens.cx, "cy": lens.cy, "w": SIDE, "h": SIDE}
    (folder / "transforms.json").write_text(json.dumps(content | {"frames": frames}))
    summary = protect(folder, folder / "out", OperatorConfig())
    assert ("noise" in summary.in_plain_words().split("\n", 1)[1]) == told
    capture = load_protected_capture(folder / "out")
    inner = np.hypot(*(np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2)) < 24
    return read_magnitude(folder / "out" / "protected" / "000.png", capture.magnitude_maximum)[inner]


def test_a_protected_view_of_a_noisy_photograph_is_near_that_of_a_clean_one(tmp_path: Path) -> None:
    clean, dim = (
        protected_magnitude(tmp_path / str(int(level * 100)), noisy(level), level > 0) for level in (0.0, 0.03)
    )
    assert rms(dim - clean) < 0.006  # 0.037 without
