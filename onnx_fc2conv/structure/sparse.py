"""Sparse weights that image data meets, made dense; onnxruntime does the same when it loads them.

What a few bytes can claim is checked before any memory is taken: the size of the dense tensor, and every index.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, numpy_helper

from ..constants import MAX_ELEMENTS
from ..errors import UnreadableModel
from ..nodes import everywhere, subgraphs
from ..ops import STANDARD_DOMAINS
from ..tensors import bytes_for
from .needed import IMAGE_RANK, needed, reads

SPARSE_VALUE = "sparse_value"  #: the attribute of a Constant node


def require_sane(proto: ModelProto) -> None:
    """Check every sparse tensor of a model, needed or not: onnxruntime would make all of them dense.

    Raises:
        UnreadableModel: dense, they would be larger than any model needs.
    """
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    elements = 0
    for sparse in (*proto.graph.sparse_initializer, *_inside(nodes)):
        dims = list(sparse.dims)
        elements += prod(dims)
        if any(d < 0 for d in dims) or elements > MAX_ELEMENTS:
            reason = f"sparse tensor '{sparse.values.name}' has absurd dims {dims}"
            raise UnreadableModel(f"{reason}: dense, all of them would have {elements} elements")


def _inside(nodes: list[NodeProto]) -> Iterator[SparseTensorProto]:
    for node in everywhere(nodes):
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor"):
                yield attribute.sparse_tensor
            yield from attribute.sparse_tensors
        for graph in subgraphs(node):
            yield from graph.sparse_initializer


def wanted(proto: ModelProto, rank: int = IMAGE_RANK) -> tuple[list[int], list[int]]:
    """Positions of the sparse initializers, and of the Constant nodes with sparse values, that are to be dense."""
    stored = {t.values.name: i for i, t in enumerate(proto.graph.sparse_initializer)}
    nodes = proto.graph.node
    sparse_nodes = [i for i, node in enumerate(nodes) if _sparse_value(node) is not None]
    if not stored and not sparse_nodes:
        return [], []
    met = needed(proto.graph, rank)
    return sorted({stored[name] for i in met for name in reads(nodes[i]) if name in stored}), [
        i for i in sparse_nodes if i in met
    ]


def make_dense(proto: ModelProto, rank: int = IMAGE_RANK) -> list[str]:
    """Make the wanted ones dense under their old names, in place.

    Returns:
        One line for each.

    Raises:
        UnreadableModel: its indices do not fit its dims.
    """
    require_sane(proto)
    stored, constants = wanted(proto, rank)
    changes = []
    for i in constants:
        node = proto.graph.node[i]
        attribute = next(a for a in node.attribute if a.name == SPARSE_VALUE)
        tensor = dense(attribute.sparse_tensor, node.output[0])
        changes.append(f"sparse constant '{node.output[0]}' {list(tensor.dims)}: made dense")
        attribute.Clear()
        attribute.name, attribute.type = "value", attribute.TENSOR
        attribute.t.CopyFrom(tensor)
    for i in stored:
        sparse = proto.graph.sparse_initializer[i]
        proto.graph.initializer.append(dense(sparse, sparse.values.name))
        changes.append(f"sparse initializer '{sparse.values.name}' {list(sparse.dims)}: made dense")
    for i in reversed(stored):
        del proto.graph.sparse_initializer[i]
    return changes


def _sparse_value(node: NodeProto) -> SparseTensorProto | None:
    if node.op_type != "Constant" or node.domain not in STANDARD_DOMAINS:
        return None
    return next((a.sparse_tensor for a in node.attribute if a.name == SPARSE_VALUE), None)


def dense(sparse: SparseTensorProto, name: str) -> TensorProto:
    """The same tensor with every element written down.

    Args:
        sparse: its indices are linear ``[nnz]`` or coordinates ``[nnz, rank]``.
        name: of the dense tensor, and of the sparse one in messages.

    Raises:
        UnreadableModel: external data, or indices that do not fit.
    """

    def refuse(reason: str) -> UnreadableModel:
        return UnreadableModel(f"sparse tensor '{name}' {reason}")

    dims = tuple(sparse.dims)
    if TensorProto.EXTERNAL in (sparse.values.data_location, sparse.indices.data_location):
        raise refuse("has external data, which is read of dense tensors only")
    if bytes_for(sparse.values.data_type, 1) is None:
        raise refuse("has elements that are no numbers")
    try:
        values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    except Exception as e:  # whatever NumPy makes of too few bytes
        raise refuse(f"has values or indices that cannot be read: {e}") from e
    linear = indices.shape == values.shape
    if values.ndim != 1 or indices.dtype != np.int64 or not (linear or indices.shape == (len(values), len(dims))):
        raise refuse(f"has {list(values.shape)} values and indices {list(indices.shape)} for dims {list(dims)}")
    limits = np.array([prod(dims)] if linear else dims, np.int64)
    if np.any(indices < 0) or np.any(indices.reshape(len(values), len(limits)) >= limits):
        raise refuse(f"has an index outside of its dims {list(dims)}")
    flat = indices.reshape(-1) if linear or not len(values) else np.ravel_multi_index(tuple(indices.T), dims)
    if len(np.unique(flat)) < len(flat):
        raise refuse("gives one element twice")
    full = np.zeros(prod(dims), values.dtype)
    full[flat] = values
    return numpy_helper.from_array(full.reshape(dims), name)
