"""Looks for the colours of photographs in files: in their bytes, in their archives' members and in their pictures."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

RUN = 6
"""Neighbouring pixels that make a needle."""
PICTURE = re.compile(rb"\x89PNG\r\n\x1a\n.*?IEND....|\xff\xd8\xff.*?\xff\xd9", re.DOTALL)


def needles(image: np.ndarray, mask: np.ndarray) -> set[bytes]:
    """Returns byte strings that betray an 8-bit photograph: runs of pixels of the head that are not all alike.

    As RGB, BGR and single channels, in 8 bits and as floats in [0, 1], and as signed differences of neighbours.
    """
    found: set[bytes] = set()
    for y in range(1, image.shape[0] - 1, 5):
        for x in range(0, image.shape[1] - RUN, RUN):
            run = image[y, x : x + RUN]
            if not (mask[y, x : x + RUN] == 255).all() or len(np.unique(run, axis=0)) < 4:
                continue
            unit = run.astype(np.float32) / 255
            kinds = [run, run[:, ::-1], unit, unit[:, ::-1], (unit * 2 - 1), np.diff(unit, axis=0)]
            kinds += [unit[:, 1], unit.astype(np.float64), unit.astype(np.float16)]
            found |= {np.ascontiguousarray(kind).tobytes() for kind in kinds}
    return found


def haystacks(path: Path) -> Iterator[bytes]:
    """Yields a file's bytes, those of the members if it is an archive, and the pixels of every picture in any."""
    parts = [path.read_bytes()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            parts += [archive.read(name) for name in archive.namelist()]
    for part in parts:
        yield part
        for picture in PICTURE.findall(part):
            try:
                image = np.asarray(Image.open(io.BytesIO(picture)))
            except OSError:  # bytes that only begin like a picture
                continue
            yield image.tobytes()
            if image.ndim == 3:
                yield np.ascontiguousarray(image[..., :3]).tobytes()
            if image.dtype == np.uint16:
                yield (image >> 8).astype(np.uint8).tobytes()


def leaking(folder: Path, secrets: set[bytes]) -> list[Path]:
    """Returns the files under a folder in which any of the byte strings occurs."""
    words = re.compile(b"|".join(re.escape(secret) for secret in secrets))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if any(words.search(hay) for hay in haystacks(path))]
