"""Input of `prepare`: photographs with cameras from any origin, read through one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from privhead_ns.capture.made_masks.upright_crop import Mask, Picture
from privhead_ns.capture.masks import mask_shape
from privhead_ns.capture.picture_files import UPRIGHT, decode
from privhead_ns.errors import UserError
from privhead_ns.prepare.given_masks import read_mask, resized_mask
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
        UserError: if some photographs have a mask and some do not.
    """
    masked = [photograph.mask_path is not None for photograph in capture.photographs]
    if any(masked) and not all(masked):
        name = capture.photographs[masked.index(False)].path
        raise UserError(f"{name} has no mask, but other photographs have one: add it, or remove the photograph.")
    names = unique_names([photograph.path for photograph in capture.photographs])
    return [_posed_source(name, photo) for name, photo in zip(names, capture.photographs, strict=True)]


def _mask_reader(photograph: Photograph, path: Path, sensor_orientation: bool) -> Callable[[tuple[int, int]], Mask]:
    return lambda size: read_mask(photograph, path, sensor_orientation, size)


def _posed_source(name: str, photograph: PosedPhotograph) -> Source:
    lens, fisheye = photograph.intrinsics, photograph.fisheye

    def rgb() -> Picture:
        picture = np.asarray(decode(photograph.path, "photograph", UPRIGHT).convert("RGB"))
        return picture if fisheye is None else undistort_fisheye(picture, lens, fisheye)[0]

    def read(path: Path, size: tuple[int, int]) -> Mask:
        shape = resized_mask(mask_shape(decode(path, "mask", UPRIGHT), f"The mask {path}"), (lens.width, lens.height))
        if fisheye is not None:
            shape = undistort_fisheye(shape, lens, fisheye)[0]
        return resized_mask(shape, size)

    def reader(path: Path | None) -> Callable[[tuple[int, int]], Mask] | None:
        return None if path is None else partial(read, path)

    pinhole = photograph
    if fisheye is not None:
        blank = np.zeros((lens.height, lens.width), np.uint8)
        pinhole = PosedPhotograph(
            photograph.path,
            photograph.camera_to_world,
            undistort_fisheye(blank, lens, fisheye)[2],
            sensitive=photograph.sensitive,
        )
    return Source(name, pinhole, rgb, reader(photograph.mask_path), reader(photograph.known_path))


def save_picture(path: Path, pixels: np.ndarray) -> None:
    """Writes a PNG, or a JPEG of high quality, without any of the original file's metadata."""
    if path.suffix == ".jpg":
        Image.fromarray(pixels).save(path, quality=97, subsampling=0)
    else:
        Image.fromarray(pixels).save(path)
