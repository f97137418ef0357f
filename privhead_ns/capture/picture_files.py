"""Image files: recognises formats, reads headers and decodes pixels in the right orientation."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import Image

from privhead_ns.errors import UserError

READABLE = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
TURNED_BY_READER = ("TIFF", "HEIF")
"""Formats that Pillow gives upright."""
ORIENTATION = 0x0112
"""EXIF tag of the orientation: 1 upright, 3 upside down, 6 and 8 lying on a side; 2, 4, 5 and 7 are mirrored."""
UPRIGHT = 1
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Pillow operation that turns a stored image upright, by EXIF orientation."""
TRANSPOSING = (5, 6, 7, 8)
"""Orientations in which the stored rows are the upright picture's columns."""
INVERSE = {6: 8, 8: 6}
"""Orientations that undo each other; every other undoes itself."""

MAGIC = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"8BPS": "Photoshop",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"%PDF": "PDF",
    b"<": "HTML or XML",
    b"version https://git-lfs": "a Git LFS pointer",
}
"""First bytes of formats; WebP and the formats that begin with an ISO base media box are told apart in `format_of`."""
BRANDS = {b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC", b"avi": "AVIF", b"crx": "Canon raw"}
"""First letters of the brand of an ISO base media file; any other is a film."""
CAMERA_RAW = {".dng", ".cr2", ".nef", ".arw", ".orf", ".rw2", ".pef", ".srw"}
"""Endings of raw files that begin like a TIFF file and hold a small preview."""


def format_of(path: Path) -> str:
    """Returns the name of a file's format by its first bytes, or "unknown"."""
    if path.suffix.lower() in CAMERA_RAW:
        return f"camera raw ({path.suffix[1:].upper()})"
    with path.open("rb") as file:
        head = file.read(32)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:11], "a film")
    if not head:
        return "an empty file"
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), "unknown")


def size_and_orientation(path: Path) -> tuple[tuple[int, int], int] | None:
    """Reads a picture's header.

    Returns:
        Width and height as stored, and the EXIF orientation; None if the file is no readable picture. Pillow gives TIFF
        and HEIC files upright, so theirs count as stored that way.
    """
    try:
        with Image.open(path, formats=pillow_formats(format_of(path))) as image:
            orientation = UPRIGHT if image.format in TURNED_BY_READER else image.getexif().get(ORIENTATION, UPRIGHT)
            return image.size, orientation if orientation in range(1, 9) else UPRIGHT
    except Exception:  # each format's reader fails in its own ways; `decode` says what is wrong
        return None


@cache
def reads_heic() -> bool:
    """Says whether pillow-heif is installed, and has Pillow read HEIC files with it."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def pillow_formats(form: str) -> tuple[str, ...]:
    """Returns the names of the formats that Pillow is to try on a file, given what `format_of` says of it."""
    return ("HEIF",) if form == "HEIC" and reads_heic() else READABLE


def oriented_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Returns width and height of a stored picture after `decode` has turned it."""
    return (size[1], size[0]) if orientation in TRANSPOSING else size


def same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Returns whether one picture can be a resized version of another: each side is rounded by less than a pixel."""
    lowest = max((side - 1) / whole for side, whole in zip(size, other, strict=True))
    highest = min((side + 1) / whole for side, whole in zip(size, other, strict=True))
    return lowest < highest


def decode(path: Path, role: str, orientation: int) -> Image.Image:
    """Decodes an image and applies the given EXIF orientation instead of its own.

    Args:
        path: the file.
        role: what it is, for messages.
        orientation: 1 to keep the stored pixels.

    Raises:
        UserError: if it is of a format that is not read, or broken.
    """
    try:
        form = format_of(path)
    except OSError as error:
        raise UserError(f"The {role} {path} cannot be read ({error.strerror}); copy it again.") from None
    if form == "HEIC" and not reads_heic():
        raise UserError(
            f'The {role} {path} is of the format HEIC, which needs pillow-heif: pip install ".[prepare]" in the folder '
            "of privhead-ns, or convert it to PNG or JPEG."
        )
    if form != "HEIC" and form.upper() not in READABLE:
        what = form if " " in form else f"of the format {form}" if form != "unknown" else "of an unknown format"
        raise UserError(f"The {role} {path} is {what}; convert it to PNG or JPEG.")
    try:
        with Image.open(path, formats=pillow_formats(form)) as image:
            image.load()
            picture = image.copy()
    except Exception:  # each format's reader fails in its own ways
        raise UserError(
            f"The {role} {path} cannot be decoded as {form}, it may be truncated; copy it again, or convert it to PNG."
        ) from None
    if picture.mode == "F":
        raise UserError(f"The {role} {path} holds floating-point values; convert it to 8 bits a channel.")
    return picture.transpose(TURNS[orientation]) if orientation in TURNS else picture


def picture_size(path: Path) -> tuple[int, int]:
    """Returns width and height of a picture as stored.

    Raises:
        UserError: if it is no picture that can be read.
    """
    header = size_and_orientation(path)
    if header is None:
        decode(path, "image", UPRIGHT)  # says what is wrong
        raise UserError(f"The image {path} cannot be read; convert it to PNG or JPEG.")
    return header[0]
