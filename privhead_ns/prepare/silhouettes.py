"""One silhouette per photograph, given or made, compared with the visual hull of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from rich.console import Console

from privhead_ns.capture.camera import look_at_centre
from privhead_ns.capture.crop import Sphere
from privhead_ns.capture.hull import View
from privhead_ns.capture.refined_masks import refine_mask
from privhead_ns.prepare import person
from privhead_ns.prepare.crops import Crop, crop_about, onto_photograph
from privhead_ns.prepare.made_masks import WIDE, Body, agreed_body, cut_out, footprint, unsure_pixels
from privhead_ns.prepare.made_masks import agreement as agreement_of
from privhead_ns.prepare.sources import Mask, Picture, Source
from privhead_ns.progress import tracked

WORKING_SIDE = 800
"""Longer side in pixels of the pictures in which masks and faces are looked for."""
ROUNDS = 2
"""Segmentations of crops, the later about the body that the earlier found."""
BANDS, SURE = ((0.1, 0.04), WIDE, WIDE, (0.02, 0.02)), 0.9
"""Width of the band within and beyond the hull's outline in which colour decides, over a crop's side, in each round of
cutting out, and the share of views that must agree on a voxel between rounds."""
GIVEN = 0.95
"""Share of the views that must agree on a voxel where masks are given: a few may be bad."""
AROUND = 1.25
"""Radius of a crop over that of the body."""
INNER = 0.995
"""Share of the body within its radius."""


@dataclass(frozen=True)
class Silhouettes:
    """Masks of all photographs and the head that they agree on."""

    masks: tuple[Mask, ...]
    """255 on the head, of the size of the working pictures."""
    sphere: Sphere
    """Holds the head."""
    agreement: Float[np.ndarray, " n"]
    """Intersection over union of each mask and the hull's footprint."""
    unsure: tuple[Mask, ...] | None = None
    """255 where a mask is unreliable; None if all are reliable."""

    def of(self, keep: Sequence[int]) -> Silhouettes:
        """Returns those of some of the photographs."""
        unsure = None if self.unsure is None else tuple(self.unsure[i] for i in keep)
        return Silhouettes(tuple(self.masks[i] for i in keep), self.sphere, self.agreement[list(keep)], unsure)


def first_sphere(sources: Sequence[Source]) -> Sphere:
    """Returns the sphere about the point that the cameras look at which half of the photographs show whole."""
    poses = np.stack([source.posed.camera_to_world for source in sources])
    centre = look_at_centre(poses)
    radii = []
    for source in sources:
        camera = source.posed.intrinsics
        half = min(camera.width / camera.fl_x, camera.height / camera.fl_y) / 2
        radii.append(half * float(np.linalg.norm(source.posed.camera_to_world[:3, 3] - centre)))
    return Sphere(centre, float(np.median(radii)))


def make_silhouettes(
    sources: Sequence[Source], pictures: Sequence[Picture], up: Float[np.ndarray, " 3"], console: Console
) -> Silhouettes | None:
    """Makes masks by person segmentation; None where no body is found in which the photographs agree.

    Args:
        sources: photographs with cameras.
        pictures: their pixels, reduced.
        up: unit vector.
        console: where progress is shown.
    """
    with tracked(pictures, "Finding the person", console) as remaining:
        whole = [_as_bytes(person.segment(rgb)) for rgb in remaining]
    sphere, crops, body = first_sphere(sources), [], None
    for number in range(ROUNDS):
        crops = [crop_about(source.posed, rgb, sphere, up) for source, rgb in zip(sources, pictures, strict=True)]
        persons = [
            crop_about(source.posed, np.repeat(found[..., None], 3, axis=2), sphere, up).rgb[..., 0] / 255
            for source, found in zip(sources, whole, strict=True)
        ]
        if number > 0:
            with tracked(crops, "Finding the head", console) as remaining:
                persons = [(2 * one + _closer(crop)) / 4 for one, crop in zip(persons, remaining, strict=True)]
        body = agreed_body(_voters(crops, [likely > 0.5 for likely in persons]), sphere, up)
        if body is None:
            return None
        sphere = _around(body)
    assert body is not None
    return _cut_out_all(sources, pictures, crops, body, up, console)


