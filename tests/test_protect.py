"""`protect` from end to end: what it writes, and above all what it does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from raw_folder import NEUTRAL, SIZE, VIEWS, disc, edit, photograph, write_raw_capture

import privhead_ns.capture.protect as module
from privhead_ns.capture.protect import ProtectSummary, magnitude_image, protect
from privhead_ns.capture.protected import load_protected_capture, read_magnitude, read_mask, read_neutral
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig

SECRET = "alice_example"


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ProtectSummary]:
    """A raw capture, its protected one, and the summary."""
    folder = tmp_path_factory.mktemp("protect")
    raw = write_raw_capture(folder / "raw", stem=SECRET, mm_per_unit=150.0)
    summary = protect(raw, folder / "out", OperatorConfig(), background=(0.0, 0.5, 1.0))
    return raw, folder / "out", summary


def composed(index: int, background: tuple[float, float, float]) -> np.ndarray:
    inside = disc()[..., None] > 0
    return np.where(inside, photograph(index).astype(np.float32) / 255, np.array(background, dtype=np.float32))


def test_capture_reads_back(protected: tuple[Path, Path, ProtectSummary]) -> None:
    capture = load_protected_capture(protected[1])
    assert (capture.width, capture.height) == (SIZE, SIZE)
    assert [frame.kind == "neutral" for frame in capture.frames] == [index in NEUTRAL for index in range(VIEWS)]
    assert capture.operator == OperatorConfig()
    assert capture.mm_per_unit == 150
    assert capture.background == (0.0, 0.5, 1.0)
    assert capture.masked
    raw = json.loads((protected[0] / "transforms.json").read_text())
    for frame, original in zip(capture.frames, raw["frames"], strict=True):
        np.testing.assert_array_equal(frame.camera_to_world, original["transform_matrix"])
        np.testing.assert_array_equal(read_mask(frame.mask_path), disc() / 255)  # pyright: ignore[reportArgumentType]
    assert (capture.aabb[0] <= -1).all()
    assert (capture.aabb[1] >= 1).all()


def test_views_are_what_they_should_be(protected: tuple[Path, Path, ProtectSummary]) -> None:
    capture = load_protected_capture(protected[1])
    sigma = capture.operator.setup()
    for index, frame in enumerate(capture.frames):
        expected = composed(index, capture.background)
        if frame.kind == "neutral":
            np.testing.assert_allclose(read_neutral(frame.path), expected, atol=0.5 / 255 + 1e-6)
        else:
            magnitude = read_magnitude(frame.path, capture.magnitude_maximum)
            inner = sigma(torch.from_numpy(expected).permute(2, 0, 1)[None])[0].numpy()
            np.testing.assert_allclose(magnitude[1:-1, 1:-1], inner, atol=sigma.maximum / 65535)
            assert not np.pad(np.zeros_like(inner), 1, constant_values=1)[magnitude > 0].any()


def test_no_colour_and_no_name_of_a_sensitive_view_is_left(protected: tuple[Path, Path, ProtectSummary]) -> None:
    raw, out, _ = protected
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".png", ".json"}
    secrets = [photograph(index) for index in range(VIEWS) if index not in NEUTRAL]
    # any four neighbouring pixels inside the head, as RGB bytes and as each channel's bytes
    needles = [secret[16, x : x + 4].tobytes() for secret in secrets for x in range(8, 20)]
    needles += [secret[16, 8:24, channel].tobytes() for secret in secrets for channel in range(3)]
    needles += [path.read_bytes()[60:80] for path in (raw / "images").glob("*_[2-5].png")]
    for path in files:
        haystacks = [path.read_bytes()]
        assert SECRET.encode() not in haystacks[0]
        assert SECRET not in str(path)
        if path.suffix == ".png":
            image = Image.open(path)
            assert not image.info
            pixels = np.asarray(image)
            haystacks += [
                pixels.tobytes(),
                (pixels >> 8 if pixels.dtype == np.uint16 else pixels).astype("u1").tobytes(),
            ]
        assert not any(needle in haystack for needle in needles for haystack in haystacks), path.name


def test_needles_would_be_found_in_a_leak() -> None:
    assert photograph(3)[16, 8:12].tobytes() in photograph(3).tobytes()


@pytest.mark.parametrize("levels", [2, 16, 65536])
def test_stored_image_knows_neither_sign_nor_more_levels(levels: int) -> None:
    sigma = OperatorConfig(blur=0.5, levels=levels).setup()
    image = photograph(3).astype(np.float32) / 255
    stored = magnitude_image(image, sigma, levels)
    assert stored.dtype == np.uint16
    assert len(np.unique(stored)) <= levels
    # a negative has opposite gradients everywhere; rounding may shift a value by one level
    difference = np.abs(stored.astype(int) - magnitude_image(1 - image, sigma, levels))
    assert difference.max() <= 65535 // (levels - 1)
    assert (difference > 1).mean() < 0.01


def test_neutral_jpeg_loses_its_metadata(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw", masks=False)
    exif = Image.Exif()
    exif[0x010F] = "CameraMaker"
    exif.get_ifd(0x8825).update({1: "N", 2: (59.0, 17.0, 0.0)})
    smooth = Image.fromarray(photograph(0)[:4, :4]).resize((SIZE, SIZE))
    smooth.save(raw / "images" / "one.jpg", exif=exif, comment=b"private comment", dpi=(72, 72))
    assert b"CameraMaker" in (raw / "images" / "one.jpg").read_bytes()
    edit(raw, lambda content: content["frames"][0].update(file_path="images/one.jpg"))
    protect(raw, tmp_path / "out", OperatorConfig())
    view = tmp_path / "out" / "neutral" / "000.png"
    image = Image.open(view)
    image.load()
    assert image.info == {}
    assert not image.getexif()
    for trace in (b"Exif", b"CameraMaker", b"private", b"one.jpg"):
        assert not any(trace in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    load_protected_capture(tmp_path / "out")


def test_distortion_size_and_box(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw", camera_model="OPENCV", k1=-0.1, k2=0.02, p1=0.001)
    protect(raw, tmp_path / "out", OperatorConfig("scharr", blur=0.4, levels=256), size=24, box=(-1, -2, -3, 1, 2, 3))
    capture = load_protected_capture(tmp_path / "out")
    assert (capture.width, capture.height) == (24, 24)
    assert capture.operator == OperatorConfig("scharr", blur=0.4, levels=256)
    np.testing.assert_array_equal(capture.aabb, [[-1, -2, -3], [1, 2, 3]])
    stored = np.asarray(Image.open(next(frame.path for frame in capture.frames if frame.kind == "protected")))
    assert stored[4:-4, 4:-4].any()
    assert len(np.unique(stored)) <= 256
    assert not any(key in (tmp_path / "out" / "transforms.json").read_text() for key in ('"k1"', '"p1"'))


def test_a_capture_without_masks(tmp_path: Path) -> None:
    summary = protect(write_raw_capture(tmp_path / "raw", masks=False), tmp_path / "out", OperatorConfig())
    assert "There are no masks" in summary.in_plain_words()  # photographs of noise tell none
    capture = load_protected_capture(tmp_path / "out")
    assert not capture.masked
    assert not (tmp_path / "out" / "masks").exists()


def test_the_same_input_gives_the_same_bytes(protected: tuple[Path, Path, ProtectSummary], tmp_path: Path) -> None:
    raw, out, _ = protected
    protect(raw, tmp_path / "again", OperatorConfig(), background=(0.0, 0.5, 1.0))
    for path in out.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(out)).read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interruption_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    seen: list[Path] = []

    def interrupt(*_: object) -> None:
        seen.extend(path for path in tmp_path.rglob("*.png") if raw not in path.parents)
        raise error

    monkeypatch.setattr(module, "magnitude_image", interrupt)
    with pytest.raises(error):
        protect(raw, tmp_path / "out", OperatorConfig())
    assert {path.parent.name for path in seen} == {"neutral", "masks"}
    assert list(tmp_path.iterdir()) == [raw]


def test_a_face_in_a_neutral_view_stops(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw", masks=False, w=220, h=220, cx=110, cy=110, fl_x=330, fl_y=330)
    face = Image.fromarray(skimage.data.astronaut()[:220, 110:330])
    for index in range(VIEWS):
        Image.fromarray(np.full((220, 220, 3), 90 + index, np.uint8)).save(raw / "images" / f"view_{index}.png")
    face.save(raw / "images" / "view_1.png")
    with pytest.raises(UserError, match=r"images/view_1\.png.*--allow-face"):
        protect(raw, tmp_path / "out", OperatorConfig())
    with pytest.raises(UserError, match=r"images/view_1\.png"):
        protect(raw, tmp_path / "out", OperatorConfig(), allow_face=["view_0.png"])
    assert list(tmp_path.iterdir()) == [raw]
    protect(raw, tmp_path / "out", OperatorConfig(), allow_face=["view_1.png"])
    # a sensitive view may of course show a face
    protect(raw, tmp_path / "sensitive", OperatorConfig(), sensitive=["view_1.png"])
    assert (tmp_path / "sensitive" / "protected" / "001.png").exists()


def test_an_operator_that_returns_colour_is_refused() -> None:
    class Leak(torch.nn.Module):
        margin = 0
        maximum = 1.0

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image[0]

    with pytest.raises(UserError, match="Leak"):
        magnitude_image(np.zeros((8, 8, 3), np.float32), Leak(), 256)


def test_plain_words_say_what_left_and_what_did_not(protected: tuple[Path, Path, ProtectSummary]) -> None:
    words = protected[2].in_plain_words()
    left, kept = words.split("Not in it:")
    assert "2 neutral views" in left
    assert "4 protected views" in left
    assert "6 outlines" in left
    assert "camera" in left
    assert "any colour of the 4 protected views" in kept
    for word in ("directions", "EXIF", "GPS", "thumbnails", "names", "edges stay visible", "pictures", "identifies"):
        assert word in kept
    assert "images/alice_example_0.png, images/alice_example_1.png: make sure" in words
    assert "frame" not in words.split("make sure")[0].split("identifies")[1]


def test_plain_words_name_some_of_many_neutral_views(tmp_path: Path) -> None:
    names = tuple(f"{index:02d}.png" for index in range(20))
    words = ProtectSummary(tmp_path, names, 4, 24, 32, 32, OperatorConfig()).in_plain_words()
    assert "11.png and 8 more: make sure" in words


def test_photographs_of_another_resolution(tmp_path: Path) -> None:
    """The owner told of 64x64 pixels; what leaves is the same as where intrinsics were right."""
    protect(write_raw_capture(tmp_path / "raw"), tmp_path / "out", OperatorConfig())
    large = write_raw_capture(tmp_path / "large", w=64, h=64, fl_x=96, fl_y=96, cx=32, cy=32)
    words = protect(large, tmp_path / "scaled", OperatorConfig()).in_plain_words()
    assert "not of the 64x64 pixels" in words
    assert (tmp_path / "out/transforms.json").read_bytes() == (tmp_path / "scaled/transforms.json").read_bytes()


@pytest.mark.parametrize("ending", ["png", "bmp"])
def test_a_copy_of_a_sensitive_view_does_not_leave_in_colour(tmp_path: Path, ending: str) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    Image.fromarray(photograph(4)).save(raw / f"images/copy.{ending}")
    edit(raw, lambda content: content["frames"][1].update(file_path=f"images/copy.{ending}"))
    with pytest.raises(UserError, match=rf"images/copy\.{ending} is declared neutral.*images/view_4\.png"):
        protect(raw, tmp_path / "out", OperatorConfig())
    assert list(tmp_path.iterdir()) == [raw]


def test_one_file_listed_twice(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    edit(raw, lambda content: content["frames"][1].update(file_path="./images/view_4.png"))
    with pytest.raises(UserError, match=r"\./images/view_4\.png is declared neutral.*images/view_4\.png"):
        protect(raw, tmp_path / "out", OperatorConfig())


def test_the_summary_says_when_photographs_have_more_pixels_on_the_head(tmp_path: Path) -> None:
    summary = ProtectSummary(tmp_path, (), 4, 4, 128, 128, OperatorConfig(), size=128, native_size=300)
    assert "300 pixels or more" in summary.in_plain_words()
    assert "pixels or more" not in replace(summary, native_size=140).in_plain_words()


def test_photographs_that_are_halved_have_twice_the_views_size(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    whole = protect(raw, tmp_path / "whole", OperatorConfig())
    halved = protect(raw, tmp_path / "halved", OperatorConfig(), size=whole.width // 2)
    assert whole.native_size == whole.width
    assert halved.native_size == pytest.approx(2 * halved.width, abs=1)
