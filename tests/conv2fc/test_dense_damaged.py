"""Nodes that are not valid: they stay, with a reason where they are convolutions, and are never a traceback."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from onnx_fc2conv.errors import Fc2ConvError, Unliftable, UnreadableModel

from .dense import planned
from .small import integers

GIVEN = {
    "w": integers((2, 2, 3, 3), 1),
    "line": integers((2, 2, 3), 1),
    "flat": integers((2, 2), 1),
    "empty": np.zeros((2, 0, 3, 3), np.float32),
    "two": integers((2,), 2),
    "three": integers((3,), 2),
    "far": np.array([7]),
    "ints": np.array([1, 2, 3]),
    "many": np.ones((1, 1, 1, 1, 2), np.float32),
}
NODES = [
    "Conv <kernel_shape=[2, 3]> (x, w)",
    "Conv <strides=[2]> (x, w)",
    "Conv <pads=[1, 1, 1]> (x, w)",
    "Conv <strides=[0, 1]> (x, w)",
    "Conv <dilations=[0, 1]> (x, w)",
    "Conv <group=0> (x, w)",
    "Conv <group=3> (x, w)",
    "Conv <pads=[-9, 0, 0, 0]> (x, w)",
    'Conv <auto_pad="WHATEVER"> (x, w)',
    "Conv (x, line)",
    "Conv (x, empty)",
    "Conv (x, flat)",
    "Conv (x, w, three)",
    "Conv (x)",
    "ConvTranspose <strides=[2]> (x, w)",
    "ConvTranspose <group=3> (x, w)",
    "ConvTranspose <group=0> (x, w)",
    "ConvTranspose (x, line)",
    "ConvTranspose (x)",
    "AveragePool (x)",
    "AveragePool <kernel_shape=[2]> (x)",
    "AveragePool <kernel_shape=[2, 2], strides=[0, 1]> (x)",
    "AveragePool <kernel_shape=[2, 2], pads=[1]> (x)",
    "ReduceMean <axes=[7]> (x)",
    "ReduceSum (x, far)",
    "Gemm (x, flat)",
    "Gemm <transB=1> (f, w)",
    "Gemm (f, flat, ints)",
    "Gemm (f)",
    "MatMul (x, w)",
    "MatMul (f, flat)",
    "MatMul (f)",
    "BatchNormalization (x, three, two, two, two)",
    "BatchNormalization (x, two)",
    "Add (x)",
    "Add (x, three)",
    "Add (c, many)",
    "Relu ()",
    "PRelu (c, three)",
    "Concat (c, c)",
    "Concat <axis=9> (c, c)",
    "Concat <axis=2> (c, f)",
    "Concat <axis=1> ()",
    "Transpose <perm=[0, 1]> (c)",
    "Slice (c, ints)",
    "Gather <axis=1> (c, far)",
    "Pad (c, ints)",
    "Pad (c)",
    "Split <axis=1> (c, ints)",
    "Reshape (c)",
    "Reshape (c, ints)",
    "Flatten <axis=9> (c)",
    "Squeeze (c, far)",
    "Dropout ()",
]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("node", NODES)
def test_nodes_that_are_not_valid(node: str, strict: bool) -> None:
    bad = parser.parse_graph(f"g (float x) => (float z) {{ z = {node} }}").node[0]
    bad.name = "bad"
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="c"),
        helper.make_node("Flatten", ["x"], ["f"], name="f"),
        bad,
        helper.make_node("Relu", ["z"], ["y"], name="r"),
    ]
    graph = helper.make_graph(
        nodes,
        "damaged",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 5, 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "c", "f")],
        [numpy_helper.from_array(value, name) for name, value in GIVEN.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    refused: Fc2ConvError | None = None
    try:
        estimate = planned(model, strict=strict)
    except (Unliftable, UnreadableModel) as e:
        refused = e
    if refused is not None:
        assert "'bad'" in str(refused) or "node name: bad" in str(refused) or refused.node == "Relu 'r'"
        assert strict or "--size" in refused.reason or isinstance(refused, UnreadableModel)
        return
    estimate.build()
    assert [p.node for p in estimate.products] == ["Conv 'c'"]
