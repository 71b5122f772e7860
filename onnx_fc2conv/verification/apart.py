"""A model without its large tensors, and these apart from it, so that no session holds a copy of them.

A runtime is given the light model, and the values from where they lie. A tensor in a Constant node of the graph is
handed over as an initializer of the same name, which means the same. What is small goes into the light model wherever
it was before; so does what lies inside of subgraphs, functions and other attributes, where nothing can be given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from google.protobuf.message import Message
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from ..ops import STANDARD_DOMAINS, captured
from ..tensors import bytes_for, read, tensors
from .weights import Weights

LARGE = 2**16  #: bytes; smaller tensors are copied, so that a runtime knows shapes and axes when it loads a model


M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Apart:
    """A model in two parts.

    Attributes:
        light: without the tensors that are apart; the very model where none is.
        values: those, by name. All are initializers of the graph.
    """

    light: ModelProto
    values: dict[str, np.ndarray]


def apart(proto: ModelProto, folder: str, weights: Weights, types: Collection[int] | None = None) -> Apart:
    """Take a model apart; it is not changed.

    Args:
        proto: the model.
        folder: where its external data lies.
        weights: gives the values.
        types: element types that can be given apart; ``None`` for all.

    Raises:
        UnreadableModel: external data is not a file inside the folder.
    """
    light, large = lightened(proto, folder, types)
    return Apart(light, {name: weights.of(tensor, folder) for name, tensor in large.items()})


def lightened(
    proto: ModelProto, folder: str, types: Collection[int] | None = None
) -> tuple[ModelProto, dict[str, TensorProto]]:
    """The light model, and the tensors that are not in it, by the names of the values that something reads.

    Args:
        proto, folder, types: as ``apart`` takes them.

    Raises:
        UnreadableModel: external data is not a file inside the folder.
    """
    external = any(t.data_location == TensorProto.EXTERNAL for t in tensors(proto))
    large = _large(proto.graph, types)
    if not external and not large:
        return proto, {}
    light = _without(proto, "graph")
    light.graph.CopyFrom(_without(proto.graph, "initializer", "node"))
    light.graph.initializer.extend(t for t in proto.graph.initializer if t.name not in large)
    light.graph.node.extend(n for n in proto.graph.node if not _makes(n, large))
    for tensor in tensors(light):
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(read(tensor, folder)), tensor.name))
    used = _used(proto.graph)
    return light, {name: tensor for name, tensor in large.items() if name in used}


def _large(graph: GraphProto, types: Collection[int] | None) -> dict[str, TensorProto]:
    """The tensors that go apart, by the names of their values."""
    outputs = {o.name for o in graph.output}
    made = ((n.output[0], t) for n in graph.node for t in _constant(n) if n.output[0] not in outputs)
    candidates = [*((t.name, t) for t in graph.initializer), *made]
    return {name: t for name, t in candidates if (types is None or t.data_type in types) and size_of(t) >= LARGE}


def _constant(node: NodeProto) -> Iterator[TensorProto]:
    """The tensor that a Constant node of the standard gives, if it does."""
    if node.op_type == "Constant" and node.domain in STANDARD_DOMAINS and node.output:
        yield from (a.t for a in node.attribute if a.name == "value" and a.HasField("t"))


def _makes(node: NodeProto, names: Collection[str]) -> bool:
    return any(node.output[0] in names for _ in _constant(node))


def size_of(tensor: TensorProto) -> int:
    """Bytes of a tensor, by its dims; 0 for strings."""
    count = 1
    for dim in tensor.dims:
        count *= dim
    return bytes_for(tensor.data_type, count) or 0


def _used(graph: GraphProto) -> set[str]:
    """Names of the values that something reads; onnxruntime drops others and then misses them."""
    used = {o.name for o in graph.output}
    return used | {name for node in graph.node for name in (*node.input, *captured(node))}


def _without(message: M, *fields: str) -> M:
    """A copy that leaves these fields out without touching what they hold."""
    copy: M = type(message)()
    for field, value in message.ListFields():
        if field.name in fields:
            continue
        if isinstance(value, Message):
            getattr(copy, field.name).CopyFrom(value)
        elif hasattr(value, "extend"):
            getattr(copy, field.name).extend(value)
        else:
            setattr(copy, field.name, value)
    return copy
