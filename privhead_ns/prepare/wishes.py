"""Flags of `prepare`, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from privhead_ns.errors import UserError
from privhead_ns.prepare import landmarks
from privhead_ns.prepare.choose import Counts
from privhead_ns.prepare.readers import DataFormat
from privhead_ns.prepare.scale import check_scale_flags

LEAST_SIDE, LEAST_FRAMES = 64, 20


@dataclass(frozen=True)
class Wishes:
    """The flags of the command."""

    masks: Path | None = None
    """Folder with a mask for each photograph."""
    neutral: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    """Globs of photographs."""
    marker_mm: float | None = None
    pupils_mm: float | None = None
    max_side: int = 1600
    """Longer side in pixels of the photographs in the raw capture."""
    frames: int = 80
    """Frames taken from a video."""
    data_format: DataFormat = "auto"
    views: Counts | None = None
    """How many neutral and sensitive views to keep; None for all."""


def check_wishes(wishes: Wishes) -> None:
    """Checks all that can be checked without the photographs.

    Raises:
        UserError: if a value is impossible, or needs mediapipe where that is missing or does not work.
    """
    check_scale_flags(wishes.marker_mm, wishes.pupils_mm)
    if wishes.max_side < LEAST_SIDE:
        raise UserError(f"--max-side must be at least {LEAST_SIDE} pixels, not {wishes.max_side}.")
    if wishes.frames < LEAST_FRAMES:
        raise UserError(f"--frames must be at least {LEAST_FRAMES}, for a head needs as many, not {wishes.frames}.")
    if wishes.views is not None and (min(wishes.views) < 0 or wishes.views[1] == 0):
        raise UserError(
            "--views must be the numbers of neutral and of sensitive views, such as 10 20, not "
            f"{wishes.views[0]} {wishes.views[1]}."
        )
    landmarks.check_usable()
    if wishes.pupils_mm is not None and not landmarks.is_installed():
        raise UserError(f"--pupils-mm needs mediapipe to find the face: {landmarks.INSTALL}")
