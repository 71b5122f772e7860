"""Where the bytes of a tensor are, and how many there must be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from onnx import ModelProto, TensorProto, helper
from onnx.external_data_helper import ExternalDataInfo

from ..errors import UnreadableModel


def tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """All tensors with weights: initializers, and those that nodes carry as attributes (subgraphs not included)."""
    yield from proto.graph.initializer
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


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
