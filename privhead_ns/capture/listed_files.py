"""Finds the files that a transforms.json or another list of photographs names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

from privhead_ns.errors import UserError
from privhead_ns.text_files import is_file

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif")
NAMED = 5
"""Missing files that an error names; the others it counts."""


def locate(folder: Path, name: str) -> Path | None:
    """Returns the file of a name: with or without its ending, of either system's separators, relative or absolute.

    Of an absolute name, which another machine may have written, the longest end that exists in the folder counts.
    """
    names = [name] if "\\" not in name else [name, name.replace("\\", "/")]
    if PureWindowsPath(names[-1]).is_absolute() or names[-1].startswith("/"):
        parts = names[-1].split("/")[1:]
        names += ["/".join(parts[first:]) for first in range(len(parts))]
    for one in names:
        for ending in ("", *ENDINGS, *(ending.upper() for ending in ENDINGS)):
            if is_file(path := folder / f"{one}{ending}"):
                return path
    return None


def refuse_missing(missing: Iterable[str], source: Path) -> None:
    """Raises a UserError that names the first `NAMED` missing files and counts the others, if there are any."""
    names = list(missing)
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise UserError(
            f"{source} lists files that do not exist: {', '.join(names[:NAMED])}{more}; restore them, or remove them "
            "from it."
        )
