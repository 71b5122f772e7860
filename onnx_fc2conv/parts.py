"""Parts of a model, as models of their own."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import GraphProto, ModelProto, ValueInfoProto

from .ops import Model


def cut(model: Model, inputs: dict[str, ValueInfoProto], outputs: Iterable[str]) -> ModelProto:
    """The part of a model between some values and some others, as a model of its own.

    Args:
        model: the original.
        inputs: where the part begins.
        outputs: where it ends.
    """
    graph = model.proto.graph
    wanted, needed = set(), list(outputs)
    names: set[str] = set()
    while needed:
        name = needed.pop()
        if name in names:
            continue
        names.add(name)
        op = model.producer.get(name)
        if op is not None and name not in inputs:
            wanted.add(op.index)
            needed += op.reads()
    part = GraphProto(name="part")
    part.node.extend(graph.node[op.index] for op in model.ops if op.index in wanted)
    part.input.extend(value for name, value in inputs.items() if name in names)
    part.input.extend(i for i in model.inputs if i.name in names and i.name not in inputs)
    part.initializer.extend(t for t in graph.initializer if t.name in names)
    part.sparse_initializer.extend(t for t in graph.sparse_initializer if t.values.name in names)
    part.output.extend(ValueInfoProto(name=name) for name in outputs)
    proto = ModelProto(ir_version=max(model.proto.ir_version, 4), graph=part)
    proto.opset_import.extend(model.proto.opset_import)
    proto.functions.extend(model.proto.functions)
    return proto
