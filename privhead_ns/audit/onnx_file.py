"""Reads the input shapes and the last initializer of an ONNX file, which OpenCV does not expose.

The file is a protocol buffer; the numbers of the fields are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

GRAPH = 7
"""Of ModelProto."""
INITIALIZER, INPUT = 5, 11
"""Of GraphProto."""
DIMS, DATA_TYPE, NAME, RAW = 1, 2, 8, 9
"""Of TensorProto."""
DTYPES = {1: np.dtype("<f4"), 10: np.dtype("<f2")}
"""TensorProto.DataType of what is read here."""


class Message:
    """A message of a protocol buffer: the values of each field, in their order."""

    def __init__(self, content: memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in fields(content):
            self._fields.setdefault(number, []).append(value)

    def messages(self, number: int) -> list[Message]:
        """Returns the messages in a field."""
        return [Message(value) for value in self.all(number) if isinstance(value, memoryview)]

    def text(self, number: int) -> str:
        """Returns a field's last text; empty if there is none."""
        return next((bytes(value).decode() for value in self.all(number)[::-1] if isinstance(value, memoryview)), "")

    def all(self, number: int) -> list[int | memoryview]:
        """Returns everything in a field."""
        return self._fields.get(number, [])


def inputs_and_last_initializer(path: Path) -> tuple[dict[str, tuple[int, ...]], Shaped[np.ndarray, "..."]]:
    """Returns the shape of each input (0 where it varies), and the values of the last initializer.

    Raises:
        ValueError: if the file has no initializer, or the last one's values are not floats of 16 or 32 bits within it.
    """
    graphs = Message(memoryview(path.read_bytes())).messages(GRAPH)
    initializers = [tensor for graph in graphs for tensor in graph.messages(INITIALIZER)]
    if not initializers:
        raise ValueError("it has no initializer")
    names = {tensor.text(NAME) for tensor in initializers}
    inputs = {value.text(1): shape(value) for graph in graphs for value in graph.messages(INPUT)}
    return {name: sizes for name, sizes in inputs.items() if name not in names}, values(initializers[-1])


def values(tensor: Message) -> Shaped[np.ndarray, "..."]:
    """Returns the numbers of a TensorProto.

    Raises:
        ValueError: if they are not floats of 16 or 32 bits within it.
    """
    dtype = next((DTYPES.get(kind) for kind in tensor.all(DATA_TYPE) if isinstance(kind, int)), None)
    raw = next((value for value in tensor.all(RAW) if isinstance(value, memoryview)), None)
    if dtype is None or raw is None:
        raise ValueError("its last initializer holds no floats")
    sizes = [size for value in tensor.all(DIMS) for size in ([value] if isinstance(value, int) else varints(value))]
    return np.frombuffer(raw, dtype).reshape(sizes)


def shape(value: Message) -> tuple[int, ...]:
    """Returns the shape in a ValueInfoProto: its type's tensor_type's shape's dims' dim_value."""
    dims = [
        dim
        for kind in value.messages(2)
        for tensor in kind.messages(1)
        for sizes in tensor.messages(2)
        for dim in sizes.messages(1)
    ]
    return tuple(next((size for size in dim.all(1) if isinstance(size, int)), 0) for dim in dims)


def fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields number and value of each field: a number, or bytes.

    Raises:
        ValueError: if the content is no protocol buffer.
    """
    at = 0
    while at < len(content):
        key, at = varint(content, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(content, at)
            yield key >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError("this is no protocol buffer")
        size, at = varint(content, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        yield key >> 3, content[at : at + size]
        at += size


def varint(content: memoryview, at: int) -> tuple[int, int]:
    """Returns the number that starts at a place, of 7 bits a byte, and where it ends.

    Raises:
        ValueError: if the content ends before.
    """
    value = 0
    for shift, byte in enumerate(content[at : at + 10]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + shift + 1
    raise ValueError("this is no protocol buffer")


def varints(content: memoryview) -> Iterator[int]:
    """Yields packed numbers."""
    at = 0
    while at < len(content):
        value, at = varint(content, at)
        yield value
