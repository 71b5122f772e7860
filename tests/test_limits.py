"""Splitting Convs that are over a limit: exact at the trained size and on every window of a larger map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto

import onnx_fc2conv as fc2conv

from .lift.test_static import Static, assert_static
from .lift.test_static import feeds_of as values_of
from .networks import Head, answers_over, feeds_of, integers, network, places_of, session

CONVS = ("Conv", "ConvInteger", "QLinearConv")
GEMM = "f = Flatten(map)\ny = Gemm(f, w, b)"
TWO = "f = Flatten(map)\nh = Gemm(f, w, b)\nr = Relu(h)\ny = MatMul(r, v)"


def written(model: ModelProto) -> list[tuple[tuple[int, ...], int]]:
    """Dims of the kernels, and groups, of all Convs but the backbone's."""
    dims = {t.name: tuple(t.dims) for t in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in dims:
            dims[node.output[0]] = dims[node.input[0]]
        if node.op_type in CONVS and "map" not in node.output:
            group = next((a.i for a in node.attribute if a.name == "group"), 1)
            found.append((dims[node.input[3 if node.op_type == "QLinearConv" else 1]], group))
    return found


def assert_within(model: ModelProto, max_kernel: int | None, max_channels: int | None) -> None:
    convs = written(model)
    assert convs
    for dims, group in convs:
        assert max_kernel is None or max(dims[2:]) <= max_kernel
        assert max_channels is None or max(dims[0], dims[1] * group) <= max_channels


SLIDING = {
    # head, window, limits
    "rows of the kernel": (GEMM, {"w": (10, 4), "b": (4,)}, (5, 1), 3, None),
    "columns of the kernel": (GEMM, {"w": (14, 4), "b": (4,)}, (1, 7), 2, None),
    "both axes": (GEMM, {"w": (40, 4), "b": (4,)}, (5, 4), 2, None),
    "single cells": (GEMM, {"w": (12, 3), "b": (3,)}, (3, 2), 1, None),
    "input channels": (GEMM, {"w": (10, 2), "b": (2,)}, (1, 1), None, 2),
    "output channels": (GEMM, {"w": (12, 9), "b": (9,)}, (3, 2), None, 4),
    "everything at once": (GEMM, {"w": (60, 9), "b": (9,)}, (3, 4), 2, 2),
    "two FC nodes": (TWO, {"w": (12, 9), "b": (9,), "v": (9, 5)}, (3, 2), 2, 4),
    "single channels": (TWO, {"w": (12, 3), "b": (3,), "v": (3, 2)}, (3, 2), 1, 1),
    "1-D": (GEMM, {"w": (10, 4), "b": (4,)}, (5,), 2, 3),
    "3-D": (GEMM, {"w": (24, 4), "b": (4,)}, (3, 2, 2), 2, 3),
}


@pytest.mark.parametrize(("text", "weights", "window", "kernel", "channels"), SLIDING.values(), ids=SLIDING.keys())
@pytest.mark.parametrize("opset", [9, 17])
def test_split_on_every_window(
    text: str, weights: dict[str, Any], window: Sequence[int], kernel: int | None, channels: int | None, opset: int
) -> None:
    """Bit for bit as the original head on each window of a larger map."""
    maps = weights["w"][0] // int(np.prod(window))
    head = Head(text, weights, tuple(window), maps, opset)
    original = network(head)
    result = fc2conv.convert(original, max_kernel=kernel, max_channels=channels)
    assert_within(result.model, kernel, channels)
    feeds = feeds_of(head, (2, 3, 1))
    expected = answers_over(original, feeds, places_of(head, original))
    (found,) = session(result.model).run(["y"], feeds)
    np.testing.assert_array_equal(found, expected["y"])


@pytest.mark.parametrize(("kernel", "channels"), [(2, None), (None, 5), (None, 2), (1, 1), (2, 7)])
def test_the_one_hot_flattening_is_split_by_groups(kernel: int | None, channels: int | None) -> None:
    head = Head("f = Flatten(map)\ns = Softmax <axis = 1> (f)\ny = MatMul(s, w)", {"w": (18, 4)}, (3, 2), 3)
    original = network(head)
    plain = fc2conv.convert(original)
    result = fc2conv.convert(original, max_kernel=kernel, max_channels=channels)
    assert_within(result.model, kernel, channels)
    feeds = feeds_of(head, (2, 3))
    a, b = (session(m).run(["y"], feeds)[0] for m in (plain.model, result.model))
    expected = answers_over(original, feeds, places_of(head, original))["y"]
    for found in (a, b):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))


