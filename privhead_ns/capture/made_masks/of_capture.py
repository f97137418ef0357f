"""Gives a raw capture without masks the ones that its colours and cameras tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from rich.console import Console

from privhead_ns.capture.camera import PosedCamera
from privhead_ns.capture.made_masks.make import Silhouettes, hull_mask, make_masks
from privhead_ns.capture.made_masks.upright_crop import Mask, Picture, reduced_picture, up_direction
from privhead_ns.capture.raw import MadeMask, RawCapture, read_image
from privhead_ns.capture.silhouettes import BORDER, judge, reduced, silhouette_view
from privhead_ns.capture.subject import Subject
from privhead_ns.errors import UserError
from privhead_ns.progress import tracked

WORKING_SIDE = 640
"""Longer side in pixels of the pictures in which masks are looked for."""
FEWEST = 3
"""Photographs from which a body is looked for: in fewer, background does not move against it."""
MOST_MISFITS = 0.25
"""Share of the photographs whose masks may not fit the others'; where there are more, none is used."""

CONTRADICTED = 0.1
"""Share of the masks' area that colour contradicts above which it does not tell head from background.

Measured: below 0.02 on five rendered and three photographed heads, 0.06 on a car with dark windows before black;
0.16 on photographs of blurred noise and 0.5 of noise.
"""


def with_made_masks(capture: RawCapture, subject: Subject, console: Console) -> RawCapture:
    """Returns the capture with a made mask for each frame; unchanged where one has a mask, or none can be made.

    The same capture gives the same masks. A mask that does not fit the others counts as unsure all over.

    Args:
        capture: the photographs.
        subject: of what; a head ends at the neck.
        console: where progress is shown.

    Raises:
        UserError: if a photograph is broken.
    """
    if len(capture.frames) < FEWEST or any(frame.mask_path or frame.made for frame in capture.frames):
        return capture
    if read_image(capture.frames[0])[1] is not None:  # its alpha channel
        return capture
    pictures: list[Picture] = []
    with tracked(capture.frames, "Reading photographs", console) as remaining:
        for frame in remaining:
            rgb, coverage = read_image(frame)
            if coverage is not None:
                return capture
            pictures.append(reduced_picture(rgb, WORKING_SIDE))
    cameras = [PosedCamera(frame.camera_to_world, frame.intrinsics) for frame in capture.frames]
    up = up_direction(np.stack([camera.camera_to_world for camera in cameras]))
    try:
        made = make_masks(cameras, pictures, up, console, cut_neck=subject == "head")
    except UserError:  # the cameras look at no common point
        return capture
    if made is None or _contradicted(made) > CONTRADICTED:
        return capture
    return _masked(capture, cameras, pictures, made, up)


def _contradicted(made: Silhouettes) -> float:
    assert made.unsure is not None
    pairs = zip(made.unsure, made.masks, strict=True)
    return float(np.mean([np.count_nonzero(unsure) / max(1, np.count_nonzero(mask)) for unsure, mask in pairs]))


def _masked(
    capture: RawCapture,
    cameras: Sequence[PosedCamera],
    pictures: Sequence[Picture],
    made: Silhouettes,
    up: Float[np.ndarray, " 3"],
) -> RawCapture:
    """Returns the capture with the masks that fit each other, and the hull's footprint, unsure all over, for others."""
    assert made.unsure is not None
    masks, unsure = list(made.masks), list(made.unsure)
    misfits = _misfits(cameras, masks)
    for index in misfits:
        masks[index] = hull_mask(made.body, cameras[index], pictures[index], up)
        unsure[index] = np.full_like(masks[index], 255)
    if len(misfits) > MOST_MISFITS * len(masks) or (misfits and _misfits(cameras, masks)):
        return capture
    made_masks = [MadeMask(mask > 0, where > 0) for mask, where in zip(masks, unsure, strict=True)]
    frames = tuple(replace(frame, made=one) for frame, one in zip(capture.frames, made_masks, strict=True))
    return replace(capture, frames=frames)


def _misfits(cameras: Sequence[PosedCamera], masks: Sequence[Mask]) -> list[int]:
    """Returns the masks that are no outline, or else those that do not fit the others."""
    borders = [np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]) > 0 for mask in masks]
    if odd := [i for i, mask in enumerate(masks) if not mask.any() or borders[i].mean() > BORDER]:
        return odd
    pairs = zip(masks, cameras, strict=True)
    return judge([reduced(silhouette_view(mask, cam.camera_to_world, cam.intrinsics)) for mask, cam in pairs]).broken
