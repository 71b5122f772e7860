"""Every spelling of "feature map becomes vector", judged by what numpy and onnxruntime make of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from onnx_fc2conv import model_io
from onnx_fc2conv.flatten import apply_view, axes_of, covers_map, per_image
from onnx_fc2conv.ops import Op

from .networks import session


@dataclass(frozen=True)
class View:
    """One view node, from ``x`` to ``y``.

    Attributes:
        text: the node; its second input, if it has one, is called ``operand``.
        shape: of ``x``, the batch first.
        operand: values of the second input.
        after: expected shape of ``y``.
        refused: part of the message if the batch does not stay a batch; empty where every image keeps its row.
    """

    text: str
    shape: tuple[int, ...]
    operand: list[int] | None = None
    after: tuple[int, ...] = ()
    refused: str = ""
    opset: int = 17

    @property
    def model(self) -> ModelProto:
        nodes = parser.parse_graph("g (float x) => (float y) {\n" + self.text + "\n}").node
        graph = helper.make_graph(
            nodes,
            "view",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [] if self.operand is None else [numpy_helper.from_array(np.array(self.operand, np.int64), "operand")],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    @property
    def op(self) -> Op:
        return model_io.load(self.model)[0].ops[0]

    @property
    def positions(self) -> np.ndarray:
        return np.arange(int(np.prod(self.shape)), dtype=np.int64).reshape(self.shape)


RESHAPE = "y = Reshape (x, operand)"
ALLOWZERO = "y = Reshape <allowzero = 1> (x, operand)"
N, CHW = 3, (2, 4, 5)
SHAPE = (N, *CHW)
MIXES = "so rows would mix windows"

VIEWS = {
    # one row per image
    "Flatten": View("y = Flatten (x)", SHAPE, None, (3, 40)),
    "Flatten axis=1": View("y = Flatten <axis = 1> (x)", SHAPE, None, (3, 40)),
    "Flatten axis=-3": View("y = Flatten <axis = -3> (x)", SHAPE, None, (3, 40)),
    "Flatten of a row": View("y = Flatten (x)", (3, 40), None, (3, 40)),
    "Reshape [N,K]": View(RESHAPE, SHAPE, [3, 40], (3, 40)),
    "Reshape [0,-1]": View(RESHAPE, SHAPE, [0, -1], (3, 40)),
    "Reshape [-1,K]": View(RESHAPE, SHAPE, [-1, 40], (3, 40)),
    "Reshape [0,K]": View(RESHAPE, SHAPE, [0, 40], (3, 40)),
    "Reshape [N,-1]": View(RESHAPE, SHAPE, [3, -1], (3, 40)),
    "Reshape copies two dims": View(RESHAPE, SHAPE, [0, 0, -1], (3, 2, 20)),
    "Reshape copies every dim": View(RESHAPE, SHAPE, [0, 0, 0, 0], SHAPE),
    "Reshape to a column": View(RESHAPE, SHAPE, [0, -1, 1], (3, 40, 1)),
    "Reshape to unit axes": View(RESHAPE, SHAPE, [3, 1, 40, 1], (3, 1, 40, 1)),
    "Reshape to other features": View(RESHAPE, SHAPE, [0, 5, -1, 4], (3, 5, 2, 4)),
    "Reshape [N,K] allowzero": View(ALLOWZERO, SHAPE, [3, 40], (3, 40)),
    "Reshape [-1,K] allowzero": View(ALLOWZERO, SHAPE, [-1, 40], (3, 40)),
    "Reshape allowzero=0": View("y = Reshape <allowzero = 0> (x, operand)", SHAPE, [0, -1], (3, 40)),
    "Reshape opset 13": View(RESHAPE, SHAPE, [0, -1], (3, 40), opset=13),
    "Reshape opset 7": View(RESHAPE, SHAPE, [0, -1], (3, 40), opset=7),
    "Reshape in four dims": View(RESHAPE, (2, 4, 1, 3, 2), [0, -1, 0, 2], (2, 12, 1, 2)),
    "Squeeze all": View("y = Squeeze (x)", (3, 7, 1, 1), None, (3, 7)),
    "Squeeze 2,3": View("y = Squeeze (x, operand)", (3, 7, 1, 1), [2, 3], (3, 7)),
    "Squeeze -1,-2": View("y = Squeeze (x, operand)", (3, 7, 1, 1), [-1, -2], (3, 7)),
    "Squeeze one": View("y = Squeeze (x, operand)", (3, 1, 7, 1), [1], (3, 7, 1)),
    "Squeeze attribute": View("y = Squeeze <axes = [2, 3]> (x)", (3, 7, 1, 1), None, (3, 7), opset=11),
    "Squeeze attribute -1": View("y = Squeeze <axes = [-1]> (x)", (3, 7, 1), None, (3, 7), opset=11),
    "Unsqueeze last": View("y = Unsqueeze (x, operand)", (3, 7), [2], (3, 7, 1)),
    "Unsqueeze -1": View("y = Unsqueeze (x, operand)", (3, 7), [-1], (3, 7, 1)),
    "Unsqueeze -1,1": View("y = Unsqueeze (x, operand)", (3, 7), [-1, 1], (3, 1, 7, 1)),
    "Unsqueeze unsorted": View("y = Unsqueeze (x, operand)", (3, 7), [3, 1], (3, 1, 7, 1)),
    "Unsqueeze attribute": View("y = Unsqueeze <axes = [2, 3]> (x)", (3, 7), None, (3, 7, 1, 1), opset=11),
    # one image, so that its one row is the batch
    "Squeeze of one image": View("y = Squeeze (x, operand)", (1, 7, 1, 1), [2, 3], (1, 7)),
    # rows of several images
    "Flatten axis=0": View("y = Flatten <axis = 0> (x)", SHAPE, None, (1, 120), MIXES),
    "Flatten axis=2": View("y = Flatten <axis = 2> (x)", SHAPE, None, (6, 20), MIXES),
    "Flatten axis=-1": View("y = Flatten <axis = -1> (x)", SHAPE, None, (24, 5), MIXES),
    "Flatten axis=rank": View("y = Flatten <axis = 4> (x)", SHAPE, None, (120, 1), MIXES),
    "Reshape [-1]": View(RESHAPE, SHAPE, [-1], (120,), MIXES),
    "Reshape [-1,K/2]": View(RESHAPE, SHAPE, [-1, 20], (6, 20), MIXES),
    "Reshape [1,-1]": View(RESHAPE, SHAPE, [1, -1], (1, 120), MIXES),
    "Reshape features first": View(RESHAPE, SHAPE, [2, 3, -1], (2, 3, 20), MIXES),
    "Unsqueeze the batch": View("y = Unsqueeze (x, operand)", (3, 7), [0], (1, 3, 7), MIXES),
    "Squeeze all of one image": View("y = Squeeze (x)", (1, 7, 1, 1), None, (7,), MIXES),
    "Squeeze to a scalar": View("y = Squeeze (x)", (1, 1), None, (), MIXES),
    "Squeeze to a scalar, negative": View("y = Squeeze (x, operand)", (1,), [-1], (), MIXES),
}
every_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())


def flattened(view: View) -> np.ndarray:
    return apply_view(view.op, view.positions, view.operand)


@every_view
def test_positions_move_as_in_onnxruntime(view: View) -> None:
    image = view.positions.astype(np.float32)
    (expected,) = session(view.model).run(None, {"x": image})
    found = flattened(view)
    assert found.shape == view.after == expected.shape
    np.testing.assert_array_equal(found.astype(np.float32), expected)


@every_view
def test_every_image_keeps_its_row_or_the_view_is_refused(view: View) -> None:
    after = flattened(view)
    if view.refused:
        with pytest.raises(ValueError, match=view.refused):
            per_image(view.positions, after)
        return
    order = per_image(view.positions, after)
    assert order.shape == view.after[1:]
    image = np.random.default_rng(5).integers(0, 99, view.shape).astype(np.float32)
    (expected,) = session(view.model).run(None, {"x": image})
    for n in range(view.shape[0]):
        np.testing.assert_array_equal(image[n].ravel()[order], expected[n])


def test_the_message_of_a_mixing_view_counts_images_and_rows() -> None:
    view = VIEWS["Reshape [-1,K/2]"]
    with pytest.raises(ValueError, match=re.escape("turns one image into 2 rows of [20], so rows would mix windows")):
        per_image(view.positions, flattened(view))


@pytest.mark.parametrize(
    "mixed",
    [
        pytest.param(lambda x: x[::-1], id="images swapped"),
        pytest.param(lambda x: x.reshape(4, 3, -1).swapaxes(0, 1).reshape(3, 4, -1), id="interleaved"),
        pytest.param(lambda x: x.transpose(1, 2, 3, 0).reshape(3, -1), id="batch last"),
        pytest.param(lambda x: np.concatenate([x[:1, ::-1], x[1:]]), id="only the first in another order"),
    ],
)
def test_rows_of_the_right_number_can_still_mix_images(mixed) -> None:  # type: ignore[no-untyped-def]
    before = np.arange(3 * 2 * 4 * 5).reshape(3, 2, 4, 5)
    after = mixed(before)
    assert after.shape[0] == 3
    with pytest.raises(ValueError, match="mixes the values of different images"):
        per_image(before, after)


def test_the_same_order_in_every_image_is_a_view() -> None:
    before = np.arange(3 * 2 * 4 * 5).reshape(3, 2, 4, 5)
    np.testing.assert_array_equal(
        per_image(before, before.transpose(0, 2, 3, 1).reshape(3, -1)),
        np.arange(40).reshape(2, 4, 5).transpose(1, 2, 0).ravel(),
    )


factors = st.lists(st.sampled_from([1, 2, 3, 5]), min_size=2, max_size=5)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.integers(1, 4), factors, st.randoms(use_true_random=False))
def test_a_reshape_is_a_view_if_and_only_if_its_first_axis_is_the_batch(
    batch: int, features: list[int], random: object
) -> None:
    target = list(features)
    random.shuffle(target)  # type: ignore[attr-defined]
    view = View(RESHAPE, (batch, *features), [batch, *target])
    order = per_image(view.positions, flattened(view))
    np.testing.assert_array_equal(order, np.arange(int(np.prod(features))).reshape(target))
    moved = View(RESHAPE, (batch, *features), [*target, batch])
    rows_are_images = target[0] == batch
    if rows_are_images:
        per_image(moved.positions, flattened(moved))
    else:
        with pytest.raises(ValueError, match=MIXES):
            per_image(moved.positions, flattened(moved))


# -- what does not fit -------------------------------------------------------------------------------------------------

DOES_NOT_FIT = {
    "too few values": (View(RESHAPE, SHAPE, [3, 41]), "cannot reshape"),
    "not divisible": (View(RESHAPE, SHAPE, [-1, 7]), "cannot reshape"),
    "two unknown dims": (View(RESHAPE, SHAPE, [-1, -1]), "one unknown dimension"),
    "copies a dim that is not there": (View(RESHAPE, (3, 4), [0, 4, 0]), "copies a dim that its input does not have"),
    "zero is zero": (View(ALLOWZERO, SHAPE, [0, 40]), "cannot reshape"),
    "not known": (View(RESHAPE, SHAPE, None), "not known before run time"),
    "squeezes a wide axis": (View("y = Squeeze (x, operand)", SHAPE, [1]), "size not equal to one"),
    "squeezes beyond the rank": (View("y = Squeeze (x, operand)", (3, 1), [2]), "out of bounds"),
    "unsqueezes beyond the rank": (View("y = Unsqueeze (x, operand)", (3, 4), [5]), "out of bounds"),
    "unsqueezes twice": (View("y = Unsqueeze (x, operand)", (3, 4), [1, 1]), "repeated axis"),
}


@pytest.mark.parametrize(("view", "message"), DOES_NOT_FIT.values(), ids=DOES_NOT_FIT.keys())
def test_views_that_do_not_fit_their_shape(view: View, message: str) -> None:
    given_operand = View(view.text, view.shape, view.operand or [1], opset=view.opset)  # only to parse the node
    with pytest.raises(ValueError, match=message):
        apply_view(given_operand.op, view.positions, view.operand)


def test_the_shape_attribute_of_opset_1() -> None:
    op = Op(0, "Reshape", "", "", ["x"], ["y"], 1, {"shape": [0, -1]})
    np.testing.assert_array_equal(apply_view(op, np.arange(24).reshape(2, 3, 4), None), np.arange(24).reshape(2, 12))


AXES = [
    ([-1, 0], {}, [0, 3]),
    (None, {"axes": [3, -4]}, [0, 3]),
    ([2], {"axes": [1]}, [2]),
    (None, {}, None),
    ([], {}, []),
]


@pytest.mark.parametrize(("operand", "attrs", "expected"), AXES)
def test_axes_of(operand: list[int] | None, attrs: dict[str, list[int]], expected: list[int] | None) -> None:
    assert axes_of(Op(0, "ReduceMean", "", "", ["x"], ["y"], 17, attrs), operand, 4) == expected


# -- pools over the whole map ------------------------------------------------------------------------------------------

COVERS = {
    "all of it": ({"kernel_shape": [7, 5]}, [7, 5], True),
    "any stride": ({"kernel_shape": [7, 5], "strides": [3, 2]}, [7, 5], True),
    "zero pads": ({"kernel_shape": [7, 5], "pads": [0, 0, 0, 0]}, [7, 5], True),
    "VALID": ({"kernel_shape": [7, 5], "auto_pad": "VALID"}, [7, 5], True),
    "dilations of 1": ({"kernel_shape": [7, 5], "dilations": [1, 1]}, [7, 5], True),
    "1-D": ({"kernel_shape": [7]}, [7], True),
    "3-D": ({"kernel_shape": [2, 3, 4]}, [2, 3, 4], True),
    "one wide axis": ({"kernel_shape": [7, 1]}, [7, 1], True),
    "part of it": ({"kernel_shape": [7, 4]}, [7, 5], False),
    "swapped": ({"kernel_shape": [5, 7]}, [7, 5], False),
    "more than it": ({"kernel_shape": [8, 5]}, [7, 5], False),
    "pads": ({"kernel_shape": [7, 5], "pads": [0, 1, 0, 1]}, [7, 5], False),
    "SAME": ({"kernel_shape": [7, 5], "auto_pad": "SAME_UPPER"}, [7, 5], False),
    "SAME with one window": ({"kernel_shape": [7, 5], "auto_pad": "SAME_UPPER", "strides": [7, 9]}, [7, 5], True),
    "SAME with two": ({"kernel_shape": [7, 5], "auto_pad": "SAME_LOWER", "strides": [7, 4]}, [7, 5], False),
    "dilated": ({"kernel_shape": [7, 5], "dilations": [1, 2]}, [7, 5], False),
    "one cell": ({"kernel_shape": [1, 1]}, [1, 1], False),
    "no kernel": ({}, [7, 5], False),
}


@pytest.mark.parametrize(("attrs", "spatial", "expected"), COVERS.values(), ids=COVERS.keys())
def test_covers_map(attrs: dict[str, object], spatial: list[int], expected: bool) -> None:
    assert covers_map(Op(0, "AveragePool", "", "", ["x"], ["y"], 17, attrs), spatial) is expected
