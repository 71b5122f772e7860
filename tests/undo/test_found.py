"""Heads found in the graph alone: flattened at the trained size, with the answers of the original, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import undo
from onnx_fc2conv.dtypes import tolerance
from onnx_fc2conv.undo.sizes import Sizes, likely
from onnx_fc2conv.undo.spenders import spenders

from ..networks import Head, assert_close, feeds_of, integers, network
from .models import converted, edited, run, stripped, view, weights

SIZE = {(3, 2): (6, 4), (5,): (10,), (2, 1, 3): (4, 2, 6)}


def kinds(proto: ModelProto) -> list[str]:
    return [n.op_type for n in proto.graph.node]


HEADS: dict[str, tuple[Head, str]] = {
    # head, the nodes behind the feature map that come back
    "one FC": (Head("f = Flatten (map)\ny = MatMul (f, w)", {"w": (12, 3)}), "Flatten Gemm"),
    "two FCs": (
        Head(
            "f = Flatten (map)\nh = Gemm (f, w, b)\nr = Relu (h)\ny = Gemm (r, v)",
            {"w": (12, 5), "b": (5,), "v": (5, 3)},
        ),
        "Flatten Gemm Relu Gemm",
    ),
    "1-D": (Head("f = Flatten (map)\ny = MatMul (f, w)", {"w": (10, 3)}, window=(5,)), "Flatten Gemm"),
    "3-D": (Head("f = Flatten (map)\ny = MatMul (f, w)", {"w": (12, 3)}, window=(2, 1, 3)), "Flatten Gemm"),
    "float16": (Head("f = Flatten (map)\ny = MatMul (f, w)", {"w": (12, 3)}, dtype=np.float16), "Flatten Gemm"),
    "one image": (Head("f = Flatten (map)\ny = MatMul (f, w)", {"w": (12, 3)}, batch=1), "Flatten Gemm"),
    "no bias, an old opset": (Head("f = Flatten (map)\ny = MatMul (f, w)", {"w": (12, 3)}, opset=9), "Flatten Gemm"),
    "softmax": (
        Head("f = Flatten (map)\nh = MatMul (f, w)\ny = Softmax <axis = 1> (h)", {"w": (12, 3)}),
        "Flatten Gemm Softmax",
    ),
    "softmax, an old opset": (
        Head("f = Flatten (map)\nh = MatMul (f, w)\ny = Softmax (h)", {"w": (12, 3)}, opset=12),
        "Flatten Gemm Reshape Transpose Softmax Transpose Reshape",
    ),
    "constants": (
        Head(
            "f = Flatten (map)\nh = MatMul (f, w)\na = Add (h, c)\nm = Mul (s, a)\np = PRelu (m, q)\ny = Clip(p, l, u)",
            {"w": (12, 3), "c": (1, 3), "s": np.float32(2), "q": (3,), "l": np.float32(-9), "u": np.float32(9)},
        ),
        "Flatten Gemm Add Mul PRelu Clip",
    ),
    "normalised": (
        Head(
            "f = Flatten (map)\nh = MatMul (f, w)\nn = BatchNormalization <epsilon = 0.0> (h, s, b, m, v)\ny = Abs (n)",
            {"w": (12, 3), "s": (3,), "b": (3,), "m": (3,), "v": np.array([1, 4, 16], np.float32)},
        ),
        "Flatten Gemm BatchNormalization Abs",
    ),
    "two outputs of one map": (
        Head(
            "f = Flatten (map)\ny = MatMul (f, w)\nz = MatMul (f, v)", {"w": (12, 3), "v": (12, 2)}, outputs=("y", "z")
        ),
        "Flatten Gemm Gemm",
    ),
    "joined": (
        Head(
            "f = Flatten (map)\na = MatMul (f, w)\nb = MatMul (f, v)\ny = Concat <axis = 1> (a, b)",
            {"w": (12, 3), "v": (12, 2)},
        ),
        "Flatten Gemm Gemm Concat",
    ),
    "features in another order": (
        Head(
            "f = Flatten (map)\nh = MatMul (f, w)\ny = Gather <axis = 1> (h, o)", {"w": (12, 3), "o": np.array([2, 0])}
        ),
        "Flatten Gemm Reshape Gather Reshape",
    ),
    "a reduction": (
        Head("f = Flatten (map)\nh = MatMul (f, w)\ny = ReduceMax <axes = [1], keepdims = 1> (h)", {"w": (12, 3)}),
        "Flatten Gemm Reshape ReduceMax Reshape",
    ),
    "rows of features": (
        Head("f = Flatten (map)\nh = MatMul (f, w)\ny = Reshape (h, s)", {"w": (12, 6), "s": np.array([-1, 3, 2])}),
        "Flatten Gemm",
    ),
    "the vector itself": (
        Head(
            "f = Flatten (map)\nm = ReduceMax <axes = [1], keepdims = 1> (f)\nn = Sub (f, m)\ny = MatMul (n, w)",
            {"w": (12, 3)},
        ),
        "Flatten Reshape ReduceMax Sub Flatten Gemm",
    ),
    "a pool over the window": (
        Head("p = GlobalMaxPool (map)\nf = Flatten (p)\ny = MatMul (f, w)", {"w": (2, 3)}),
        "MaxPool Flatten Gemm",
    ),
    "the map is an output too": (
        Head("f = Flatten (map)\ny = MatMul (f, w)", {"w": (12, 3)}, outputs=("y", "map")),
        "Flatten Gemm",
    ),
    "quantised weights": (
        Head(
            "f = Flatten (map)\nd = DequantizeLinear (w, s)\ny = MatMul (f, d)",
            {"w": integers((12, 3), dtype=np.int8), "s": np.float32(0.5)},
        ),
        "DequantizeLinear Flatten Flatten Gemm",
    ),
    "an image that nothing is flattened of": (
        Head("f = Flatten (map)\nh = MatMul (f, w)\ny = Add (h, side)", {"w": (12, 3)}, sides={"side": ("N", 3)}),
        "Flatten Gemm Unsqueeze Reshape Add Reshape",
    ),
}


def back(head: Head, **options: Any) -> tuple[ModelProto, undo.Restored]:
    """The original, and what is found in its converted model without a word of metadata."""
    original = network(head)
    return original, undo.found(view(stripped(converted(original, **options))), (SIZE[head.window],))


@pytest.mark.parametrize(("head", "nodes"), HEADS.values(), ids=HEADS.keys())
def test_a_head_is_found(head: Head, nodes: str) -> None:
    original, found = back(head)
    onnx.checker.check_model(found.proto, full_check=True)
    feeds = feeds_of(head, [0] * len(head.window))
    names = [o.name for o in original.graph.output]
    for name, a, b in zip(names, run(original, feeds), run(found.proto, feeds), strict=True):
        assert_close(b, a, tolerance(1, 12, 3) if "Softmax" in nodes else 0.0)
        assert found.grids[name] == (0 if name == "map" else len(head.window))
    assert found.source == undo.FOUND
    assert not found.identical
    assert found.trained["x"][2:] == SIZE[head.window]
    if nodes != "Flatten Gemm" or "Reshape (h, s)" not in head.text:
        assert [k for k in kinds(found.proto)[1:] if k not in ("Shape", "Gather_")] == nodes.split()
    declared = [d.dim_value for d in found.proto.graph.input[0].type.tensor_type.shape.dim]
    assert declared[2:] == list(SIZE[head.window])


@pytest.mark.parametrize(
    "options", [{"output": "rows"}, {"output": "mean"}, {"output": "max"}, {"static": True}], ids=str
)
def test_other_forms_are_found(options: dict[str, Any]) -> None:
    head = HEADS["two FCs"][0]
    original = network(head)
    found = undo.found(view(stripped(converted(original, **options))), () if "static" in options else ((6, 4),))
    feeds = feeds_of(head, (0, 0))
    (expected,), (answer,) = run(original, feeds), run(found.proto, feeds)
    np.testing.assert_array_equal(answer, expected)
    assert found.grids == {"y": 0}
    assert kinds(found.proto).count("Gemm") == 2
    assert kinds(found.proto).count("Conv") == 1


def test_a_pool_that_leaves_a_vector_begins_a_head() -> None:
    """The view that gives the vector its grid of one cell goes."""
    head = Head("p = ReduceMax <axes = [2, 3], keepdims = 0> (map)\ny = MatMul (p, w)", {"w": (2, 3)})
    proto = stripped(converted(network(head), global_pool="keep"))
    assert kinds(proto) == ["Conv", "ReduceMax", "Unsqueeze", "Conv"]
    found = undo.found(view(proto))
    assert kinds(found.proto) == ["Conv", "ReduceMax", "Gemm"]
    assert found.trained == {"x": (None, 1, None, None)}
    feeds = feeds_of(head, (0, 0))
    np.testing.assert_array_equal(run(found.proto, feeds)[0], run(network(head), feeds)[0])


def test_weights_keep_their_bytes_and_names_and_nothing_is_left_over() -> None:
    original, found = back(HEADS["two FCs"][0])
    assert set(weights(found.proto)) == set(weights(original))
    for name, values in weights(original).items():
        back_again = weights(found.proto)[name]
        transposed = values.T if name in ("w", "v") else values
        np.testing.assert_array_equal(back_again, transposed)
    assert [(r.node, r.replaced, r.weight, r.dims) for r in found.rows] == [
        ("Gemm 'h/Conv'", ("Conv 'h/Conv'",), "w", (5, 12)),
        ("Gemm 'y/Conv'", ("Conv 'y/Conv'",), "v", (3, 5)),
    ]
    assert all("bits of the converted model's kernel" in r.how for r in found.rows)


def test_only_what_the_tool_wrote_goes_from_the_metadata() -> None:
    proto = edited(converted(network(HEADS["one FC"][0])), lambda m: m.metadata_props.add(key="author", value="me"))
    found = undo.found(view(proto), ((6, 4),))
    assert [(p.key, p.value) for p in found.proto.metadata_props] == [("author", "me")]


def test_the_converted_model_is_not_changed() -> None:
    proto = stripped(converted(network(HEADS["constants"][0])))
    before = proto.SerializeToString()
    undo.found(view(proto), ((6, 4),))
    assert proto.SerializeToString() == before


def test_the_batch_keeps_its_name() -> None:
    _, found = back(HEADS["two FCs"][0])
    dims = found.proto.graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["N", 3]


def test_an_ir_that_lists_weights_as_inputs() -> None:
    original = network(HEADS["two FCs"][0])
    original.ir_version = 3
    for t in original.graph.initializer:
        original.graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, t.dims))
    found = undo.found(view(stripped(converted(original))), ((6, 4),))
    onnx.checker.check_model(found.proto, full_check=True)
    assert {t.name for t in found.proto.graph.initializer} <= {v.name for v in found.proto.graph.input}


def test_a_weight_that_something_else_reads_keeps_its_dims_there() -> None:
    head = Head("f = Flatten (map)\nh = Gemm <transB = 1> (f, w)\ny = Add (h, h)", {"w": (3, 12)})
    proto = stripped(converted(network(head)))
    proto.graph.node.append(helper.make_node("Shape", ["w"], ["dims"], name="dims"))
    proto.graph.output.append(helper.make_tensor_value_info("dims", TensorProto.INT64, [4]))
    found = undo.found(view(proto), ((6, 4),))
    feeds = feeds_of(head, (0, 0))
    answers = run(found.proto, feeds)
    np.testing.assert_array_equal(answers[0], run(network(head), feeds)[0])
    assert answers[1].tolist() == [3, 2, 3, 2]


# -- the trained size --------------------------------------------------------------------------------------------------


def sliding(kernels: list[int], strides: list[int], window: int, pads: list[int] | None = None) -> ModelProto:
    """Convs in a row, and a kernel of 1 x ``window`` behind them."""
    names = ["x", *(f"m{i}" for i in range(len(kernels)))]
    nodes = [
        helper.make_node("Conv", [a, f"w{i}"], [b], strides=[1, s], pads=[0, p, 0, p], name=b)
        for i, (a, b, s, p) in enumerate(zip(names, names[1:], strides, pads or [0] * len(kernels), strict=False))
    ]
    nodes.append(helper.make_node("Conv", [names[-1], "fc"], ["y"], name="fc"))
    arrays = {f"w{i}": integers((1, 1, 1, k), i, 1, 2) for i, k in enumerate(kernels)} | {
        "fc": integers((3, 1, 1, window), 9)
    }
    graph = helper.make_graph(
        nodes,
        "sliding",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 1, "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, "h", "w"])],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.data())
def test_the_range_of_sizes_is_the_one_that_trying_finds(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 3))
    kernels, strides, pads = (
        data.draw(st.lists(st.integers(a, b), min_size=count, max_size=count)) for a, b in ((1, 4), (1, 4), (0, 1))
    )
    window = data.draw(st.integers(2, 5))

    def cells(n: int) -> int:
        for k, s, p in zip(kernels, strides, pads, strict=True):
            n = (n + 2 * p - k) // s + 1
            if n <= 0:
                return 0
        return n

    fitting = [n for n in range(1, 500) if cells(n) == window]
    model = view(sliding(kernels, strides, window, pads))
    ranges = Sizes(model, spenders(model)).ranges()
    assert ranges == ({"width": (fitting[0], fitting[-1])} if fitting else {})


@pytest.mark.parametrize(
    ("low", "high", "size"),
    [(29, 32, 32), (41, 48, 48), (24, 29, 24), (7, 7, 7), (101, 132, 128), (1, 1, 1), (33, 63, 48)],
)
def test_the_likely_size_of_a_range(low: int, high: int, size: int) -> None:
    assert likely(low, high) == size


def test_the_range_is_noted_and_a_size_chooses() -> None:
    model = view(sliding([2], [4], 3))
    found = undo.found(model)
    assert found.trained == {"x": (None, 1, 1, 12)}
    assert found.notes == ("the trained size of axis 3 of input 'x' may be any from 10 to 13: 12 was taken",)
    asked = undo.found(view(edited(model.proto, free_height)), ((1, 13),))
    assert asked.trained == {"x": (None, 1, 1, 13)}
    assert asked.notes == ()


def free_height(m: ModelProto) -> None:
    m.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def test_the_size_that_the_geometry_says_is_taken_if_it_fits() -> None:
    proto = converted(network(FLOORED, stride=2))
    proto.graph.node.append(helper.make_node("Softmax", ["y"], ["z"], axis=1))  # somebody has edited the model
    proto.graph.output[0].name = "z"
    with pytest.raises(undo.Edited):
        undo.restore(view(proto))
    found = undo.found(view(proto))
    assert (found.trained, found.notes) == ({"x": (None, 1, 6, 4)}, ())
    assert kinds(found.proto)[-1] == "Softmax"
    without = undo.found(view(stripped(proto)))
    assert without.trained == {"x": (None, 1, 6, 4)}
    assert len(without.notes) == 2


FLOORED = Head("p = MaxPool <kernel_shape = [1, 1]> (map)\nf = Flatten (p)\ny = MatMul (f, w)", {"w": (12, 3)})


@pytest.mark.parametrize("text", ["", "{", '{"schema": 9}', "stale"])
def test_a_geometry_that_is_damaged_or_stale_is_not_asked(text: str) -> None:
    model = sliding([2], [4], 3)
    stale = fc2conv.convert(
        network(Head("f = Flatten (map)\ny = MatMul (f, w)", {"w": (8, 3)}, window=(4,))), verify=False
    )
    value = stale.geometry.to_json() if text == "stale" else text
    model.metadata_props.add(key="onnx_fc2conv.geometry", value=value)
    assert undo.found(view(model)).trained == {"x": (None, 1, 1, 12)}


def test_one_size_that_fits_needs_no_note() -> None:
    found = undo.found(view(sliding([2], [1], 3)))
    assert (found.trained, found.notes) == ({"x": (None, 1, 1, 4)}, ())


WRONG_SIZES = {
    "too large": (((14,),), r"at size 14 Conv 'fc' sees a map of 1x4 cells, and its kernel has 1x3"),
    "too small": (((1,),), r"at size 1 "),
    "axes": (((1, 2, 3),), r"size 1x2x3 has 3 axes, input 'x' has 1 free ones"),
    "two": (((10,), (11,)), r"one size can be asked for"),
}


@pytest.mark.parametrize(("sizes", "reason"), WRONG_SIZES.values(), ids=WRONG_SIZES.keys())
def test_sizes_that_do_not_fit_are_refused(sizes: Any, reason: str) -> None:
    with pytest.raises(fc2conv.UsageError, match=reason):
        undo.found(view(sliding([2], [4], 3)), sizes)


def test_a_size_cannot_be_asked_for_where_it_is_fixed() -> None:
    model = sliding([2], [4], 3)
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 12
    with pytest.raises(fc2conv.UsageError, match="size 12 cannot be asked for: the inputs have fixed sizes"):
        undo.found(view(model), ((12,),))


def test_inputs_that_share_a_size_get_one() -> None:
    model = sliding([2], [4], 3)
    model.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, ["N", 1, 1, "width"]))
    model.graph.node.insert(0, helper.make_node("Add", ["x", "x2"], ["sum"]))
    model.graph.node[1].input[0] = "sum"
    found = undo.found(view(model))
    assert found.trained == {"x": (None, 1, 1, 12), "x2": (None, 1, 1, 12)}


def test_a_size_that_no_kernel_depends_on_stays_free() -> None:
    model = sliding([2], [4], 3)
    pooled = [
        helper.make_node("GlobalAveragePool", ["m0"], ["p"]),
        helper.make_node("Conv", ["p", "v"], ["y"], name="fc"),
    ]
    del model.graph.node[1:], model.graph.initializer[1:]
    model.graph.node.extend(pooled)
    model.graph.initializer.append(numpy_helper.from_array(integers((3, 1, 1, 1), 4), "v"))
    found = undo.found(view(model))
    assert found.trained == {"x": (None, 1, 1, None)}
    assert kinds(found.proto) == ["Conv", "GlobalAveragePool", "Flatten", "Gemm"]


# -- refusals ----------------------------------------------------------------------------------------------------------


def set_attribute(name: str, value: Any) -> Callable[[ModelProto], None]:
    def edit(m: ModelProto) -> None:
        node = m.graph.node[-1]
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return edit


def grouped(m: ModelProto) -> None:
    set_attribute("group", 1)(m)
    del m.graph.node[:]
    m.graph.node.extend(
        [
            helper.make_node("Concat", ["x", "x"], ["two"], axis=1),
            helper.make_node("Conv", ["two", "fc"], ["y"], name="fc", group=2),
        ]
    )
    m.graph.initializer[-1].CopyFrom(numpy_helper.from_array(integers((4, 1, 1, 3), 1), "fc"))


def two_kernels(m: ModelProto) -> None:
    """Another head behind the same map, of another size."""
    m.graph.initializer.append(numpy_helper.from_array(integers((3, 1, 1, 5), 1), "other"))
    m.graph.node.append(helper.make_node("Conv", ["m0", "other"], ["z"], name="other"))
    m.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))


REFUSED: dict[str, tuple[Callable[[ModelProto], None], type[fc2conv.Fc2ConvError], str]] = {
    "pads": (set_attribute("pads", [0, 1, 0, 1]), fc2conv.NothingToConvert, "Conv 'fc': it pads, so it is no FC"),
    "pads by name": (set_attribute("auto_pad", "SAME_UPPER"), fc2conv.NothingToConvert, "Conv 'fc': it pads"),
    "dilated": (set_attribute("dilations", [1, 2]), fc2conv.NothingToConvert, "Conv 'fc': it has a dilated kernel"),
    "groups": (grouped, fc2conv.NothingToConvert, "Conv 'fc': it has 2 groups"),
    "kernels that need different sizes": (two_kernels, fc2conv.Unliftable, "no size of the input was found"),
}


@pytest.mark.parametrize(("edit", "error", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_head_is_refused(edit: Callable[[ModelProto], None], error: type[Exception], reason: str) -> None:
    model = sliding([2], [1], 3)
    with pytest.raises(error, match=reason) as caught:
        undo.found(view(edited(model, edit)))
    assert "\n" not in str(caught.value)


def test_a_model_of_one_size_that_no_kernel_covers_is_refused() -> None:
    model = sliding([2], [1], 3)
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 7
    with pytest.raises(
        fc2conv.NothingToConvert, match="Conv 'fc': it has a kernel that does not cover its map, so it is"
    ):
        undo.found(view(model))


def test_a_model_without_a_conv_is_refused() -> None:
    model = network(Head("y = Relu (map)"))
    model.graph.node[0].CopyFrom(helper.make_node("Relu", ["x"], ["map"]))
    with pytest.raises(fc2conv.NothingToConvert, match="no Conv behind the last node that looks at more than one cell"):
        undo.found(view(model))


def test_a_subgraph_that_reads_a_value_of_the_head_is_refused() -> None:
    model = sliding([2], [1], 3)
    branch = helper.make_graph([helper.make_node("Relu", ["y"], ["a"])], "g", [], [onnx.ValueInfoProto(name="a")])
    model.graph.input.append(helper.make_tensor_value_info("go", TensorProto.BOOL, []))
    model.graph.node.append(helper.make_node("If", ["go"], ["z"], name="if", then_branch=branch, else_branch=branch))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    with pytest.raises(fc2conv.Unliftable, match="If 'if': a subgraph of it reads a value of the head"):
        undo.found(view(model))
