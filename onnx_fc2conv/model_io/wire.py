"""The wire format of protobuf, as far as it takes to step over a tensor's bytes, and to put them in again.

A message is a row of fields. A field is a tag, ``number << 3 | wire_type``, and a value: a number of seven bits a byte
(wire type 0), 8 bytes (1), a length and so many bytes (2), or 4 bytes (5). Strings, bytes, packed lists and messages
inside of messages are all of type 2, so a reader must know which fields are messages; and to put something into a
message is to write another length in front of it, and of every message around it (protobuf.dev, "Encoding").
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Protocol

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5  #: wire types
LONGEST_VARINT = 10  #: bytes
DEEPEST = 100  #: messages inside of messages; protobuf itself reads no deeper
WINDOW = 2**14  #: bytes that are read at once


class Field(NamedTuple):
    """One field: its number and wire type, where it starts, and where its value starts and ends."""

    number: int
    wire: int
    start: int
    value: int
    end: int


class Bytes(Protocol):
    """Something that has bytes."""

    size: int

    def read(self, start: int, end: int) -> bytes:
        """The bytes from one position up to another; less at the end."""


class File:
    """An open file, read in windows, so that what is stepped over is never read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self._at, self._window = 0, b""

    def read(self, start: int, end: int) -> bytes:
        """The bytes from one position up to another; less at the end of the file."""
        if not self._at <= start <= end <= self._at + len(self._window):
            self._file.seek(start)
            if end - start > WINDOW:
                return self._file.read(end - start)
            self._at, self._window = start, self._file.read(WINDOW)
        return self._window[start - self._at : end - self._at]


class Memory:
    """A message in memory."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from one position up to another."""
        return self._data[start:end]


def fields(source: Bytes, start: int, end: int) -> Iterator[Field]:
    """The fields of the message between two positions; of their values nothing is read but numbers.

    Raises:
        ValueError: it is no message, or it ends inside of a field.
    """
    position, base, window = start, start, b""
    while position < end:
        if position - base + 2 * LONGEST_VARINT > len(window):
            base, window = position, source.read(position, min(position + WINDOW, end))
        tag, at = varint(window, position - base, base)
        number, wire = tag >> 3, tag & 7
        if number == 0 or number >= 2**29:
            raise ValueError(f"no field has the number {number} (at byte {position})")
        if wire == VARINT:
            value = base + at
            _, at = varint(window, at, base)
            stop = base + at
        elif wire == DELIMITED:
            length, at = varint(window, at, base)
            value = base + at
            stop = value + length
        elif wire in (FIXED64, FIXED32):
            value = base + at
            stop = value + (8 if wire == FIXED64 else 4)
        else:
            raise ValueError(f"field {number} has wire type {wire} (at byte {position})")
        if stop > end:
            whole = "the file" if end == source.size else "its message"
            raise ValueError(f"field {number} ends {stop - end} bytes behind the end of {whole}")
        yield Field(number, wire, position, value, stop)
        position = stop


def varint(data: bytes, at: int, base: int = 0) -> tuple[int, int]:
    """A number, and the position behind it. ``base`` is where the data starts, for messages.

    Raises:
        ValueError: it ends inside of the number, or that has too many bytes.
    """
    value = 0
    for i in range(LONGEST_VARINT):
        if at + i >= len(data):
            raise ValueError("it ends inside of a number")
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError(f"a number has more than {LONGEST_VARINT} bytes (at byte {base + at})")
