"""What the dense form leaves as it is, and what it refuses, each with its reason."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_fc2conv.conv2fc import Selection
from onnx_fc2conv.errors import Unliftable, UsageError

from .dense import built, planned
from .small import integers, network
from .test_dense_matrix import assert_equal_bits

TWO = "a = Conv (x, w)\nr = Relu (a)\nc = Conv (r, q)\nv = Flatten (c)\ny = MatMul (v, f)"
WEIGHTS = {"w": (4, 2, 3, 3), "q": (3, 4, 2, 2), "f": (6, 2)}

STRICT = [
    ("y = MaxPool <kernel_shape=[2, 2]> (r)", "MaxPool 'maxpool_2': a maximum is no product with a matrix"),
    ("y = GlobalMaxPool (r)", "a maximum is no product with a matrix"),
    ("y = ReduceMax (r)", "a maximum is no product with a matrix"),
    ("v = Flatten (r)\ny = ArgMax <axis=1> (v)", "a maximum is no product with a matrix"),
    ("v = Flatten (r)\ny = Softmax (v)", "divides by what it computes from all features"),
    ("y = LRN <size=3> (r)", "divides by what it computes from all features"),
    ("y = InstanceNormalization (r, k, k)", "divides by what it computes from all features"),
    (
        "v = Flatten (r)\nt = Transpose (v)\ny = MatMul (v, t)",
        "is computed at run time, so there is no constant matrix",
    ),
    ("y = ReduceMean <axes=[0]> (r)", "it mixes the images of a batch"),
    ("y = Conv (r, r)", "is computed at run time, so there is no constant matrix"),
    ("y = CumSum (r, axis)", "is neither a product with a constant matrix nor elementwise"),
]


@pytest.mark.parametrize(("text", "reason"), STRICT, ids=[text.split("(")[0] for text, _ in STRICT])
def test_strict_refuses_by_name(text: str, reason: str) -> None:
    weights = {"w": (4, 2, 3, 3), "k": (4,), "axis": np.array(1)}
    model = network(f"a = Conv (x, w)\nr = Relu (a)\n{text}", (2, 5, 4), weights, opset=13, batch=4)
    with pytest.raises(Unliftable, match=reason) as refused:
        planned(model, strict=True)
    assert refused.value.node is not None
    assert "Gemm" in built(model).op_types


def test_strict_takes_what_is_dense_and_elementwise() -> None:
    model = network(f"{TWO.replace('y =', 'm =')}\ny = Sigmoid (m)", (2, 5, 4), WEIGHTS)
    assert set(built(model, strict=True).op_types) == {"Flatten", "Gemm", "Relu", "Sigmoid"}


SELECTED = [
    # selection, op_types, what is left and why
    (Selection(only=("conv_0",)), "Flatten Gemm Relu Reshape Conv Flatten MatMul", {"conv_2": "--only names others"}),
    (Selection(skip=("conv_0",)), "Conv Relu Flatten Gemm Gemm", {"conv_0": "--skip names it"}),
    (Selection(skip=("matmul*",)), "Flatten Gemm Relu Gemm MatMul", {}),
    (Selection(skip=("conv*",)), "Conv Relu Conv Flatten MatMul", {"conv_0": "--skip names", "conv_2": "--skip names"}),
]


@pytest.mark.parametrize(("selection", "op_types", "left"), SELECTED)
def test_selection(selection: Selection, op_types: str, left: dict[str, str]) -> None:
    model = network(TWO, (2, 5, 4), WEIGHTS)
    found = built(model, selection)
    assert found.op_types == op_types.split()
    assert list(found.estimate.left) == [f"Conv '{name}'" for name in left]
    assert all(reason in found.estimate.left[f"Conv '{name}'"] for name, reason in left.items())
    assert found.lowering.left == found.estimate.left
    assert_equal_bits(model, found)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="'conv_9': no node to rewrite has this name; there are: 'conv_0', 'conv_2'"):
        planned(network(TWO, (2, 5, 4), WEIGHTS), Selection(skip=("conv_9",)))


def test_a_free_size_is_refused_with_what_to_do() -> None:
    model = network(TWO.splitlines()[0].replace("a =", "y ="), (2, 5, 4), WEIGHTS)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(Unliftable, match=r"Conv 'conv_0': the size of its map is not known.* give it with --size"):
        planned(model)


def test_convolutions_that_are_hidden_or_computed_are_left() -> None:
    inner = helper.make_graph(
        [helper.make_node("Conv", ["r", "w"], ["z"], name="inner")], "g", [], [onnx.ValueInfoProto(name="z")]
    )
    model = network(
        "a = Conv (x, w)\nr = Relu (a)\nk = Slice (r, from, to)\nc = Conv (r, k)\ny = Abs (c)",
        (4, 5, 4),
        {"w": (4, 4, 1, 1), "from": np.array([0, 0, 0, 0]), "to": np.array([1, 4, 2, 2])},
        batch=1,
    )
    both = helper.make_node("If", ["yes"], ["z2"], name="choice", then_branch=inner, else_branch=inner)
    model.graph.node.append(both)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.output.append(helper.make_tensor_value_info("z2", TensorProto.FLOAT, [1, 4, 5, 4]))
    found = built(model)
    assert found.estimate.left == {
        "Conv 'conv_3'": "its input 'k' is computed at run time, so there is no constant matrix",
        "Conv 'inner'": "stands inside of If 'choice'",
    }
    assert "Gemm" in found.op_types
    assert_equal_bits(model, found, (1,))


LEFT = [
    # a node on the vector [3, 24] behind a Conv, its weights
    ("y = Gemm <transA=1> (v, f)", {"f": (3, 2)}),
    ("y = Gemm (v, f, rows)", {"f": (24, 2), "rows": (3, 2)}),
    ("y, m, n = BatchNormalization <training_mode=1> (v, k, k, k, u)", {"k": (24,), "u": np.ones(24, np.float32)}),
    ("y, m = Dropout (v)\nz = Cast <to=1> (m)", {}),
]


@pytest.mark.parametrize(("text", "weights"), LEFT)
def test_nodes_that_mix_images_or_give_more_than_one_value_stay(text: str, weights: dict[str, Any]) -> None:
    outputs = ("y", "z") if "z =" in text else ("y",)
    all_text = f"a = Conv (x, w)\nr = Relu (a)\nv = Flatten (r)\n{text}"
    model = network(all_text, (2, 5, 4), {"w": (4, 2, 3, 3), **weights}, 15, 3, outputs=outputs)
    found = built(model)
    assert found.op_types[:3] == ["Flatten", "Gemm", "Relu"]
    before = [n.SerializeToString() for n in model.graph.node[3:]]
    assert [n.SerializeToString() for n in found.model.graph.node[3:]] == before
    assert_equal_bits(model, found, (3,))


def test_only_one_matrix_is_held_twice() -> None:
    """While it is made and stored; the tensors themselves are the result."""
    weights = {f"w{i}": integers((8, 8, 3, 3), i) for i in range(4)}
    lines = [f"v{i + 1} = Conv <pads=[1, 1, 1, 1]> (v{i}, w{i})" for i in range(4)]
    model = network("v0 = Relu (x)\n" + "\n".join([*lines, "y = Relu (v4)"]), (8, 12, 12), weights)
    estimate = planned(model)
    largest = max(p.bytes_after for p in estimate.products)
    tracemalloc.start()
    lowering = estimate.build()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(lowering.rewrite.initializers) >= 4
    assert 1.9 * largest < peak < 2.5 * largest
    assert estimate.bytes > 3.9 * largest


def test_nothing_large_is_made_to_plan() -> None:
    model: ModelProto = network("a = Conv <pads=[1, 1, 1, 1]> (x, w)\ny = Relu (a)", (8, 24, 24), {"w": (8, 8, 3, 3)})
    tracemalloc.start()
    estimate = planned(model)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.05 * estimate.bytes
