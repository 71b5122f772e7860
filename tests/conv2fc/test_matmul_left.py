"""Convolutions that stay, each with its reason; and fused ones, of which the activation becomes a node."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from onnx_fc2conv import heads, model_io, shapes
from onnx_fc2conv.conv2fc import Selection, matmul
from onnx_fc2conv.errors import UnreadableModel, UsageError
from tests.conv2fc.products import compare, lowered, model_of, op_types, run
from tests.conv2fc.products import product as rewritten
from tests.networks import integers

NODE = helper.make_node
MICROSOFT = "com.microsoft"
WEIGHT = {"w": integers((2, 2, 3, 3), 5), "p": integers((2, 2, 1, 1), 6)}
OPEN = {"x": ["N", 2, "H", "W"]}
X = {"x": integers((1, 2, 6, 7))}


def left(model: ModelProto, selection: Selection | None = None) -> dict[str, str]:
    """What stays, in a model that gives the same as before."""
    found, lowering = lowered(model, selection)
    kept = [n for n in found.graph.node if "Conv" in n.op_type]
    assert len(kept) <= len(lowering.left)
    return lowering.left


def three() -> ModelProto:
    nodes = [
        NODE("Conv", ["x", "w"], ["h"], name="first", pads=[1, 1, 1, 1]),
        NODE("Conv", ["h", "p"], ["k"], name="second"),
        NODE("Conv", ["k", "w"], ["y"], name="block/third"),
    ]
    return model_of(nodes, OPEN, WEIGHT)


@pytest.mark.parametrize(
    ("selection", "stays"),
    [
        (Selection(), {}),
        (
            Selection(only=("first",)),
            dict.fromkeys(("Conv 'second'", "Conv 'block/third'"), "--only names others"),
        ),
        (Selection(only=("block/*", "h")), {"Conv 'second'": "--only names others"}),
        (Selection(skip=("*t",)), {"Conv 'first'": "--skip names it"}),
        (
            Selection(pointwise_only=True),
            dict.fromkeys(("Conv 'first'", "Conv 'block/third'"), "is not 1x1, and --pointwise-only was given"),
        ),
    ],
)
def test_what_is_not_asked_for(selection: Selection, stays: dict[str, str]) -> None:
    found, lowering = lowered(three(), selection)
    assert lowering.left == stays
    assert op_types(found).count("Conv") == len(stays)
    assert len(lowering.products) == 3 - len(stays)
    compare(three(), found, [X])


def test_a_kernel_that_one_conv_keeps_stays_as_it_is() -> None:
    found, _ = lowered(three(), Selection(skip=("first",)))
    assert {"w", "w_matrix"} <= {t.name for t in found.graph.initializer}


def test_a_name_that_no_convolution_has() -> None:
    with pytest.raises(UsageError, match=r"--skip 'fourth': no node .*'first', 'second', 'block/third'"):
        lowered(three(), Selection(skip=("fourth",)))


def inside(op_type: str) -> ModelProto:
    """A Conv in the body of an If or a Loop."""
    conv = NODE("Conv", ["x", "p"], ["inner"], name="hidden")
    value = helper.make_tensor_value_info
    results = [value("inner", TensorProto.FLOAT, None)]
    if op_type == "If":
        other = helper.make_graph([NODE("Neg", ["x"], ["inner"])], "else", [], results)
        branches = {"then_branch": helper.make_graph([conv], "then", [], results), "else_branch": other}
        nodes, state = [NODE("If", ["c"], ["y"], name="outer", **branches)], value("c", TensorProto.BOOL, [])
    else:
        inputs = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s", 1, None)]
        body = [conv, NODE("Identity", ["go"], ["on"]), NODE("Add", ["s", "inner"], ["t"])]
        outputs = [value("on", TensorProto.BOOL, []), value("t", TensorProto.FLOAT, None)]
        graph = helper.make_graph(body, "body", inputs, outputs)
        nodes = [NODE("Loop", ["m", "", "x"], ["y"], name="outer", body=graph)]
        state = value("m", TensorProto.INT64, [])
    model = model_of(nodes, OPEN, {"p": WEIGHT["p"]})
    model.graph.input.append(state)
    return model


@pytest.mark.parametrize("op_type", ["If", "Loop"])
def test_in_a_body(op_type: str) -> None:
    reason = f"lies in the body of {op_type} 'outer', which is rewritten only where it can be written out"
    assert left(inside(op_type)) == {"Conv 'hidden'": reason}


def test_in_a_function() -> None:
    """One that the model still has when it comes here, because it could not be written out."""
    conv = NODE("Conv", ["a", "b"], ["c"], name="hidden")
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Block", ["a", "b"], ["c"], [conv], opsets)
    model = model_of([NODE("Block", ["x", "p"], ["y"], domain="local")], OPEN, {"p": WEIGHT["p"]})
    model.functions.append(function)
    read, _ = model_io.load(model)
    known, other = shapes.at_two_batches(read)
    lowering = matmul.lower(read, known, heads.constants_of(read, known, other), Selection())
    assert lowering.left == {"Conv 'hidden'": "lies in the function 'Block', which could not be written out"}
    assert "Conv" not in op_types(rewritten(model))  # as the command does it


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (NODE("ConvTranspose", ["x", "w"], ["y"], name="c"), "is a transposed convolution"),
        (NODE("DeformConv", ["x", "w", "offset"], ["y"], name="c"), "positions that are computed at run time"),
        (NODE("NhwcFusedConv", ["x", "w"], ["y"], name="c", domain=MICROSOFT), "lays out its map in another way"),
        (NODE("Conv", ["x", "w"], ["y"], name="c", domain="example"), "lays out its map in another way"),
    ],
    ids=lambda n: n.op_type if isinstance(n, NodeProto) else None,
)
def test_other_convolutions(node: NodeProto, reason: str) -> None:
    model = model_of([node], OPEN, {"w": WEIGHT["w"], "offset": np.zeros((1, 18, 4, 5), np.float32)}, opset=19)
    ((title, said),) = left(model).items()
    assert title.endswith("'c'")
    assert reason in said


def test_a_kernel_of_unknown_dims() -> None:
    nodes = [NODE("Conv", ["x", "k"], ["y"], name="c")]
    model = model_of(nodes, OPEN | {"k": ["A", 2, "B", "C"]}, {})
    assert left(model) == {"Conv 'c'": "the dims of its kernel are not known before it runs"}


@pytest.mark.parametrize(
    ("attrs", "weight", "reason"),
    [
        ({"kernel_shape": [2, 3]}, "w", r"declares a kernel of \[2, 3\] and has one of \[3, 3\]"),
        ({"strides": [2]}, "w", "do not have one number per axis"),
        ({"pads": [1, 1, 1]}, "w", "do not have one number per axis"),
        ({"strides": [0, 1]}, "w", "are not all at least 1"),
        ({"group": 0}, "w", "are not all at least 1"),
        ({}, "line", "its map has 4 axes and its kernel 3"),
        ({}, "empty", r"its kernel has dims \[2, 0, 3, 3\], so it has no values"),
        ({"group": 3}, "w", "its 2 units are no multiple of its 3 groups"),
        ({}, "flat", "too few for a convolution"),
    ],
)
def test_nodes_that_are_not_valid(attrs: dict[str, Any], weight: str, reason: str) -> None:
    dims = {"flat": (2, 2), "line": (2, 2, 3), "empty": (2, 0, 3, 3)}
    constants = WEIGHT | {name: np.ones(shape, np.float32) for name, shape in dims.items()}
    nodes = [NODE("Conv", ["x", weight], ["y"], name="c", **attrs)]
    ((_, said),) = left(model_of(nodes, OPEN, constants)).items()
    assert re.search(reason, said)


# -- fused -------------------------------------------------------------------------------------------------------------

ACTIVATIONS = [
    ("Relu", None, 17),
    ("Relu", None, 7),
    ("LeakyRelu", [0.25], 17),
    ("Clip", [-1.0, 4.0], 17),
    ("Clip", [-1.0, 4.0], 10),
    ("Tanh", None, 17),
    ("Sigmoid", None, 17),
    ("HardSigmoid", [0.25, 0.5], 17),
]


def fused(activation: str, params: Any, opset: int, summand: bool = False, size: Any = ("H", "W")) -> ModelProto:
    attrs = {"activation": activation} | ({"activation_params": params} if params else {})
    constants = WEIGHT | {"b": integers((2,), 8)}
    names = ["x", "w", "b", *(["x"] if summand else [])]
    pads = [1, 1, 1, 1] if summand else [0, 0, 0, 0]
    nodes = [NODE("FusedConv", names, ["y"], name="c", domain=MICROSOFT, pads=pads, **attrs)]
    return model_of(nodes, {"x": ["N", 2, *size]}, constants, opset)


@pytest.mark.parametrize(("activation", "params", "opset"), ACTIVATIONS)
def test_fused(activation: str, params: Any, opset: int) -> None:
    model = fused(activation, params, opset)
    found = rewritten(model)
    assert op_types(found)[-1] == activation
    if activation in ("Tanh", "Sigmoid", "HardSigmoid"):  # another implementation of the same function
        np.testing.assert_allclose(run(found, X), run(model, X), rtol=0, atol=4 * np.finfo(np.float32).eps)
    else:
        compare(model, found, [X])


def test_fused_with_a_summand() -> None:
    model = fused("Relu", None, 17, summand=True)
    found, lowering = lowered(model)
    assert op_types(found)[-2:] == ["Add", "Relu"]
    assert lowering.roundings == 2
    compare(model, found, [X])


def test_fused_on_the_whole_map() -> None:
    model = fused("Relu", None, 17, size=(3, 3))
    found = rewritten(model)
    assert op_types(found) == ["Flatten", "Gemm", "Reshape", "Relu"]
    compare(model, found, [{"x": integers((2, 2, 3, 3))}])


@pytest.mark.parametrize(
    ("activation", "params", "reason"),
    [
        ("Softer", None, "its activation 'Softer' is not known"),
        ("Clip", [1.0], "its activation 'Clip' does not have two bounds"),
    ],
)
def test_an_activation_that_is_not_known(activation: str, params: Any, reason: str) -> None:
    assert left(fused(activation, params, 17)) == {"com.microsoft.FusedConv 'c'": reason}


def test_operands_that_are_not_there() -> None:
    for op_type, names, operand in (("Conv", ["x"], "W"), ("QLinearConv", ["x", "s", "z", "w", "s", "z"], "y_scale")):
        constants = {"s": np.float32(1), "z": np.int8(0), "w": WEIGHT["w"].astype(np.int8)}
        model = model_of([NODE(op_type, names, ["y"], name="c")], OPEN, constants)
        with pytest.raises(UnreadableModel, match=f"its operand '{operand}' is missing"):
            left(model)
