"""The ``metadata_props`` of a model file, without reading the model: weights are stepped over, never into memory.

A protobuf message is a row of fields: a tag ``number << 3 | wire_type``, then a number, or a length and so many bytes
(protobuf.dev, "Encoding"). Of a ``ModelProto`` only field 14 is read; of all others only the lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from google.protobuf.message import DecodeError
from onnx import StringStringEntryProto

from ..errors import UnreadableModel
from .reading import file_of

GRAPH, METADATA_PROPS = 7, 14  #: field numbers of ModelProto
VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5  #: wire types
LONGEST_VARINT = 10  #: bytes
KEY_FIRST = b"\x0a"  #: how an entry begins that has its key in front, as all writers have it
LONGEST_KEY = 1024  #: bytes
LONGEST_ENTRY = 2**24  #: bytes; a longer one is data of somebody else, and is stepped over too


def metadata(source: Any, only: str = "") -> dict[str, str]:
    """The metadata of a model file, of a key that is there twice the first; a few bytes of the file are read.

    Args:
        source: path of the file.
        only: the key that is asked for; long entries of other keys are stepped over. All if empty.

    Raises:
        UnreadableModel: missing, a folder, empty, truncated, or not a model.
    """
    path = file_of(source)
    try:
        with open(path, "rb") as f:
            entries = [(entry.key, entry.value) for entry in _entries(f, path.stat().st_size, only.encode())]
    except OSError as e:
        raise UnreadableModel(f"'{path}' cannot be read: {e.strerror or e}") from e
    except (ValueError, DecodeError) as e:
        raise UnreadableModel(f"'{path}' is not an ONNX model, or is truncated ({e})") from e
    return dict(reversed(entries))


def _entries(f: BinaryIO, size: int, only: bytes) -> Iterator[StringStringEntryProto]:
    """The entries of field 14 in a file of so many bytes, without long ones of other keys than ``only``.

    Raises:
        ValueError, DecodeError: it is not a message, or not one with a graph.
    """
    if not size:
        raise ValueError("it is empty")
    position, graphs = 0, 0
    while position < size:
        tag, position = _varint(f, position)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError(f"no field has the number 0 (at byte {position})")
        graphs += number == GRAPH and wire == DELIMITED
        if wire == VARINT:
            _, position = _varint(f, position)
            continue
        if wire == DELIMITED:
            length, position = _varint(f, position)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"field {number} has wire type {wire} (at byte {position})")
        if length > size - position:
            raise ValueError(f"field {number} ends {length - (size - position)} bytes behind the end of the file")
        if (number, wire) == (METADATA_PROPS, DELIMITED) and length <= LONGEST_ENTRY:
            data = f.read(min(length, LONGEST_KEY))
            if length <= LONGEST_KEY or only in data or not data.startswith(KEY_FIRST):
                yield StringStringEntryProto.FromString(data + f.read(length - len(data)))
        position += length
        f.seek(position)
    if not graphs:
        raise ValueError("it has no graph")


def _varint(f: BinaryIO, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the position behind it."""
    value = 0
    for i in range(LONGEST_VARINT):
        byte = f.read(1)
        if not byte:
            raise ValueError("it ends inside of a number")
        value |= (byte[0] & 0x7F) << 7 * i
        if byte[0] < 0x80:
            return value, position + i + 1
    raise ValueError(f"a number has more than {LONGEST_VARINT} bytes (at byte {position})")
