"""What random examples found in captures, one by one: each is refused in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzz import as_png, chunks, one_sentence, within_seconds
from raw_folder import edit, write_raw_capture

from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.data.description import restore
from privhead_ns.errors import UserError
from privhead_ns.mesh.extract import extract_mesh
from privhead_ns.operators import OperatorConfig

SECRET = b"a photograph of the face"
VIEW = "protected/002.png"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A protected capture, to be copied before it is spoilt."""
    folder = tmp_path_factory.mktemp("whole")
    protect(write_raw_capture(folder / "raw"), folder / "out", OperatorConfig())
    return folder / "out"


def png(change: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]) -> Callable[[Path], None]:
    """Changes the chunks of a protected view, with right checksums."""
    return lambda folder: (folder / VIEW).write_bytes(as_png(change(chunks((folder / VIEW).read_bytes())))) and None


def pixels(parts: list[tuple[bytes, bytes]]) -> bytes:
    return zlib.decompress(b"".join(body for name, body in parts if name == b"IDAT"))


def frame(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda content: content["frames"][2].update(values))


def top(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda content: content.update(values))


def text(content: str | bytes) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / "transforms.json").write_bytes(data) and None


def pipe(name: str) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return replace


def circle(folder: Path) -> None:
    (folder / VIEW).unlink()
    (folder / VIEW).symlink_to("002.png")


PROTECTED = {
    "a second header": (png(lambda c: [c[0], (b"IHDR", c[0][1]), *c[1:]]), "more than pixels"),
    "bytes in the end": (png(lambda c: [*c[:-1], (b"IEND", SECRET)]), "more than pixels"),
    "bytes behind the pixels": (png(lambda c: [c[0], (b"IDAT", zlib.compress(pixels(c) + SECRET)), c[-1]]), "more"),
    "bytes behind the stream": (png(lambda c: [*c[:-1], (b"IDAT", SECRET), c[-1]]), "more than pixels"),
    "a palette": (png(lambda c: [c[0], (b"PLTE", SECRET), *c[1:]]), "more than pixels"),
    "bytes in the header": (png(lambda c: [(b"IHDR", c[0][1] + SECRET), *c[1:]]), "not a whole PNG"),
    "a header of nothing": (png(lambda c: [(b"IHDR", b""), *c[1:]]), "not a whole PNG"),
    "a row less": (png(lambda c: [c[0], (b"IDAT", zlib.compress(pixels(c)[:-65])), c[-1]]), "not a whole PNG"),
    "no stream": (png(lambda c: [c[0], (b"IDAT", SECRET), c[-1]]), "not a whole PNG"),
    "a bomb": (png(lambda c: [c[0], (b"IDAT", zlib.compress(bytes(10**8))), c[-1]]), "more than pixels"),
    "interlaced": (png(lambda c: [(b"IHDR", c[0][1][:-1] + b"\1"), *c[1:]]), "must be a 16-bit"),
    "no path": (frame(file_path="a\0b"), "outside the capture"),
    "a path too long": (frame(file_path="a" * 5000), "outside the capture|no file"),
    "a link to itself": (circle, "outside the capture"),
    "a pipe for a view": (pipe(VIEW), "There is no file"),
    "a pipe for a mask": (pipe("masks/002.png"), "There is no file"),
    "a huge box": (lambda folder: edit(folder, lambda c: c["privhead"].update(aabb=[[-(10**400)] * 3] * 2)), "aabb"),
    "a huge pose": (frame(transform_matrix=[[10**400] * 4] * 4), "must be 4x4 or 3x4 numbers"),
    "a far pose": (frame(transform_matrix=[[1, 0, 0, 1e200], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "too large"),
    "a focal length near zero": (frame(fl_x=1e-320), "fl_x must be above zero"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROTECTED)
def test_protected_captures(tmp_path: Path, whole: Path, kind: str) -> None:
    spoil, words = PROTECTED[kind]
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    spoil(folder)
    with within_seconds(20), pytest.raises(UserError, match=words) as error:
        load_protected_capture(folder)
    one_sentence(error.value)  # type: ignore[arg-type]


RAW = {
    "deep": (text("[" * 100_000), "nested too deeply"),
    "a huge number": (top(fl_x=10**400), "fl_x must be a finite number"),
    "a huge pose": (frame(transform_matrix=[[10**400] * 4] * 4), "must be 4x4 or 3x4 numbers"),
    "no path": (frame(mask_path="a\0b"), r"lists files that do not exist: .*a\\x00b"),
    "a path too long": (frame(file_path="a" * 5000), "lists files that do not exist"),
    "a name of two lines": (frame(file_path="a\nb\x1b[2J\u2028"), r"a\\nb\\x1b\[2J\\u2028"),
    "a pipe for transforms.json": (pipe("transforms.json"), "There is no .*transforms.json"),
}


@pytest.mark.parametrize("kind", RAW)
def test_raw_captures(tmp_path: Path, kind: str) -> None:
    spoil, words = RAW[kind]
    raw = write_raw_capture(tmp_path / "raw")
    spoil(raw)
    with within_seconds(20), pytest.raises(UserError, match=words) as error:
        protect(raw, tmp_path / "out", OperatorConfig())
    one_sentence(error.value)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [raw]


def test_a_photograph_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    (raw / "images/view_2.png").unlink()
    (raw / "images/view_2.png").symlink_to("/proc/self/mem")  # a regular file whose first bytes cannot be read
    with pytest.raises(UserError, match=r"The image .*view_2\.png cannot be read"):
        protect(raw, tmp_path / "out", OperatorConfig())


def description(**values: Any) -> dict[str, Any]:
    """What a checkpoint remembers of a capture."""
    return {
        "protected": [True, False],
        "magnitude_maximum": 1.7,
        "background": None,
        "pixel_size": 0.01,
        "subject": "head",
        "mm_per_unit": 2.0,
        "frame": {"center": (1.0, 2.0, 3.0), "side": 4.0},
        "aabb": [[-0.5, -0.5, -0.4], [0.5, 0.5, 0.4]],
        "operator": OperatorConfig().to_dict(),
    } | values


@pytest.mark.parametrize(
    "values",
    [
        {"aabb": [[0.5] * 3, [-0.5] * 3]},
        {"aabb": [[-5e5] * 3, [5e5] * 3]},
        {"aabb": [0.0, 1.0]},
        {"frame": {"center": (1.0, 2.0), "side": 4.0}},
        {"frame": {"center": (1.0, float("nan"), 2.0), "side": 4.0}},
        {"frame": {"center": (1.0, 2.0, 3.0), "side": 0.0}},
        {"mm_per_unit": float("inf")},
    ],
)
def test_checkpoints_of_impossible_captures(values: dict[str, Any]) -> None:
    metadata, box = restore(json.loads(json.dumps(description())))
    assert metadata["frame"].side == 4 and box.aabb.shape == (2, 3)
    with pytest.raises(ValueError, match=r"numbers that|no box"):
        restore(description(**values))


def test_a_field_with_a_hole_of_nan_has_no_mesh() -> None:
    def sdf(points: torch.Tensor) -> torch.Tensor:
        return torch.where((points - 0.31).norm(dim=-1) < 0.1, torch.nan, points.norm(dim=-1) - 0.5)

    with pytest.raises(UserError, match="not finite"):
        extract_mesh(sdf, torch.tensor([[-1.0] * 3, [1.0] * 3]), 32, "cpu")


def test_sentences_fit_on_a_line() -> None:
    assert str(UserError("a\nb\x1b[2J\ud800 é")) == r"a\nb\x1b[2J\ud800 é"
    assert len(str(UserError("x" * 10**6))) < 2100
