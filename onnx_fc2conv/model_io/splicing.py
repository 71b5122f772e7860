"""A light model as the bytes of a file: what was stepped over when it was read is put in again, from file to file."""

from __future__ import annotations

from bisect import bisect_left
from math import prod

from onnx import ModelProto, TensorProto

from ..places import KEY, RAW_DATA, Place, bare, brought_in, place_of
from ..tensors import bytes_for, tensors
from .exchange import Chunks, Hole, delimited, exchanged
from .wire import Memory, fields


def spliced(proto: ModelProto) -> Chunks:
    """The serialised model, with a hole wherever the values of a tensor were left in a model file."""
    data = proto.SerializeToString()
    found = _positions(data, KEY.encode())
    if not found:
        return [data]

    def wanted(start: int, end: int) -> bool:
        i = bisect_left(found, start)
        return i < len(found) and found[i] < end

    return exchanged(Memory(data), lambda start, end: _filled(data[start:end]), wanted)


def _positions(data: bytes, key: bytes) -> list[int]:
    found = []
    at = data.find(key)
    while at >= 0:
        found.append(at)
        at = data.find(key, at + len(key))
    return found


def _filled(data: bytes) -> Chunks | None:
    """One tensor with a hole where its values go: between the fields of smaller numbers and those of larger ones."""
    tensor = TensorProto.FromString(data)
    place = place_of(tensor)
    if place is None:
        return None
    hole, rest = hole_of(tensor, place), bare(tensor).SerializeToString()
    number = RAW_DATA if place.view is not None or not place.inline else place.field
    cut = next((f.start for f in fields(Memory(rest), 0, len(rest)) if f.number > number), len(rest))
    return [rest[:cut] + delimited(number, hole.length), hole, rest[cut:]]


def hole_of(tensor: TensorProto, place: Place) -> Hole:
    """The bytes of a tensor that were left in a file: as they are there, or as raw data where they are to be moved."""
    dims = tuple(tensor.dims)
    length = place.length if place.view is None else bytes_for(tensor.data_type, prod(dims)) or 0
    return Hole(place, tensor.data_type, dims, length)


def whole(proto: ModelProto) -> ModelProto:
    """The model with the bytes of all tensors that were left in a model file; external data stays external.

    A model that holds its own bytes already is returned as it is.
    """
    if not any(place_of(t) for t in tensors(proto)):
        return proto
    found = ModelProto()
    found.CopyFrom(proto)
    for tensor in tensors(found):
        if place_of(tensor) is not None:
            tensor.CopyFrom(brought_in(tensor))
    return found
