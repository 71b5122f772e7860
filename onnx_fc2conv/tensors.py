"""Where the bytes of a tensor are, and how many there must be."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo

from . import places
from .errors import UnreadableModel
from .places import Place, Version, View, bare, place_of, put, version_of


def tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """All tensors with weights, wherever they are: initializers, node attributes, subgraphs, functions."""
    waiting = deque([*proto.graph.node, *(node for function in proto.functions for node in function.node)])
    yield from proto.graph.initializer
    while waiting:
        for attribute in waiting.popleft().attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graph.initializer
                waiting += graph.node


def read(tensor: TensorProto, folder: str) -> np.ndarray:
    """The values of a tensor; what lies in a file is mapped, not copied. External data is looked for in ``folder``.

    Raises:
        UnreadableModel: the external data is not a file inside the folder, or a file was changed meanwhile.
    """
    if tensor.data_location != TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    return where(tensor, folder).values(tensor.data_type, tuple(tensor.dims))


def where(tensor: TensorProto, folder: str) -> Place:
    """Where the bytes of a tensor are that has them outside: left in a model file, or in a data file in ``folder``.

    Raises:
        UnreadableModel: the data is not a file inside the folder.
    """
    place = place_of(tensor)
    if place is not None:
        return place
    path = external_path(tensor, folder)
    length = bytes_for(tensor.data_type, prod(tensor.dims)) or 0
    return Place(str(path), ExternalDataInfo(tensor).offset or 0, length)


def moved(tensor: TensorProto, folder: str, view: View, dims: tuple[int, ...]) -> TensorProto | None:
    """A tensor with other dims whose values are those of a large one, listed in another order, and left where they are.

    ``None`` if they are in memory, or of a type whose elements are no whole bytes: then they are to be read.
    """
    if tensor.data_location != TensorProto.EXTERNAL:
        return None
    place = where(tensor, folder)
    size = prod(dims) * np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    if place.view is not None or not place.plain_field or not place.length == size >= places.LARGE:
        return None
    found = bare(tensor)
    del found.dims[:]
    found.dims.extend(dims)
    put(found, replace(place, view=view))
    return found


def in_data_file(tensor: TensorProto) -> bool:
    """Whether a tensor's own entries say which data file has its values."""
    return tensor.data_location == TensorProto.EXTERNAL and place_of(tensor) is None


def data_files(proto: ModelProto, folder: str) -> dict[Path, Version]:
    """The external data files that a model refers to, as they are now.

    Raises:
        UnreadableModel: one is not a file inside the folder.
    """
    paths = {external_path(t, folder) for t in tensors(proto) if in_data_file(t)}
    return {path: version_of(path.stat()) for path in paths}


def bytes_for(data_type: int, count: int) -> int | None:
    """Bytes of so many elements; ``None`` for types that have no fixed width (strings)."""
    if data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        return None
    name = TensorProto.DataType.Name(data_type)
    if name in ("INT4", "UINT4", "FLOAT4E2M1"):
        return (count + 1) // 2
    if name in ("INT2", "UINT2"):
        return (count + 3) // 4
    return count * int(helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def external_path(tensor: TensorProto, folder: str) -> Path:
    """Where a tensor's external data lies; only regular files inside the model's folder are accepted.

    Raises:
        UnreadableModel: no folder is known, or the location leads out of it, or there is no such file.
    """
    location = ExternalDataInfo(tensor).location
    what = f"tensor '{tensor.name}': its data file '{location}'"
    if not folder:
        folder = "."
    if not location or os.path.isabs(location) or ".." in Path(location).parts:
        raise UnreadableModel(f"{what} is not a path inside the model's folder")
    path = Path(folder, location)
    root = os.path.realpath(folder)
    if os.path.commonpath([root, os.path.realpath(path)]) != root:
        raise UnreadableModel(f"{what} leads out of the model's folder through a symbolic link")
    if not path.is_file():
        raise UnreadableModel(f"{what} does not exist in '{folder}'")
    return path
