"""A raw capture that goes through `prepare` again, and captures whose photographs are HEIC files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_folder import edit
from rich.console import Console

from privhead_ns.capture import picture_files
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.capture.raw import load_raw_capture, read_image, read_unsure
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig
from privhead_ns.prepare.prepare import prepare
from privhead_ns.prepare.readers.detect import read_posed
from privhead_ns.prepare.wishes import Wishes

QUIET = Console(quiet=True)
UNSURE = {3: slice(10, 14), 7: slice(0, 32)}
"""Rows of which nothing is known, by frame."""


@pytest.fixture(scope="module")
def demo(demo_capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw capture of ten views."""
    folder = shutil.copytree(demo_capture, tmp_path_factory.mktemp("demo") / "raw")
    edit(folder, lambda content: content.update(frames=content["frames"][::3]))
    return folder


@pytest.fixture
def raw(demo: Path, tmp_path: Path) -> Path:
    return shutil.copytree(demo, tmp_path / "raw")


def test_what_is_unsure_of_a_mask_is_kept(raw: Path, tmp_path: Path) -> None:
    (raw / "known").mkdir()
    for number, rows in UNSURE.items():
        known = np.full((32, 32), 255, np.uint8)
        known[rows] = 0
        Image.fromarray(known).save(raw / "known" / f"{number}.png")
    edit(raw, lambda content: [content["frames"][i].update(known_path=f"known/{i}.png") for i in UNSURE])
    prepare(raw, tmp_path / "again", Wishes(), QUIET)
    frames = load_raw_capture(tmp_path / "again").frames
    assert [i for i, frame in enumerate(frames) if frame.known_path is not None] == list(UNSURE)
    for number, rows in UNSURE.items():
        unsure = read_unsure(frames[number])
        assert unsure is not None and unsure[rows].all() and unsure.sum() == unsure[rows].size
    edit(raw, lambda content: content["frames"][3].update(known_path="known/4.png"))
    with pytest.raises(UserError, match=r"lists files that do not exist: .*known/4\.png"):
        read_posed(raw)
    edit(raw, lambda content: content["frames"][3].update(known_path=4))
    with pytest.raises(UserError, match="known_path must be a file's name, not 4"):
        read_posed(raw)


def as_heic(folder: Path) -> list[np.ndarray]:
    """Makes HEIC files of a capture's photographs; returns their pixels."""
    import pillow_heif

    pixels = []
    for frame in load_raw_capture(folder).frames:
        pixels.append(read_image(frame)[0])
        pillow_heif.from_pillow(Image.fromarray(pixels[-1])).save(frame.image_path.with_suffix(".heic"), quality=95)
        frame.image_path.unlink()

    def rename(content: dict) -> None:
        for frame in content["frames"]:
            frame["file_path"] = str(Path(frame["file_path"]).with_suffix(".heic"))

    edit(folder, rename)
    return pixels


def test_heic_photographs_with_cameras_are_read(raw: Path, tmp_path: Path) -> None:
    pixels = as_heic(raw)
    prepare(raw, tmp_path / "again", Wishes(), QUIET)
    for frame, given in zip(load_raw_capture(tmp_path / "again").frames, pixels, strict=True):
        assert frame.image_path.suffix == ".png"
        assert np.abs(read_image(frame)[0].astype(int) - given).mean() < 6
    protect(raw, tmp_path / "protected", OperatorConfig())
    assert len(load_protected_capture(tmp_path / "protected").frames) == len(pixels)


def test_heic_without_its_reader_names_the_mend(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_heic(raw)
    monkeypatch.setattr(picture_files, "reads_heic", lambda: False)
    for use in (lambda: prepare(raw, tmp_path / "out", Wishes(), QUIET), lambda: protect(raw, tmp_path / "out", SOBEL)):
        with pytest.raises(UserError, match=r"\.heic is of the format HEIC, which needs pillow-heif: pip install"):
            use()
    assert not (tmp_path / "out").exists()


SOBEL = OperatorConfig()
