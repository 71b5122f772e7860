"""The ``metadata_props`` of a model file, without reading the model: of all its other fields only the lengths are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError
from onnx import StringStringEntryProto

from ..errors import UnreadableModel
from .reading import file_of
from .wire import DELIMITED, File, fields

GRAPH, METADATA_PROPS = 7, 14  #: field numbers of ModelProto
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
        with open(path, "rb", buffering=0) as f:
            entries = [(entry.key, entry.value) for entry in _entries(File(f), only.encode())]
    except OSError as e:
        raise UnreadableModel(f"'{path}' cannot be read: {e.strerror or e}") from e
    except (ValueError, DecodeError) as e:
        raise UnreadableModel(f"'{path}' is not an ONNX model, or is truncated ({e})") from e
    return dict(reversed(entries))


def _entries(source: File, only: bytes) -> Iterator[StringStringEntryProto]:
    """The entries of field 14, without long ones of other keys than ``only``.

    Raises:
        ValueError, DecodeError: it is not a message, or not one with a graph.
    """
    if not source.size:
        raise ValueError("it is empty")
    graphs = 0
    for field in fields(source, 0, source.size):
        if field.wire != DELIMITED:
            continue
        graphs += field.number == GRAPH
        length = field.end - field.value
        if field.number == METADATA_PROPS and length <= LONGEST_ENTRY:
            front = source.read(field.value, min(field.value + LONGEST_KEY, field.end))
            if length <= LONGEST_KEY or only in front or not front.startswith(KEY_FIRST):
                yield StringStringEntryProto.FromString(source.read(field.value, field.end))
    if not graphs:
        raise ValueError("it has no graph")
