"""A mask is a shape: which inputs are taken for one, and that no mask carries a photograph out of the machine."""

from __future__ import annotations

import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image
from raw_folder import SIZE, VIEWS, disc, edit, photograph, write_raw_capture

from privhead_ns.capture.masks import alpha_shape, grey_off_outline, mask_shape
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture, read_mask
from privhead_ns.capture.raw import Intrinsics, load_raw_capture, read_image
from privhead_ns.capture.undistort import undistort_and_resize
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig

FACE = skimage.data.astronaut()[:220, 110:330]
ROUND = disc(220)
"""A mask as large as FACE."""
CUT_OUT = FACE * (ROUND[..., None] > 0)


def as_jpeg(pixels: np.ndarray) -> Image.Image:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=75)
    return Image.open(data)


SHAPES = {
    "0 and 255": Image.fromarray(ROUND),
    "0 and 1": Image.fromarray(ROUND // 255),
    "0 and 15": Image.fromarray(ROUND // 17),
    "0 and 2 in 16 bits": Image.fromarray((ROUND // 255 * 2).astype(np.uint16)),
    "0 and 65535": Image.fromarray(ROUND.astype(np.uint16) * 257),
    "one bit": Image.fromarray(ROUND > 0),
    "grey in three channels": Image.fromarray(np.dstack([ROUND] * 3)),
    "red on black": Image.fromarray(np.dstack([ROUND // 2, 0 * ROUND, 0 * ROUND])),
    "red on black in a palette": Image.fromarray(np.dstack([ROUND // 2, 0 * ROUND, 0 * ROUND])).quantize(2),
    "JPEG": as_jpeg(ROUND),
    "white whose alpha is the mask": Image.fromarray(np.dstack([np.full((220, 220, 3), 255, np.uint8), ROUND])),
    "photograph whose alpha is the mask": Image.fromarray(np.dstack([FACE, ROUND])),
    "opaque alpha": Image.fromarray(np.dstack([*[ROUND] * 3, np.full_like(ROUND, 255)])),
    "antialiased": Image.fromarray(ROUND).resize((880, 880)).resize((220, 220), Image.Resampling.BOX),
    "feathered": Image.fromarray(cv2.GaussianBlur(ROUND, (0, 0), 2.5)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_become_two_valued(name: str) -> None:
    shape = mask_shape(SHAPES[name], "The mask")
    assert set(np.unique(shape)) == {0, 255}
    assert ((shape > 0) != (ROUND > 0)).mean() < 0.01


PICTURES = {
    "cut-out photograph": (Image.fromarray(CUT_OUT), "colour"),
    "cut-out photograph in grey": (Image.fromarray(CUT_OUT).convert("L"), "shades of grey"),
    "its lightness as alpha": (
        Image.fromarray(np.dstack([CUT_OUT, np.asarray(Image.fromarray(CUT_OUT).convert("L"))])),
        "shades of grey",
    ),
    "dithered to one bit": (Image.fromarray(CUT_OUT).convert("1"), "dithered"),
    "128 where unsure": (
        Image.fromarray(np.maximum(ROUND, np.uint8(128) * (disc(264)[22:242, 22:242] > 0))),
        "0, 128, 255",
    ),
    "two colours on black": (
        Image.fromarray(np.dstack([ROUND, ROUND * (np.arange(220) > 110).astype(np.uint8), 0 * ROUND])),
        "colour",
    ),
    "labels": (Image.fromarray(ROUND // 255 + (np.arange(220) > 110).astype(np.uint8)), "0, 1, 2"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_and_labels_are_refused(name: str) -> None:
    image, words = PICTURES[name]
    with pytest.raises(UserError, match=f"The mask of 3 .*{words}.*white on the head"):
        mask_shape(image, "The mask of 3")


def test_an_opaque_alpha_channel_is_no_mask(tmp_path: Path) -> None:
    assert alpha_shape(Image.fromarray(np.dstack([FACE, np.full((220, 220), 255, np.uint8)])), "It") is None
    raw = write_raw_capture(tmp_path / "raw", masks=False)
    for index in range(VIEWS):
        opaque = np.dstack([photograph(index), np.full((SIZE, SIZE), 255, np.uint8)])
        Image.fromarray(opaque).save(raw / "images" / f"view_{index}.png")
    assert read_image(load_raw_capture(raw).frames[0])[1] is None
    assert protect(raw, tmp_path / "out", OperatorConfig()).silhouettes == 0


def test_a_cut_out_photograph_stops_and_names_its_frame(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    cut_out = Image.fromarray(photograph(3) * (disc()[..., None] > 0))
    for mode in ("RGB", "L"):
        cut_out.convert(mode).save(raw / "masks" / "view_3.png")
        with pytest.raises(UserError, match=r"images/view_3\.png.*must be a shape"):
            protect(raw, tmp_path / "out", OperatorConfig())
    assert list(tmp_path.iterdir()) == [raw]


@pytest.mark.parametrize("lens", [(0.0,) * 5, (-0.2, 0.05, 0.0, 0.0, 0.0)])
@pytest.mark.parametrize("size", [None, 64, 37])
def test_developed_masks_are_grey_along_the_outline_alone(size: int | None, lens: tuple[float, ...]) -> None:
    """Also where a two-valued mask is speckled: averaged, a dithered photograph would come back in greys."""
    camera = Intrinsics(220, 220, 330.0, 330.0, 110.0, 110.0, distortion=lens)  # pyright: ignore[reportArgumentType]
    dithered = np.asarray(Image.fromarray(CUT_OUT).convert("1")).astype(np.uint8) * 255
    for mask in (ROUND, dithered):
        view = undistort_and_resize(FACE, mask, camera, size, (0.0, 0.0, 0.0))
        assert view.coverage is not None
        stored = np.round(view.coverage * 255).astype(np.uint8)
        assert not grey_off_outline(stored).any()
    view = undistort_and_resize(FACE, ROUND, camera, size, (0.0, 0.0, 0.0))
    assert view.coverage is not None
    # averaging along the outline is kept
    assert (size is None and not any(lens)) == (set(np.unique(view.coverage)) == {0, 1})


def test_the_loader_refuses_grey_away_from_the_outline(tmp_path: Path) -> None:
    protect(write_raw_capture(tmp_path / "raw"), tmp_path / "out", OperatorConfig(), size=24)
    mask = tmp_path / "out" / "masks" / "003.png"
    values = np.unique(np.asarray(Image.open(mask)))
    assert len(values) > 2
    load_protected_capture(tmp_path / "out")
    grey = np.asarray(Image.fromarray(photograph(3)).convert("L").resize((24, 24)))
    Image.fromarray(np.where(np.asarray(Image.open(mask)) > 0, grey, 0).astype(np.uint8)).save(mask)
    with pytest.raises(UserError, match=r"masks/003\.png holds grey away from the head's outline"):
        load_protected_capture(tmp_path / "out")


def test_a_mask_on_some_frames_only(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    edit(raw, lambda content: content["frames"][4].pop("mask_path"))
    with pytest.raises(UserError, match=r"images/view_4\.png has no mask, but 5 of 6.*--ignore-masks"):
        protect(raw, tmp_path / "out", OperatorConfig())
    assert list(tmp_path.iterdir()) == [raw]
    assert protect(raw, tmp_path / "out", OperatorConfig(), ignore_masks=True).silhouettes == 0


@pytest.mark.parametrize("name", ["masks/view_2.png", "masks/view_2.png.png", "images/masks/view_2.png"])
def test_masks_that_transforms_json_does_not_name(tmp_path: Path, name: str) -> None:
    raw = write_raw_capture(tmp_path / "raw", masks=False)
    (raw / name).parent.mkdir(exist_ok=True)
    Image.fromarray(disc()).save(raw / name)
    words = protect(raw, tmp_path / "out", OperatorConfig()).in_plain_words()
    assert re.search(rf"{name} looks like the mask of images/view_2\.png, but was not used.*mask_path", words)
    words = protect(raw, tmp_path / "ignored", OperatorConfig(), ignore_masks=True).in_plain_words()
    assert "looks like the mask" not in words


def test_ignored_masks_may_be_anything(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    Image.fromarray(photograph(3)).save(raw / "masks" / "view_3.png")
    Image.fromarray(np.dstack([photograph(2), disc()])).save(raw / "images" / "view_2.png")
    protect(raw, tmp_path / "out", OperatorConfig(), ignore_masks=True)
    assert not load_protected_capture(tmp_path / "out").masked
    assert not (tmp_path / "out" / "masks").exists()


def test_stored_masks_of_label_values(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    for index in range(VIEWS):
        Image.fromarray(disc() // 17).save(raw / "masks" / f"view_{index}.png")
    protect(raw, tmp_path / "out", OperatorConfig())
    for frame in load_protected_capture(tmp_path / "out").frames:
        assert frame.mask_path is not None
        np.testing.assert_array_equal(read_mask(frame.mask_path), disc() / 255)


def test_masks_of_another_resolution_are_brought_to_that_of_their_photographs(tmp_path: Path) -> None:
    expected = write_raw_capture(tmp_path / "raw")
    folder = write_raw_capture(tmp_path / "larger")
    for index in range(6):
        Image.fromarray(disc()).resize((96, 96), Image.Resampling.NEAREST).save(folder / f"masks/view_{index}.png")
    frames, others = load_raw_capture(folder).frames, load_raw_capture(expected).frames
    for frame, other in zip(frames, others, strict=True):
        np.testing.assert_array_equal(read_image(frame)[1], read_image(other)[1])
