"""A digest of everything but the weights of a model: equal as long as nobody edits its graph.

Node names, doc strings, metadata, declared shapes and where the bytes of a tensor are do not count, since tools change
them that change nothing else. Small integer tensors (axes, target shapes) do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from math import prod

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from ..ops import STANDARD_DOMAINS
from ..tensors import read

LARGEST_OPERAND = 1024  #: elements; a larger integer tensor is a weight


def digest(proto: ModelProto, folder: str) -> str:
    """A SHA-256 in hexadecimal digits.

    Args:
        proto: the model.
        folder: where its external data lies.
    """
    found = hashlib.sha256()
    for part in _model(proto, folder):
        data = repr(part).encode("utf-8", "surrogateescape")
        found.update(b"%d:" % len(data))
        found.update(data)
    return found.hexdigest()


def _model(proto: ModelProto, folder: str) -> Iterator[object]:
    yield sorted((o.domain if o.domain not in STANDARD_DOMAINS else "", o.version) for o in proto.opset_import)
    for function in proto.functions:
        yield "function", function.domain, function.name, function.overload, list(function.input), list(function.output)
        yield list(function.attribute), [a.SerializeToString(deterministic=True) for a in function.attribute_proto]
        for node in function.node:
            yield from _node(node, folder)
    yield from _graph(proto.graph, folder)


def _graph(graph: GraphProto, folder: str) -> Iterator[object]:
    stored = {t.name for t in graph.initializer}
    yield "inputs", [(v.name, v.type.tensor_type.elem_type) for v in graph.input if v.name not in stored]
    yield "outputs", [(v.name, v.type.tensor_type.elem_type) for v in graph.output]
    for tensor in graph.initializer:
        yield tensor.name, _tensor(tensor, folder)
    for sparse in graph.sparse_initializer:
        yield sparse.values.name, _sparse(sparse, folder)
    for node in graph.node:
        yield from _node(node, folder)


def _node(node: NodeProto, folder: str) -> Iterator[object]:
    domain = node.domain if node.domain not in STANDARD_DOMAINS else ""
    yield node.op_type, domain, node.overload, list(node.input), list(node.output)
    for attribute in sorted(node.attribute, key=lambda a: a.name):
        yield from _attribute(attribute, folder)


def _attribute(attribute: AttributeProto, folder: str) -> Iterator[object]:
    yield attribute.name, attribute.type
    if attribute.HasField("t"):
        yield _tensor(attribute.t, folder)
    elif attribute.HasField("sparse_tensor"):
        yield _sparse(attribute.sparse_tensor, folder)
    elif attribute.HasField("g"):
        yield from _graph(attribute.g, folder)
    elif attribute.tensors or attribute.sparse_tensors or attribute.graphs:
        yield [_tensor(t, folder) for t in attribute.tensors], [_sparse(t, folder) for t in attribute.sparse_tensors]
        for graph in attribute.graphs:
            yield from _graph(graph, folder)
    else:
        bare = AttributeProto()
        bare.CopyFrom(attribute)
        bare.doc_string = ""
        yield bare.SerializeToString(deterministic=True)


def _tensor(tensor: TensorProto, folder: str) -> tuple[object, ...]:
    dims = tuple(tensor.dims)
    operand = tensor.data_type == TensorProto.INT64 and prod(dims) <= LARGEST_OPERAND
    return tensor.data_type, dims, read(tensor, folder).ravel().tolist() if operand else None


def _sparse(tensor: SparseTensorProto, folder: str) -> tuple[object, ...]:
    return tuple(tensor.dims), _tensor(tensor.values, folder), tuple(tensor.indices.dims)
