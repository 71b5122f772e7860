"""How many operations a model takes at a size, and how fast this machine multiplies matrices."""

from __future__ import annotations

import time
from functools import cache
from math import prod

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from .plan import session

SIDE = 2048  #: of the matrices that are multiplied
RUNS = 5


def of(model: ModelProto, size: tuple[int, ...]) -> int:
    """Floating point operations of all Conv and Gemm nodes for one image; a multiplication and an addition are two."""
    proto = ModelProto()
    proto.CopyFrom(model)
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    for dim, n in zip(dims, (1, dims[1].dim_value, *size), strict=True):
        dim.dim_value = n
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    del proto.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.value_info, *graph.output)}
    weights = {t.name: list(t.dims) for t in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            made, weight = shapes[node.output[0]], weights[node.input[1]]
            summed = prod(weight[1:]) if node.op_type == "Conv" else prod(weight) // made[-1]
            total += 2 * prod(made) * summed
    return total


@cache
def rate(side: int = SIDE) -> float:
    """Operations a second of onnxruntime's MatMul on square float32 matrices, the best of some runs."""
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [side, side]) for n in "abc"]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", value[:2], value[2:])
    product = session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    rng = np.random.default_rng(0)
    feeds = {n: rng.standard_normal((side, side), np.float32) for n in "ab"}
    best = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        product.run(None, feeds)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best
