"""A model file as a message without its large tensors' bytes: they are stepped over, and their places are kept."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper

from .. import places
from ..errors import UnreadableModel
from ..places import RAW_DATA, Place, put, varint, version_of
from ..tensors import bytes_for
from .exchange import Chunks, exchanged
from .wire import DELIMITED, File, fields

BLOCK = 2**20  #: bytes that are read at once
MOST_FIELDS = 256  #: of a tensor, whose dims have a field each
PACKED = {
    TensorProto.DESCRIPTOR.fields_by_name[name].number
    for name in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
}
ELSEWHERE = {TensorProto.DESCRIPTOR.fields_by_name[name].number for name in ("segment", "external_data")}


def parse(path: Path) -> ModelProto:
    """The model of a file; the bytes of large tensors stay there, those of external data where they are.

    Raises:
        UnreadableModel: it cannot be read, is empty, truncated, or not a model.
    """
    try:
        with open(path, "rb", buffering=0) as f:
            return _parsed(f, str(path))
    except OSError as e:
        raise UnreadableModel(f"'{path}' cannot be read: {e.strerror or e}") from e
    except (ValueError, DecodeError) as e:
        raise UnreadableModel(f"'{path}' is not an ONNX model, or is truncated ({e})") from e


def _parsed(f: BinaryIO, path: str) -> ModelProto:
    source = File(f)
    if not source.size:
        raise UnreadableModel(f"'{path}' is empty")
    version = version_of(os.fstat(f.fileno()))

    def change(start: int, end: int) -> Chunks | None:
        return _without_values(source, start, end, path, version)

    chunks = exchanged(source, change, lambda start, end: end - start >= places.LARGE)
    proto: ModelProto = ModelProto.FromString(b"".join(c for c in chunks if isinstance(c, bytes)))
    return proto


def _without_values(source: File, start: int, end: int, path: str, version: tuple[int, int]) -> Chunks | None:
    """A tensor with the place of its values instead of them; ``None`` where they are small, or in several pieces."""
    found = list(islice(fields(source, start, end), MOST_FIELDS + 1))
    if len(found) > MOST_FIELDS:  # values with a field for each
        return None
    large = [f for f in found if f.number in PACKED and f.end - f.value >= places.LARGE]
    if len(large) != 1 or any(f.number in ELSEWHERE for f in found):
        return None
    values = large[0]
    if values.wire != DELIMITED or sum(f.number == values.number for f in found) > 1:
        return None
    rest = TensorProto.FromString(source.read(start, values.start) + source.read(values.end, end))
    if values.number not in (RAW_DATA, field_of(rest.data_type)) or rest.data_location != TensorProto.DEFAULT:
        return None
    said = rest.HasField("data_location")
    place = Place(path, values.value, values.end - values.value, values.number, version, said=said)
    if not place.plain_field:
        try:
            numbers_in(place)
        except (ValueError, DecodeError):
            return None  # protobuf is going to say why
    put(rest, place)
    return [rest.SerializeToString()]


def field_of(elem_type: int) -> int:
    """The number of the typed field that holds the values of this ``TensorProto.DataType``; 0 for strings."""
    if bytes_for(elem_type, 1) is None:
        return 0
    return int(TensorProto.DESCRIPTOR.fields_by_name[helper.tensor_dtype_to_field(elem_type)].number)


def numbers_in(place: Place) -> int:
    """How many numbers there are in a packed list of numbers of seven bits a byte; protobuf reads them, in blocks.

    Raises:
        ValueError, DecodeError: it is no such list.
    """
    count = 0
    with open(place.open(), "rb", buffering=0) as f:
        f.seek(place.offset)
        rest, left = b"", place.length
        while left:
            data = rest + f.read(min(BLOCK, left))
            left -= len(data) - len(rest)
            ends = np.flatnonzero(np.frombuffer(data, np.uint8) < 0x80)
            end = int(ends[-1]) + 1 if ends.size else 0
            if not end or (not left and end < len(data)):
                raise ValueError("it ends inside of a number")
            TensorProto.FromString(varint(place.field << 3 | DELIMITED) + varint(end) + data[:end])
            count, rest = count + int(ends.size), data[end:]
    return count
