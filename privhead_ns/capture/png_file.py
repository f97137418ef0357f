"""Checks that PNG files (ISO/IEC 15948) hold pixels alone: no metadata and no surplus bytes."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = struct.Struct(">IIBBBBB")
"""Width, height, bit depth, colour type, and the methods of compression, filtering and interlacing."""
CHANNELS = {0: 1, 2: 3}
"""Channels of a pixel by colour type: grey, RGB."""


class NotWhole(ValueError):
    """The file is no PNG, or was cut or changed."""


class MoreThanPixels(ValueError):
    """The file is a PNG with something else in it."""


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Returns name and content of each chunk.

    Raises:
        NotWhole: if the file does not go from a header to an end, or a checksum is wrong.
        MoreThanPixels: if anything follows the end.
    """
    if not data.startswith(SIGNATURE):
        raise NotWhole
    chunks, position = [], len(SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if position + 12 > len(data):
            raise NotWhole
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data) or zlib.crc32(data[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise NotWhole
        chunks.append((name, data[position + 8 : end - 4]))
        position = end
    if chunks[0][0] != b"IHDR" or len(chunks[0][1]) != HEADER.size or b"IDAT" not in [name for name, _ in chunks]:
        raise NotWhole
    if position != len(data):
        raise MoreThanPixels
    return chunks


def check_only_pixels(chunks: list[tuple[bytes, bytes]]) -> None:
    """Checks that the chunks are a header, compressed pixels and an end, and that the pixels fill their stream.

    The image must not be interlaced, and its colour type must be one of `CHANNELS`.

    Raises:
        NotWhole: if pixels are missing.
        MoreThanPixels: if there is anything else.
    """
    if [name for name, _ in chunks[1:-1]] != [b"IDAT"] * (len(chunks) - 2) or chunks[-1][1]:
        raise MoreThanPixels
    width, height, depth, colour, *_ = HEADER.unpack(chunks[0][1])
    length = height * (1 + width * CHANNELS[colour] * depth // 8)  # a byte before each row names its filter
    reader, stream = zlib.decompressobj(), b"".join(content for _, content in chunks[1:-1])
    try:
        pixels = len(reader.decompress(stream, length + 1))
    except zlib.error:
        raise NotWhole from None
    if pixels > length or reader.unused_data or reader.unconsumed_tail:
        raise MoreThanPixels
    if pixels < length or not reader.eof:
        raise NotWhole
