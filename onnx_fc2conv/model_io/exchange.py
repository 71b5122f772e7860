"""A serialised model with its tensors exchanged for others, and everything else byte for byte as it was.

Only what must be is looked into: a message that is small, or that the caller has no interest in, is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

from ..places import Place, varint
from .wire import DEEPEST, DELIMITED, Bytes, Field, fields

ONCE = AttributeProto.DESCRIPTOR.fields_by_name["t"].number  #: a field that protobuf merges where it is there twice
LISTS = {AttributeProto.DESCRIPTOR.fields_by_name[name].number for name in ("floats", "ints", "strings")}

FOLLOWED: dict[Any, tuple[str, ...]] = {
    ModelProto: ("graph", "functions"),
    FunctionProto: ("node",),
    GraphProto: ("node", "initializer"),
    NodeProto: ("attribute",),
    AttributeProto: ("t", "tensors", "g", "graphs"),
}  #: where tensors with weights can be; those of training and of sparse tensors are taken as they are


def _inside(message: Any) -> dict[int, Any]:
    """The message types of the fields that are followed, by number."""
    found = (message.DESCRIPTOR.fields_by_name[name] for name in FOLLOWED.get(message, ()))
    kinds = {kind.DESCRIPTOR.full_name: kind for kind in (*FOLLOWED, TensorProto)}
    return {f.number: kinds[f.message_type.full_name] for f in found}


INSIDE = {message: _inside(message) for message in FOLLOWED}


@dataclass(frozen=True)
class Hole:
    """Bytes that stay where they are until they are written.

    Attributes:
        place: where they are.
        elem_type, dims: of the tensor.
        length: in bytes.
    """

    place: Place
    elem_type: int
    dims: tuple[int, ...]
    length: int


Chunks = list["bytes | Hole"]
Change = Callable[[int, int], Chunks | None]  #: of a tensor between two positions; ``None`` for as it is
Wanted = Callable[[int, int], bool]  #: whether to look into what is between two positions


def length_of(chunks: Iterable[bytes | Hole]) -> int:
    """Bytes of them all."""
    return sum(c.length if isinstance(c, Hole) else len(c) for c in chunks)


def delimited(number: int, length: int) -> bytes:
    """What stands in front of a string, packed list or message of so many bytes."""
    return varint(number << 3 | DELIMITED) + varint(length)


def exchanged(source: Bytes, change: Change, wanted: Wanted) -> Chunks:
    """A serialised ``ModelProto`` with some of its tensors exchanged.

    Raises:
        ValueError: it is no message, or one with messages that nest too deep.
    """
    return _message(source, (0, source.size), ModelProto, change, wanted, 0) or [source.read(0, source.size)]


def _message(
    source: Bytes, span: tuple[int, int], kind: Any, change: Change, wanted: Wanted, depth: int
) -> Chunks | None:
    if kind is TensorProto:
        return change(*span)
    if depth > DEEPEST:
        raise ValueError(f"messages nest deeper than {DEEPEST} levels")
    chunks: Chunks = []
    copied = span[0]
    for field in _followed(source, span, kind, wanted):
        inner = _message(source, (field.value, field.end), INSIDE[kind][field.number], change, wanted, depth + 1)
        if inner is not None:
            chunks += [source.read(copied, field.start), delimited(field.number, length_of(inner)), *inner]
            copied = field.end
    return [*chunks, source.read(copied, span[1])] if chunks else None


def _followed(source: Bytes, span: tuple[int, int], kind: Any, wanted: Wanted) -> list[Field]:
    """The fields of a message that are to be looked into.

    None of an attribute with a list of numbers, which has a field for each; and none of two that would be merged.
    """
    inside = INSIDE[kind]
    found: list[Field] = []
    for field in fields(source, *span):
        if kind is AttributeProto and field.number in LISTS:
            return []
        if field.number in inside and field.wire == DELIMITED:
            found.append(field)
    twice = kind is AttributeProto and sum(f.number == ONCE for f in found) > 1
    return [f for f in found if wanted(f.value, f.end) and not (twice and f.number == ONCE)]
