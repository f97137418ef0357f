"""Finds given masks by the photographs' names, and turns them as the photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console

from privhead_ns.capture.masks import alpha_shape, mask_shape, resized_shape
from privhead_ns.capture.picture_files import TURNS, UPRIGHT, decode, oriented_size, size_and_orientation
from privhead_ns.capture.silhouettes import BORDER
from privhead_ns.errors import UserError
from privhead_ns.prepare.photographs import Photograph
from privhead_ns.progress import tracked

NAMED = 5
"""Photographs without a mask that an error names; the others it counts."""
CHECKED_SIDE = 256
MASK_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
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
        found = [photograph.path if has_alpha(photograph.path) else None for photograph in photographs]
        if not any(found):
            return None
    elif not folder.is_dir():
        raise UserError(f"--masks {folder} is no folder: give the folder that holds one mask for each photograph.")
    elif any(folder.resolve() == photograph.path.parent.resolve() for photograph in photographs):
        raise UserError(f"--masks {folder} is the folder of the photographs: put masks into a folder of their own.")
    else:
        found = [_mask_of(photograph, folder) for photograph in photographs]
    if missing := [photograph.path.name for photograph, mask in zip(photographs, found, strict=True) if mask is None]:
        names = ", ".join(missing[:NAMED]) + (f" and {len(missing) - NAMED} more" if len(missing) > NAMED else "")
        if folder is None:
            raise UserError(
                f"Some photographs have an alpha channel that masks the head, and {names} have none: save all of them "
                "with one, or none, or give --masks."
            )
        raise UserError(f"--masks {folder} has no mask for {names}; add them, or remove these photographs.")
    paths = [path for path in found if path is not None]
    if len(set(paths)) < len(paths):
        double = next(path for path in paths if paths.count(path) > 1)
        raise UserError(f"The mask {double} would be that of several photographs; name masks PHOTOGRAPH.png in full.")
    return paths


def check_masks(photographs: Sequence[Photograph], paths: Sequence[Path], console: Console) -> None:
    """Reads every mask once, before long work.

    Raises:
        UserError: if one is no shape, broken, of another shape than its photograph, empty, or looks inverted.
    """
    with tracked(list(zip(photographs, paths, strict=True)), "Checking masks", console) as pairs:
        for photograph, path in pairs:
            scale = CHECKED_SIDE / max(photograph.size)
            size = round(photograph.size[0] * scale), round(photograph.size[1] * scale)
            inside = read_mask(photograph, path, False, size) > 0
            if not inside.any():
                raise UserError(
                    f"The mask {path} is black all over: make it white on the head, or remove the photograph."
                )
            border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]]).mean()
            if border > BORDER:
                raise UserError(
                    f"The mask {path} covers {border:.0%} of the picture's border, so it seems to be inverted: make it "
                    "white on the head and black elsewhere."
                )


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
        if shape is None:
            raise UserError(f"The alpha channel of {path} is opaque, and masks nothing.")
        turned = True
    else:
        shape = mask_shape(decode(path, "mask", UPRIGHT), f"The mask {path}")
        turned = _is_turned(photograph, shape.shape[1], shape.shape[0], path, sensor_orientation)
    if turned and photograph.orientation in TURNS:
        shape = np.asarray(Image.fromarray(shape).transpose(TURNS[photograph.orientation]))
    return resized_shape(shape, *size)


def orientation_is_open(photographs: Sequence[Photograph], paths: Sequence[Path]) -> bool:
    """Returns whether the shape of a mask leaves open if it was turned with its photograph."""
    for photograph, path in zip(photographs, paths, strict=True):
        if photograph.orientation in TURNS and path != photograph.path:
            header = size_and_orientation(path)
            if header is not None and _fits(photograph.size, *header[0]) and _fits(_stored(photograph), *header[0]):
                return True
    return False


def _is_turned(photograph: Photograph, width: int, height: int, path: Path, sensor_orientation: bool) -> bool:
    upright, stored = (
        _fits(photograph.size, width, height),
        _fits(_stored(photograph), width, height),
    )
    if not upright and not stored:
        raise UserError(
            f"The mask {path} is {width}x{height} pixels and its photograph {photograph.path.name} "
            f"{photograph.size[0]}x{photograph.size[1]}, another shape: make it of the photograph's size."
        )
    return sensor_orientation if upright and stored else stored


def _stored(photograph: Photograph) -> tuple[int, int]:
    return oriented_size(photograph.size, photograph.orientation)


def _fits(size: tuple[int, int], width: int, height: int) -> bool:
    return abs(size[0] * height / (size[1] * width) - 1) <= SHAPE


def has_alpha(path: Path) -> bool:
    """Returns whether a photograph's alpha channel masks something.

    Raises:
        UserError: if the photograph is broken, or the channel is no mask.
    """
    with Image.open(path) as image:
        if "A" not in image.getbands() and "transparency" not in image.info:
            return False
    return alpha_shape(decode(path, "photograph", UPRIGHT), f"The alpha channel of {path.name}") is not None


def _mask_of(photograph: Photograph, folder: Path) -> Path | None:
    name, stem = photograph.path.name, photograph.path.stem
    names = [f"{name}.png", *(f"{stem}{suffix}" for suffix in MASK_SUFFIXES)]
    files = {path.name: path for path in folder.iterdir() if path.is_file()}
    any_case = {path.name.lower(): path for path in files.values()}
    exact = (files[candidate] for candidate in names if candidate in files)
    other = (any_case[candidate.lower()] for candidate in names if candidate.lower() in any_case)
    return next(exact, None) or next(other, None)
