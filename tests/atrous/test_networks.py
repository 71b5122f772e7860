"""Whole networks: the reference detector bit for bit, branches, heads over several maps, ranks, strides per axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv import Unliftable, UsageError

from ..networks import answers_over, cut, integers, session
from .oracle import every, on_crops

DETECTOR = Path(__file__).parents[2] / "models" / "reference_detector.onnx"


def built(text: str, image: Sequence[int], weights: Mapping[str, Any], opset: int = 17) -> ModelProto:
    """A network from ``x`` to ``y``; a shape stands for seeded small integers."""
    lines = "\n".join(line.strip() for line in text.strip().splitlines())
    nodes = parser.parse_graph("g (float x) => (float y) {\n" + lines + "\n}").node
    arrays = {
        n: integers(v, 5 + i, -1, 2) if isinstance(v, tuple) else np.asarray(v)
        for i, (n, v) in enumerate(weights.items())
    }
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *image])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


@pytest.fixture(scope="module")
def detector() -> ModelProto:
    """The unpadded reference detector with small whole weights, so that every sum is exact."""
    model = onnx.load(DETECTOR)
    for i, tensor in enumerate(model.graph.initializer):
        values = integers(tuple(tensor.dims), 40 + i, -1, 2)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


@pytest.mark.parametrize(("stride", "size"), [(16, (192, 160)), (8, (170, 120)), (4, (148, 85)), ((8, 4), (160, 80))])
def test_the_detector_equals_the_original_on_every_crop(detector: ModelProto, stride: Any, size: Any) -> None:
    steps = stride if isinstance(stride, tuple) else (stride, stride)
    result = fc2conv.convert(detector, stride=stride, sizes=[size])
    assert result.report.verdict == "exact"
    assert result.geometry.stride == steps
    assert result.report.stride == list(steps)
    image = integers((1, 3, *size), 9, -3, 4)
    (found,) = session(result.model).run(None, {"input": image})
    expected = on_crops(detector, image, (128, 64), steps, (2, 3))
    assert np.unique(expected).size > 10
    np.testing.assert_array_equal(found, expected)


RES = """a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, w1)
b = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(a, w2)
c = Conv<strides = [2, 2]>(a, w3)
d = Add(b, c)
e = Relu(d)
map = Conv<pads = [1, 1, 1, 1], group = 4>(e, w4)
f = Flatten(map)
y = Gemm<transB = 1>(f, fc)"""
RES_WEIGHTS = {"w1": (4, 2, 3, 3), "w2": (4, 4, 3, 3), "w3": (4, 4, 1, 1), "w4": (4, 1, 3, 3), "fc": (3, 64)}


def test_of_a_padded_network_cells_off_the_border_are_those_of_shifted_images() -> None:
    """Pads reach so many cells only: beyond, each phase of the dense map is the original's of the shifted image."""
    model = built(RES, (2, 16, 16), RES_WEIGHTS)
    result = fc2conv.convert(model, stride=1)
    assert result.report.verdict == "padded"
    assert "every 4x4-th cell is what the conversion without --stride gives" in result.report.verdict_words()
    image = integers((1, 2, 56, 56), 1)
    (found,) = session(result.model).run(["y"], {"x": image})
    assert found.shape == (1, 3, 41, 41)
    for p, q in ((0, 0), (1, 0), (2, 3), (3, 3)):
        shifted = np.ascontiguousarray(image[:, :, p:, q:])
        own = answers_over(model, {"x": shifted}, {"map": ((4, 4), (1, 1))})["y"]
        phase = found[:, :, p::4, q::4]
        rows, columns = (min(a, b) for a, b in zip(phase.shape[2:], own.shape[2:], strict=True))
        inside = (..., slice(2, rows - 2), slice(2, columns - 2))
        assert rows > 6
        np.testing.assert_array_equal(phase[inside], own[inside])


