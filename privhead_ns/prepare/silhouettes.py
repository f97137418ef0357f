"""The given silhouettes of all photographs, compared with their visual hull."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float
from rich.console import Console

from privhead_ns.capture.camera import Intrinsics
from privhead_ns.capture.made_masks.body import agreed_body, agreement
from privhead_ns.capture.made_masks.make import Silhouettes, first_sphere
from privhead_ns.capture.made_masks.upright_crop import Mask, Picture, crop_about
from privhead_ns.capture.silhouettes import check_outline
from privhead_ns.prepare.sources import Source
from privhead_ns.progress import tracked

WORKING_SIDE = 800
"""Longer side in pixels of the pictures in which masks and faces are looked for."""
ROUNDS = 2
"""Crops of masks, the later about the body that the earlier agree on."""
GIVEN = 0.95
"""Share of the views that must agree on a voxel where masks are given: a few may be bad."""


def check_outlines(sources: Sequence[Source], console: Console) -> None:
    """Reads every mask once, where there are masks.

    Raises:
        UserError: if one is broken, no shape, empty, or covers nearly all of the picture's border.
    """
    masked = [source for source in sources if source.mask is not None]
    with tracked(masked, "Checking masks", console) as remaining:
        for source in remaining:
            assert source.mask is not None
            check_outline(source.mask(working_size(source.posed.intrinsics)), source.posed.path.name, instead="")


def given_silhouettes(sources: Sequence[Source], up: Float[np.ndarray, " 3"]) -> Silhouettes | None:
    """Reads the masks of photographs and compares them with their hull; None where they agree on nothing."""
    masks = []
    for source in sources:
        assert source.mask is not None
        masks.append(source.mask(working_size(source.posed.intrinsics)))
    sphere, body, views = first_sphere([source.posed.camera for source in sources]), None, []
    for _ in range(ROUNDS):
        views = []
        for source, mask in zip(sources, masks, strict=True):
            crop = crop_about(source.posed.camera, np.repeat(mask[..., None], 3, axis=2), sphere, up)
            views.append(crop.view(((crop.shown > 0) * (1 + (crop.rgb[..., 0] > 127))).astype(np.uint8)))
        body = agreed_body(views, sphere, up, cut=False, share=GIVEN)
        if body is None:
            return None
        sphere = body.sphere
    assert body is not None
    return Silhouettes(tuple(masks), body, np.array([agreement(body, view) for view in views]))


def working_size(camera: Intrinsics) -> tuple[int, int]:
    """Returns width and height of a photograph's working picture."""
    scale = min(1.0, WORKING_SIDE / max(camera.width, camera.height))
    return round(camera.width * scale), round(camera.height * scale)


def outlined(picture: Picture, mask: Mask, colour: tuple[int, int, int], width: int = 2) -> Picture:
    """Returns a picture with a mask's outline drawn."""
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(picture.copy(), contours, -1, colour, width)  # pyright: ignore
