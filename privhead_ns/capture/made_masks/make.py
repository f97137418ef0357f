"""Makes masks from colours and cameras: what stays in the middle of all photographs is the head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from rich.console import Console

from privhead_ns.capture.camera import PosedCamera, look_at_centre
from privhead_ns.capture.crop import Sphere, native_size
from privhead_ns.capture.hull import View
from privhead_ns.capture.made_masks.body import Body, agreed_body, ball, footprint
from privhead_ns.capture.made_masks.body import agreement as agreement_of
from privhead_ns.capture.made_masks.cut_out import WIDE, cut_out, likely_head, unsure_pixels
from privhead_ns.capture.made_masks.upright_crop import CROP_SIDE, Crop, Mask, Picture, crop_about, onto_photograph
from privhead_ns.capture.refined_masks import refine_mask
from privhead_ns.progress import stepwise

BALL = 0.5
"""Radius of the ball that is taken for the head at first, over that of the sphere that half of the photographs show."""
COARSE_SIDE, COARSE_VOXELS = 128, 64
"""Side in pixels of the crops in which the colours of head and background are counted, and voxels along the cube."""
COARSE_SHARES = (0.8, 0.8, 0.9)
"""Share of the views that must agree on a voxel, in each round of counting colours."""
BANDS, SURE = ((0.1, 0.04), WIDE, WIDE, (0.02, 0.02)), 0.9
"""Width of the band within and beyond the hull's outline in which colour decides, over a crop's side, in each round of
cutting out, and the share of views that must agree on a voxel between rounds."""
ENLARGED = 4.0
"""Side of a crop over the pixels that the photograph has there, at most: GrabCut smooths less in larger pictures."""

Shape = Bool[np.ndarray, "side side"]


@dataclass(frozen=True)
class Silhouettes:
    """Masks of all photographs and the head that they agree on."""

    masks: tuple[Mask, ...]
    """255 on the head, of the size of the pictures they were made of."""
    body: Body
    agreement: Float[np.ndarray, " n"]
    """Intersection over union of each mask and the hull's footprint."""
    unsure: tuple[Mask, ...] | None = None
    """255 where a mask is unreliable; None if all are reliable."""

    def of(self, keep: Sequence[int]) -> Silhouettes:
        """Returns those of some of the photographs."""
        unsure = None if self.unsure is None else tuple(self.unsure[i] for i in keep)
        return Silhouettes(tuple(self.masks[i] for i in keep), self.body, self.agreement[list(keep)], unsure)


def first_sphere(cameras: Sequence[PosedCamera]) -> Sphere:
    """Returns the sphere about the point that the cameras look at which half of the photographs show whole.

    Raises:
        UserError: if the cameras do not look at a common point.
    """
    centre = look_at_centre(np.stack([camera.camera_to_world for camera in cameras]))
    radii = []
    for camera in cameras:
        lens = camera.intrinsics
        half = min(lens.width / lens.fl_x, lens.height / lens.fl_y) / 2
        radii.append(half * float(np.linalg.norm(camera.camera_to_world[:3, 3] - centre)))
    return Sphere(centre, float(np.median(radii)))


def make_masks(
    cameras: Sequence[PosedCamera],
    pictures: Sequence[Picture],
    up: Float[np.ndarray, " 3"],
    console: Console,
    cut_neck: bool = True,
) -> Silhouettes | None:
    """Makes masks; None where no body is found in which the photographs agree.

    It begins with a ball in the middle of all photographs. In each round the colours within and beyond the body's
    footprint tell head from background, and the body becomes what most views then agree on: background moves against
    the head from view to view (Campbell et al., Automatic 3D Object Segmentation in Multiple Views using Volumetric
    Graph-Cuts, BMVC 2007, likewise start from what the cameras look at).

    Args:
        cameras: of the photographs.
        pictures: their pixels, at any resolution.
        up: unit vector.
        console: where progress is shown.
        cut_neck: whether the head ends at the neck, or where a stand begins.

    Raises:
        UserError: if the cameras do not look at a common point.
    """
    sphere = first_sphere(cameras)
    body: Body | None = ball(sphere, BALL, COARSE_VOXELS)
    rounds = len(COARSE_SHARES) + len(BANDS) + 1
    with stepwise("Making masks", rounds * len(pictures), console) as show:
        steps = count(1)

        def step() -> None:
            show("Making masks", next(steps))

        crops = _crops(cameras, pictures, sphere, up, COARSE_SIDE)
        for number, share in enumerate(COARSE_SHARES):
            heads = _each(likely_head, crops, [_expected(body, crop) for crop in crops], step=step)
            last = number == len(COARSE_SHARES) - 1
            body = agreed_body(_voters(crops, heads), sphere, up, cut_neck and last, share, COARSE_VOXELS)
            if body is None:
                return None
        return _cut_out_all(cameras, pictures, body, up, step)


