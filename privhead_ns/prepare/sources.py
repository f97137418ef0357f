"""Input of `prepare`: photographs with cameras from any origin, read through one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from privhead_ns.capture.made_masks.upright_crop import Mask, Picture
from privhead_ns.capture.masks import resized_shape
from privhead_ns.capture.raw import RawFrame, read_image, read_unsure
from privhead_ns.errors import UserError
from privhead_ns.prepare.given_masks import has_alpha, read_mask
from privhead_ns.prepare.photographs import Photograph, unique_names
from privhead_ns.prepare.pinhole import undistort_fisheye
from privhead_ns.prepare.posed import PosedCapture, PosedPhotograph


@dataclass(frozen=True)
class Source:
    """One photograph with its camera."""

    name: str
    """Unique, without ending."""
    posed: PosedPhotograph
    """Its camera, without fisheye."""
    rgb: Callable[[], Picture]
    """Reads the pixels that the camera sees."""
    mask: Callable[[tuple[int, int]], Mask] | None
    """Reads the mask, 255 on the head, at a width and height; None where there is none."""
    known: Callable[[tuple[int, int]], Mask] | None = None
    """Reads where the mask is to be believed, 255 there, at a width and height; None where all of it is."""


def estimated_sources(
    capture: PosedCapture, photographs: list[Photograph], masks: list[Path] | None, sensor_orientation: bool = False
) -> list[Source]:
    """Returns the sources of photographs whose cameras were estimated.

    Args:
        capture: the cameras.
        photographs: all, also those without a camera.
        masks: one for each photograph, or None.
        sensor_orientation: see `read_mask`.
    """
    posed = {photograph.path: photograph for photograph in capture.photographs}
    sources = []
    for index, photograph in enumerate(photographs):
        if photograph.path in posed:
            mask = None if masks is None else _mask_reader(photograph, masks[index], sensor_orientation)
            sources.append(Source(photograph.name, posed[photograph.path], photograph.rgb, mask))
    return sources


def posed_sources(capture: PosedCapture) -> list[Source]:
    """Returns the sources of a capture that another program posed; fisheye pictures become those of a pinhole.

    Raises:
        UserError: if some photographs have a mask, or an alpha channel that is one, and some do not.
    """
    masked = [photo.mask_path is not None or has_alpha(photo.path) for photo in capture.photographs]
    if any(masked) and not all(masked):
        name = capture.photographs[masked.index(False)].path
        raise UserError(f"{name} has no mask, but other photographs have one: add it, or remove the photograph.")
    names = unique_names([photograph.path for photograph in capture.photographs])
    return [_posed_source(name, photo, any(masked)) for name, photo in zip(names, capture.photographs, strict=True)]


def _mask_reader(photograph: Photograph, path: Path, sensor_orientation: bool) -> Callable[[tuple[int, int]], Mask]:
    return lambda size: read_mask(photograph, path, sensor_orientation, size)


def _posed_source(name: str, photograph: PosedPhotograph, masked: bool) -> Source:
    lens, fisheye = photograph.intrinsics, photograph.fisheye
    frame = RawFrame(
        photograph.path.name,
        photograph.path,
        photograph.mask_path,
        photograph.known_path,
        lens,
        photograph.camera_to_world,
        photograph.sensitive,
        photograph.orientation,
        photograph.mask_orientation,
    )

    def as_pinhole(pixels: np.ndarray) -> np.ndarray:
        return pixels if fisheye is None else undistort_fisheye(pixels, lens, fisheye)[0]

    def rgb() -> Picture:
        return as_pinhole(read_image(replace(frame, mask_path=None, ignore_alpha=True))[0])

    def mask(size: tuple[int, int]) -> Mask:
        shape = read_image(frame)[1]
        assert shape is not None
        return resized_shape(as_pinhole(shape), *size)

    def known(size: tuple[int, int]) -> Mask:
        unsure = read_unsure(frame)
        assert unsure is not None
        return resized_shape(as_pinhole(np.where(unsure, 0, 255).astype(np.uint8)), *size)

    pinhole = photograph
    if fisheye is not None:
        blank = np.zeros((lens.height, lens.width), np.uint8)
        pinhole = replace(photograph, intrinsics=undistort_fisheye(blank, lens, fisheye)[2], fisheye=None)
    return Source(name, pinhole, rgb, mask if masked else None, known if photograph.known_path is not None else None)


def save_picture(path: Path, pixels: np.ndarray) -> None:
    """Writes a PNG, or a JPEG of high quality, without any of the original file's metadata."""
    if path.suffix == ".jpg":
        Image.fromarray(pixels).save(path, quality=97, subsampling=0)
    else:
        Image.fromarray(pixels).save(path)
