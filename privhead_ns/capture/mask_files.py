"""Which frames of a raw capture have masks: all, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from privhead_ns.capture.hull import View
from privhead_ns.capture.raw import RawCapture, RawFrame
from privhead_ns.errors import UserError

FOLDERS = ("masks", "mask")
"""Where programs put masks, beside the folder of the images or in it."""


def without_masks(capture: RawCapture) -> RawCapture:
    """Returns the capture with neither mask files nor alpha channels."""
    frames = (replace(frame, mask_path=None, known_path=None, ignore_alpha=True) for frame in capture.frames)
    return replace(capture, frames=tuple(frames))


def check_masks_complete(capture: RawCapture, views: Sequence[View]) -> None:
    """Checks that all frames have a mask or none has.

    Raises:
        UserError: if not; it names a frame.
    """
    masked = [view.silhouette is not None for view in views]
    if not all(masked) and any(masked):
        raise UserError(
            f"{capture.frames[masked.index(False)].name} has no mask, but {sum(masked)} of {len(masked)} frames have "
            "one: name its mask in transforms.json as mask_path, drop the frame, or pass --ignore-masks."
        )


def unused_mask(capture: RawCapture) -> tuple[Path, str] | None:
    """Returns a file that looks like the mask of a frame but is not named as one, and that frame, or None.

    Masks that are to be ignored do not count.
    """
    for frame in capture.frames:
        if frame.mask_path is None and not frame.ignore_alpha and (mask := _mask_beside(capture, frame)) is not None:
            return mask, frame.name
    return None


def _mask_beside(capture: RawCapture, frame: RawFrame) -> Path | None:
    """Returns the file that is named like a frame's mask: IMAGE.png as in COLMAP (001.jpg.png), or of the same stem."""
    image = frame.image_path
    for folder in (image.parent.parent, image.parent, capture.folder):
        for name in (f"{image.name}.png", f"{image.stem}.png", f"{image.stem}.jpg", image.name):
            for masks in FOLDERS:
                if (path := folder / masks / name).is_file() and path != image:
                    return path
    return None