def test_within_the_limits_nothing_changes() -> None:
    head = Head(TWO, {"w": (12, 9), "b": (9,), "v": (9, 5)})
    limited = fc2conv.convert(network(head), max_kernel=3, max_channels=9)
    assert limited.model == fc2conv.convert(network(head)).model


def test_the_bias_is_added_once() -> None:
    head = Head(GEMM, {"w": np.zeros((40, 4), np.float32), "b": (4,)}, (5, 4), 2)
    result = fc2conv.convert(network(head), max_kernel=2, max_channels=1)
    biased = [n for n in result.model.graph.node if n.op_type == "Conv" and len(n.input) > 2]
    assert len(biased) == 4  # one of each output block


def test_the_backbone_is_not_split() -> None:
    head = Head(GEMM, {"w": (12, 4), "b": (4,)})
    original = network(head)  # its Conv has a kernel of 2x2
    result = fc2conv.convert(original, max_kernel=1)
    assert original.graph.node[0] in result.model.graph.node


VECTOR = "h = Gemm(x, w, b)\nr = Relu(h)\ny = Gemm(r, v, c)"
U8 = np.uint8
STATIC = {
    "an MLP": Static(VECTOR, {"w": (6, 10), "b": (10,), "v": (10, 7), "c": (7,)}),
    "an MLP, opset 7": Static(VECTOR, {"w": (6, 10), "b": (10,), "v": (10, 7), "c": (7,)}, opset=7, ir=3),
    "tokens": Static("y = MatMul(x, w)", {"w": (6, 10)}, {"x": ("N", 4, 6)}),
    "a matrix for each row": Static("y = MatMul(x, w)", {"w": (3, 6, 5)}, {"x": ("N", 3, 2, 6)}),
    "a map": Static("f = Flatten(x)\ny = Gemm(f, w)", {"w": (36, 5)}, {"x": ("N", 3, 4, 3)}),
    "half precision": Static("y = Gemm(x, w, b)", {"w": (6, 10), "b": (10,)}, dtype=np.float16),
    "integers": Static(
        "y = MatMulInteger(x, w, xz, wz)",
        {"w": integers((6, 10), dtype=U8, low=0), "xz": np.array(2, U8), "wz": np.array(1, U8)},
        types={"x": TensorProto.UINT8},
    ),
    "quantised weights": Static(
        "w = DequantizeLinear <axis = 1> (wi, ws, wz)\ny = MatMul(x, w)",
        {
            "wi": integers((6, 5), dtype=np.int8),
            "ws": np.array([1, 2, 0.5, 1, 4], np.float32),
            "wz": integers((5,), dtype=np.int8),
        },
    ),
}


@pytest.mark.parametrize("case", STATIC.values(), ids=STATIC.keys())
@pytest.mark.parametrize(("kernel", "channels"), [(2, 4), (1, 1), (None, 3)])
def test_split_where_no_size_changes(case: Static, kernel: int | None, channels: int | None) -> None:
    assert_within(assert_static(case, max_kernel=kernel, max_channels=channels).model, kernel, channels)


def test_integers_are_added_as_integers() -> None:
    case = STATIC["integers"]
    model = assert_static(case, max_channels=4).model
    types = {n.op_type for n in model.graph.node}
    assert {"ConvInteger", "Add"} <= types
    assert not types & {"Cast", "Conv"}


def qlinear(rows: int, units: int) -> Static:
    scales = {name: np.array(0.5, np.float32) for name in ("xs", "ws", "ys")}
    zeros = {name: np.array(1, U8) for name in ("xz", "wz", "yz")}
    return Static(
        "y = QLinearMatMul(x, xs, xz, w, ws, wz, ys, yz)",
        {"w": integers((rows, units), dtype=U8, low=0), **scales, **zeros},
        {"x": ("N", rows)},
        types={"x": TensorProto.UINT8},
    )


def test_outputs_of_a_quantised_conv_are_split() -> None:
    model = assert_static(qlinear(4, 10), max_channels=4).model
    assert [n.op_type for n in model.graph.node].count("QLinearConv") == 3


