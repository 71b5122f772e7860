"""External data: the tensors of a model moved out to files beside it, as many as it had."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx import ModelProto, TensorProto

from ..places import bare, place_of
from ..tensors import tensors, where
from .exchange import Chunks, Hole, length_of
from .splicing import hole_of

EXTERNAL_FROM = 1024  #: bytes; smaller tensors stay in the .onnx file even where weights are external
PAGE = 4096  #: bytes; external tensors start on page boundaries, so that they can be mapped


@dataclass
class DataFile:
    """A data file that is to be written.

    Attributes:
        chunks: what it consists of.
        moved: the tensors of the model that are in it, with offset and length.
    """

    chunks: Chunks = field(default_factory=list)
    moved: list[tuple[TensorProto, int, int]] = field(default_factory=list)

    def add(self, tensor: TensorProto, values: bytes | Hole) -> None:
        """Put the values of a tensor at its end."""
        end = sum(self.moved[-1][1:]) if self.moved else 0
        self.chunks += [b"\0" * (-end % PAGE), values]
        self.moved.append((tensor, end + -end % PAGE, length_of([values])))

    def refer_to(self, location: str) -> None:
        """Say in the model that the file has this name."""
        for tensor, offset, length in self.moved:
            rest = bare(tensor)
            tensor.CopyFrom(rest)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
                tensor.external_data.add(key=key, value=value)


def moved_out(proto: ModelProto, folder: str, share_data: bool) -> tuple[ModelProto, list[DataFile]]:
    """The model with the values of its larger tensors in data files: what lay in one file lies in one again.

    What lay in none goes to the first; so does all of it where data is shared.

    Args:
        proto: the model.
        folder: where external data lies now.
        share_data: what is in a data file already stays in it.
    """
    moved = ModelProto()
    moved.CopyFrom(proto)
    found = [(t, values) for t in tensors(moved) if (values := _values(t, folder, share_data)) is not None]
    origins = ["" if share_data else _data_file(t, folder) for t, _ in found]
    first = next(filter(None, origins), "")
    files: dict[str, DataFile] = {}
    for (tensor, values), origin in zip(found, origins, strict=True):
        files.setdefault(origin or first, DataFile()).add(tensor, values)
    return moved, list(files.values())


def _data_file(tensor: TensorProto, folder: str) -> str:
    """The data file that a tensor's values lie in; empty if they lie in none."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return ""
    place = where(tensor, folder)
    return "" if place.inline else place.path


def _values(tensor: TensorProto, folder: str, share_data: bool) -> bytes | Hole | None:
    """The bytes of a tensor that is to be moved; ``None`` for one that stays as it is."""
    place = place_of(tensor)
    if tensor.data_location != TensorProto.EXTERNAL:
        return tensor.raw_data if len(tensor.raw_data) >= EXTERNAL_FROM else None
    if place is not None:
        return hole_of(tensor, place) if place.plain_field or place.view else None
    return None if share_data else hole_of(tensor, where(tensor, folder))