def _cut_out_all(
    sources: Sequence[Source],
    pictures: Sequence[Picture],
    crops: Sequence[Crop],
    body: Body,
    up: Float[np.ndarray, " 3"],
    console: Console,
) -> Silhouettes:
    """Segments the head in all photographs, in rounds that each start from the visual hull of the last."""
    heads = []
    for inner, outer in BANDS:
        with tracked(crops, "Cutting out", console) as remaining:
            heads = [cut_out(crop, _expected(body, crop), inner, outer) for crop in remaining]
        body = agreed_body(_voters(crops, heads), _around(body), up, cut=False, share=SURE) or body
    unsure = [unsure_pixels(crop, _expected(body, crop), head) for crop, head in zip(crops, heads, strict=True)]
    agreement = [agreement_of(body, view) for view in _voters(crops, heads)]
    masks, unsure = (
        [
            _onto_picture(shape, crop, source, rgb)
            for shape, crop, source, rgb in zip(shapes, crops, sources, pictures, strict=True)
        ]
        for shapes in (heads, unsure)
    )
    with tracked(masks, "Refining outlines", console) as remaining:
        masks = [_at_its_pixels(rgb, mask) for rgb, mask in zip(pictures, remaining, strict=True)]
    return Silhouettes(tuple(masks), _around(body), np.array(agreement), tuple(unsure))


def _voters(crops: Sequence[Crop], heads: Sequence[Bool[np.ndarray, "side side"]]) -> list[View]:
    """Returns crops as views whose silhouettes are 2 on the head, 1 beside it, and 0 beyond the photograph's edge."""
    return [
        crop.view(((crop.shown > 0) * (1 + head)).astype(np.uint8)) for crop, head in zip(crops, heads, strict=True)
    ]


def _expected(body: Body, crop: Crop) -> Bool[np.ndarray, "side side"]:
    """Returns where a crop shows a body."""
    return footprint(body, crop.view(crop.shown)) & (crop.shown > 0)


def _onto_picture(shape: Bool[np.ndarray, "side side"], crop: Crop, source: Source, rgb: Picture) -> Mask:
    """Returns a shape in a crop as one in the working picture, 255 inside."""
    full = onto_photograph(_as_bytes(shape.astype(np.float64)), crop.camera, source.posed, rgb.shape[1], rgb.shape[0])
    return np.where(full > 127, 255, 0).astype(np.uint8)


def _at_its_pixels(rgb: Picture, mask: Mask) -> Mask:
    """Returns a mask from a crop with its outline found again among the picture's own pixels, which are not blended."""
    return _as_bytes(refine_mask(rgb, mask, max(mask.shape)).astype(np.float64))


def given_silhouettes(sources: Sequence[Source], up: Float[np.ndarray, " 3"]) -> Silhouettes | None:
    """Reads the masks of photographs and compares them with their hull; None where they agree on nothing."""
    masks = []
    for source in sources:
        assert source.mask is not None
        camera = source.posed.intrinsics
        masks.append(source.mask(working_size(camera.width, camera.height)))
    sphere, body, views = first_sphere(sources), None, []
    for _ in range(ROUNDS):
        views = []
        for source, mask in zip(sources, masks, strict=True):
            crop = crop_about(source.posed, np.repeat(mask[..., None], 3, axis=2), sphere, up)
            views.append(crop.view(((crop.shown > 0) * (1 + (crop.rgb[..., 0] > 127))).astype(np.uint8)))
        body = agreed_body(views, sphere, up, cut=False, share=GIVEN)
        if body is None:
            return None
        sphere = _around(body)
    assert body is not None
    agreement = [agreement_of(body, view) for view in views]
    return Silhouettes(tuple(masks), sphere, np.array(agreement))


def working_size(width: int, height: int) -> tuple[int, int]:
    """Returns width and height of a photograph's working picture."""
    scale = min(1.0, WORKING_SIDE / max(width, height))
    return round(width * scale), round(height * scale)


def _closer(crop: Crop) -> Float[np.ndarray, "side side"]:
    """Returns the sum of what segmentation says of a crop and of its mirror image."""
    return person.segment(crop.rgb) + person.segment(crop.rgb[:, ::-1])[:, ::-1]


def _as_bytes(probability: Float[np.ndarray, "height width"]) -> Mask:
    return (np.clip(probability, 0, 1) * 255).astype(np.uint8)


def _around(body: Body) -> Sphere:
    low, high = body.centre.min(axis=0), body.centre.max(axis=0)
    centre = (low + high) / 2
    radius = float(np.quantile(np.linalg.norm(body.centre - centre, axis=1), INNER))
    return Sphere(centre, AROUND * radius)


def outlined(picture: Picture, mask: Mask, colour: tuple[int, int, int], width: int = 2) -> Picture:
    """Returns a picture with a mask's outline drawn."""
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(picture.copy(), contours, -1, colour, width)  # pyright: ignore
