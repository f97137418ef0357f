"""Photographs that are stored on their side or upside down: the silhouettes tell which way up they belong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from raw_folder import edit, ring, write_raw_capture

from privhead_ns.capture.picture_files import INVERSE, TURNS
from privhead_ns.capture.raw import load_raw_capture, read_image
from privhead_ns.errors import UserError

SIZE = 48
BALLS = (((0.0, 0.0, 0.0), 0.8), ((0.5, 0.2, 0.9), 0.35), ((-0.3, 0.8, -0.3), 0.3))
"""Centre and radius of the parts of a body without symmetry."""
MIXED = (6, 1, 8, 3, 6, 1)


def stored_as(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an upright picture so that `orientation` makes it upright again."""
    if orientation not in TURNS:
        return picture
    return np.asarray(Image.fromarray(picture).transpose(TURNS[INVERSE.get(orientation, orientation)]))


def body(pose: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns the silhouette of the body."""
    y, x = np.mgrid[:height, :width] + 0.5
    rays = np.stack([(x - width / 2) / 72, (height / 2 - y) / 72, -np.ones_like(x)], axis=-1) @ pose[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    seen = np.zeros((height, width), dtype=bool)
    for centre, radius in BALLS:
        offset = np.array(centre) - pose[:3, 3]
        seen |= np.linalg.norm(np.cross(rays, offset), axis=-1) < radius
    return seen


def write(
    folder: Path,
    exif: tuple[int, ...],
    poses_stored: bool,
    masks: str,
    size: tuple[int, int] = (SIZE, SIZE),
) -> tuple[Path, list[np.ndarray]]:
    """Writes a capture of photographs with EXIF orientations; returns it and what its cameras should see.

    Args:
        folder: made here.
        exif: orientation of each photograph.
        poses_stored: whether the cameras belong to stored pixels, else to upright ones.
        masks: "stored" or "upright", "alpha" or "none".
        size: width and height that the cameras see.
    """
    write_raw_capture(folder, masks=False, w=size[0], h=size[1], cx=size[0] / 2, cy=size[1] / 2, fl_x=72, fl_y=72)
    frames: list[dict[str, Any]] = []
    expected = []
    for index, (pose, orientation) in enumerate(zip(ring(), exif, strict=True)):
        seen = body(pose, *size)
        texture = np.random.default_rng(index).integers(120, 255, (*seen.shape, 3))
        rgb = np.where(seen[..., None], texture, 20).astype(np.uint8)
        expected.append(rgb)
        mask = (seen * 255).astype(np.uint8)
        if poses_stored:  # the upright picture is what the camera sees, turned
            stored, stored_mask = rgb, mask
            upright_mask = (
                np.asarray(Image.fromarray(mask).transpose(TURNS[orientation])) if orientation in TURNS else mask
            )
        else:
            stored, stored_mask, upright_mask = stored_as(rgb, orientation), stored_as(mask, orientation), mask
        tag = Image.Exif()
        tag[0x0112] = orientation
        picture = np.dstack([stored, stored_mask]) if masks == "alpha" else stored
        Image.fromarray(picture).save(folder / f"images/view_{index}.png", exif=tag)
        frame = {"file_path": f"images/view_{index}.png", "transform_matrix": pose.tolist(), "sensitive": index > 1}
        if masks in ("stored", "upright"):
            Image.fromarray(stored_mask if masks == "stored" else upright_mask).save(folder / f"masks/view_{index}.png")
            frame["mask_path"] = f"masks/view_{index}.png"
        frames.append(frame)
    edit(folder, lambda content: content.update(frames=frames))
    return folder, expected


@pytest.mark.parametrize("masks", ["stored", "upright", "alpha"])
@pytest.mark.parametrize("poses_stored", [True, False])
@pytest.mark.parametrize("exif", [MIXED, (6,) * 6])
def test_square_photographs(tmp_path: Path, exif: tuple[int, ...], poses_stored: bool, masks: str) -> None:
    folder, expected = write(tmp_path / "raw", exif, poses_stored, masks)
    for frame, rgb in zip(load_raw_capture(folder).frames, expected, strict=True):
        found, coverage = read_image(frame)
        np.testing.assert_array_equal(found, rgb)
        np.testing.assert_array_equal(coverage, np.where(rgb[..., 0] > 100, 255, 0))


@pytest.mark.parametrize("masks", ["stored", "upright", "alpha"])
@pytest.mark.parametrize("poses_stored", [True, False])
def test_the_shape_tells_where_it_is_no_square(tmp_path: Path, poses_stored: bool, masks: str) -> None:
    folder, expected = write(tmp_path / "raw", (6, 8, 6, 6, 8, 6), poses_stored, masks, (SIZE, 60))
    for frame, rgb in zip(load_raw_capture(folder).frames, expected, strict=True):
        found, coverage = read_image(frame)
        np.testing.assert_array_equal(found, rgb)
        np.testing.assert_array_equal(coverage, np.where(rgb[..., 0] > 100, 255, 0))


def test_without_masks_all_of_one_orientation_stay_as_stored(tmp_path: Path) -> None:
    folder, expected = write(tmp_path / "raw", (3,) * 6, True, "none")
    for frame, rgb in zip(load_raw_capture(folder).frames, expected, strict=True):
        np.testing.assert_array_equal(read_image(frame)[0], rgb)


def test_without_masks_mixed_orientations_are_refused(tmp_path: Path) -> None:
    folder, _ = write(tmp_path / "raw", MIXED, True, "none")
    with pytest.raises(UserError, match=r"view_0\.png .*is 6, and there are no masks"):
        load_raw_capture(folder)


def test_silhouettes_that_do_not_tell_are_refused(tmp_path: Path) -> None:
    """Discs look the same from all sides."""
    folder, _ = write(tmp_path / "raw", MIXED, True, "stored")
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    for path in (folder / "masks").iterdir():
        Image.fromarray((np.hypot(x, y) < 15).astype(np.uint8) * 255).save(path)
    with pytest.raises(UserError, match="masks do not tell"):
        load_raw_capture(folder)


def test_a_picture_on_its_side_without_exif(tmp_path: Path) -> None:
    folder, _ = write(tmp_path / "raw", (1,) * 6, True, "none", (SIZE, 60))
    edit(folder, lambda content: content.update(w=60, h=SIZE))
    with pytest.raises(UserError, match=r"48x60 .*60x48, .*on its side"):
        load_raw_capture(folder)
