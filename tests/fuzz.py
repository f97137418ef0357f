"""Breaks captures at random, for the property-based tests: each function changes one thing in a folder."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np
from fuzz_json import change_cameras, change_json, change_json_text
from PIL import Image

from privhead_ns.errors import UserError

FORMATS = ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "ICO"]
MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F"]
SIZES = [
    (1, 1),
    (1, 32),
    (32, 1),
    (2, 2),
    (7, 5),
    (31, 32),
    (33, 33),
    (64, 64),
    (16, 16),
    (3000, 1),
    (1, 3000),
    (400, 4),
]


def pictures(folder: Path) -> list[Path]:
    """All pictures of a capture, without links: what is changed must not be written through one."""
    return sorted(path for path in folder.rglob("*.png") if path.is_file() and not path.is_symlink())


def change_bytes(folder: Path, random: Random) -> None:
    """Cuts a picture, or changes bytes of it."""
    path = random.choice(pictures(folder))
    data = bytearray(path.read_bytes())
    if random.random() < 0.3:
        data = data[: random.randint(0, len(data))]
    else:
        for _ in range(random.choice([1, 1, 5, 50])):
            if data:
                data[random.randint(0, min(60, len(data) - 1))] = random.randint(0, 255)
    path.write_bytes(data)


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG."""
    found, position = [], 8
    while position + 12 <= len(data):
        length = struct.unpack_from(">I", data, position)[0]
        found.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def as_png(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks, with their checksums."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


def change_chunks(folder: Path, random: Random) -> None:
    """Changes the chunks of a PNG, with right checksums: metadata, a palette, other sizes, hidden bytes."""
    path = random.choice(pictures(folder))
    parts = chunks(path.read_bytes())
    if not parts or parts[0][0] != b"IHDR" or len(parts[0][1]) != 13:
        return
    secret = random.randbytes(300)
    header = bytearray(parts[0][1])
    index = random.randint(0, len(parts) - 1)
    kind = random.choice(["insert", "tail", "end", "size", "form", "swap", "drop", "double", "empty", "header"])
    if kind == "insert":
        name = random.choice(
            [b"tEXt", b"zTXt", b"eXIf", b"PLTE", b"tRNS", b"gAMA", b"iCCP", b"sPLT", b"prVt", b"IDAT", b"IHDR"]
        )
        parts.insert(random.randint(0, len(parts)), (name, secret))
    elif kind == "tail":
        parts = [(name, body + secret if name == b"IDAT" else body) for name, body in parts]
    elif kind == "end":
        parts[-1] = (parts[-1][0], secret)
    elif kind == "size":
        header[:8] = struct.pack(
            ">II", *random.choice([(0, 0), (2**31, 2**31), (40_000, 40_000), (32, 10**6), (31, 32)])
        )
        parts[0] = (b"IHDR", bytes(header))
    elif kind == "form":
        header[random.randint(8, 12)] = random.choice([0, 1, 2, 3, 4, 6, 8, 16, 255])
        parts[0] = (b"IHDR", bytes(header))
    elif kind == "swap":
        parts[index], parts[-1] = parts[-1], parts[index]
    elif kind == "drop":
        del parts[index]
    elif kind == "double":
        parts.insert(index, parts[index])
    elif kind == "empty":
        parts[index] = (parts[index][0], b"")
    else:
        parts[0] = (b"IHDR", random.choice([b"", bytes(header[:5]), bytes(header) + secret]))
    path.write_bytes(as_png(parts))


def change_picture(folder: Path, random: Random) -> None:
    """Stores a picture in another mode, format, size or orientation under the same name, or draws another."""
    path = random.choice(pictures(folder))
    try:
        with Image.open(path) as image:
            image.load()
    except Exception:  # broken before
        return
    kind = random.choice(["mode", "size", "pixels", "exif", "turn"])
    if kind == "size":
        image = image.resize(random.choice(SIZES))
    elif kind == "turn":
        image = image.transpose(random.choice(list(Image.Transpose)))
    elif kind == "pixels":
        noise = np.random.default_rng(random.randint(0, 999)).integers(0, 256, (image.height, image.width), np.uint8)
        image = Image.fromarray(
            random.choice([noise, noise // 128 * 255, noise * 0, noise * 0 + 255, noise // 64 * 64])
        )
    mode = random.choice(MODES)
    try:
        image = image.convert("RGB").convert(mode) if kind == "mode" or random.random() < 0.2 else image
        options = {}
        if kind == "exif":
            exif = Image.Exif()
            exif[0x0112] = random.choice([0, 1, 2, 3, 5, 6, 8, 9, 65535])
            options["exif"] = exif
        image.save(path, random.choice(FORMATS) if random.random() < 0.4 else "PNG", **options)
    except (OSError, ValueError, KeyError):  # a mode that the format, or a conversion that Pillow does not have
        return


def change_files(folder: Path, random: Random) -> None:
    """Removes, empties, exchanges or links files, or puts folders in their place."""
    path = random.choice([*pictures(folder), folder / "transforms.json"])
    other = random.choice(pictures(folder))
    kind = random.choice(["remove", "empty", "folder", "loop", "out", "pipe", "exchange", "dangling", "big", "parent"])
    if kind == "exchange":
        path.write_bytes(other.read_bytes())
        return
    path.unlink()
    if kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "out":
        path.symlink_to(random.choice(["/dev/zero", str(folder.parent), str(other)]))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "big":
        path.write_bytes(random.choice([b"\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]) + bytes(10**5))
    elif kind == "parent" and path.parent != folder:
        shutil.rmtree(path.parent)
        path.parent.symlink_to(random.choice([".", "..", "/dev/zero", path.parent.name]))


CHANGES: dict[str, Callable[[Path, Random], None]] = {
    "cameras": change_cameras,
    "cameras again": change_cameras,
    "json": change_json,
    "json again": change_json,
    "json text": change_json_text,
    "bytes": change_bytes,
    "chunks": change_chunks,
    "picture": change_picture,
    "files": change_files,
}


def spoil(folder: Path, names: list[str], random: Random) -> None:
    """Applies changes one after the other; what an earlier one has made impossible is left out."""
    for name in names:
        listing = folder / "transforms.json"
        if listing.is_file() and not listing.is_symlink() and pictures(folder):
            CHANGES[name](folder, random)


def one_sentence(error: UserError) -> None:
    """Checks what a user reads: one line, not too long, without control characters."""
    sentence = str(error)
    assert len(sentence.splitlines()) == 1 and 20 < len(sentence) < 3000, sentence
    assert sentence.isprintable(), ascii(sentence)


@contextmanager
def within_seconds(seconds: int) -> Iterator[None]:
    """Fails if what is done in it takes longer."""

    def fail(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
