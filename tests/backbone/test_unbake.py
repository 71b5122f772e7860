"""Reshapes that carry the trained size and are Transposes in disguise.

The oracle is the original on image crops of the trained size, where it can run, and a twin of it in which the Transpose
is written as such.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.flatten import unit_move
from tests.networks import answers, integers, session

SHAPES = {
    "NHWC, one channel": ([8, 6, 1], [-1, 1, 8, 6], [0, 3, 1, 2]),
    "NHWC, one channel, batch copied": ([8, 6, 1], [0, 1, 8, 6], [0, 3, 1, 2]),
    "channel between the axes": ([8, 1, 6], [-1, 1, 8, 6], [0, 2, 1, 3]),
    "channel in place": ([1, 8, 6], [-1, 1, 8, 6], [0, 1, 2, 3]),
}


def classifier(image: list[int], first: onnx.NodeProto, shape: list[int] | None) -> ModelProto:
    """``first`` makes ``nchw`` of ``x``; behind it an unpadded Conv, Flatten and two FC nodes with integer weights."""
    nodes = [
        first,
        helper.make_node("Conv", ["nchw", "k"], ["map"], strides=[2, 2]),
        helper.make_node("Flatten", ["map"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["g"], transB=1),
        helper.make_node("Relu", ["g"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], transB=1),
    ]
    arrays = {
        "k": integers((3, 1, 2, 2), 1),
        "w": integers((5, 36), 2),
        "b": integers((5,), 3),
        "w2": integers((4, 5), 4),
    }
    arrays["b2"] = integers((4,), 5)
    if shape is not None:
        arrays["shape"] = np.array(shape, np.int64)
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", 1, ["N", *image])],
        [helper.make_tensor_value_info("y", 1, ["N", 4])],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def baked(name: str) -> tuple[ModelProto, ModelProto, list[int]]:
    """The model with the Reshape, its twin with the Transpose, and the perm."""
    image, target, perm = SHAPES[name]
    reshape = helper.make_node("Reshape", ["x", "shape"], ["nchw"], name="disguise")
    twin = [d if d == 1 else None for d in image]
    transpose = helper.make_node("Transpose", ["x"], ["nchw"], perm=perm)
    return classifier(image, reshape, target), classifier(twin, transpose, None), perm


@pytest.mark.parametrize("name", SHAPES)
def test_every_cell_is_the_original_on_the_image_crop(name: str) -> None:
    original, twin, perm = baked(name)
    result = fc2conv.convert(original)
    height, width = perm[2], perm[3]
    shape = [2, *SHAPES[name][0]]
    shape[height], shape[width] = 14, 10
    image = integers(shape, 9)
    found = session(result.model).run(None, {"x": image})[0]
    assert found.shape == (2, 4, 4, 3)
    np.testing.assert_array_equal(found, answers(twin, image, (4, 3))["y"])
    run = session(original)
    for i, j in np.ndindex(4, 3):
        crop = image.take(range(2 * i, 2 * i + 8), height).take(range(2 * j, 2 * j + 6), width)
        np.testing.assert_array_equal(found[:, :, i, j], run.run(None, {"x": np.ascontiguousarray(crop)})[0])
    assert result.report.verdict == "exact"
    assert [line.split(" -> ")[0] for line in result.report.unbaked] == ["Reshape 'disguise'"]


def test_the_shape_that_carried_the_size_is_gone() -> None:
    original, _, _ = baked("NHWC, one channel")
    model = fc2conv.convert(original, verify=False).model
    first = model.graph.node[0]
    assert (first.op_type, first.name, list(first.input), list(first.output)) == (
        "Transpose",
        "disguise",
        ["x"],
        ["nchw"],
    )
    assert "shape" not in {t.name for t in model.graph.initializer}


@pytest.mark.parametrize(
    ("before", "after", "perm"),
    [
        ((7, 8, 6, 1), (7, 1, 8, 6), [0, 3, 1, 2]),
        ((7, 1, 8, 6), (7, 8, 6, 1), [0, 2, 3, 1]),
        ((7, 1, 1, 5), (7, 5, 1, 1), [0, 3, 1, 2]),
        ((7, 8, 6), (7, 8, 6), [0, 1, 2]),
        ((7, 8, 6, 1), (7, 1, 6, 8), None),
        ((7, 8, 6, 2), (7, 2, 8, 6), None),
        ((7, 8, 6), (7, 48), None),
        ((7, 8, 6, 1), (14, 1, 4, 6), None),
    ],
)
def test_unit_move(before: tuple[int, ...], after: tuple[int, ...], perm: list[int] | None) -> None:
    assert unit_move(before, after) == perm
    if perm is not None:
        values = np.arange(np.prod(before)).reshape(before)
        np.testing.assert_array_equal(values.transpose(perm), values.reshape(after))


def test_a_reshape_that_mixes_axes_is_refused_by_what_stands_behind_it() -> None:
    image = [8, 6, 2]
    reshape = helper.make_node("Reshape", ["x", "shape"], ["nchw"], name="mix")
    model = classifier(image, reshape, [-1, 1, 12, 8])
    with pytest.raises(fc2conv.Unliftable, match="in a way that is not understood"):
        fc2conv.convert(model)
