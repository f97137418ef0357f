"""Finds pictures that programs name without their folder, and masks beside pictures."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PureWindowsPath

from privhead_ns.capture.listed_files import ENDINGS
from privhead_ns.errors import UserError
from privhead_ns.prepare.photographs import OTHER_FOLDERS

MASK_FOLDERS = ("masks", "mask")
LEVELS = 4
"""Folders above a picture in which a folder of masks is sought."""


def is_picture(path: Path) -> bool:
    """Returns whether a path has a picture's ending and is a visible file."""
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()


def pictures_by_name(folder: Path) -> dict[str, list[Path]]:
    """Returns the photographs in a folder and below it, by their names and by their names without ending."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        folders = path.relative_to(folder).parts[:-1]
        if is_picture(path) and not any(OTHER_FOLDERS.fullmatch(part) for part in folders):
            for name in {path.name, path.stem}:
                found[name].append(path)
    return found


def pick_picture(pictures: dict[str, list[Path]], name: str, source: Path) -> Path | None:
    """Returns the one photograph of a name, which may lack its ending or have another; None if there is none.

    Raises:
        UserError: if two photographs have the name.
    """
    base = PureWindowsPath(name).name
    stem = base[: -len(Path(base).suffix)] if Path(base).suffix.lower() in ENDINGS else base
    found = pictures.get(base) or pictures.get(stem) or []
    if len(found) > 1:
        raise UserError(f"{source} names {name}, but {found[0]} and {found[1]} may both be meant; rename or move one.")
    return found[0] if found else None


def find_mask(picture: Path, root: Path) -> Path | None:
    """Returns the mask of a photograph: `masks/001.jpg.png` or `masks/001.png`, in a folder above it up to the root."""
    for above in picture.parents[:LEVELS]:
        below = picture.relative_to(above).parts
        for inside in dict.fromkeys(("/".join(below[1:]) or picture.name, picture.name)):
            for masks in MASK_FOLDERS:
                named = above / masks / inside
                for path in (Path(f"{named}.png"), *(named.with_suffix(ending) for ending in ENDINGS)):
                    if path.is_file() and path != picture:
                        return path
        if above == root:
            break
    return None
