"""Exposure and bad masks are corrected before views are stored; unsure pixels are stored as unknown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from raw_folder import DISTANCE, FOCAL, SIZE, disc, edit, photograph, ring, write_raw_capture

from privhead_ns.capture.camera import Intrinsics
from privhead_ns.capture.exposure import nanmedian, view_gains
from privhead_ns.capture.hull import View, head_box
from privhead_ns.capture.mending import mend
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.operators import OperatorConfig


def sphere_views(count: int = 24, size: int = 64) -> list[View]:
    scale = size / SIZE
    camera = Intrinsics(size, size, FOCAL * scale, FOCAL * scale, size / 2, size / 2)
    return [View(pose, camera, disc(size)) for pose in ring(count)]


def painted(view: View) -> np.ndarray:
    """Returns the colours of a unit sphere whose paint varies over it."""
    camera = view.intrinsics
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    rays = np.stack([(x - camera.cx) / camera.fl_x, (camera.cy - y) / camera.fl_y, -np.ones_like(x)], axis=-1)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True) @ view.camera_to_world[:3, :3].T
    origin = view.camera_to_world[:3, 3]
    along = rays @ origin
    root = np.sqrt(np.maximum(along**2 - DISTANCE**2 + 1, 0))
    points = origin + (-along - root)[..., None] * rays
    return 0.35 + 0.1 * np.sin(3 * points)


def test_gains_of_views_are_found() -> None:
    views = sphere_views()
    gains = np.exp(np.random.default_rng(0).normal(0, 0.25, (len(views), 3)))
    gains /= np.exp(np.log(gains).mean(axis=0))
    pictures = [
        (np.clip(painted(view) * gain, 0, 1) * 255).astype(np.uint8) for view, gain in zip(views, gains, strict=True)
    ]
    found = view_gains(views, pictures, head_box(views))
    np.testing.assert_allclose(found, gains, rtol=0.08)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_medians_are_those_of_numpy(axis: int) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(7, 20, 3))
    values[random.random((7, 20)) < 0.5] = np.nan
    values[:, 4] = values[2] = np.nan
    np.testing.assert_array_equal(nanmedian(values, axis), np.nanmedian(values, axis))


def test_equal_exposure_changes_nothing() -> None:
    views = sphere_views()
    pictures = [(painted(view) * 255).astype(np.uint8) for view in views]
    assert (view_gains(views, pictures, head_box(views)) == 1).all()


def test_few_views_do_not_tell_exposure_from_shading() -> None:
    views = sphere_views()
    few = views[:: len(views) // 4][:4]
    pictures = [(painted(view) * (255 if index else 150)).astype(np.uint8) for index, view in enumerate(few)]
    assert (view_gains(few, pictures, head_box(few)) == 1).all()


def test_exposure_is_divided_out_of_what_is_stored(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    view = [View(pose, Intrinsics(SIZE, SIZE, FOCAL, FOCAL, SIZE / 2, SIZE / 2), disc()) for pose in ring()]
    for index, one in enumerate(view):
        dim = 0.5 if index == 1 else 1.0
        Image.fromarray((painted(one) * dim * 255).astype(np.uint8)).save(raw / f"images/view_{index}.png")
    summary = protect(raw, tmp_path / "out", OperatorConfig())
    means = [np.asarray(Image.open(tmp_path / f"out/neutral/00{i}.png"))[disc() > 0].mean() for i in (0, 1)]
    assert means[1] / means[0] == pytest.approx(1, abs=0.1)
    assert "differ in exposure" in summary.in_plain_words()
    assert "gain" not in (tmp_path / "out/transforms.json").read_text()


def test_a_mask_that_cuts_the_head_is_mended() -> None:
    views = sphere_views()
    assert mend(views).doubted == {}
    cut = disc(64).copy()
    cut[:, :30] = 0
    spoilt = [*views[:7], replace(views[7], silhouette=cut), *views[8:]]
    mended = mend(spoilt)
    assert list(mended.doubted) == [7]
    lost = (cut == 0) & (disc(64) > 0)
    assert (mended.doubted[7] & lost).sum() > 0.9 * lost.sum()
    assert not (mended.doubted[7] & (cut > 0)).any()
    np.testing.assert_allclose(head_box(mended.views), head_box(views), atol=0.05)


def test_what_a_bad_mask_cuts_is_stored_as_unknown(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    content = json.loads((raw / "transforms.json").read_text())
    content["frames"] = []
    for index, pose in enumerate(ring(24)):
        mask = disc().copy()
        if index == 7:
            mask[:, :9] = 0
        Image.fromarray(photograph(index)).save(raw / f"images/{index}.png")
        Image.fromarray(mask).save(raw / f"masks/{index}.png")
        content["frames"].append(
            {"file_path": f"images/{index}.png", "mask_path": f"masks/{index}.png", "transform_matrix": pose.tolist()}
        )
    (raw / "transforms.json").write_text(json.dumps(content))
    summary = protect(raw, tmp_path / "out", OperatorConfig())
    assert [words.split(":")[0] for words in summary.doubtful] == ["images/7.png"]
    capture = load_protected_capture(tmp_path / "out")
    assert [index for index, frame in enumerate(capture.frames) if frame.known_path is not None] == [7]
    known = np.asarray(Image.open(str(capture.frames[7].known_path))) > 0
    assert not known[12:20, 5:9].any()
    assert known[:, 9:].all()
    assert not np.asarray(Image.open(capture.frames[7].path))[~known].any()


@pytest.mark.parametrize("size", [16, 32])
def test_what_the_owner_is_unsure_of_is_stored_as_unknown(tmp_path: Path, size: int) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    sure = np.full((SIZE, SIZE), 255, np.uint8)
    sure[20:28, 4:12] = 0
    (raw / "known").mkdir()
    Image.fromarray(sure).save(raw / "known/2.png")
    edit(raw, lambda content: content["frames"][2].update(known_path="known/2.png"))
    protect(raw, tmp_path / "out", OperatorConfig(), size=size)
    frames = load_protected_capture(tmp_path / "out").frames
    assert [index for index, frame in enumerate(frames) if frame.known_path is not None] == [2]
    known = np.asarray(Image.open(str(frames[2].known_path))) > 0
    np.testing.assert_array_equal(known, cv2.resize(sure, (size, size), interpolation=cv2.INTER_NEAREST) > 0)
    assert not np.asarray(Image.open(frames[2].path))[~known].any()
    protect(raw, tmp_path / "bare", OperatorConfig(), size=size, ignore_masks=True)
    assert not (tmp_path / "bare/known").exists()
