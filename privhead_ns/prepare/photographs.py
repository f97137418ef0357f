"""Lists, names and reads photographs, turned upright."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from privhead_ns.capture.picture_files import (
    CAMERA_RAW,
    TURNED_BY_READER,
    TURNS,
    UPRIGHT,
    format_of,
    oriented_size,
    pillow_formats,
    reads_heic,
)
from privhead_ns.capture.raw import to_grey
from privhead_ns.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif"}
FULL_FRAME = 36.0
"""Longer side in mm of the film to which EXIF's 35 mm equivalent focal length refers."""
OTHER_FOLDERS = re.compile(r"masks?|depths?|confidence|normals|sparse|images_\d+", re.IGNORECASE)
"""Folders of pictures that are no photographs, or photographs reduced."""
LEAST_SIDE = 64
"""Side in pixels below which a picture is a thumbnail or an icon."""


@dataclass(frozen=True)
class Photograph:
    """One photograph; its pixels are read when asked for."""

    name: str
    """Unique among the photographs, without ending."""
    path: Path
    size: tuple[int, int]
    """Width and height, upright."""
    orientation: int
    """EXIF orientation of the stored pixels."""
    camera: tuple[str, str, float | None, tuple[int, int], int]
    """Maker, model, focal length in mm, size and orientation: equal for photographs that share their intrinsics."""
    relative_focal_length: float | None
    """Focal length over the picture's longer side, from EXIF; None where it is not there."""

    def rgb(self) -> UInt8[np.ndarray, "height width 3"]:
        """Reads the photograph and turns it upright.

        Raises:
            UserError: if it is broken.
        """
        try:
            with Image.open(self.path) as image:
                picture = (to_grey(image) if image.mode.startswith("I") else image).convert("RGB")
        except Exception:  # each format's reader fails in its own ways
            raise UserError(
                f"{self.path} cannot be decoded, it may be truncated; copy it again or remove it."
            ) from None
        return np.asarray(picture.transpose(TURNS[self.orientation]) if self.orientation in TURNS else picture)


def list_photographs(folder: Path) -> tuple[list[Photograph], list[Path]]:
    """Lists the photographs in a folder, or in those below it where it holds none itself, in the order of their paths.

    Folders of masks, depths and the like do not count.

    Returns:
        The photographs, and other files that are no pictures or cannot be read.

    Raises:
        UserError: if there are none, or one holds floating-point values.
    """
    reads_heic()
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    if not any(path.suffix.lower() in SUFFIXES for path in paths):
        paths = _below(folder) or paths
    found = [_read_header(path) for path in paths]
    sound = [photograph for photograph in found if photograph is not None]
    if not sound:
        raise UserError(_no_photographs(folder, paths))
    names = unique_names([photograph.path for photograph in sound])
    photographs = [replace(photograph, name=name) for name, photograph in zip(names, sound, strict=True)]
    return photographs, [path for path, photograph in zip(paths, found, strict=True) if photograph is None]


def _below(folder: Path) -> list[Path]:
    """Returns the pictures in all folders below one, but hidden ones and those of masks, depths and the like."""
    inside = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
    parts = {path: path.relative_to(folder).parts for path in inside}
    return [
        path
        for path in inside
        if not any(part.startswith(".") or OTHER_FOLDERS.fullmatch(part) for part in parts[path][:-1])
        and not path.name.startswith(".")
    ]


def _no_photographs(folder: Path, paths: Sequence[Path]) -> str:
    """Says what a folder without photographs holds instead."""
    formats = sorted({format_of(path) for path in paths})
    only = f", only files that are {', '.join(formats)}" if formats else ""
    if any(path.suffix.lower() in SUFFIXES for path in paths):
        only += f", and broken or smaller than {LEAST_SIDE} pixels"
    return (
        f"{folder} holds no photographs (PNG, JPEG, HEIC, WebP, TIFF or BMP){only}; give --data the folder they are "
        "in, or a video."
    )


def _read_header(path: Path) -> Photograph | None:
    """Reads what is known of a photograph without its pixels; None if it is no picture, or too small.

    Raises:
        UserError: if it holds floating-point values.
    """
    if path.suffix.lower() in CAMERA_RAW:  # they begin like TIFF, and hold a thumbnail
        return None
    try:
        with Image.open(path, formats=pillow_formats(format_of(path))) as image:
            exif = image.getexif()
            details = exif.get_ifd(ExifTags.IFD.Exif)
            stored, upright, floats = image.size, image.format in TURNED_BY_READER, image.mode == "F"
    except Exception:  # each format's reader fails in its own ways
        return None
    if floats:
        raise UserError(f"The photograph {path} holds floating-point values; convert it to 8 bits a channel.")
    if min(stored) < LEAST_SIDE:
        return None
    orientation = UPRIGHT if upright else exif.get(ExifTags.Base.Orientation, UPRIGHT)
    orientation = orientation if orientation in range(1, 9) else UPRIGHT
    size = oriented_size(stored, orientation)
    focal = _positive(details.get(ExifTags.Base.FocalLength))
    equivalent = _positive(details.get(ExifTags.Base.FocalLengthIn35mmFilm))
    maker, model = (str(exif.get(tag, "")) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    return Photograph(
        name=path.stem,
        path=path,
        size=size,
        orientation=orientation,
        camera=(maker, model, focal, size, orientation),
        relative_focal_length=None if equivalent is None else equivalent / FULL_FRAME,
    )


def _positive(value: object) -> float | None:
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if 0 < number < float("inf") else None


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Returns file names without ending, made different where two are alike but for ending, dots or case.

    Raises:
        UserError: if a name is no text.
    """
    stems = Counter(path.stem.lower() for path in paths)
    taken: set[str] = set()
    names = []
    for path in paths:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise UserError(f"The name of {path.name!r} is not UTF-8; rename the file.") from None
        name = path.stem if stems[path.stem.lower()] == 1 else path.name.replace(".", "_")
        while name.lower() in taken:
            name += "_2"
        taken.add(name.lower())
        names.append(name)
    return names
