"""Breaks captures at random, for the property-based tests: each function changes one thing in a folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from privhead_ns.errors import UserError

WEIRD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 31, 33, 0.5, -0.0, 1e-320, 1e-30, 1e-9, 1e9, 1e30, 1e200, 1.7e308, 10**400),
    *(float("nan"), float("inf"), float("-inf"), [], {}, [[]], [1], [None], {"a": 1}, [[1e308] * 4] * 4, [[0] * 4] * 4),
    *(
        "",
        "0",
        "a",
        "é" * 300,
        "\0",
        "a\0b",
        "\ud800",
        "line\nbreak\x1b[2J",
        "..",
        "../raw/images/view_2.png",
        "/",
        "~",
    ),
    *("/etc/passwd", "images", "images/view_0.png", "masks/view_0.png", "transforms.json", "neutral/000.png"),
    *("protected/002.png", "protected", "PINHOLE", "OPENCV", "neutral", "sobel", np.eye(4).tolist()),
]
"""What may stand in JSON where something else belongs."""
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
    """All pictures of a capture."""
    return sorted(path for path in folder.rglob("*.png") if path.is_file())


def nodes(content: Any) -> Iterator[tuple[Any, Any]]:
    """All containers of a JSON value with a key of each."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield content, key
        yield from nodes(value)


def change_json(folder: Path, random: Random) -> None:
    """Replaces, removes, repeats, exchanges or multiplies values of transforms.json."""
    path = folder / "transforms.json"
    try:
        content = json.loads(path.read_text("utf8"))
        places = list(nodes(content))
        (holder, key), (other, there) = random.choice(places), random.choice(places)
    except (ValueError, OSError, RecursionError, IndexError):  # broken before
        return
    kind = random.choice(["weird", "weird", "remove", "repeat", "exchange", "multiply", "add"])
    if kind == "remove":
        del holder[key]
    elif kind == "repeat" and isinstance(holder, list):
        holder.extend([holder[key]] * random.choice([1, 2, 50]))
    elif kind == "exchange":
        try:
            holder[key], other[there] = json.loads(json.dumps(other[there])), json.loads(json.dumps(holder[key]))
        except (KeyError, IndexError):
            return
    elif kind == "multiply" and isinstance(holder[key], int | float):
        holder[key] = holder[key] * random.choice([-1, 0.999, 1.001, 2, 1e-3, 1e3, 1e-9, 1e9, 1e-160, 1e160])
    elif kind == "add":
        target = random.choice([content, *(one for one, _ in places if isinstance(one, dict))])
        name = random.choice(
            [
                "k1",
                "k4",
                "p2",
                "distortion_params",
                "camera_model",
                "is_fisheye",
                "mm_per_unit",
                "w",
                "fl_x",
                "privhead",
                "sensitive",
                "known_path",
                "mask_path",
                "kind",
                "\ud800",
            ]
        )
        if isinstance(target, dict):
            target[name] = random.choice(WEIRD)
    else:
        holder[key] = random.choice(WEIRD)
    path.write_text(json.dumps(content))


FACTORS = [-1, 0, 0.5, 0.9, 1.01, 2, 10, 1e-3, 1e3, 1e-9, 1e9, 1e-25, 1e25, 1e-160, 1e160]


def change_cameras(folder: Path, random: Random) -> None:
    """Moves, turns or scales poses, or changes intrinsics, of one frame or of all."""
    path = folder / "transforms.json"
    try:
        content = json.loads(path.read_text("utf8"))
        frames = random.choice([content["frames"], [random.choice(content["frames"])]])
        kind, factor = (
            random.choice(["move", "scale", "turn", "same", "focal", "centre", "distort"]),
            random.choice(FACTORS),
        )
        angle, axis = random.choice([0.01, 0.1, 1, 3.14159, random.random()]), random.randrange(3)
        for frame in frames:
            pose = np.array(frame["transform_matrix"], dtype=float)
            if kind == "move":
                pose[axis, 3] += factor
            elif kind == "scale":
                pose[:3, 3] *= factor
            elif kind == "turn":
                turn = np.roll(
                    [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]], axis, (0, 1)
                )
                pose[:3, :3] = pose[:3, :3] @ turn
            elif kind == "same":
                pose = np.array(frames[0]["transform_matrix"], dtype=float)
            elif kind == "focal":
                for key in random.choice([["fl_x"], ["fl_y"], ["fl_x", "fl_y"]]):
                    frame[key] = frame.get(key, content.get(key)) * factor
            elif kind == "centre":
                frame[random.choice(["cx", "cy"])] = 16 * factor
            else:
                frame[random.choice(["k1", "k2", "k3", "p1", "p2"])] = 0.1 * factor
            frame["transform_matrix"] = pose.tolist()
    except (
        ValueError,
        OSError,
        RecursionError,
        LookupError,
        TypeError,
        OverflowError,
        AttributeError,
    ):  # broken before
        return
    path.write_text(json.dumps(content))


def change_json_text(folder: Path, random: Random) -> None:
    """Cuts transforms.json, writes something into it, or encodes it otherwise."""
    path = folder / "transforms.json"
    data = path.read_bytes()
    position = random.randint(0, len(data))
    text = data.decode("utf8", "replace")
    inserted = random.choice(
        [b"\0", b"\xff", b"9" * 5000, b"[" * 100_000, b'{"a":' * 50_000, b"1e999", b"}", b'"', b"//"]
    )
    path.write_bytes(
        random.choice([
            data[:position],
            data[:position] + inserted + data[position:],
            inserted + data,
            text.encode("utf-16"),
            text.encode("utf-8-sig"),
            json.dumps(json.loads(json.dumps(text))).encode(),
            text.replace("32", "9" * 400).encode(),
            text.replace('"frames"', '"frames": 3, "frames"').encode(),
            b"",
        ])
    )  # fmt: skip


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
        path.symlink_to(random.choice(["/dev/zero", "/etc/passwd", "/proc/self/mem", str(folder.parent), str(other)]))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "big":
        path.write_bytes(random.choice([b"\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]) + bytes(10**5))
    elif kind == "parent" and path.parent != folder:
        shutil.rmtree(path.parent)
        path.parent.symlink_to(random.choice([".", "..", "/etc", path.parent.name]))


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
        if (folder / "transforms.json").is_file() and pictures(folder):
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
