"""The search for what betrays a sensitive photograph: it finds every kind of leak, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from raw_folder import write_raw_capture
from rich.console import Console

from privhead_ns.audit import files
from privhead_ns.capture.protect import protect
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.operators import OperatorConfig

QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw capture."""
    return write_raw_capture(tmp_path_factory.mktemp("files") / "head", stem="person0")


def test_a_clean_capture_passes_and_every_kind_of_leak_fails(head: Path, tmp_path: Path) -> None:
    raw, protected = load_raw_capture(head), tmp_path / "protected"
    protect(head, protected, OperatorConfig())
    sensitive = range(2, 6)
    assert not files.search(raw, sensitive, [protected], QUIET).failed
    photograph = Image.open(raw.frames[3].image_path)
    unit = np.asarray(photograph).astype(np.float32) / 255
    exif = Image.Exif()
    exif[0x010F] = "camera"
    leaks = {
        "events": lambda path: photograph.save(path, format="PNG"),
        "cache.ckpt": lambda path: torch.save({"cache": torch.from_numpy(unit)}, path),
        "signed.bin": lambda path: path.write_bytes(np.diff(unit, axis=1).tobytes()),
        "thumbnail.jpg": lambda path: Image.new("RGB", (8, 8)).save(path, exif=exif),
        "log.txt": lambda path: path.write_text("read person0_3.png"),
        "place.txt": lambda path: path.write_text(f"data: {head.resolve()}"),
    }
    for name, write in leaks.items():
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        write(folder / name)
        found = files.search(raw, sensitive, [protected, folder], QUIET)
        assert found.failed and name in found.sentence, name


def test_neutral_photographs_are_no_find(head: Path, tmp_path: Path) -> None:
    raw = load_raw_capture(head)
    (tmp_path / "neutral.png").write_bytes(raw.frames[0].image_path.read_bytes())
    assert not files.search(raw, range(2, 6), [tmp_path], QUIET).failed


def test_pixels_that_a_neutral_photograph_holds_as_well_are_no_find(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    frames = load_raw_capture(raw).frames
    neutral, sensitive = frames[0].image_path, frames[3].image_path
    pixels, secret = np.array(Image.open(neutral)), np.asarray(Image.open(sensitive))
    pixels[14, 12:18] = secret[16, 13:19]  # a needle of the sensitive photograph, in a row where none is taken
    shared, own = (Image.fromarray(np.ascontiguousarray(part)) for part in (pixels, secret))
    for number, picture in enumerate((shared, own)):
        (tmp_path / f"files{number}").mkdir()
        picture.save(tmp_path / f"files{number}" / "000.png")
    before = files.search(load_raw_capture(raw), range(2, 6), [tmp_path / "files0"], QUIET)
    assert before.failed, "the pixels are a secret as long as no neutral photograph has them"
    shared.save(neutral)
    assert not files.search(load_raw_capture(raw), range(2, 6), [tmp_path / "files0"], QUIET).failed
    assert files.search(load_raw_capture(raw), range(2, 6), [tmp_path / "files1"], QUIET).failed
