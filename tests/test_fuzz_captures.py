"""Captures that are broken at random end in a right result or in one sentence, and never in colour where none belongs.

`pytest --hypothesis-profile=long tests/test_fuzz*.py` tries 10,000 of each kind instead of a few.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from fuzz import CHANGES, chunks, one_sentence, pictures, spoil, within_seconds
from hypothesis import given
from hypothesis import strategies as st
from raw_folder import write_raw_capture
from rich.console import Console

from privhead_ns.capture import exposure, hull, mending, silhouettes
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.data.dataparser import PrivheadDataParserConfig
from privhead_ns.data.dataset import PrivheadDataset
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig

some_changes = st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=3)
randoms = st.randoms(use_true_random=False)
options = st.fixed_dictionaries(
    {},
    optional={
        "size": st.sampled_from([1, 2, 3, 16, 64]),
        "ignore_masks": st.just(True),
        "box": st.sampled_from([(-1, -1, -1, 1, 1, 1), (5, 5, 5, 6, 6, 6), (-1e9, -1e9, -1e9, 1e9, 1e9, 1e9)]),
        "face_direction": st.sampled_from([(1, 0, 0), (0, 0, -1)]),
        "allow_face": st.just(["*"]),
    },
)


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a raw and a protected capture, to be copied before they are spoilt."""
    folder = tmp_path_factory.mktemp("captures")
    raw = write_raw_capture(folder / "raw")
    for name in (2, 3):
        shutil.copy(raw / f"masks/view_{name}.png", raw / f"known_{name}.png")
    content = json.loads((raw / "transforms.json").read_text())
    for name in (2, 3):
        content["frames"][name]["known_path"] = f"known_{name}.png"
    (raw / "transforms.json").write_text(json.dumps(content))
    with pytest.MonkeyPatch.context() as patch:
        for module in (exposure, hull, mending, silhouettes):  # an example takes milliseconds
            patch.setattr(module, "VOXELS", 16)
        patch.setattr(silhouettes, "COARSE_VOXELS", 16)
        protect(raw, folder / "protected", OperatorConfig())
        yield folder


def check_raw(source: Path, folder: Path, names: list[str], random: Random, chosen: dict[str, Any]) -> str:
    """Protects a spoilt copy of a raw capture in `folder` and checks the result; returns the sentence, if any."""
    raw, out = folder / "raw", folder / "out"
    shutil.copytree(source, raw, symlinks=True)
    spoil(raw, names, random)
    try:
        with within_seconds(30):
            protect(raw, out, OperatorConfig(), console=Console(quiet=True), **chosen)
    except UserError as error:
        one_sentence(error)
        assert list(folder.iterdir()) == [raw]
        return str(error)
    assert set(folder.iterdir()) == {raw, out}
    capture = load_protected_capture(out)
    declared = [
        frame.get("sensitive") is False for frame in json.loads((raw / "transforms.json").read_text())["frames"]
    ]
    if "face_direction" not in chosen:
        assert all(may or frame.kind == "protected" for may, frame in zip(declared, capture.frames, strict=True))
    listed = {path for frame in capture.frames for path in (frame.path, frame.mask_path, frame.known_path) if path}
    assert {path for path in out.rglob("*") if path.is_file()} == listed | {out / "transforms.json"}
    return ""


def check_protected(source: Path, folder: Path, names: list[str], random: Random) -> str:
    """Reads a spoilt copy of a protected capture as training does, and checks it; returns the sentence, if any."""
    data = folder / "protected"
    shutil.copytree(source, data, symlinks=True)
    spoil(data, names, random)
    try:
        with within_seconds(30):
            capture = load_protected_capture(data)
            outputs = PrivheadDataParserConfig(data=data).setup().get_dataparser_outputs()
            dataset = PrivheadDataset(outputs)
            views = [dataset.get_data(index) for index in range(len(dataset))]
    except UserError as error:
        one_sentence(error)
        return str(error)
    for path in pictures(data):
        if any(path in (frame.path, frame.mask_path, frame.known_path) for frame in capture.frames):
            only_pixels(path)
    for frame, view in zip(capture.frames, views, strict=True):
        assert frame.path.resolve().is_relative_to(data.resolve())
        assert all(torch.isfinite(value).all() for value in view.values() if isinstance(value, torch.Tensor))
        image = view["image"]
        assert isinstance(image, torch.Tensor) and image.shape == (capture.height, capture.width, 3)
        if frame.kind == "protected":
            assert (image == image[..., :1]).all(), "grey"
    numbers = (outputs.cameras.camera_to_worlds, outputs.cameras.fx, outputs.cameras.cx, outputs.scene_box.aabb)
    assert all(torch.isfinite(value).all() for value in numbers) and np.isfinite(outputs.metadata["pixel_size"])
    return ""


def only_pixels(path: Path) -> None:
    """Checks that a PNG has room for nothing but its pixels."""
    parts = chunks(path.read_bytes())
    names = [name for name, _ in parts]
    assert names == [b"IHDR", *[b"IDAT"] * (len(parts) - 2), b"IEND"] and parts[-1][1] == b""
    width, height = (int.from_bytes(parts[0][1][at : at + 4], "big") for at in (0, 4))
    channels, depth = {2: 3, 0: 1}[parts[0][1][9]], parts[0][1][8]
    reader = zlib.decompressobj()
    pixels = reader.decompress(b"".join(body for name, body in parts if name == b"IDAT"))
    assert len(pixels) == height * (1 + width * channels * depth // 8) and reader.eof and not reader.unused_data


def test_the_captures_are_sound(captures: Path, tmp_path: Path) -> None:
    assert check_raw(captures / "raw", tmp_path, [], Random(0), {}) == ""
    assert check_protected(captures / "protected", tmp_path, [], Random(0)) == ""


@given(names=some_changes, random=randoms, chosen=options)
def test_spoilt_raw_captures(
    captures: Path, tmp_path_factory: pytest.TempPathFactory, names: list[str], random: Random, chosen: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("spoilt")
    try:
        check_raw(captures / "raw", folder, names, random, chosen)
    finally:
        shutil.rmtree(folder)


@given(names=some_changes, random=randoms)
def test_spoilt_protected_captures(
    captures: Path, tmp_path_factory: pytest.TempPathFactory, names: list[str], random: Random
) -> None:
    folder = tmp_path_factory.mktemp("spoilt")
    try:
        check_protected(captures / "protected", folder, names, random)
    finally:
        shutil.rmtree(folder)