def test_the_input_of_a_quantised_conv_is_not_split() -> None:
    with pytest.raises(fc2conv.Unliftable, match="6 input channels, and the most allowed are 4; it rounds its sum"):
        assert_static(qlinear(6, 3), max_channels=4)


def test_a_conv_that_pads_is_not_split() -> None:
    text = "f = Flatten(map)\nh = Gemm(f, w)\ni = Reshape(h, s)\ny = Conv <pads = [1, 1, 1, 1]> (i, k)"
    weights = {"w": (12, 8), "s": np.array([0, 2, 2, 2]), "k": (3, 2, 3, 3)}
    with pytest.raises(fc2conv.Unliftable, match=r"has a kernel of 3x3, and the largest allowed is 2; it pads"):
        fc2conv.convert(network(Head(text, weights)), max_kernel=2)


def test_weights_stay_external(tmp_path: Any) -> None:
    """A model whose weights lie in another file is split, and what is written refers to a file again."""
    head = Head(GEMM, {"w": (1200, 40), "b": (40,)}, (20, 20), 3)
    onnx.save(network(head), tmp_path / "in.onnx", save_as_external_data=True, location="in.data", size_threshold=0)
    result = fc2conv.convert(str(tmp_path / "in.onnx"), static=True, max_kernel=10, max_channels=20)
    result.save(str(tmp_path / "out.onnx"))
    stored = onnx.load(tmp_path / "out.onnx", load_external_data=False)
    large = [t for t in stored.graph.initializer if int(np.prod(t.dims)) > 1000]
    assert large
    assert all(t.data_location == TensorProto.EXTERNAL for t in large)
    feeds = values_of(network(head), 2)
    whole = onnx.load(tmp_path / "out.onnx")
    for a, b in zip(session(network(head)).run(None, feeds), session(whole).run(None, feeds), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_report_counts_the_pieces() -> None:
    head = Head(GEMM, {"w": (40, 4), "b": (4,)}, (5, 4), 2)
    report = fc2conv.convert(network(head), max_kernel=2).report
    (row,) = [node for node in report.heads[0].nodes if node.op == "Gemm"]
    assert row.to.count("Conv") == 6
    assert row.kernel is not None
    assert max(row.kernel) <= 2


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "7"])
@pytest.mark.parametrize("option", ["max_kernel", "max_channels"])
def test_limits_are_whole_numbers(option: str, count: Any) -> None:
    with pytest.raises(fc2conv.UsageError, match=f"{option} .* is not a whole number of at least 1"):
        fc2conv.convert(network(Head(GEMM, {"w": (12, 4), "b": (4,)})), **{option: count})


def test_a_conv_over_the_limit_is_found() -> None:
    """The check of the structure sees what was not split."""
    original = network(Head(GEMM, {"w": (40, 4), "b": (4,)}, (5, 4), 2))
    unsplit = fc2conv.convert(original).model
    for limits in ({"max_kernel": 4}, {"max_channels": 3}):
        with pytest.raises(fc2conv.VerificationFailed, match="over the limits"):
            fc2conv.verify(original, unsplit, **limits)
    fc2conv.verify(original, unsplit, max_kernel=5, max_channels=4)


def test_a_wrong_crop_is_found() -> None:
    """Shift one tile's crop by a row: the converted model is wrong on windows, and the checks say so."""
    original = network(Head(GEMM, {"w": (40, 4), "b": (4,)}, (5, 4), 2))
    model = fc2conv.convert(original, max_kernel=4).model
    crop = next(n for n in model.graph.node if n.op_type == "Slice")
    for t in model.graph.initializer:
        if t.name == crop.input[1]:
            starts = onnx.numpy_helper.to_array(t).copy()
            starts[0] += 1
            ends = next(e for e in model.graph.initializer if e.name == crop.input[2])
            t.CopyFrom(onnx.numpy_helper.from_array(starts, t.name))
            moved = onnx.numpy_helper.to_array(ends).copy()
            moved[0] = moved[0] + 1 if moved[0] < 0 else moved[0]
            ends.CopyFrom(onnx.numpy_helper.from_array(moved, ends.name))
    with pytest.raises(fc2conv.VerificationFailed):
        fc2conv.verify(original, model, max_kernel=4)
