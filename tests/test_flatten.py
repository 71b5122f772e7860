"""Every spelling of "feature map becomes vector", judged by what numpy and onnxruntime make of it."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from onnx_fc2conv import model_io
from onnx_fc2conv.flatten import Layout, apply_view, axes_of, behind_view, covers_map
from onnx_fc2conv.ops import Op

from .networks import session

FIRST, MERGED, NO_BATCH = Layout(), Layout(merged=True), Layout(None)


@dataclass(frozen=True)
class View:
    """One view node, from ``x`` to ``y``.

    Attributes:
        text: the node; its second input, if it has one, is called ``operand``.
        shape: of ``x``, the batch first.
        operand: values of the second input.
        after: expected shape of ``y``.
        layout: where the batch is behind it.
        refused: part of the message if the values of an image do not stay together.
    """

    text: str
    shape: tuple[int, ...]
    operand: list[int] | None = None
    after: tuple[int, ...] = ()
    layout: Layout = FIRST
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
MIXES = "mixes the values of different images"
MERGES = "merges the images of a batch into {} row(s), so rows would mix windows"

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
    "Flatten axis=0 of one image": View("y = Flatten <axis = 0> (x)", (1, *CHW), None, (1, 40)),
    "Unsqueeze in front of one image": View("y = Unsqueeze (x, operand)", (1, 7), [0], (1, 1, 7)),
    # one image whose batch axis is gone
    "Reshape [-1] of one image": View(RESHAPE, (1, *CHW), [-1], (40,), NO_BATCH),
    "Reshape [-1,K/2] of one image": View(RESHAPE, (1, *CHW), [-1, 20], (2, 20), NO_BATCH),
    "Flatten axis=2 of one image": View("y = Flatten <axis = 2> (x)", (1, *CHW), None, (2, 20), NO_BATCH),
    "Squeeze all of one image": View("y = Squeeze (x)", (1, 7, 1, 1), None, (7,), NO_BATCH),
    "Squeeze to a scalar": View("y = Squeeze (x)", (1, 1), None, (), NO_BATCH),
    "Squeeze to a scalar, negative": View("y = Squeeze (x, operand)", (1,), [-1], (), NO_BATCH),
    # rows of several images
    "Flatten axis=2": View("y = Flatten <axis = 2> (x)", SHAPE, None, (6, 20), MERGED),
    "Flatten axis=-1": View("y = Flatten <axis = -1> (x)", SHAPE, None, (24, 5), MERGED),
    "Flatten axis=rank": View("y = Flatten <axis = 4> (x)", SHAPE, None, (120, 1), MERGED),
    "Reshape [-1]": View(RESHAPE, SHAPE, [-1], (120,), MERGED),
    "Reshape [-1,K/2]": View(RESHAPE, SHAPE, [-1, 20], (6, 20), MERGED),
    "Reshape [-1,2,5]": View(RESHAPE, SHAPE, [-1, 2, 5], (12, 2, 5), MERGED),
    # the batch behind other axes
    "Unsqueeze the batch": View("y = Unsqueeze (x, operand)", (3, 7), [0], (1, 3, 7), Layout(1)),
    "Unsqueeze the batch twice": View("y = Unsqueeze (x, operand)", (3, 7), [0, 1, 3], (1, 1, 3, 1, 7), Layout(2)),
    "Reshape [1,N,K]": View(RESHAPE, SHAPE, [1, 3, -1], (1, 3, 40), Layout(1)),
    # the values of an image do not stay together
    "Flatten axis=0": View("y = Flatten <axis = 0> (x)", SHAPE, None, (1, 120), refused=MERGES.format(1)),
    "Reshape [1,-1]": View(RESHAPE, SHAPE, [1, -1], (1, 120), refused=MERGES.format(1)),
    "Reshape features first": View(RESHAPE, SHAPE, [2, 3, -1], (2, 3, 20), refused=MERGES.format(2)),
    "Reshape between images": View(RESHAPE, SHAPE, [4, 3, 10], (4, 3, 10), refused=MIXES),
    "Reshape to rows of 24": View(RESHAPE, SHAPE, [-1, 24], (5, 24), refused=MIXES),
}
every_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())


def flattened(view: View) -> np.ndarray:
    return apply_view(view.op, view.positions, view.operand)


def listed(layout: Layout, order: np.ndarray, batch: int) -> np.ndarray:
    """What a layout and an order say of the positions, entry by entry."""
    shape = layout.shape(order.shape, batch)
    found = np.empty(shape, np.int64)
    for n in range(batch):
        for features in np.ndindex(*order.shape):
            index = list(features)
            if layout.merged:
                index[0] += n * order.shape[0]
            elif layout.before is not None:
                index.insert(layout.before, n)
            found[tuple(index)] = n * order.size + order[features]
    return found


@every_view
def test_positions_move_as_in_onnxruntime(view: View) -> None:
    image = view.positions.astype(np.float32)
    (expected,) = session(view.model).run(None, {"x": image})
    found = flattened(view)
    assert found.shape == view.after == expected.shape
    np.testing.assert_array_equal(found.astype(np.float32), expected)


@every_view
def test_every_image_keeps_its_values_together_or_the_view_is_refused(view: View) -> None:
    after, batch = flattened(view), view.shape[0]
    if view.refused:
        with pytest.raises(ValueError, match=f"^{re.escape(view.refused)}$"):
            behind_view(after, batch)
        return
    layout, order = behind_view(after, batch)
    assert layout == view.layout
    image = np.random.default_rng(5).integers(0, 99, view.shape).astype(np.float32)
    (expected,) = session(view.model).run(None, {"x": image})
    np.testing.assert_array_equal(image.ravel()[listed(layout, order, batch)], expected)


MIXED = {
    "images swapped": lambda x: x[::-1],
    "interleaved": lambda x: x.reshape(4, 3, -1).swapaxes(0, 1).reshape(3, 4, -1),
    "batch last, then rows": lambda x: x.transpose(1, 2, 3, 0).reshape(3, -1),
    "only the first in another order": lambda x: np.concatenate([x[:1, ::-1], x[1:]]),
    "only the last in another order": lambda x: np.concatenate([x[:2], x[2:, ::-1]]),
    "rows swapped between images": lambda x: x.reshape(6, 20)[[0, 2, 1, 3, 4, 5]],
}


@pytest.mark.parametrize("mixed", MIXED.values(), ids=MIXED.keys())
def test_rows_of_the_right_number_can_still_mix_images(mixed) -> None:  # type: ignore[no-untyped-def]
    after = mixed(np.arange(3 * 2 * 4 * 5).reshape(3, 2, 4, 5))
    assert after.shape[0] % 3 == 0
    with pytest.raises(ValueError, match=MIXES):
        behind_view(after, 3)


MOVED = {
    "H, W, C order": (lambda x: x.transpose(0, 2, 3, 1).reshape(3, -1), Layout()),
    "the batch last": (lambda x: x.transpose(1, 2, 3, 0), Layout(3)),
    "the batch in the middle": (lambda x: x.transpose(2, 0, 3, 1).reshape(4, 3, 10), Layout(1)),
    "features reversed": (lambda x: x[:, ::-1], Layout()),
    "rows of all images, reversed in each": (lambda x: x[:, ::-1].reshape(6, 20), MERGED),
}


@pytest.mark.parametrize(("moved", "expected"), MOVED.values(), ids=MOVED.keys())
def test_the_same_order_in_every_image_is_a_view(moved, expected: Layout) -> None:  # type: ignore[no-untyped-def]
    after = moved(np.arange(3 * 2 * 4 * 5).reshape(3, 2, 4, 5))
    layout, order = behind_view(after, 3)
    assert layout == expected
    np.testing.assert_array_equal(listed(layout, order, 3), after)


# -- where the batch is ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placed:
    """A layout of features (2, 3, 4) of 5 images (1 where the batch axis is gone), and what it says of itself."""

    layout: Layout
    shape: tuple[int, ...]
    axes: list[int | None]  #: the feature axis of every axis
    plain: bool = False

    @property
    def batch(self) -> int:
        return 1 if self.layout.before is None else 5


FEATURES = (2, 3, 4)
LAYOUTS = {
    "first": Placed(Layout(), (5, 2, 3, 4), [None, 0, 1, 2], plain=True),
    "second": Placed(Layout(1), (2, 5, 3, 4), [0, None, 1, 2]),
    "third": Placed(Layout(2), (2, 3, 5, 4), [0, 1, None, 2]),
    "last": Placed(Layout(3), (2, 3, 4, 5), [0, 1, 2, None]),
    "merged": Placed(Layout(merged=True), (10, 3, 4), [None, 1, 2]),
    "gone": Placed(Layout(None), (2, 3, 4), [0, 1, 2]),
}
every_layout = pytest.mark.parametrize("placed", LAYOUTS.values(), ids=LAYOUTS.keys())


@every_layout
def test_what_a_layout_says_of_itself(placed: Placed) -> None:
    layout = placed.layout
    assert layout.shape(FEATURES, placed.batch) == placed.shape
    assert layout.rank(FEATURES) == len(placed.shape)
    assert [layout.feature(axis) for axis in range(len(placed.shape))] == placed.axes
    assert layout.plain is placed.plain


@every_layout
def test_positions_are_counted_image_by_image(placed: Placed) -> None:
    found = placed.layout.positions(FEATURES, placed.batch)
    np.testing.assert_array_equal(found, listed(placed.layout, np.arange(24).reshape(FEATURES), placed.batch))


@every_layout
def test_an_axis_of_the_value_is_the_feature_axis_that_it_steps_along(placed: Placed) -> None:
    positions = placed.layout.positions(FEATURES, placed.batch)
    steps = [math.prod(FEATURES[f + 1 :]) for f in range(len(FEATURES))]
    for axis, feature in enumerate(placed.axes):
        step = steps[feature] if feature is not None else steps[0] if placed.layout.merged else math.prod(FEATURES)
        assert (np.diff(positions, axis=axis) == step).all()


@every_layout
def test_what_is_left_when_feature_axes_are_dropped(placed: Placed) -> None:
    for count in range(4):
        for dropped in itertools.combinations(range(len(FEATURES)), count):
            if placed.layout.merged and 0 in dropped:
                continue  # the first axis holds the images too
            kept = tuple(1 if f in dropped else n for f, n in enumerate(FEATURES))
            axes = tuple(axis for axis, feature in enumerate(placed.axes) if feature in dropped)
            before = placed.layout.positions(kept, placed.batch)
            after = placed.layout.without(dropped).positions(
                tuple(n for f, n in enumerate(kept) if f not in dropped), placed.batch
            )
            np.testing.assert_array_equal(after, np.squeeze(before, axes))


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Layout, tuple[int, ...], int]:
    """A layout, features and a batch that go together."""
    features = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    batch = draw(st.integers(1, 4))
    places = [Layout(before) for before in range(len(features) + 1)] + [MERGED] + [NO_BATCH] * (batch == 1)
    return draw(st.sampled_from(places)), features, batch


@settings(derandomize=True, deadline=None, max_examples=300)
@given(layouts())
def test_a_layout_is_recognised_behind_no_view_at_all(given_layout: tuple[Layout, tuple[int, ...], int]) -> None:
    layout, features, batch = given_layout
    found, order = behind_view(layout.positions(features, batch), batch)
    np.testing.assert_array_equal(order.ravel(), np.arange(math.prod(features)))
    assert found.shape(order.shape, batch) == layout.shape(features, batch)
    if batch > 1 and not (layout.merged and features[0] == 1):  # rows of one feature are images
        assert (found, order.shape) == (layout, features)


def together(after: np.ndarray, batch: int) -> bool:
    """True if an axis, or the first one in equal parts, counts the images, and all of them are alike."""
    axes = [list(np.moveaxis(after, axis, 0)) for axis in range(after.ndim) if after.shape[axis] == batch]
    parts = [np.split(after, batch)] if after.ndim and after.shape[0] % batch == 0 else []
    size = after.size // batch
    return any(
        all(np.array_equal(image, images[0] + n * size) for n, image in enumerate(images))
        and sorted(images[0].ravel()) == list(range(size))
        for images in axes + parts
    )


@settings(derandomize=True, deadline=None, max_examples=400)
@given(layouts(), st.data())
def test_a_chain_of_views_is_recognised_or_mixes_images(
    given_layout: tuple[Layout, tuple[int, ...], int], data: st.DataObject
) -> None:
    layout, features, batch = given_layout
    value = layout.positions(features, batch)
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            value = value.transpose(data.draw(st.permutations(range(value.ndim))))
        else:
            primes = [p for n in value.shape for p in ((2, 2) if n == 4 else (n,))]
            moved = data.draw(st.permutations(primes)) if data.draw(st.booleans()) else primes
            ends = sorted(data.draw(st.sets(st.integers(1, len(moved)), max_size=3)) | {len(moved)})
            target = [math.prod(moved[a:b]) for a, b in itertools.pairwise([0, *ends])]
            op = View(RESHAPE, value.shape, target).op
            value = apply_view(op, value, target)
        try:
            found, order = behind_view(value, batch)
        except ValueError:
            assert not together(value, batch)
            assert batch > 1
            return
        np.testing.assert_array_equal(listed(found, order, batch), value)


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
