"""Decodes the contents of a file: pictures, arrays, text and plain bytes, also nested."""

from __future__ import annotations

import base64
import binascii
import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageSequence

DEEPEST = 6
"""Files inside each other that are opened."""
MOST_BYTES = 1 << 30
"""Bytes that one compressed file may unpack to; what lies behind is not read."""
MOST_PAGES = 64
"""Pages of a picture that are read."""
PICTURE = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF....WEBP|II\*\0|MM\0\*|GIF8[79]a|BM....\0\0\0\0....[\x0c\x28\x34\x38\x6c\x7c]\0\0\0",
    re.DOTALL,
)
"""How pictures begin."""
PNG = re.compile(rb"\x89PNG\r\n\x1a\n.*?IEND\xae\x42\x60\x82", re.DOTALL)
"""A whole PNG file, of which the bytes are compressed and no numbers."""
METADATA = ("exif", "icc_profile", "comment", "xmp", "XML:com.adobe.xmp", "photoshop")
"""Where Pillow keeps what a camera or editor adds to a picture."""
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{200,}={0,2}")
NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
FEWEST_NUMBERS = 256
"""Numbers in a text from which they may be an image."""
TYPES = ("u1", "<u2", "<f2", "bfloat16", "<f4", "<f8", ">u2", ">f4")
"""What raw bytes may be, from every byte that a number could begin at."""


@dataclass(frozen=True)
class Piece:
    """A decoded part of a file."""

    content: bytes | None = None
    """Bytes, to be searched for names."""
    text: bool = False
    """Whether they are text."""
    picture: np.ndarray | None = None
    """A decoded picture (height, width, channels)."""
    array: np.ndarray | None = None
    """An array of known shape."""
    numbers: np.ndarray | None = None
    """Numbers in a row, float32."""
    metadata: str | None = None
    """Metadata of a picture."""


def pieces(path: Path) -> Iterator[Piece]:
    """Yields everything in a file."""
    yield from unpacked(path.read_bytes(), DEEPEST)


def unpacked(data: bytes, depth: int) -> Iterator[Piece]:
    """Yields bytes as they are, and everything that they can be decoded to."""
    text = is_text(data)
    yield Piece(content=data, text=text)
    if depth == 0:
        return
    if text:
        yield from in_text(data, depth)
        return
    inner = decompressed(data)
    if inner is not None:
        yield from unpacked(inner, depth - 1)
        return
    if zipfile.is_zipfile(io.BytesIO(data)):
        yield from in_zip(data, depth)
        if data.startswith(b"PK"):
            return
    elif data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    yield from unpacked(content.read(MOST_BYTES), depth - 1)
        return
    if data.startswith(b"\x93NUMPY"):
        try:
            yield from in_array(np.load(io.BytesIO(data), allow_pickle=False))
            return
        except (ValueError, EOFError, OSError):
            pass  # cut off, or an array of objects: its bytes are searched
    yield from in_pictures(data)
    yield from in_raw(PNG.sub(b"", data))


def is_text(data: bytes) -> bool:
    """Returns whether bytes are text in UTF-8."""
    try:
        return (b"\0" not in data and bool(data.decode())) or not data
    except UnicodeDecodeError:
        return False