EXACT: dict[str, tuple[str, tuple[int, ...], dict[str, Any], Any]] = {
    "residual, unpadded": (
        "a = Conv<strides = [2, 2]>(x, w1)\n b = Conv<strides = [2, 2]>(a, w2)\n"
        "c = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a)\n d = Add(b, c)\n map = Relu(d)\n"
        "f = Flatten(map)\n y = Gemm<transB = 1>(f, fc)",
        (1, 12, 12),
        {"w1": (4, 1, 2, 2), "w2": (4, 4, 2, 2), "fc": (2, 36)},
        1,
    ),
    "concat of unequal ends": (
        "a = Conv<strides = [2, 2]>(x, w1)\n b = MaxPool<kernel_shape = [1, 1], strides = [2, 2]>(x)\n"
        "c = Concat<axis = 1>(a, b)\n map = Conv(c, w2)\n f = Flatten(map)\n y = Gemm<transB = 1>(f, fc)",
        (2, 10, 8),
        {"w1": (2, 2, 2, 2), "w2": (2, 4, 2, 2), "fc": (2, 24)},
        1,
    ),
    "depthwise, then grouped": (
        "a = Conv<strides = [2, 2], group = 2>(x, w1)\n b = Conv<strides = [2, 2], group = 2>(a, w2)\n"
        "map = Conv<group = 2>(b, w3)\n f = Flatten(map)\n y = Gemm<transB = 1>(f, fc)",
        (2, 16, 12),
        {"w1": (2, 1, 2, 2), "w2": (4, 1, 2, 2), "w3": (4, 2, 2, 2), "fc": (2, 24)},
        (2, 1),
    ),
    "strides that differ per axis": (
        "a = Conv<strides = [2, 1]>(x, w1)\n map = MaxPool<kernel_shape = [1, 3], strides = [1, 3]>(a)\n"
        "f = Flatten(map)\n y = Gemm<transB = 1>(f, fc)",
        (1, 8, 13),
        {"w1": (2, 1, 2, 2), "fc": (2, 32)},
        1,
    ),
    "not a trailing stride": (
        "a = Conv<strides = [3, 3]>(x, w1)\n map = Conv<strides = [2, 2]>(a, w2)\n"
        "f = Flatten(map)\n y = Gemm<transB = 1>(f, fc)",
        (1, 12, 18),
        {"w1": (2, 1, 3, 3), "w2": (2, 2, 2, 2), "fc": (2, 12)},
        2,
    ),
    "half of one stride": (
        "map = Conv<strides = [4, 4]>(x, w1)\n f = Flatten(map)\n y = Gemm<transB = 1>(f, fc)",
        (1, 11, 9),
        {"w1": (2, 1, 3, 3), "fc": (2, 12)},
        2,
    ),
    "1-D": (
        "a = Conv<strides = [2]>(x, w1)\n map = MaxPool<kernel_shape = [2], strides = [2]>(a)\n"
        "f = Flatten(map)\n y = Gemm<transB = 1>(f, fc)",
        (2, 21),
        {"w1": (2, 2, 3), "fc": (2, 10)},
        2,
    ),
    "3-D": (
        "a = Conv<strides = [2, 1, 2]>(x, w1)\n map = MaxPool<kernel_shape = [1, 2, 2], strides = [1, 2, 2]>(a)\n"
        "f = Flatten(map)\n y = Gemm<transB = 1>(f, fc)",
        (1, 6, 5, 9),
        {"w1": (2, 1, 2, 2, 2), "fc": (2, 24)},
        (1, 1, 2),
    ),
    "pool over the window, opset 17": (
        "map = Conv<strides = [4, 4]>(x, w1)\n p = GlobalAveragePool(map)\n f = Flatten(p)\n"
        "y = Gemm<transB = 1>(f, fc)",
        (1, 16, 16),
        {"w1": (2, 1, 3, 3), "fc": (2, 2)},
        1,
    ),
    "maximum over the window, opset 9": (
        "map = Conv<strides = [4, 4]>(x, w1)\n p = GlobalMaxPool(map)\n f = Flatten(p)\n"
        "y = Gemm<transB = 1>(f, fc, bias)",
        (1, 16, 12),
        {"w1": (2, 1, 3, 3), "fc": (2, 2), "bias": (2,)},
        2,
    ),
    "sum of magnitudes over the window, opset 18": (
        "map = Conv<strides = [4, 4]>(x, w1)\n p = GlobalLpPool<p = 1>(map)\n f = Flatten(p)\n"
        "y = Gemm<transB = 1>(f, fc)",
        (1, 16, 12),
        {"w1": (2, 1, 3, 3), "fc": (2, 2)},
        2,
    ),
    "flattened vector itself": (
        "map = Conv<strides = [2, 2]>(x, w1)\n f = Flatten(map)\n n = Mul(f, f)\n y = Gemm<transB = 1>(n, fc)",
        (1, 8, 6),
        {"w1": (2, 1, 2, 2), "fc": (2, 24)},
        1,
    ),
    "tokens": (
        "map = Conv<strides = [2, 2]>(x, w1)\n r = Reshape(map, to)\n t = Transpose<perm = [0, 2, 1]>(r)\n"
        "p = MatMul(t, m)\n f = Flatten(p)\n y = Gemm<transB = 1>(f, fc)",
        (1, 8, 6),
        {"w1": (2, 1, 2, 2), "to": np.array([0, 2, 12]), "m": (2, 3), "fc": (2, 36)},
        1,
    ),
    "heads over maps of different strides": (
        "a = Conv<strides = [2, 2]>(x, w1)\n b = Conv<strides = [2, 2]>(a, w2)\n f = Flatten(a)\n g = Flatten(b)\n"
        "h = Concat<axis = 1>(f, g)\n y = Gemm<transB = 1>(h, fc)",
        (1, 8, 8),
        {"w1": (2, 1, 2, 2), "w2": (2, 2, 2, 2), "fc": (2, 40)},
        1,
    ),
    "one of the maps is fine enough": (
        "a = Conv<strides = [2, 2]>(x, w1)\n b = Conv<strides = [4, 4]>(a, w2)\n f = Flatten(a)\n g = Flatten(b)\n"
        "h = Concat<axis = 1>(f, g)\n y = Gemm<transB = 1>(h, fc)",
        (1, 16, 8),
        {"w1": (2, 1, 2, 2), "w2": (2, 2, 4, 4), "fc": (2, 68)},
        4,
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_networks(name: str) -> None:
    text, image, weights, stride = EXACT[name]
    model = built(text, image, weights, int(name.partition("opset ")[2] or 17))
    rank = len(image) - 1
    steps = stride if isinstance(stride, tuple) else (stride,) * rank
    result = fc2conv.convert(model, stride=stride)
    assert result.report.verdict == "exact"
    assert result.geometry.stride == steps
    size = tuple(n + 5 + i for i, n in enumerate(image[1:]))
    pixels = integers((2, image[0], *size), 4)
    (found,) = session(result.model).run(["y"], {"x": pixels})
    expected = on_crops(model, pixels, image[1:], steps, range(2, 2 + rank))
    np.testing.assert_array_equal(found[tuple(map(slice, expected.shape))], expected)


def test_the_trained_size_has_one_window_whatever_it_leaves_over() -> None:
    model = built(EXACT["half of one stride"][0], (1, 14, 10), EXACT["half of one stride"][2])
    result = fc2conv.convert(model, stride=1)
    assert result.geometry.grid_size((14, 10)) == (1, 1)
    assert result.geometry.grid_size((17, 20)) == (4, 11)
    assert [n.op_type for n in result.model.graph.node].count("Slice") == 1
    assert result.geometry.grid.padding_after == (-3, -3)


def test_maps_that_are_outputs_are_denser_too() -> None:
    model = built(EXACT["1-D"][0].replace("f = Flatten(map)", "m = Relu(map)\n f = Flatten(m)"), *EXACT["1-D"][1:3])
    model.graph.output.extend(v for v in model.graph.value_info if v.name in ("m", "a"))
    result = fc2conv.convert(model, stride=2)
    assert result.report.maps["m"] == ["N", "2", "(length - 3)//2"]
    assert result.report.maps["a"] == ["N", "2", "(length - 1)//2"]
    assert result.report.dilations == {"m": [2]}


def test_without_a_head_the_maps_are_denser() -> None:
    model = built(
        "a = Conv<strides = [2, 2]>(x, w1)\n y = Conv<strides = [2, 2]>(a, w2)",
        (1, 8, 8),
        {
            "w1": (2, 1, 2, 2),
            "w2": (2, 2, 2, 2),
        },
    )
    result = fc2conv.convert(model, stride=2)
    pixels = integers((1, 1, 13, 12), 4)
    (found,) = session(result.model).run(["y"], {"x": pixels})
    for p, q in ((0, 0), (1, 1), (0, 1)):
        part = session(cut(model, ["x"], ["y"])).run(["y"], {"x": pixels[:, :, 2 * p :, 2 * q :]})[0]
        np.testing.assert_array_equal(found[:, :, p::2, q::2][tuple(map(slice, part.shape))], part)


def test_a_gate_sees_what_it_saw() -> None:
    text = """a = Conv<strides = [2, 2]>(x, w1)
    p = GlobalMaxPool(a)
    g = Conv(p, w3)
    s = Mul(a, g)
    map = Conv<strides = [2, 2]>(s, w2)
    f = Flatten(map)
    y = Gemm<transB = 1>(f, fc)"""
    model = built(text, (1, 12, 12), {"w1": (2, 1, 2, 2), "w3": (2, 2, 1, 1), "w2": (2, 2, 2, 2), "fc": (2, 18)})
    result = fc2conv.convert(model, stride=1)
    assert result.report.verdict == "global context"
    assert any("GlobalMaxPool 'p': looks at every 2x2-th cell" in change for change in result.report.dense)
    assert "what looks at the whole map looks at those cells of it" in result.report.verdict_words()
    pixels = integers((1, 1, 20, 24), 4)
    (found,) = session(result.model).run(["y"], {"x": pixels})
    own = answers_over(model, {"x": pixels}, {"map": ((3, 3), (1, 1))})["y"]
    np.testing.assert_array_equal(every(found, (4, 4)), own)


REFUSED: dict[str, tuple[str, tuple[int, ...], dict[str, Any], int, Any, str]] = {
    "norm over the window before opset 18": (
        "map = Conv<strides = [2, 2]>(x, w1)\n p = GlobalLpPool(map)\n f = Flatten(p)\n y = Gemm<transB = 1>(f, fc)",
        (1, 8, 8),
        {"w1": (2, 1, 2, 2), "fc": (2, 2)},
        17,
        1,
        "LpPool has dilations since opset 18",
    ),
    "tokens of the whole map": (
        "a = Conv<strides = [2, 2]>(x, w1)\n r = Reshape(a, to)\n s = Softmax<axis = 1>(r)\n y = Relu(s)",
        (1, 8, 8),
        {"w1": (2, 1, 2, 2), "to": np.array([0, 2, -1])},
        17,
        1,
        "lists positions of a map that --stride makes denser in one axis",
    ),
    "space to depth": (
        "a = Conv<strides = [2, 2]>(x, w1)\n map = SpaceToDepth<blocksize = 2>(a)\n f = Flatten(map)\n"
        "y = Gemm<transB = 1>(f, fc)",
        (1, 8, 8),
        {"w1": (2, 1, 2, 2), "fc": (2, 32)},
        17,
        2,
        "SpaceToDepth 'map': moves neighbouring cells",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    text, image, weights, opset, stride, reason = REFUSED[name]
    with pytest.raises(Unliftable, match=reason) as caught:
        fc2conv.convert(built(text, image, weights, opset), stride=stride, verify=False)
    assert caught.value.node


USAGE = {
    3: "does not divide the effective stride 4x4; possible along each axis: 1, 2, 4$",
    8: "does not divide",
    (4, 3): "does not divide",
    (2, 2, 2): "has 3 numbers, and the image has 2 spatial axes",
    0: "is not a positive number",
}


@pytest.mark.parametrize("stride", USAGE, ids=str)
def test_strides_that_cannot_be(stride: Any) -> None:
    text, image, weights, _ = EXACT["pool over the window, opset 17"]
    with pytest.raises(UsageError, match=USAGE[stride]):
        fc2conv.convert(built(text, image, weights), stride=stride, verify=False)


def test_the_effective_stride_itself_changes_nothing() -> None:
    text, image, weights, _ = EXACT["residual, unpadded"]
    model = built(text, image, weights)
    plain = fc2conv.convert(model, verify=False)
    result = fc2conv.convert(model, stride=4, verify=False)
    assert result.model == plain.model
    assert result.report.stride is None


def test_strides_along_an_axis_that_is_pooled_whole_stay() -> None:
    text = "a = Conv<strides = [2, 2]>(x, w1)\n b = Conv<strides = [2, 2]>(a, w2)\n"
    model = built(
        f"{text} y = ReduceMax<axes = [3], keepdims = 0>(b)", (1, 8, 8), {"w1": (2, 1, 2, 2), "w2": (2, 2, 2, 2)}
    )
    result = fc2conv.convert(model, stride=2)
    assert result.report.dense == ["Conv 'b': strides 2x2 -> 1x2"]
    assert result.report.stride == [2, 2]
    pixels = integers((1, 1, 14, 8), 4)
    (found,) = session(result.model).run(["y"], {"x": pixels})
    np.testing.assert_array_equal(found[:, :, ::2], session(cut(model, ["x"], ["y"])).run(["y"], {"x": pixels})[0])
