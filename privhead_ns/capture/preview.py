"""Writes a preview for the owner alone: each photograph beside its view in the protected capture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from privhead_ns.capture.protected import FULL_SCALE, ProtectedCapture

CELL = 128
"""Side in pixels of each picture on the sheet."""
GAP = 4
PAIRS = 6
"""Pairs of pictures in a row."""


def save_preview(
    path: Path, thumbnails: Sequence[UInt8[np.ndarray, "height width 3"]], capture: ProtectedCapture
) -> None:
    """Writes a PNG that shows the photographs, readable by its owner alone (0600), whole or not at all.

    Args:
        path: file to write.
        thumbnails: the photographs, small.
        capture: what was made of them, in the same order. Unknown pixels are shown in blue.
    """
    rows = -(-len(thumbnails) // PAIRS)
    side = CELL + GAP
    sheet = np.full((rows * side, PAIRS * (2 * side + GAP), 3), 255, np.uint8)
    for index, (photograph, frame) in enumerate(zip(thumbnails, capture.frames, strict=True)):
        top, left = index // PAIRS * side, index % PAIRS * (2 * side + GAP)
        stored = _stored(frame.path, frame.known_path)
        for picture, x in ((photograph, left), (stored, left + side)):
            height, width = picture.shape[:2]
            scale = CELL / max(height, width)
            fitted = max(1, round(width * scale)), max(1, round(height * scale))
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
            sheet[top : top + fitted[1], x : x + fitted[0]] = cv2.resize(picture, fitted, interpolation=how)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.png")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            Image.fromarray(sheet).save(file, "PNG")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _stored(path: Path, known_path: Path | None) -> UInt8[np.ndarray, "height width 3"]:
    """Returns a stored view as a picture; the square root lifts faint magnitudes into view."""
    pixels = np.asarray(Image.open(path))
    if pixels.ndim == 2:
        grey = np.sqrt(pixels.astype(np.float32) / FULL_SCALE) * 255
        pixels = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    if known_path is not None:
        pixels = np.where(np.asarray(Image.open(known_path))[..., None] > 0, pixels, np.array([40, 60, 160], np.uint8))
    return pixels
