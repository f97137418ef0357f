"""Checks that a mask is a two-valued shape, so that no mask can contain a photograph."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from privhead_ns.errors import UserError

DARK, BRIGHT = 24, 231
"""Values up to and from which a pixel counts as black and white: JPEG leaves some noise about both."""
CHANNEL_TOLERANCE = 16
"""Difference between a grey picture's channels, where it is stored in colour and compressed."""
STRAY_GREY = 0.4
"""Share of a mask's area that may be grey away from its outline, as hair is in an alpha matte.

Measured on 14 rendered and 3 photographed captures: at least 0.85 where the mask was a cut-out photograph, at most 0.26
where it was a mask blurred with 1 % of the picture's height."""
LABELS, LABEL_GREY = 8, 0.02
"""Masks of at most so many values have labels, of which no more than this share may lie between black and white."""
SPECKLE = 0.1
"""Share of a mask's area that a median over 3x3 pixels may change.

Measured on the same captures: at most 0.024 for masks reduced to 48 pixels, at least 0.45 for cut-out photographs that
were dithered to black and white."""
FEW = 16
"""Pixels that count as no speckle however small the mask is."""
OUTLINE = 2
"""Pixels on either side of the outline within which averaging may leave grey."""


def alpha_shape(image: Image.Image, where: str) -> UInt8[np.ndarray, "height width"] | None:
    """Returns the shape of an alpha channel, 255 inside, or None where there is none or it is opaque everywhere.

    Raises:
        UserError: if it is no shape; see `mask_shape`.
    """
    if "A" not in image.getbands() and "transparency" not in image.info:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return None if np.asarray(alpha).min() >= BRIGHT else mask_shape(alpha, where)


def mask_shape(image: Image.Image, where: str) -> UInt8[np.ndarray, "height width"]:
    """Returns the shape of a mask: 255 inside, 0 outside.

    Masks of black and one other value or colour are shapes, whatever that is. In others black and white must prevail,
    and grey may lie between them along the outline; they are cut at half.

    Args:
        image: decoded, of any mode. Its alpha channel is the mask where it is not opaque.
        where: names the mask at the beginning of an error sentence.

    Raises:
        UserError: if it is a photograph in colour, grey or dithered, or holds more than two labels.
    """
    if (shape := alpha_shape(image, where)) is not None:
        return shape
    pixels = _single_channel(image, where)
    values = _distinct(pixels)
    if len(values) == 1 or (len(values) == 2 and values[0] == 0):
        inside = pixels > 0
    else:
        full = 255 if pixels.max() <= 255 else 65535
        inside = _cut_at_half(np.round(pixels / full * 255).astype(np.uint8), values, where)
    shape = inside.astype(np.uint8) * 255
    if np.count_nonzero(cv2.medianBlur(shape, 3) != shape) > max(FEW, SPECKLE * np.count_nonzero(inside)):
        raise UserError(
            f"{where} is speckled like a dithered photograph, and a mask must be a shape: make it white on the head "
            "and black elsewhere."
        )
    return shape


def grey_off_outline(mask: UInt8[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Returns which pixels of a resampled mask are neither 0 nor 255 and lack one of both within OUTLINE pixels."""
    return (mask > 0) & (mask < 255) & ~(_near(mask == 0, OUTLINE) & _near(mask == 255, OUTLINE))


def _near(pixels: Bool[np.ndarray, "height width"], reach: int) -> Bool[np.ndarray, "height width"]:
    """Returns which pixels have one that is set at most `reach` rows and columns away."""
    return cv2.dilate(pixels.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0


def _distinct(pixels: np.ndarray) -> np.ndarray:
    """Returns the values that occur, in ascending order; of bytes without sorting them."""
    return np.flatnonzero(np.bincount(pixels.ravel())) if pixels.dtype == np.uint8 else np.unique(pixels)


def _single_channel(image: Image.Image, where: str) -> np.ndarray:
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    if image.mode[0] in "IF":
        return np.asarray(image).astype(np.float64)
    pixels = np.asarray(image.convert("RGB"))
    inside = pixels.any(axis=-1)
    if inside.any() and (pixels[inside] == pixels[inside][0]).all():  # black and one colour
        return inside.astype(np.uint8) * 255
    if (pixels.max(axis=-1) - pixels.min(axis=-1)).max() > CHANNEL_TOLERANCE:
        raise UserError(
            f"{where} is a picture in colour, and a mask must be a shape: make it white on the head and black "
            "elsewhere."
        )
    return pixels[..., 1]


def _cut_at_half(
    pixels: UInt8[np.ndarray, "height width"], values: np.ndarray, where: str
) -> Bool[np.ndarray, "height width"]:
    """Returns where the mask is at least half white.

    Args:
        pixels: scaled to 0..255.
        values: that the mask had before.
        where: see `mask_shape`.

    Raises:
        UserError: if there is grey without both black and white near it.
    """
    black, white = pixels <= DARK, pixels >= BRIGHT
    area = np.count_nonzero(~black)
    # a soft outline may be as wide as a few per cent of the head
    reach = max(3, round(0.04 * area**0.5))
    stray = np.count_nonzero(~black & ~white & ~(_near(black, reach) & _near(white, reach)))
    if len(values) <= LABELS and (not white.any() or stray > LABEL_GREY * area):
        shown = ", ".join(f"{value:g}" for value in values)
        raise UserError(
            f"{where} holds the values {shown}, and a mask must be a shape of two: make it white on the head and black "
            "elsewhere, unsure pixels included."
        )
    if stray > STRAY_GREY * area:
        raise UserError(
            f"{where} is a picture in shades of grey, and a mask must be a shape: make it white on the head and black "
            "elsewhere."
        )
    return pixels >= 128


def enlarged(mask: Bool[np.ndarray, "height width"], width: int, height: int) -> UInt8[np.ndarray, "rows columns"]:
    """Returns a mask at the resolution of its photograph, 255 on the head."""
    return resized_shape(mask.astype(np.uint8) * 255, width, height)


def resized_shape(
    shape: UInt8[np.ndarray, "height width"], width: int, height: int
) -> UInt8[np.ndarray, "rows columns"]:
    """Returns a mask of 0 and 255 at another resolution, cut at half."""
    if shape.shape == (height, width):
        return shape
    interpolation = cv2.INTER_AREA if width < shape.shape[1] else cv2.INTER_LINEAR
    return np.where(cv2.resize(shape, (width, height), interpolation=interpolation) > 127, 255, 0).astype(np.uint8)
