"""Rung 5: does anything of a sensitive photograph lie in the files that leave the machine?

Files are searched byte by byte, archives (checkpoints) member by member, pictures pixel by pixel, wherever they lie. A
neutral photograph's own pixels may be there, and are no find.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from privhead_ns.audit.rung import Rung
from privhead_ns.capture.raw import RawCapture, read_image

TITLE = "5. Files"
RUN = 6
"""Neighbouring pixels that make a needle."""
KEY = 8
"""Bytes by which needles are sought before they are compared whole; all needles are longer."""
PICTURE = re.compile(rb"\x89PNG\r\n\x1a\n.*?IEND....|\xff\xd8\xff.*?\xff\xd9", re.DOTALL)
METADATA = ("exif", "icc_profile", "comment", "xmp", "XML:com.adobe.xmp", "photoshop")
"""Where Pillow keeps what a camera or editor adds to a picture."""
OWN_NAME = re.compile(r"\d{3}\.png")
"""How protected captures name their files, whatever the photographs were called."""


def search(raw: RawCapture, sensitive: Iterable[int], folders: list[Path], console: Console) -> Rung:
    """Searches folders for colour and signed gradients of sensitive photographs, for metadata, and for their names.

    Args:
        raw: the photographs.
        sensitive: which of its frames are sensitive.
        folders: a protected capture, and what was made from it.
        console: where progress is shown.
    """
    chosen = set(sensitive)
    secrets = set().union(*(needles(*read_image(raw.frames[index])) for index in chosen))
    neutral = [read_image(frame) for index, frame in enumerate(raw.frames) if index not in chosen]
    secrets -= set().union(*(needles(*view) for view in neutral))
    # faint ramps of a few pixels occur in more than one photograph, at any place
    shared = SecretSearch(secrets)
    secrets -= set().union(*(shared.found(np.ascontiguousarray(rgb).tobytes()) for rgb, _ in neutral))
    words = names([raw.frames[index].name for index in chosen], raw.folder)
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    pixels, finds = SecretSearch(secrets), []
    for path in track(files, TITLE, console=console):
        if pixels.leaking(path):
            finds.append(f"{path}: colour or signed gradients of a sensitive view")
        finds += [f"{path}: {what}" for what in [*metadata(path), *mentions(path, words)]]
    size = sum(path.stat().st_size for path in files) / 1e6
    searched = (
        f"{len(files)} files ({size:.0f} MB) were searched for {len(secrets)} pieces of your sensitive photographs"
    )
    outcome = f"and {len(finds)} finds were made: {'; '.join(finds[:5])}" if finds else "and nothing was found"
    rung = Rung(TITLE, failed=bool(finds), sentence=f"{searched}, for metadata and for original names, {outcome}.")
    rung.rows = {"searched": {"files": len(files), "megabytes": size, "needles": len(secrets), "finds": len(finds)}}
    return rung


def needles(image: np.ndarray, mask: np.ndarray | None) -> set[bytes]:
    """Returns byte strings that betray an 8-bit photograph: runs of pixels of the head that are not all alike.

    As RGB, BGR and single channels, in 8 bits and as floats in [0, 1]; and as signed differences, of neighbours and
    Sobel's, along rows and across them.
    """
    found: set[bytes] = set()
    if mask is None:
        mask = np.full(image.shape[:2], 255, dtype=np.uint8)
    unit = image.astype(np.float32) / 255
    for y in range(1, image.shape[0] - 1, 5):
        above, below = unit[y - 1], unit[y + 1]
        across = (below[:-2] + 2 * below[1:-1] + below[2:] - above[:-2] - 2 * above[1:-1] - above[2:]) / 8
        smooth = (above + 2 * unit[y] + below) / 4
        along = (smooth[2:] - smooth[:-2]) / 2
        for x in range(1, image.shape[1] - RUN - 1, RUN):
            run = image[y, x : x + RUN]
            if not (mask[y, x : x + RUN] == 255).all() or len(np.unique(run, axis=0)) < 4:
                continue
            part = unit[y, x : x + RUN]
            kinds = [run, run[:, ::-1], part, part[:, ::-1], part * 2 - 1, part[:, 1]]
            kinds += [part.astype(np.float64), part.astype(np.float16)]
            kinds += [np.diff(part, axis=0), below[x : x + RUN] - part]
            kinds += [along[x - 1 : x - 1 + RUN], across[x - 1 : x - 1 + RUN]]
            found |= {np.ascontiguousarray(kind).tobytes() for kind in kinds}
    return found


def haystacks(path: Path) -> Iterator[bytes]:
    """Yields a file's bytes, those of the members if it is an archive, and the pixels of every picture in any."""
    for part in parts(path):
        yield part
        for picture in PICTURE.findall(part):
            try:
                image = np.asarray(Image.open(io.BytesIO(picture)))
            except (OSError, SyntaxError, ValueError):  # bytes that only begin like a picture
                continue
            yield image.tobytes()
            if image.ndim == 3:
                yield np.ascontiguousarray(image[..., :3]).tobytes()
            if image.dtype == np.uint16:
                yield (image >> 8).astype(np.uint8).tobytes()


