"""Silhouettes against their visual hull: what passes, what stops, and who is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from raw_folder import DISTANCE, SIZE, disc, look_at, write_raw_capture
from scipy import ndimage
from scipy.spatial.transform import Rotation

from privhead_ns.capture.hull import View, head_box, visual_hull
from privhead_ns.capture.protect import protect
from privhead_ns.capture.raw import Intrinsics
from privhead_ns.capture.silhouettes import check_outline, check_silhouettes, silhouette_agreement
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig

PIXELS = 64
COUNT = 18
SPHERES = np.array([[0, 0, 0.1, 0.72], [0.55, 0, 0, 0.35], [-0.2, 0.1, -0.7, 0.4], [0.1, -0.5, 0.3, 0.4]])
"""Centre and radius: a skull, a nose, a neck, and hair on one side."""


def silhouette(pose: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """Returns where the rays through the pixels' centres hit a sphere."""
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    rays = np.stack([(x - camera.cx) / camera.fl_x, -(y - camera.cy) / camera.fl_y, -np.ones_like(x)], axis=-1)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True) @ pose[:3, :3].T
    hit = np.zeros(x.shape, dtype=bool)
    for sphere in SPHERES:
        to_centre = sphere[:3] - pose[:3, 3]
        along = rays @ to_centre
        hit |= to_centre @ to_centre - along**2 < sphere[3] ** 2
    return hit.astype(np.uint8)


def head_views(distance: float = DISTANCE, count: int = COUNT) -> list[View]:
    """Returns views from all around, at three heights."""
    camera = Intrinsics(PIXELS, PIXELS, 118.0, 118.0, PIXELS / 2, PIXELS / 2)
    result = []
    for index in range(count):
        angle, height = index * 2 * np.pi / count, (-0.3, 0.1, 0.5)[index % 3]
        direction = np.array([np.cos(angle), np.sin(angle), height])
        pose = look_at(distance * direction / np.linalg.norm(direction))
        result.append(View(pose, camera, silhouette(pose, camera)))
    return result


NAMES = [f"images/{index:03d}.png" for index in range(COUNT)]
GUILTY, OTHER = 5, 10


def with_mask(views: list[View], change: Callable[[np.ndarray], np.ndarray], index: int = GUILTY) -> list[View]:
    mask = views[index].silhouette
    assert mask is not None
    return [*views[:index], replace(views[index], silhouette=change(mask).astype(np.uint8)), *views[index + 1 :]]


def turned(views: list[View], degrees: float, axis: str = "y", index: int = GUILTY) -> list[View]:
    pose = views[index].camera_to_world.copy()
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    return [*views[:index], replace(views[index], camera_to_world=pose), *views[index + 1 :]]


