"""Small convolutional networks, written as ONNX text; weights and images are small integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper, parser


def integers(shape: Sequence[int], seed: int, dtype: Any = np.float32) -> np.ndarray:
    """Small integers without a zero, so that the zeros of a matrix are those of its structure."""
    found = np.random.default_rng(seed).integers(1, 4, tuple(shape)) * np.random.default_rng(seed + 1).choice(
        [-1, 1], tuple(shape)
    )
    return np.asarray(found.astype(dtype))


def network(
    text: str,
    size: Sequence[int],
    weights: Mapping[str, Any] | None = None,
    opset: int = 17,
    batch: int | str = "N",
    dtype: Any = np.float32,
    outputs: Sequence[str] = ("y",),
) -> ModelProto:
    """A model of nodes between the input ``x`` [batch, *size] and its outputs; a tuple stands for random weights."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    nodes = parser.parse_graph("g (float x) => (float y) {\n" + "\n".join(lines) + "\n}").node
    for i, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type.lower()}_{i}"
    arrays = {
        name: integers(value, 3 + i, dtype) if isinstance(value, tuple) else np.asarray(value)
        for i, (name, value) in enumerate((weights or {}).items())
    }
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", elem, [batch, *size])],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid("com.microsoft", 1)] if any(n.domain for n in nodes) else []
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model)
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)
    return model
