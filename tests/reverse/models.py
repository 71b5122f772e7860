"""Small models with convolutions, as ONNX text; weights are small integers, so that every sum is exact in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, numpy_helper, parser

from tests.networks import IR_VERSION, integers

NAMED = """c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
r1 = Relu(c1)
c2 = Conv(r1, w2, b2)
r2 = Relu(c2)
y = Conv <strides = [2, 2]> (r2, w3)"""
WEIGHTS = {"w1": (4, 2, 3, 3), "b1": (4,), "w2": (3, 4, 1, 1), "b2": (3,), "w3": (5, 3, 3, 3)}


def model(
    text: str = NAMED,
    weights: Mapping[str, Any] = WEIGHTS,
    shape: Sequence[str | int] = ("N", 2, "height", "width"),
    outputs: Mapping[str, int] | None = None,
    opset: int = 17,
    **parts: Any,
) -> ModelProto:
    """A model of one input ``x``.

    Args:
        text: nodes, one a line; each is named after its output.
        weights: initializers; a shape stands for seeded small integers.
        shape: of the input.
        outputs: names and ranks; default: ``y`` of rank 4.
        opset: version of the default domain.
        parts: further fields of the ModelProto.
    """
    declared = ", ".join(
        f"float[{', '.join(f'{name}_{i}' for i in range(rank))}] {name}" for name, rank in (outputs or {"y": 4}).items()
    )
    dims = ", ".join(map(str, shape))
    proto = parser.parse_model(
        f'<ir_version: {IR_VERSION}, opset_import: ["" : {opset}]> g (float[{dims}] x) => ({declared}) {{ {text} }}'
    )
    for node in proto.graph.node:
        node.name = node.output[0]
    for seed, (name, value) in enumerate(weights.items()):
        values = value if isinstance(value, np.ndarray) else integers(value, seed)
        proto.graph.initializer.append(numpy_helper.from_array(values, name))
    proto.MergeFrom(ModelProto(**parts))
    onnx.checker.check_model(proto)
    return proto


def run(proto: ModelProto, *images: np.ndarray) -> list[np.ndarray]:
    """All outputs on images for the first inputs, without optimisation."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, dict(zip((i.name for i in session.get_inputs()), images, strict=True)))
    return found


def image(*shape: int, seed: int = 1) -> np.ndarray:
    """Small integers."""
    return integers(shape, seed, -3, 4)


def op_types(proto: ModelProto) -> list[str]:
    """Of all nodes, in order."""
    return [node.op_type for node in proto.graph.node]