def in_text(data: bytes, depth: int) -> Iterator[Piece]:
    """Yields what text holds in base64, and its numbers."""
    for match in BASE64.finditer(data):
        encoded = match.group().rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            yield from unpacked(base64.b64decode(encoded[: len(encoded) // 4 * 4]), depth - 1)
        except binascii.Error:
            continue
    numbers = np.array(NUMBER.findall(data), dtype="S24").astype(np.float64)
    if len(numbers) >= FEWEST_NUMBERS:
        yield Piece(numbers=as_floats(numbers))


def decompressed(data: bytes) -> bytes | None:
    """Returns what bytes were before they were compressed; None where they were not."""
    try:
        if data.startswith(b"\x1f\x8b"):
            return gzip.GzipFile(fileobj=io.BytesIO(data)).read(MOST_BYTES)
        if data.startswith(b"BZh"):
            return bz2.BZ2File(io.BytesIO(data)).read(MOST_BYTES)
        if data.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
            return lzma.LZMAFile(io.BytesIO(data)).read(MOST_BYTES)
        if data.startswith((b"\x78\x01", b"\x78\x9c", b"\x78\xda")):
            return zlib.decompressobj().decompress(data, MOST_BYTES)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        pass  # bytes that only begin like compressed ones
    return None


def in_zip(data: bytes, depth: int) -> Iterator[Piece]:
    """Yields the members of an archive; tensors of a checkpoint in their own types."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {member.filename: member for member in archive.infolist() if not member.is_dir()}
            tensors = None
            if any(name.endswith("data.pkl") for name in members):
                tensors = load_tensors(data)
            yield Piece(content="\n".join(members).encode(), text=True)
            for name, member in members.items():
                if tensors is None or re.search(r"(^|/)data/\d+$", name) is None:
                    with archive.open(member) as file:
                        yield from unpacked(file.read(MOST_BYTES), depth - 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, zlib.error):
        return  # damaged or locked by a password
    storages: set[int] = set()
    for tensor in tensors or ():
        yield from in_tensor(tensor, storages)


def load_tensors(data: bytes) -> list[torch.Tensor] | None:
    """Returns all tensors of a checkpoint without running its code; None where that cannot be done."""
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds; the storages are searched as bytes instead
        return None
    found: dict[int, torch.Tensor] = {}
    collect(content, found)
    return list(found.values())


def collect(content: Any, found: dict[int, torch.Tensor]) -> None:
    """Gathers tensors from nested containers."""
    if isinstance(content, torch.Tensor):
        found[id(content)] = content
    elif isinstance(content, dict):
        for value in content.values():
            collect(value, found)
    elif isinstance(content, list | tuple | set):
        for value in content:
            collect(value, found)


def in_tensor(tensor: torch.Tensor, storages: set[int]) -> Iterator[Piece]:
    """Yields a tensor as an array, and the whole of the storage that is saved with it unless it is known."""
    tensor = tensor.detach()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    yield Piece(array=as_floats(tensor.float().numpy()))
    storage = tensor.untyped_storage()
    if storage.data_ptr() not in storages:
        storages.add(storage.data_ptr())
        yield Piece(numbers=as_floats(torch.empty(0, dtype=tensor.dtype).set_(storage).float().numpy()))


def in_array(array: np.ndarray) -> Iterator[Piece]:
    """Yields an array, and its numbers as they lie in memory."""
    if array.dtype.kind in "biuf":
        floats = as_floats(array)
        yield Piece(array=floats)
        yield Piece(numbers=floats.ravel(order="K"))


def in_pictures(data: bytes) -> Iterator[Piece]:
    """Yields every picture that begins anywhere in bytes, with what it holds besides pixels."""
    for match in PICTURE.finditer(data):
        part = data[match.start() :]
        try:
            with Image.open(io.BytesIO(part)) as image:
                kept = {key for key in METADATA if image.info.get(key)} | ({"exif"} if has_exif(image) else set())
                for key in sorted(kept):
                    yield Piece(metadata=key)
                words = [f"{key} {value}" for key, value in image.info.items() if isinstance(value, str | bytes)]
                yield Piece(content="\n".join(words).encode(errors="replace"), text=True)
                for page in islice(ImageSequence.Iterator(image), MOST_PAGES):
                    yield from in_picture(pixels(page))
        except (OSError, SyntaxError, ValueError, TypeError, KeyError, Image.DecompressionBombError, EOFError):
            decoded = cv2.imdecode(np.frombuffer(part, np.uint8), cv2.IMREAD_UNCHANGED)
            if decoded is not None:
                yield from in_picture(decoded)


def has_exif(image: Image.Image) -> bool:
    """Returns whether a picture has EXIF tags; in TIFF, tags hold the format itself."""
    return image.format != "TIFF" and len(image.getexif()) > 0


def in_picture(values: np.ndarray) -> Iterator[Piece]:
    floats = as_floats(values)
    yield Piece(picture=floats)
    yield Piece(numbers=floats.ravel())


def pixels(image: Image.Image) -> np.ndarray:
    """Returns a picture's channels; a palette's colours instead of its indices."""
    return np.asarray(image.convert("RGBA") if image.mode in ("P", "PA", "CMYK", "1") else image)


def in_raw(data: bytes) -> Iterator[Piece]:
    """Yields bytes as numbers of every type."""
    for kind in TYPES:
        size = 2 if kind == "bfloat16" else np.dtype(kind).itemsize
        for start in range(size):
            count = (len(data) - start) // size
            if count <= 0:
                continue
            if kind == "bfloat16":
                words = np.frombuffer(data, "<u2", count, start).astype(np.uint32) << 16
                yield Piece(numbers=as_floats(words.view(np.float32)))
            else:
                yield Piece(numbers=as_floats(np.frombuffer(data, kind, count, start)))


def as_floats(values: np.ndarray) -> np.ndarray:
    """Returns values as float32, those that are no numbers or beyond all colours as 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        floats = np.asarray(values).astype(np.float32)
    return np.where(np.abs(floats) < 1e9, floats, np.float32(0))
