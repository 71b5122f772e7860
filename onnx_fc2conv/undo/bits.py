"""The bits of tensors: compared, moved and summed up, whatever their element type."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from ..places import VALUES
from ..tensors import bytes_for, read

SAMPLES, BLOCK = 16, 1024  #: blocks that a sample is made of, and the elements of each


def listed(proto: ModelProto) -> list[TensorProto]:
    """All tensors of a model with weights, in an order that does not depend on where their bytes are."""
    graph = proto.graph
    return [
        *graph.initializer,
        *(t for node in graph.node for t in inside(node)),
        *(t for function in proto.functions for node in function.node for t in inside(node)),
        *(t for sparse in graph.sparse_initializer for t in (sparse.values, sparse.indices)),
    ]


def value_names(proto: ModelProto) -> list[str]:
    """The value that each tensor of ``listed`` is; empty for one inside of something else."""
    found = [t.name for t in proto.graph.initializer]
    for node in proto.graph.node:
        found += [node.output[0] if node.op_type == "Constant" and node.output else "" for _ in inside(node)]
    return found + [""] * (len(listed(proto)) - len(found))


def inside(node: NodeProto) -> Iterator[TensorProto]:
    """The tensors of a node's attributes, those of its subgraphs included."""
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from graph.initializer
            for inner in graph.node:
                yield from inside(inner)


def size_of(tensor: TensorProto) -> int:
    """Its bytes, by its dims; 0 for strings."""
    return bytes_for(tensor.data_type, prod(tensor.dims)) or 0


def bits(tensor: TensorProto, folder: str) -> np.ndarray | None:
    """Its elements as unsigned integers, flat; ``None`` for strings and complex128. External data is mapped."""
    if tensor.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        return None
    values = read(tensor, folder)
    if values.dtype.itemsize > 8:
        return None
    return values.reshape(-1).view(np.dtype(f"u{values.dtype.itemsize}"))


def is_repeated(field: Any) -> bool:
    """Whether a field of a message is a list, by its descriptor, which says so in another way before protobuf 6."""
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def without_data(tensor: TensorProto) -> TensorProto:
    """Everything that a tensor says but its values, which are not touched: to ask for bytes is to copy them."""
    bare = TensorProto()
    for field in (f for f in TensorProto.DESCRIPTOR.fields if f.name not in VALUES):
        if is_repeated(field):
            getattr(bare, field.name).extend(getattr(tensor, field.name))
        elif tensor.HasField(field.name) and field.message_type is not None:
            getattr(bare, field.name).CopyFrom(getattr(tensor, field.name))
        elif tensor.HasField(field.name):
            setattr(bare, field.name, getattr(tensor, field.name))
    return bare


def with_data(bare: TensorProto, data: TensorProto) -> None:
    """Give a tensor the values of another one, or the place where they are."""
    header = without_data(bare)
    bare.CopyFrom(data)
    for field in (f for f in TensorProto.DESCRIPTOR.fields if f.name not in VALUES):
        bare.ClearField(field.name)
    bare.MergeFrom(header)


def whole(values: np.ndarray) -> str:
    """A digest of all values: half of their SHA-256."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()[:32]


def sample(values: np.ndarray) -> str:
    """A digest of some of the values, so that gigabytes need not be read: training changes these too."""
    return digest_of(values[which] for which in sampled(values.size))


def sampled(size: int) -> Iterator[slice]:
    """Which of so many values a sample is made of."""
    for start in dict.fromkeys(np.linspace(0, max(size - BLOCK, 0), SAMPLES).astype(np.int64).tolist()):
        yield slice(start, min(start + BLOCK, size))


def digest_of(blocks: Iterable[np.ndarray]) -> str:
    """A digest of the values in several blocks."""
    found = hashlib.sha256()
    for block in blocks:
        found.update(np.ascontiguousarray(block).data)
    return found.hexdigest()[:32]
