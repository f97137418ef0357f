"""First pass over the photographs: reads, checks and reduces each; full-size pixels are not kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8
from rich.console import Console

from privhead_ns.capture.face_check import ALL_TURNS, HEAD_SHARE, WHOLE_SHARE, WHOLE_SIDE, shows_face, upright_turns
from privhead_ns.capture.hull import View
from privhead_ns.capture.masks import enlarged
from privhead_ns.capture.raw import RawCapture, RawFrame, read_image, read_unsure
from privhead_ns.capture.refined_masks import refine_mask
from privhead_ns.capture.silhouettes import LONGEST_SIDE, check_outline, silhouette_view
from privhead_ns.capture.subject import Subject
from privhead_ns.capture.undistort import undistort_and_resize
from privhead_ns.errors import UserError
from privhead_ns.progress import tracked

BLACK = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Survey:
    """Reduced photographs that are kept in memory."""

    views: tuple[View, ...]
    """Reduced to LONGEST_SIDE pixels, without lens distortion, in the capture's order."""
    thumbnails: tuple[UInt8[np.ndarray, "height width 3"], ...]
    """Their colours, black outside the silhouettes."""
    digests: tuple[bytes, ...]
    """SHA-256 of each photograph's decoded pixels."""
    refined: tuple[View, ...]
    """The views with refined masks as silhouettes; none where a mask is missing or this was not asked for."""


def survey(
    capture: RawCapture,
    look_for_face: Sequence[bool] | None = None,
    console: Console | None = None,
    subject: Subject = "head",
    refine: bool = True,
) -> Survey:
    """Reads every photograph once.

    On an object a face may be small and turned, such as the portrait on a document; in a room small and upright.

    Args:
        capture: the photographs.
        look_for_face: in which of them to look for a face; None for none.
        console: where progress is shown; None for no progress.
        subject: what is photographed.
        refine: whether to look for the outlines that colour tells, too.

    Raises:
        UserError: if a file is missing or broken, a mask is empty or no shape, or a face is found.
    """
    look = look_for_face or [False] * len(capture.frames)
    share, turns = HEAD_SHARE if subject == "head" else WHOLE_SHARE, [ALL_TURNS] * len(capture.frames)
    if subject != "object":
        turns = upright_turns(np.stack([frame.camera_to_world for frame in capture.frames]))
    tasks = [
        (frame, turn if wanted else (), share, refine)
        for frame, wanted, turn in zip(capture.frames, look, turns, strict=True)
    ]
    with tracked(tasks, "Checking photographs", console or Console(quiet=True)) as shown:
        results = [_look(*task) for task in shown]
    views, thumbnails, digests, refined = zip(*results, strict=True)
    return Survey(views, thumbnails, digests, () if None in refined else refined)


def _look(
    frame: RawFrame, turns: Sequence[int], share: float, refine: bool
) -> tuple[View, UInt8[np.ndarray, "height width 3"], bytes, View | None]:
    """Reads a photograph, and looks for a face in it by the given quarter turns; `share`: see `shows_face`."""
    rgb, coverage = read_image(frame)
    read_unsure(frame)  # a broken file stops here, before the first view is written
    digest = hashlib.sha256(np.ascontiguousarray(rgb).data).digest()
    height, width = rgb.shape[:2]
    scale = min(1.0, WHOLE_SIDE / max(height, width))
    if scale < 1:
        smaller = max(1, round(width * scale)), max(1, round(height * scale))
        rgb = cv2.resize(rgb, smaller, interpolation=cv2.INTER_AREA)
        if coverage is not None:
            coverage = cv2.resize(coverage, smaller, interpolation=cv2.INTER_AREA)
    if turns and shows_face(rgb, coverage, turns, share):
        raise UserError(
            f"A face was found in {frame.name}, which is declared neutral: declare it sensitive, or pass "
            f"--allow-face '{frame.name}' if it shows none."
        )
    camera = frame.intrinsics.scaled(rgb.shape[1], rgb.shape[0]) if scale < 1 else frame.intrinsics
    size = LONGEST_SIDE if max(rgb.shape[:2]) > LONGEST_SIDE else None
    view = undistort_and_resize(rgb, coverage, camera, size, BLACK)
    silhouette = refined = None
    if view.coverage is not None:
        silhouette = (view.coverage >= 0.5).astype(np.uint8)
        check_outline(silhouette, frame.name)
    thumbnail = (np.clip(view.rgb, 0, 1) * 255 + 0.5).astype(np.uint8)
    reduced = View(frame.camera_to_world, view.intrinsics, silhouette)
    if refine and coverage is not None:
        mask = enlarged(refine_mask(rgb, coverage), rgb.shape[1], rgb.shape[0])
        refined = silhouette_view(mask, frame.camera_to_world, camera, size)
    return reduced, thumbnail, digest, refined
