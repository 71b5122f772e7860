"""Where the bytes of a tensor are, and how many there must be."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo

from .errors import UnreadableModel


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
    """The values of a tensor; external data is mapped, not copied, and looked for in ``folder`` only.

    Raises:
        UnreadableModel: the external data is not a file inside the folder.
    """
    if tensor.data_location != TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    path, offset = external_path(tensor, folder), ExternalDataInfo(tensor).offset or 0
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    count = prod(tensor.dims)
    if count == 0 or bytes_for(tensor.data_type, count) != count * dtype.itemsize:  # nothing, or packed
        inline = TensorProto(data_type=tensor.data_type, dims=tensor.dims)
        with open(path, "rb") as f:
            f.seek(offset)
            inline.raw_data = f.read(bytes_for(tensor.data_type, count) or 0)
        return numpy_helper.to_array(inline)
    return np.memmap(path, dtype.newbyteorder("<"), "r", offset, tuple(tensor.dims))


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