def parts(path: Path) -> list[bytes]:
    """Returns a file's bytes, and those of its members if it is an archive."""
    result = [path.read_bytes()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            result += [archive.read(name) for name in archive.namelist()]
    return result


class SecretSearch:
    """Searches files for byte strings, each of at least `KEY` bytes.

    Args:
        secrets: the byte strings.
    """

    def __init__(self, secrets: set[bytes]) -> None:
        self.by_key: dict[bytes, list[tuple[int, bytes]]] = {}
        for secret in secrets:
            place = key_place(secret)
            self.by_key.setdefault(secret[place : place + KEY], []).append((place, secret))
        self.keys = np.sort(np.array([np.frombuffer(key, dtype=np.uint64)[0] for key in self.by_key], dtype=np.uint64))

    def leaking(self, path: Path) -> bool:
        """Says whether any of the byte strings occurs in a file."""
        return any(next(self._occurring(hay), None) is not None for hay in haystacks(path))

    def found(self, hay: bytes) -> set[bytes]:
        """Returns those of the byte strings that occur in some bytes."""
        return set(self._occurring(hay))

    def _occurring(self, hay: bytes) -> Iterator[bytes]:
        """Compares the eight bytes at every place with all keys, and what surrounds them where one fits."""
        if not len(self.keys):
            return
        for offset in range(min(KEY, max(0, len(hay) - KEY + 1))):
            words = np.frombuffer(hay, dtype=np.uint64, count=(len(hay) - offset) // KEY, offset=offset)
            place = np.searchsorted(self.keys, words).clip(max=len(self.keys) - 1)
            for index in np.flatnonzero(self.keys[place] == words):
                start = offset + int(index) * KEY
                candidates = self.by_key[hay[start : start + KEY]]
                yield from (
                    secret
                    for before, secret in candidates
                    if start >= before and hay.startswith(secret, start - before)
                )


def key_place(secret: bytes) -> int:
    """Returns where the `KEY` bytes with the most distinct values begin: zeros, of which files are full, are no key."""
    return max(range(len(secret) - KEY + 1), key=lambda start: len(set(secret[start : start + KEY])))


def leaking(folder: Path, secrets: set[bytes]) -> list[Path]:
    """Returns the files under a folder in which any of the byte strings occurs."""
    search = SecretSearch(secrets)
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and search.leaking(path)]


def metadata(path: Path) -> list[str]:
    """Returns what a file's pictures hold besides pixels: EXIF, GPS positions, thumbnails, comments."""
    found = set()
    for part in parts(path):
        for picture in PICTURE.findall(part):
            try:
                image = Image.open(io.BytesIO(picture))
                keys = {key for key in METADATA if key in image.info}
                keys |= {"exif"} if len(image.getexif()) else set()
            except (OSError, SyntaxError, ValueError):
                continue
            found |= {f"metadata of a picture ({key})" for key in keys}
    return sorted(found)


def names(originals: list[str], folder: Path) -> list[str]:
    """Returns what must not be named: the photographs' folder, and their files unless they are named like ours."""
    bases = {PurePath(name).name for name in originals}
    return sorted({base for base in bases if not OWN_NAME.fullmatch(base)} | {str(folder.resolve())})


def mentions(path: Path, words: list[str]) -> list[str]:
    """Returns which names occur in a file, or are its own."""
    hay = b"\n".join([path.name.encode(), *parts(path)])
    return [f"the original name {word}" for word in words if word.encode() in hay]
