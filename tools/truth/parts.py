"""Parts of a model, cut with nothing but onnx, and what evaluating one costs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import onnx
from onnx import ModelProto, TypeProto, ValueInfoProto, helper

POOLS = ("AveragePool", "MaxPool", "LpPool")
POOLED = 2**11  #: multiplications that one result of a pool is worth in onnx.reference, where pools are Python loops
TRIED = 3  #: batch at which shapes are inferred


def cut(model: ModelProto, inputs: Sequence[str], outputs: Sequence[str]) -> ModelProto:
    """The nodes between some values and some others; the new inputs have the model's element type and no shape."""
    producers = {name: node for node in model.graph.node for name in node.output if name}
    needed, seen = list(outputs), set[str]()
    while needed:
        name = needed.pop()
        if name not in seen and name not in inputs:
            seen.add(name)
            needed += _read(producers[name]) if name in producers else []
    nodes = [node for node in model.graph.node if seen & set(node.output)]
    elem_type = model.graph.input[0].type.tensor_type.elem_type
    graph = helper.make_graph(
        nodes,
        "part",
        [*(_bare(name, elem_type) for name in inputs), *(i for i in model.graph.input if i.name in seen)],
        [next((o for o in model.graph.output if o.name == name), _bare(name, elem_type)) for name in outputs],
        [t for t in model.graph.initializer if t.name in seen],
    )
    return helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )


def _bare(name: str, elem_type: int) -> ValueInfoProto:
    return helper.make_value_info(name, TypeProto(tensor_type=TypeProto.Tensor(elem_type=elem_type)))


def _read(node: onnx.NodeProto) -> list[str]:
    """What a node reads, its subgraphs included."""
    inner = [n for a in node.attribute if a.type == onnx.AttributeProto.GRAPH for n in a.g.node]
    return [name for name in node.input if name] + [name for n in inner for name in _read(n)]


def cost(model: ModelProto) -> int:
    """Multiplications of one evaluation at the trained size, of a batch of ``TRIED`` where it is open."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        for dim in value.type.tensor_type.shape.dim[:1]:
            dim.dim_value = dim.dim_value or TRIED
    inferred = onnx.shape_inference.infer_shapes(copy).graph
    values = (*inferred.input, *inferred.output, *inferred.value_info)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    shapes |= {t.name: list(t.dims) for t in inferred.initializer}
    return sum(_node_cost(node, shapes) for node in inferred.node)


def _node_cost(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    results = prod(shapes.get(node.output[0], []))
    if node.op_type in POOLS:
        return results * POOLED
    if node.op_type == "Conv":
        return results * prod(shapes.get(node.input[1], [1])[1:])
    if node.op_type in ("Gemm", "MatMul"):
        return results * (shapes.get(node.input[0]) or [1])[-1]
    return results
