"""The photographs that a person has: listed, named, and read upright."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pillow_heif
from jaxtyping import UInt8
from PIL import ExifTags, Image

from privhead_ns.capture.picture_files import READABLE, TURNS, UPRIGHT, format_of, oriented_size
from privhead_ns.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif"}
FULL_FRAME = 36.0
"""Longer side in mm of the film to which EXIF's 35 mm equivalent focal length refers."""
LEAST_SIDE = 64
"""Side in pixels below which a picture is a thumbnail or an icon."""

pillow_heif.register_heif_opener()


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
                picture = image.convert("RGB") if not image.mode.startswith("I") else _to_8_bits(image)
        except Exception:  # each format's reader fails in its own ways
            raise UserError(
                f"{self.path} cannot be decoded, it may be truncated; copy it again or remove it."
            ) from None
        return np.asarray(picture.transpose(TURNS[self.orientation]) if self.orientation in TURNS else picture)


def list_photographs(folder: Path) -> tuple[list[Photograph], list[Path]]:
    """Lists the photographs in a folder, or in its `images` where it holds none itself, in the order of their names.

    Returns:
        The photographs, and other files that are no pictures or cannot be read.

    Raises:
        UserError: if there are none.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    if not any(path.suffix.lower() in SUFFIXES for path in paths) and (folder / "images").is_dir():
        return list_photographs(folder / "images")
    found = [(path, _read_header(path)) for path in paths]
    sound = [(path, header) for path, header in found if header is not None]
    if not sound:
        formats = sorted({format_of(path) for path in paths})
        raise UserError(
            f"{folder} holds no photographs (PNG, JPEG, HEIC, WebP, TIFF or BMP)"
            + (f", only files that are {', '.join(formats)}" if formats else "")
            + "; give --data the folder they are in, or a video."
        )
    names = unique_names([path for path, _ in sound])
    photographs = [_photograph(name, path, header) for name, (path, header) in zip(names, sound, strict=True)]
    return photographs, [path for path, header in found if header is None]


def _read_header(path: Path) -> Image.Image | None:
    """Opens a picture without its pixels; None if it is none, or too small."""
    try:
        with Image.open(path, formats=(*READABLE, "HEIF")) as image:
            return image if min(image.size) >= LEAST_SIDE else None
    except Exception:  # each format's reader fails in its own ways
        return None


def _photograph(name: str, path: Path, header: Image.Image) -> Photograph:
    exif = header.getexif()
    details = exif.get_ifd(ExifTags.IFD.Exif)
    orientation = exif.get(ExifTags.Base.Orientation, UPRIGHT) if header.format not in ("TIFF", "HEIF") else UPRIGHT
    orientation = orientation if orientation in range(1, 9) else UPRIGHT
    size = oriented_size(header.size, orientation)
    focal = _positive(details.get(ExifTags.Base.FocalLength))
    equivalent = _positive(details.get(ExifTags.Base.FocalLengthIn35mmFilm))
    maker, model = (str(exif.get(tag, "")) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    return Photograph(
        name=name,
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
    """Returns file names without ending, with it where two would be alike."""
    stems = Counter(path.stem.lower() for path in paths)
    return [path.stem if stems[path.stem.lower()] == 1 else path.name.replace(".", "_") for path in paths]


def _to_8_bits(image: Image.Image) -> Image.Image:
    grey = np.asarray(image, dtype=np.float64) / 65535 * 255 + 0.5
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
