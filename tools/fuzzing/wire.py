"""A protobuf message as a tree of fields, which can be edited where no library would let one.

A message is a row of fields: a tag ``number << 3 | wire_type``, then a number, 4 or 8 bytes, or a length and so many
bytes (https://protobuf.dev/programming-guides/encoding). Which lengths are messages again is known from ONNX's own
descriptors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


@dataclass
class Field:
    """One field.

    Attributes:
        number, wire: its tag.
        value: a number, bytes, or the fields of a message.
        lie: a length to write in place of the true one.
    """

    number: int
    wire: int
    value: int | bytes | list[Field]
    lie: int | None = None

    def write(self) -> bytes:
        """The field as bytes."""
        tag = varint(self.number << 3 | self.wire)
        if isinstance(self.value, int):
            return tag + varint(self.value)
        data = self.value if isinstance(self.value, bytes) else write(self.value)
        if self.wire != LENGTH:
            return tag + data
        return tag + varint(len(data) if self.lie is None else self.lie) + data


def varint(n: int) -> bytes:
    """A number in groups of seven bits, the lowest first."""
    out = bytearray()
    n &= 2**64 - 1
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def write(fields: list[Field]) -> bytes:
    """A message as bytes."""
    return b"".join(f.write() for f in fields)


def parse(data: bytes, descriptor: Any = ModelProto.DESCRIPTOR) -> list[Field]:
    """The fields of a message.

    Raises:
        ValueError: it is none.
    """
    fields, at = [], 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            fields.append(Field(number, wire, value))
            continue
        if wire == LENGTH:
            size, at = _varint(data, at)
        else:
            size = {FIXED64: 8, FIXED32: 4}.get(wire, -1)
        if size < 0 or at + size > len(data):
            raise ValueError(f"no protobuf field at byte {at}")
        inner: Any = descriptor.fields_by_number.get(number) if wire == LENGTH else None
        chunk = data[at : at + size]
        nested = inner is not None and inner.message_type is not None
        fields.append(Field(number, wire, parse(chunk, inner.message_type) if nested else chunk))
        at += size
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError(f"no varint at byte {at}")
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def rows(fields: list[Field]) -> Iterator[list[Field]]:
    """Every list of fields in the tree, the outermost first."""
    yield fields
    for f in fields:
        if isinstance(f.value, list):
            yield from rows(f.value)
