"""Writes a picture for the owner: each photograph with outline, sensitivity and agreement of its mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from privhead_ns.capture.made_masks.upright_crop import Mask, Picture, reduced_picture
from privhead_ns.prepare.silhouettes import outlined
from privhead_ns.prepare.sources import save_picture

CELL, CAPTION, GAP, COLUMNS = 180, 30, 6, 8
"""Pixels of a thumbnail's longer side, of the lines below it and between, and thumbnails in a row."""
SENSITIVE, NEUTRAL = (200, 40, 40), (30, 140, 60)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def save_sheet(
    path: Path,
    names: Sequence[str],
    pictures: Sequence[Picture],
    masks: Sequence[Mask] | None,
    sensitive: Sequence[bool],
    agreement: Sequence[float] | None,
) -> None:
    """Writes the sheet.

    Args:
        path: PNG to write.
        names: of the photographs.
        pictures: their pixels, reduced.
        masks: 255 on the head; None where there are none.
        sensitive: sensitive photographs have a red frame, neutral ones a green one.
        agreement: of each mask with the hull of all, in [0, 1].
    """
    rows = -(-len(names) // COLUMNS)
    height, width = CELL + CAPTION + GAP, CELL + GAP
    sheet = np.full((rows * height + GAP, COLUMNS * width + GAP, 3), 255, np.uint8)
    for index, name in enumerate(names):
        colour = SENSITIVE if sensitive[index] else NEUTRAL
        picture = pictures[index]
        if masks is not None:
            picture = outlined(picture, masks[index], (255, 220, 0), max(2, max(picture.shape) // 200))
        picture = reduced_picture(picture, CELL - 6)
        picture = cv2.copyMakeBorder(picture, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=colour)
        top, left = GAP + index // COLUMNS * height, GAP + index % COLUMNS * width
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        kind = "sensitive" if sensitive[index] else "neutral"
        fit = "" if agreement is None else f", {agreement[index]:.0%}"
        for line, text in enumerate((name[-24:], kind + fit)):
            place = left, top + CELL + 12 + 13 * line
            cv2.putText(sheet, text, place, FONT, 0.38, colour if line else (0, 0, 0), 1, cv2.LINE_AA)
    save_picture(path, sheet)
