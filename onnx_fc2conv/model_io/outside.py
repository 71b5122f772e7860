"""External data: the tensors of a model moved out to one file beside it."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto, TensorProto

from ..places import bare, place_of
from ..tensors import tensors, where
from .exchange import Chunks, Hole, length_of
from .splicing import hole_of

EXTERNAL_FROM = 1024  #: bytes; smaller tensors stay in the .onnx file even where weights are external
PAGE = 4096  #: bytes; external tensors start on page boundaries, so that they can be mapped


@dataclass
class MovedOut:
    """A model, and the data file that it needs.

    Attributes:
        proto: the model.
        chunks: what the data file consists of; none if no file is needed.
        moved: the tensors of the model that are in it, with offset and length.
    """

    proto: ModelProto
    chunks: Chunks
    moved: list[tuple[TensorProto, int, int]]

    def refer_to(self, location: str) -> None:
        """Say in the model that the data file has this name."""
        for tensor, offset, length in self.moved:
            rest = bare(tensor)
            tensor.CopyFrom(rest)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
                tensor.external_data.add(key=key, value=value)


def moved_out(proto: ModelProto, folder: str, share_data: bool) -> MovedOut:
    """The model with the values of its larger tensors in a data file.

    Args:
        proto: the model.
        folder: where external data lies now.
        share_data: what is in a data file already stays in it.
    """
    found = MovedOut(ModelProto(), [], [])
    found.proto.CopyFrom(proto)
    end = 0
    for tensor in tensors(found.proto):
        values = _values(tensor, folder, share_data)
        if values is None:
            continue
        found.chunks += [b"\0" * (-end % PAGE), values]
        start = end + -end % PAGE
        end = start + length_of([values])
        found.moved.append((tensor, start, end - start))
    return found


def _values(tensor: TensorProto, folder: str, share_data: bool) -> bytes | Hole | None:
    """The bytes of a tensor that is to be moved; ``None`` for one that stays as it is."""
    place = place_of(tensor)
    if tensor.data_location != TensorProto.EXTERNAL:
        return tensor.raw_data if len(tensor.raw_data) >= EXTERNAL_FROM else None
    if place is not None:
        return hole_of(tensor, place) if place.plain_field or place.view else None
    return None if share_data else hole_of(tensor, where(tensor, folder))
