"""Masks that a person has: found by the photographs' names, and turned as the photographs are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from privhead_ns.capture.masks import alpha_shape, mask_shape
from privhead_ns.capture.picture_files import TURNS, UPRIGHT, decode, size_and_orientation
from privhead_ns.errors import UserError
from privhead_ns.prepare.photographs import Photograph

NAMED = 5
"""Photographs without a mask that an error names; the others it counts."""
SHAPE = 0.02
"""Relative difference of the aspect ratio up to which a mask of another resolution is the photograph's."""


def find_masks(photographs: Sequence[Photograph], folder: Path | None) -> list[Path] | None:
    """Finds each photograph's mask: of the same name, or named IMAGE.png as COLMAP does.

    Args:
        photographs: which masks are looked for.
        folder: of masks; None to look for alpha channels in the photographs themselves.

    Returns:
        A file per photograph, the photograph itself where its alpha channel is the mask; None where there are none.

    Raises:
        UserError: if some photographs have one and some do not.
    """
    if folder is None:
        found = [photograph.path if _has_alpha(photograph) else None for photograph in photographs]
        if not any(found):
            return None
    elif not folder.is_dir():
        raise UserError(f"--masks {folder} is no folder: give the folder that holds one mask for each photograph.")
    else:
        files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
        found = [_mask_of(photograph, files) for photograph in photographs]
    if missing := [photograph.path.name for photograph, mask in zip(photographs, found, strict=True) if mask is None]:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        raise UserError(
            f"{'--masks ' + str(folder) if folder else 'The photographs'}: there is no mask for "
            f"{', '.join(missing[:NAMED])}{more}; add them, remove these photographs, or give no masks."
        )
    return [path for path in found if path is not None]


def read_mask(
    photograph: Photograph, path: Path, sensor_orientation: bool, size: tuple[int, int]
) -> UInt8[np.ndarray, "height width"]:
    """Reads a mask and brings it to the upright photograph's shape: 255 on the head, else 0.

    Args:
        photograph: whose mask it is.
        path: its file.
        sensor_orientation: whether it is stored as the photograph is, where its shape leaves that open.
        size: width and height of the result.

    Raises:
        UserError: if it is no shape, broken, or of another shape than the photograph.
    """
    if path == photograph.path:
        with Image.open(path) as image:
            shape = alpha_shape(image.convert("RGBA"), f"The alpha channel of {path.name}")
        assert shape is not None
        turned = True
    else:
        shape = mask_shape(decode(path, "mask", UPRIGHT), f"The mask {path}")
        turned = _is_turned(photograph, shape.shape[1], shape.shape[0], path, sensor_orientation)
    if turned and photograph.orientation in TURNS:
        shape = np.asarray(Image.fromarray(shape).transpose(TURNS[photograph.orientation]))
    share = cv2.resize(shape.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.where(share >= 127.5, 255, 0).astype(np.uint8)


def orientation_is_open(photographs: Sequence[Photograph], paths: Sequence[Path]) -> bool:
    """Says whether the shape of a mask does not tell if it was turned with its photograph."""
    for photograph, path in zip(photographs, paths, strict=True):
        if photograph.orientation in TURNS and path != photograph.path:
            header = size_and_orientation(path)
            if header is not None and _fits(photograph.size, *header[0]) and _fits(_stored(photograph), *header[0]):
                return True
    return False


def _is_turned(photograph: Photograph, width: int, height: int, path: Path, sensor_orientation: bool) -> bool:
    upright, stored = _fits(photograph.size, width, height), _fits(_stored(photograph), width, height)
    if not upright and not stored:
        raise UserError(
            f"The mask {path} is {width}x{height} pixels and its photograph {photograph.path.name} "
            f"{photograph.size[0]}x{photograph.size[1]}, another shape: make it of the photograph's size."
        )
    return sensor_orientation if upright and stored else stored


def _stored(photograph: Photograph) -> tuple[int, int]:
    width, height = photograph.size
    return (height, width) if photograph.orientation >= 5 else (width, height)


def _fits(size: tuple[int, int], width: int, height: int) -> bool:
    return abs(size[0] * height / (size[1] * width) - 1) <= SHAPE


def _has_alpha(photograph: Photograph) -> bool:
    with Image.open(photograph.path) as image:
        return alpha_shape(image, f"The alpha channel of {photograph.path.name}") is not None


def _mask_of(photograph: Photograph, files: dict[str, Path]) -> Path | None:
    name = photograph.path.name
    stem = photograph.path.stem
    names = [f"{name}.png", *(f"{stem}{suffix}" for suffix in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"))]
    return next((files[name.lower()] for name in names if name.lower() in files), None)
