"""Shapes of onnxruntime's own operators against what onnxruntime gives."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from onnx_fc2conv import model_io, shapes
from onnx_fc2conv.constants import Constants
from onnx_fc2conv.inference import LIKE

from .networks import integers, session

BYTE = {"s": np.float32(0.5), "z": np.uint8(128)}
QUANTISED = "q = QuantizeLinear (x, s, z)\n"
#: per operator: nodes that make y of x [2, 3, 4, 5], and weights
NODES = {
    "Gelu": ("y = com.microsoft.Gelu (x)", {}),
    "QuickGelu": ("y = com.microsoft.QuickGelu (x)", {}),
    "FastGelu": ("y = com.microsoft.FastGelu (x)", {}),
    "BiasGelu": ("y = com.microsoft.BiasGelu (x, b)", {"b": (5,)}),
    "FusedConv": ('y = com.microsoft.FusedConv <activation = "Relu", strides = [2, 1]> (x, k)', {"k": (6, 3, 2, 3)}),
    "FusedGemm": (
        'f = Flatten (x)\ny = com.microsoft.FusedGemm <activation = "Relu", transB = 1> (f, w)',
        {"w": (7, 60)},
    ),
    "FusedMatMul": ("y = com.microsoft.FusedMatMul <transB = 1> (x, w)", {"w": (7, 5)}),
    "FusedMatMul, transA": ("y = com.microsoft.FusedMatMul <transA = 1> (x, w)", {"w": (4, 7)}),
    "FusedMatMul, transBatchA": (
        "y = com.microsoft.FusedMatMul <transBatchA = 1, transA = 1> (x, w)",
        {"w": (3, 4, 2, 7)},
    ),
    "QLinearSigmoid": (QUANTISED + "y = com.microsoft.QLinearSigmoid (q, s, z, s, z)", BYTE),
    "QLinearLeakyRelu": (QUANTISED + "y = com.microsoft.QLinearLeakyRelu (q, s, z, s, z)", BYTE),
    "QLinearSoftmax": (QUANTISED + "y = com.microsoft.QLinearSoftmax <opset = 13> (q, s, z, s, z)", BYTE),
    "QLinearAdd": (
        QUANTISED + "y = com.microsoft.QLinearAdd (q, s, z, c, s, z, s, z)",
        {**BYTE, "c": np.ones((6, 1, 1, 1, 5), np.uint8)},
    ),
    "QLinearMul": (
        QUANTISED + "y = com.microsoft.QLinearMul (q, s, z, c, s, z, s, z)",
        {**BYTE, "c": np.ones(5, np.uint8)},
    ),
    "QGemm": (
        "f = Flatten (x)\nq = QuantizeLinear (f, s, z)\n"
        "y = com.microsoft.QGemm <transB = 1> (q, s, z, w, s, z, none, s, z)",
        {**BYTE, "w": np.ones((7, 60), np.uint8)},
    ),
    "QLinearAveragePool": (
        QUANTISED + "y = com.microsoft.QLinearAveragePool <kernel_shape = [2, 3], strides = [2, 1]> (q, s, z, s, z)",
        BYTE,
    ),
    "QLinearGlobalAveragePool": (QUANTISED + "y = com.microsoft.QLinearGlobalAveragePool (q, s, z, s, z)", BYTE),
    "QuantizeLinear": ("y = com.microsoft.QuantizeLinear (x, s, z)", BYTE),
    "DequantizeLinear": (QUANTISED + "y = com.microsoft.DequantizeLinear (q, s, z)", BYTE),
}


@pytest.mark.parametrize("name", NODES)
def test_shape_and_type_are_onnxruntime_s(name: str) -> None:
    text, weights = NODES[name]
    nodes = parser.parse_graph("g (float x) => (float y) {\n" + text + "\n}").node
    for node in nodes:
        node.input[:] = ["" if i == "none" else i for i in node.input]
    arrays = {k: integers(v) if isinstance(v, tuple) else np.asarray(v) for k, v in weights.items()}
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4, 5])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(v, k) for k, v in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    (expected,) = session(proto).run(["y"], {"x": integers((2, 3, 4, 5))})
    model, _ = model_io.load(proto)
    found = shapes.infer(model, 2)
    Constants(model, found, None)
    assert found.of("y") == expected.shape
    assert helper.tensor_dtype_to_np_dtype(found.elem_types["y"]) == expected.dtype


def test_every_operator_has_a_case() -> None:
    assert {name.split(",")[0] for name in NODES} == set(LIKE)
