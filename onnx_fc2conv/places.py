"""A tensor's values left where they are: a stretch of a file, and how they are listed there.

In memory such a tensor is a ``TensorProto`` without values, marked as external, with one entry more under a key that no
file can know: where its bytes are. So a model of gigabytes is a message of kilobytes that every room can copy, compare
and edit, and the bytes go from file to file when it is written. The values may be listed in another order there (a
matrix that is to be transposed is not touched until somebody reads it), and may have a factor pending.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from math import prod

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from .errors import UnreadableModel

LARGE = 2**16  #: bytes; smaller tensors are brought into memory when a model is read
KEY = f"onnx_fc2conv.{secrets.token_hex(16)}"  #: of the entry; drawn anew in every process, so that no file has it
Version = tuple[int, int]  #: size and time of a file (bytes, nanoseconds)
RAW_DATA = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
FLAT = tuple(
    TensorProto.DESCRIPTOR.fields_by_name[name].number for name in ("float_data", "double_data")
)  #: typed fields whose packed form is the values, one after the other
VALUES = tuple(
    """float_data int32_data string_data int64_data raw_data double_data uint64_data external_data
    data_location""".split()
)  #: the fields of a TensorProto that hold its values, or say where they are


@dataclass(frozen=True)
class View:
    """``stored.reshape(dims).transpose(perm) * factor``.

    Attributes:
        dims: of the stored values.
        perm: their axes, in the order in which they are listed.
        factor: rounded to the element type, as is the product.
    """

    dims: tuple[int, ...]
    perm: tuple[int, ...]
    factor: float = 1.0

    def of(self, stored: np.ndarray) -> np.ndarray:
        """The values; without a factor nothing is read."""
        return scaled(stored.reshape(self.dims).transpose(self.perm), self.factor)


def scaled(values: np.ndarray, factor: float) -> np.ndarray:
    """Values times a number of their own type."""
    if factor == 1:
        return values
    product: np.ndarray = (values * np.asarray(factor, values.dtype)).astype(values.dtype)
    return product


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor are.

    Attributes:
        path: the file.
        offset, length: in bytes.
        field: number of the field of the TensorProto that they are, in a model file; 0 in a data file.
        version: of the file when it was looked at.
        view: how they are listed, if not as they are stored.
        said: the tensor says in so many words that its values are in it, as some writers have it.
    """

    path: str
    offset: int
    length: int
    field: int = 0
    version: Version | None = None
    view: View | None = None
    said: bool = False

    @property
    def inline(self) -> bool:
        """True if the bytes lie in a model file, not in a data file."""
        return self.field > 0

    @property
    def plain_field(self) -> bool:
        """True if the stored bytes are the elements, one after the other."""
        return self.field in (0, RAW_DATA, *FLAT)

    def open(self) -> int:
        """A descriptor of the file, which must still be what it was.

        Raises:
            UnreadableModel: it cannot be read, or was changed meanwhile.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as e:
            raise UnreadableModel(f"'{self.path}' cannot be read: {e.strerror or e}") from e
        status = os.fstat(descriptor)
        if self.version not in (None, version_of(status)) or self.offset + self.length > status.st_size:
            os.close(descriptor)
            raise UnreadableModel(f"'{self.path}' was changed while it was read")
        return descriptor

    def values(self, elem_type: int, dims: tuple[int, ...]) -> np.ndarray:
        """The values of a tensor of this ``TensorProto.DataType`` and these dims.

        They are mapped, wherever they can be used as they are stored; then nothing is read.
        """
        stored = self._stored(elem_type, dims if self.view is None else self.view.dims)
        return stored if self.view is None else self.view.of(stored).reshape(dims)

    def _stored(self, elem_type: int, dims: tuple[int, ...]) -> np.ndarray:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))
        with open(self.open(), "rb") as f:
            if self.plain_field and self.length == prod(dims) * dtype.itemsize > 0:
                return np.memmap(f, dtype.newbyteorder("<"), "r", self.offset, dims)
            f.seek(self.offset)
            return parsed(f.read(self.length), self.field or RAW_DATA, elem_type, dims)


def parsed(data: bytes, field: int, elem_type: int, dims: tuple[int, ...]) -> np.ndarray:
    """The values that a packed field of a TensorProto has, of any element type.

    Raises:
        ValueError, google.protobuf.message.DecodeError: there are more or less than the dims need.
    """
    if field == RAW_DATA:
        tensor = TensorProto(raw_data=data)
    else:
        tensor = TensorProto.FromString(varint(field << 3 | 2) + varint(len(data)) + data)
    tensor.data_type = elem_type
    tensor.dims.extend(dims)
    return numpy_helper.to_array(tensor)


def varint(n: int) -> bytes:
    """A number as protobuf writes it: seven bits a byte, the lowest first, the top bit set on all but the last."""
    found = bytearray()
    while n > 0x7F:
        found.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*found, n])


def place_of(tensor: TensorProto) -> Place | None:
    """Where the values of a tensor were left; ``None`` if they are in it, or where its own entries say."""
    text = next((e.value for e in tensor.external_data if e.key == KEY), None)
    if text is None:
        return None
    row = json.loads(text)
    view = row.pop("view")
    return Place(
        **row | {"version": tuple(row["version"]) if row["version"] else None},
        view=View(tuple(view["dims"]), tuple(view["perm"]), view["factor"]) if view else None,
    )


def bare(tensor: TensorProto) -> TensorProto:
    """A tensor without its values, and without a word of where they were left."""
    found, place = TensorProto(), place_of(tensor)
    found.CopyFrom(tensor)
    for name in VALUES:
        found.ClearField(name)
    if place is not None and place.said:
        found.data_location = TensorProto.DEFAULT
    return found


def brought_in(tensor: TensorProto) -> TensorProto:
    """A tensor whose values were left somewhere, with them: in the field that they were in, or raw if they are moved.

    Raises:
        UnreadableModel: the file was changed meanwhile.
    """
    place, found = place_of(tensor), bare(tensor)
    assert place is not None
    if place.view is None and place.inline and place.field != RAW_DATA:
        with open(place.open(), "rb") as f:
            f.seek(place.offset)
            found.MergeFromString(varint(place.field << 3 | 2) + varint(place.length) + f.read(place.length))
    else:
        found.raw_data = np.ascontiguousarray(place.values(tensor.data_type, tuple(tensor.dims))).tobytes()
    return found


def put(tensor: TensorProto, place: Place) -> None:
    """Say of a tensor where its values are, in place of whatever it says of them."""
    for field in VALUES:
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key=KEY, value=json.dumps(asdict(place)))


def version_of(status: os.stat_result) -> Version:
    """What tells that a file is not the one that was read."""
    return status.st_size, status.st_mtime_ns