def hull_mask(body: Body, camera: PosedCamera, rgb: Picture, up: Float[np.ndarray, " 3"]) -> Mask:
    """Returns a body's footprint in a photograph, 255 inside."""
    crop = crop_about(camera, rgb, body.sphere, up)
    return _onto_picture(_expected(body, crop), crop, camera, rgb)


def _cut_out_all(
    cameras: Sequence[PosedCamera],
    pictures: Sequence[Picture],
    body: Body,
    up: Float[np.ndarray, " 3"],
    step: Callable[[], None],
) -> Silhouettes:
    """Cuts the head out of all photographs, in rounds that each start from the visual hull of the last."""
    crops, heads = _crops(cameras, pictures, body.sphere, up, CROP_SIDE), []
    for inner, outer in BANDS:
        cut = partial(cut_out, inner=inner, outer=outer)
        heads = _each(cut, crops, [_expected(body, crop) for crop in crops], step=step)
        body = agreed_body(_voters(crops, heads), body.sphere, up, cut=False, share=SURE) or body
    doubts = _each(unsure_pixels, crops, [_expected(body, crop) for crop in crops], heads, step=step)
    agreement = [agreement_of(body, view) for view in _voters(crops, heads)]
    masks, unsure = (tuple(map(_onto_picture, shapes, crops, cameras, pictures)) for shapes in (heads, doubts))
    return Silhouettes(tuple(map(_at_its_pixels, pictures, masks)), body, np.array(agreement), unsure)


def _crops(
    cameras: Sequence[PosedCamera],
    pictures: Sequence[Picture],
    sphere: Sphere,
    up: Float[np.ndarray, " 3"],
    side: int,
) -> list[Crop]:
    """Returns square crops about a sphere, enlarged by no more than ENLARGED."""
    crops = []
    for camera, rgb in zip(cameras, pictures, strict=True):
        lens = camera.intrinsics.scaled(rgb.shape[1], rgb.shape[0])
        most = round(ENLARGED * native_size(camera.camera_to_world, lens, sphere))
        crops.append(crop_about(camera, rgb, sphere, up, max(1, min(side, most))))
    return crops


def _each(work: Callable[..., Shape], *inputs: Sequence[Any], step: Callable[[], None]) -> list[Shape]:
    """Returns what a function makes of each item of the inputs; `step` is called after each."""
    results = []
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # OpenCV lets other threads run
        for result in pool.map(work, *inputs):
            results.append(result)
            step()
    return results


def _voters(crops: Sequence[Crop], heads: Sequence[Bool[np.ndarray, "side side"]]) -> list[View]:
    """Returns crops as views whose silhouettes are 2 on the head, 1 beside it, and 0 beyond the photograph's edge."""
    return [
        crop.view(((crop.shown > 0) * (1 + head)).astype(np.uint8)) for crop, head in zip(crops, heads, strict=True)
    ]


def _expected(body: Body, crop: Crop) -> Bool[np.ndarray, "side side"]:
    """Returns where a crop shows a body."""
    return footprint(body, crop.view(crop.shown)) & (crop.shown > 0)


def _onto_picture(shape: Bool[np.ndarray, "side side"], crop: Crop, camera: PosedCamera, rgb: Picture) -> Mask:
    """Returns a shape in a crop as one in the photograph, 255 inside."""
    full = onto_photograph(shape.astype(np.uint8) * 255, crop.camera, camera, rgb.shape[1], rgb.shape[0])
    return np.where(full > 127, 255, 0).astype(np.uint8)


def _at_its_pixels(rgb: Picture, mask: Mask) -> Mask:
    """Returns a mask from a crop with its outline found again among the picture's own pixels, which are not blended."""
    return refine_mask(rgb, mask, max(mask.shape)).astype(np.uint8) * 255