def resized_mask(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(mask: np.ndarray) -> np.ndarray:
        y, x = (float(index.mean()) for index in np.nonzero(mask))
        return cv2.warpAffine(mask, np.array([[factor, 0, x - factor * x], [0, factor, y - factor * y]]), mask.shape)

    return change


def exchanged(views: list[View], what: str, other: int = OTHER) -> list[View]:
    result = list(views)
    for a, b in ((GUILTY, other), (other, GUILTY)):
        result[a] = replace(views[a], **{what: getattr(views[b], what)})
    return result


def mirrored(views: list[View]) -> list[View]:
    """The world mirrored at x = 0, with cameras made proper again."""
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    return [replace(view, camera_to_world=mirror @ view.camera_to_world @ mirror) for view in views]


def rough(views: list[View]) -> list[View]:
    """Outlines that stray by a pixel, standard deviation, as drawn by hand."""
    generator, result = np.random.default_rng(0), []
    for view in views:
        assert view.silhouette is not None
        inside = view.silhouette > 0
        noise = ndimage.gaussian_filter(generator.normal(size=inside.shape), 3)
        distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        result.append(replace(view, silhouette=(distance + noise / noise.std() > 0).astype(np.uint8)))
    return result


def shaky(views: list[View]) -> list[View]:
    """Poses with errors of half a pixel."""
    generator, result = np.random.default_rng(0), []
    for view in views:
        pose = view.camera_to_world.copy()
        pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(generator.normal(0, 0.35 / 118, 3)).as_matrix()
        result.append(replace(view, camera_to_world=pose))
    return result


SOUND = {
    "exact": head_views,
    "rough masks": lambda: rough(head_views()),
    "rough poses": lambda: shaky(head_views()),
    "six views": lambda: head_views(count=6),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_captures_pass(name: str) -> None:
    views = SOUND[name]()
    assert silhouette_agreement(views).min() > 0.95
    assert check_silhouettes(views, NAMES[: len(views)]) == {}


def test_close_ups_that_cut_the_head_pass() -> None:
    views = head_views()
    closer = head_views(distance=0.7 * DISTANCE)
    views[::3] = closer[::3]
    sides = [np.array([m[0].any(), m[-1].any(), m[:, 0].any(), m[:, -1].any()]).sum() for m in map(pixels, closer[::3])]
    assert max(sides) >= 2
    for view, name in zip(views, NAMES, strict=True):
        check_outline(pixels(view), name)
    assert check_silhouettes(views, NAMES) == {}


def pixels(view: View) -> np.ndarray:
    assert view.silhouette is not None
    return view.silhouette


BROKEN = {
    "turned by 3 degrees": (lambda views: turned(views, 3), "pose seems to be off"),
    "turned by 10 degrees": (lambda views: turned(views, 10), "pose seems to be off"),
    "turned by 20 degrees": (lambda views: turned(views, 20), "pose"),
    "raised by 3 degrees": (lambda views: turned(views, 3, "x"), "pose seems to be off"),
    "inverted": (lambda views: with_mask(views, lambda mask: 1 - mask), "inverted"),
    "too small": (lambda views: with_mask(views, resized_mask(0.7)), "too small"),
    "too large": (lambda views: with_mask(views, resized_mask(1.3)), "too large"),
    "of another view": (lambda views: with_mask(views, lambda _: pixels(views[OTHER])), "other|another|better"),
    "mirrored": (lambda views: with_mask(views, lambda mask: mask[:, ::-1]), "pose|other|better"),
    "exchanged masks": (lambda views: exchanged(views, "silhouette"), "swapped"),
    "exchanged poses": (lambda views: exchanged(views, "camera_to_world"), "swapped"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_guilty_view_is_named(name: str) -> None:
    change, words = BROKEN[name]
    views = change(head_views())
    with pytest.raises(UserError, match=words) as error:
        check_silhouettes(views, NAMES)
    first = str(error.value).split("other views in ")[1].split(" ")[0]
    assert first == NAMES[GUILTY] or ("exchanged" in name and first == NAMES[OTHER])
    assert len(str(error.value).splitlines()) == 1


def test_the_worst_view_is_the_guilty_one() -> None:
    for degrees in (3, 10, 20):
        share = silhouette_agreement(turned(head_views(), degrees))
        assert share.argmin() == GUILTY
        assert share[GUILTY] <= 0.93


def test_a_mirrored_world_is_refused() -> None:
    with pytest.raises(UserError, match=r"disagree in .* mirrored"):
        check_silhouettes(mirrored(head_views()), NAMES)


def test_a_mask_that_cuts_a_little_is_doubtful_and_does_not_cut_the_box() -> None:
    views = head_views()
    spoilt = with_mask(views, resized_mask(0.85))
    doubtful = check_silhouettes(spoilt, NAMES)
    assert list(doubtful) == [GUILTY]
    whole = head_box(views)
    trusted = [view for index, view in enumerate(spoilt) if index not in doubtful]
    assert np.abs(head_box(spoilt) - whole).max() > 2 * np.abs(head_box(trusted) - whole).max()


def test_large_silhouettes_are_compared_reduced() -> None:
    large = []
    for view in head_views(count=8):
        camera = Intrinsics(640, 640, 1180.0, 1180.0, 320.0, 320.0)
        large.append(View(view.camera_to_world, camera, silhouette(view.camera_to_world, camera)))
    assert silhouette_agreement(large).min() > 0.97


@pytest.mark.parametrize("mask", [1 - disc(), np.ones((SIZE, SIZE), np.uint8)])
def test_a_silhouette_that_covers_the_border_stops(mask: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"The mask of it covers 100% of the picture's border.*inverted"):
        check_outline((mask > 0) & (mask < 255), "it")


@pytest.mark.parametrize("which", [range(6), [3]])
def test_inverted_masks_stop_the_command(tmp_path: Path, which: list[int]) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    for index in which:
        Image.fromarray(255 - disc()).save(raw / "masks" / f"view_{index}.png")
    with pytest.raises(UserError, match=rf"images/view_{which[0]}\.png.*inverted.*--ignore-masks"):
        protect(raw, tmp_path / "out", OperatorConfig())
    assert list(tmp_path.iterdir()) == [raw]


def test_the_mask_of_a_lens_stops_the_command(tmp_path: Path) -> None:
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2
    raw = write_raw_capture(tmp_path / "raw")
    for path in (raw / "masks").iterdir():
        Image.fromarray((np.hypot(x, y) < SIZE / 2).astype(np.uint8) * 255).save(path)
    with pytest.raises(UserError, match=r"All frames have the same mask.*lens.*--ignore-masks"):
        protect(raw, tmp_path / "out", OperatorConfig())


def test_a_turned_camera_stops_the_command_before_anything_is_written(tmp_path: Path) -> None:
    raw = write_head_capture(tmp_path / "raw", turned(head_views(), 10))
    with pytest.raises(UserError, match=r"images/005\.png.*pose"):
        protect(raw, tmp_path / "out", OperatorConfig())
    assert list(tmp_path.iterdir()) == [raw]


def test_the_summary_names_doubtful_views(tmp_path: Path) -> None:
    raw = write_head_capture(tmp_path / "raw", with_mask(head_views(), resized_mask(0.85)))
    summary = protect(raw, tmp_path / "out", OperatorConfig())
    assert len(summary.doubtful) == 1
    assert "Look at images/005.png" in summary.in_plain_words()


def write_head_capture(folder: Path, views: list[View]) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    frames = []
    for index, view in enumerate(views):
        name = f"{index:03d}.png"
        Image.fromarray(np.full((PIXELS, PIXELS, 3), 90 + index, np.uint8)).save(folder / "images" / name)
        Image.fromarray(pixels(view) * 255).save(folder / "masks" / name)
        frames.append(
            {
                "file_path": f"images/{name}",
                "mask_path": f"masks/{name}",
                "transform_matrix": view.camera_to_world.tolist(),
                "sensitive": index >= 4,
            }
        )
    camera = {"fl_x": 118.0, "fl_y": 118.0, "cx": 32.0, "cy": 32.0, "w": PIXELS, "h": PIXELS}
    (folder / "transforms.json").write_text(json.dumps(camera | {"frames": frames}))
    return folder


def test_visual_hull_is_the_share_of_views() -> None:
    views = head_views()
    hull = visual_hull(views, np.array([[-1.5] * 3, [1.5] * 3]), 30)
    assert hull.shape == (30, 30, 30)
    axis = (np.arange(30) + 0.5) / 10 - 1.5
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    inside = np.any([np.linalg.norm(points - sphere[:3], axis=-1) < sphere[3] for sphere in SPHERES], axis=0)
    assert (hull[inside] == 1).all()
    assert inside.sum() < (hull == 1).sum() < 2 * inside.sum()
    # one empty mask takes the share of one view away and no more
    spoilt = visual_hull(with_mask(views, np.zeros_like), np.array([[-1.5] * 3, [1.5] * 3]), 30)[inside]
    assert spoilt.min() > 0.9
    assert np.median(spoilt) == pytest.approx(1 - 1 / COUNT)
