"""The nodes of a written model with what is known of their operands: element types, dims, constant values.

Every node counts: those of the graph, of the bodies of ``If``, ``Loop`` and ``Scan``, and of model-local functions,
where nothing is known of the operands' types.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper, numpy_helper

from ..errors import UnreadableModel
from ..inferring import inferred
from ..nodes import subgraphs
from ..ops import STANDARD_DOMAINS
from ..shapes import SMALL
from ..tensors import read

Dims = tuple[int | None, ...]


@dataclass(frozen=True)
class Scope:
    """What is known of the values that the nodes of one graph can read.

    Attributes:
        types: of values; those of the graphs around this one among them.
        stored: initializers and Constant nodes, by value name.
        constant: names of all values that follow from these alone.
        edges: names of the model's inputs and outputs.
        opset: version of the default domain.
        folder: where external data lies.
    """

    types: Mapping[str, TypeProto]
    stored: Mapping[str, TensorProto | NodeProto]
    constant: frozenset[str]
    edges: frozenset[str]
    opset: int
    folder: str

    def inside(self, graph: GraphProto) -> Scope:
        """The scope of the nodes of a graph, in that of the graph around it."""
        found = (*graph.input, *graph.value_info, *graph.output)
        types = {**self.types, **{v.name: v.type for v in found if v.type.tensor_type.elem_type}}
        types |= {t.name: helper.make_tensor_type_proto(t.data_type, list(t.dims)) for t in graph.initializer}
        stored: dict[str, TensorProto | NodeProto] = {**self.stored, **{t.name: t for t in graph.initializer}}
        constant = set(self.constant) | set(stored)
        for node in graph.node:
            if node.op_type == "Constant" and node.domain in STANDARD_DOMAINS:
                stored |= dict.fromkeys(node.output, node)
            if all(name in constant for name in node.input if name) and (node.input or node.op_type == "Constant"):
                constant |= {name for name in node.output if name}
        return Scope(types, stored, frozenset(constant), self.edges, self.opset, self.folder)


@dataclass(frozen=True)
class Node:
    """One node and what is known of its operands, by position."""

    proto: NodeProto
    scope: Scope
    where: str = ""  #: which function it is of, in words

    def __str__(self) -> str:
        return f"{self.kind} '{self.proto.name or next((o for o in self.proto.output if o), '?')}'{self.where}"

    @property
    def kind(self) -> str:
        """The op_type, with its domain unless that is the standard one."""
        return self.proto.op_type if self.standard else f"{self.proto.domain}.{self.proto.op_type}"

    @property
    def standard(self) -> bool:
        """True for operators of the ONNX standard."""
        return self.proto.domain in STANDARD_DOMAINS

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute's value (strings as ``str``), or ``default`` where the node does not carry it."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode(errors="replace") if isinstance(value, bytes) else value
        return default

    def input(self, position: int) -> str:
        """The name of an input; empty where it is left out."""
        return self.proto.input[position] if position < len(self.proto.input) else ""

    def output(self, position: int) -> str:
        """The name of an output; empty where it is left out."""
        return self.proto.output[position] if position < len(self.proto.output) else ""

    def elem_type(self, name: str) -> str | None:
        """The element type of a value as ONNX spells it, lower case; ``None`` if it is not known."""
        elem_type = self.scope.types[name].tensor_type.elem_type if name in self.scope.types else 0
        return TensorProto.DataType.Name(elem_type).lower() if elem_type else None

    def dims(self, name: str) -> Dims | None:
        """The dims of a value, ``None`` for those that are not fixed; ``None`` if not even the rank is known."""
        tensor = self.scope.types[name].tensor_type if name in self.scope.types else TypeProto().tensor_type
        if not tensor.HasField("shape"):
            return None
        return tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)

    def stored(self, name: str) -> bool:
        """True for initializers and what Constant nodes make, and for inputs that are left out."""
        return not name or name in self.scope.stored

    def constant(self, name: str) -> bool:
        """True for values that follow from stored ones alone, and for inputs that are left out."""
        return not name or name in self.scope.constant

    def values(self, name: str) -> np.ndarray | None:
        """The values of a small stored tensor; ``None`` where they cannot be had."""
        source = self.scope.stored.get(name)
        if isinstance(source, NodeProto):
            source = _of_constant_node(source)
        if source is None or prod(source.dims) > SMALL:
            return None
        try:
            return read(source, self.scope.folder)
        except UnreadableModel:
            return None


def _of_constant_node(node: NodeProto) -> TensorProto | None:
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, TensorProto):
            return value
        if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
            return numpy_helper.from_array(np.asarray(value))
    return None


def nodes(proto: ModelProto, folder: str, elem_types: Mapping[str, int]) -> Iterator[Node]:
    """Every node of a model.

    Args:
        proto: the model; it is not changed.
        folder: where its external data lies.
        elem_types: what else is known, of values that ONNX's inference does not reach (behind other domains).
    """
    edges = frozenset(v.name for v in (*proto.graph.input, *proto.graph.output))
    opset = next((o.version for o in proto.opset_import if o.domain in STANDARD_DOMAINS), 1)
    known = {name: TypeProto(tensor_type=TypeProto.Tensor(elem_type=e)) for name, e in elem_types.items() if e}
    outermost = Scope(known, {}, frozenset(), edges, opset, folder)
    inferred = _inferred(proto)
    whole = outermost.inside(proto.graph)  # with the initializers' own values
    types = {**whole.types, **outermost.inside(inferred.graph).types}
    scope = Scope(types, whole.stored, whole.constant, edges, opset, folder)
    yield from _walk(inferred.graph.node, scope, "")
    for function in proto.functions:
        version = next((o.version for o in function.opset_import if o.domain in STANDARD_DOMAINS), opset)
        body = Scope({}, {}, frozenset(), frozenset(), version, folder).inside(GraphProto(node=function.node))
        yield from _walk(function.node, body, f" in function '{function.name}'")


def _walk(protos: Any, scope: Scope, where: str) -> Iterator[Node]:
    waiting: deque[tuple[NodeProto, Scope]] = deque((node, scope) for node in protos)
    while waiting:
        proto, around = waiting.popleft()
        yield Node(proto, around, where)
        for graph in subgraphs(proto):
            inner = around.inside(graph)
            waiting.extend((node, inner) for node in graph.node)


def _inferred(proto: ModelProto) -> ModelProto:
    """The model without its large weights, with the types that ONNX's inference finds, or as it is where it fails."""
    skeleton = ModelProto(ir_version=max(proto.ir_version, 4))
    skeleton.opset_import.extend(proto.opset_import)
    skeleton.functions.extend(proto.functions)
    graph = skeleton.graph
    graph.name = "skeleton"
    graph.node.extend(proto.graph.node)
    graph.value_info.extend(proto.graph.value_info)
    graph.output.extend(proto.graph.output)
    listed = {v.name for v in proto.graph.input}
    graph.input.extend(proto.graph.input)
    for tensor in proto.graph.initializer:
        if prod(tensor.dims) <= SMALL and tensor.data_location != TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        elif tensor.name not in listed:
            graph.input.append(_declared(tensor))
    try:
        return inferred(skeleton)
    except Exception:  # it raises several types; then only what is declared is known
        return skeleton


def _declared(tensor: TensorProto) -> ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
