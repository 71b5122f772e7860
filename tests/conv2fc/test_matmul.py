"""Every kind of Conv as a product, at sizes that are fixed and at several that are not, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from onnx_fc2conv import emitter, taps
from onnx_fc2conv.conv2fc import convolution
from onnx_fc2conv.conv2fc.matmul import arrangement, layout, patches, product, same
from tests.conv2fc.products import Case, by_hand, compare, constant, lowered, model_of, node_of, op_types, run
from tests.conv2fc.products import product as rewritten

OPSETS = (7, 8, 9, 10, 11, 13, 18, 22)

KERNELS = [
    Case((1, 1)),
    Case((1, 1), {"strides": [2, 3]}),
    Case((1, 1), {"pads": [1, 0, 0, 2], "strides": [1, 2]}),
    Case((3, 3)),
    Case((3, 3), bias=False),
    Case((3, 3), {"pads": [1, 1, 1, 1]}),
    Case((3, 2), {"strides": [2, 2], "pads": [0, 1, 2, 0]}),
    Case((2, 3), {"strides": [3, 1]}),
    Case((3, 3), {"strides": [3, 2], "dilations": [2, 1], "pads": [2, 1, 1, 0]}),
    Case((3, 1), {"dilations": [2, 1]}),
    Case((1, 4), {"strides": [1, 2], "pads": [0, 3, 0, 3]}),
    Case((2, 2), {"strides": [4, 3]}),  # cells that no kernel sees
    Case((3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}, channels=1, units=1),
    Case((5, 4), {"pads": [4, 3, 4, 3]}),
    Case((3, 3), {"strides": [2, 1], "pads": [1, 0, 1, 2], "dilations": [1, 2]}, channels=17),
    Case((3,), {"strides": [2], "pads": [1, 1]}, channels=16, size=(7,)),
    Case((4,), {"strides": [2], "pads": [1, 1]}, size=(7,)),
    Case((1,), size=(5,)),
    Case((2, 3, 2), {"strides": [1, 2, 2], "pads": [1, 0, 1, 0, 1, 0]}, channels=16, size=(4, 5, 4)),
    Case((2, 3, 2), {"strides": [1, 2, 2], "pads": [1, 0, 1, 0, 1, 0]}, size=(4, 5, 4)),
    Case((1, 1, 1), {"strides": [2, 1, 2]}, size=(3, 3, 4)),
]
GROUPS = [
    Case((3, 3), {"group": 2, "pads": [1, 1, 1, 1]}, channels=4, units=6),
    Case((3, 3), {"group": 3, "strides": [2, 1]}, channels=6, units=3),
    Case((1, 1), {"group": 2}, channels=6, units=4, bias=False),
    Case((1, 1), {"group": 2, "strides": [2, 2]}, channels=4, units=4),
    Case((1, 1), {"group": 3}, channels=3, units=3),
    Case((3, 3), {"group": 4, "pads": [1, 1, 1, 1]}, channels=4, units=4),
    Case((3, 2), {"group": 4, "strides": [2, 2]}, channels=4, units=8),
    Case((3, 3), {"group": 4, "dilations": [2, 1], "strides": [1, 2]}, channels=4, units=4, bias=False),
    Case((3,), {"group": 2, "pads": [1, 2]}, channels=4, units=2, size=(6,)),
    Case((2,), {"group": 2, "strides": [2]}, channels=4, units=6, size=(6,)),
    Case((2, 1, 2), {"group": 2, "strides": [1, 2, 1]}, channels=2, units=4, size=(3, 4, 3)),
]
SAME = [
    Case(window, {"auto_pad": pad, "strides": strides}, size=(5, 8))
    for pad in ("SAME_UPPER", "SAME_LOWER")
    for window, strides in (((3, 3), [1, 1]), ((3, 2), [2, 2]), ((4, 3), [3, 2]), ((1, 5), [2, 1]), ((2, 1), [3, 2]))
] + [
    Case((3, 2), {"auto_pad": "VALID", "strides": [2, 1]}),
    Case((3,), {"auto_pad": "SAME_UPPER", "strides": [2]}, size=(5,)),
    Case((3, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2], "group": 2}, channels=2, units=2),
]
TYPES = [
    Case((3, 3), {"group": group, "strides": [2, 1], "pads": [1, 1, 0, 0]}, 2, 2, opset=opset, dtype=np.float16)
    for group in (1, 2)
    for opset in (7, 9, 10, 13, 22)
]
LONG = [  # gathered in two steps
    Case((k,), {"dilations": [d], "strides": [s], "group": group}, c, 2, size=((k + 4) * d,))
    for k, d, s, group, c in (
        (25, 1, 1, 1, 2),
        (36, 1, 6, 1, 17),
        (36, 2, 4, 2, 2),
        (37, 1, 1, 1, 16),
        (41, 3, 2, 1, 2),
        (64, 1, 16, 1, 1),
        (53, 1, 5, 2, 2),
        (53, 1, 5, 2, 6),
    )
] + [Case((27, 2), {"pads": [13, 0, 13, 1], "strides": [2, 1]}, opset=opset, size=(5, 4)) for opset in (9, 17)]
WHOLE_MAP = [
    Case((3, 2), size=(3, 2)),
    Case((3, 2), {"strides": [2, 2]}, bias=False, size=(3, 2)),
    Case((1, 1), size=(1, 1)),
    Case((4,), size=(4,)),
    Case((2, 1, 2), size=(2, 1, 2)),
    Case((3, 2), size=(3, 2), dtype=np.float16),
    Case((3, 2), bias=False, opset=9, size=(3, 2)),
]


def check(case: Case) -> None:
    """At sizes and batches that the model leaves open, and at one that it fixes."""
    fixed = case.model(2, case.size)
    compare(fixed, rewritten(fixed), [{"x": case.image(2, case.size)}])
    free = case.model()
    feeds = [{"x": case.image(1 + i % 2, size, i)} for i, size in enumerate(case.sizes())]
    compare(free, rewritten(free), feeds)


@pytest.mark.parametrize("case", [*KERNELS, *GROUPS, *SAME, *TYPES, *LONG], ids=str)
def test_equals_the_conv(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    "case", [KERNELS[i] for i in (1, 2, 8, 14, 16)] + GROUPS[:1] + GROUPS[6:8] + SAME[1:2], ids=str
)
def test_at_every_opset(case: Case, opset: int) -> None:
    check(replace(case, opset=opset))


@pytest.mark.parametrize("case", [*KERNELS[5:9], *GROUPS[:6], KERNELS[16]], ids=str)
def test_equals_the_definition(case: Case) -> None:
    """A second oracle, which shares nothing with onnxruntime."""
    x, constants = case.image(2, case.size), case.constants()
    np.testing.assert_array_equal(
        run(rewritten(case.model()), {"x": x}), by_hand(x, constants["w"], constants.get("b"), case.attrs)
    )


@pytest.mark.parametrize("case", [KERNELS[8], GROUPS[0], GROUPS[6], WHOLE_MAP[0]], ids=str)
def test_of_float64(case: Case) -> None:
    """Of which onnxruntime has a MatMul and no Conv."""
    case = replace(case, opset=17, dtype=np.float64)
    x, constants = case.image(2, case.size), case.constants()
    found = run(rewritten(case.model(2, case.size)), {"x": x})
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, by_hand(x, constants["w"], constants["b"], case.attrs))


@pytest.mark.parametrize("case", [KERNELS[8], GROUPS[6]], ids=str)
def test_of_bfloat16(case: Case) -> None:
    """Which onnxruntime's CPU provider does not run; onnx.reference does."""
    case = replace(case, opset=22, dtype=ml_dtypes.bfloat16)
    x, constants = case.image(2, case.size), case.constants()
    (found,) = ReferenceEvaluator(rewritten(case.model())).run(None, {"x": x})
    np.testing.assert_array_equal(np.asarray(found, np.float64), by_hand(x, constants["w"], constants["b"], case.attrs))


@pytest.mark.parametrize("case", WHOLE_MAP, ids=str)
def test_a_kernel_that_covers_the_map_is_a_gemm(case: Case) -> None:
    fixed = case.model("N", case.size)
    found = rewritten(fixed)
    assert op_types(found) == ["Flatten", "Gemm", "Reshape"]
    compare(fixed, found, [{"x": case.image(batch, case.size)} for batch in (1, 3)])
    weight = constant(found, "w")  # under its own name, since the other is gone
    assert weight.tobytes() == case.weight().tobytes()
    assert weight.shape == (case.units, case.channels * int(np.prod(case.window)))


@pytest.mark.parametrize(
    "case",
    [
        Case((3, 2), {"pads": [0, 0, 1, 0]}, size=(3, 2)),
        Case((3, 2), {"group": 2}, 2, 2, size=(3, 2)),
        Case((2, 2), {"dilations": [2, 1]}, size=(3, 2)),
    ],
    ids=str,
)
def test_what_only_looks_as_if_it_covered_the_map(case: Case) -> None:
    assert "Gemm" not in op_types(rewritten(case.model("N", case.size)))
    check(case)


def test_a_map_of_which_only_the_batch_is_open_keeps_it_open() -> None:
    case = Case((3, 3), {"group": 2, "pads": [1, 1, 1, 1]}, channels=4, units=4)
    model = case.model("N", case.size)
    compare(model, rewritten(model), [{"x": case.image(batch, case.size)} for batch in (1, 2, 5)])


def test_a_size_that_is_the_batch_is_not_fixed() -> None:
    """A dim of the same name as the batch has another value at every batch."""
    case = Case((13, 13), size=(13, 13))
    model = case.model("N", ["N", "N"])  # type: ignore[list-item]
    found = rewritten(model)
    assert "Gemm" not in op_types(found)
    compare(model, found, [{"x": case.image(n, (n, n))} for n in (13, 14)])


# -- what it is written as ---------------------------------------------------------------------------------------------


def test_the_matrix_is_the_right_operand() -> None:
    """Rows are taps and, of each, channels: what quantisers of weights and kernels of MatMul look for."""
    case = Case((3, 3), {"pads": [1, 1, 1, 1]}, channels=16, units=5)
    found = rewritten(case.model())
    one_axis = ["Slice", "Slice", "Slice", "Concat"]
    assert op_types(found) == ["Transpose", "Pad", *one_axis, *one_axis, "MatMul", "Add", "Transpose"]
    matrix = constant(found, node_of(found, "MatMul").input[1])
    np.testing.assert_array_equal(matrix, case.weight().transpose(2, 3, 1, 0).reshape(144, 5))


def test_1x1_is_a_product_over_channels() -> None:
    found = rewritten(Case((1, 1), channels=4, units=5, bias=False).model())
    assert op_types(found) == ["Transpose", "MatMul", "Transpose"]
    assert constant(found, node_of(found, "MatMul").input[1]).shape == (4, 5)


def test_few_channels_are_moved_behind_last() -> None:
    """A Concat of them would copy a few bytes at a time."""
    found = rewritten(Case((3, 1), bias=False, channels=2).model())
    assert op_types(found) == ["Slice", "Slice", "Slice", "Concat", "Transpose", "MatMul", "Transpose"]


def test_depthwise_keeps_its_kernel() -> None:
    case = Case((3, 3), {"group": 4}, channels=4, units=4)
    found = rewritten(case.model())
    assert op_types(found).count("Transpose") == 1
    matrix = constant(found, node_of(found, "MatMul").input[1])
    assert matrix.shape == (4, 1, 9, 1)
    assert matrix.tobytes() == case.weight().tobytes()


@pytest.mark.parametrize("case", [c for c in [*KERNELS, *GROUPS] if c.opset >= 10], ids=str)
def test_no_size_is_asked_for(case: Case) -> None:
    assert "Shape" not in op_types(rewritten(case.model()))


@pytest.mark.parametrize(("kernel", "most"), [(24, 24), (25, 10), (128, 24), (1024, 64)])
def test_a_long_kernel_takes_few_slices(kernel: int, most: int) -> None:
    found = rewritten(Case((kernel,), size=(kernel,)).model())
    assert 0 < op_types(found).count("Slice") <= most + 1


def test_the_conv_keeps_its_name_and_its_bias() -> None:
    case = Case((3, 3))
    found = rewritten(case.model())
    assert found.graph.node[-1].name == "conv"
    assert list(found.graph.node[-1].output) == ["y"]
    np.testing.assert_array_equal(constant(found, "b"), case.constants()["b"])
    assert "w" in {t.name for t in found.graph.initializer}


# -- what is said of it ------------------------------------------------------------------------------------------------


def test_costs_of_a_known_size() -> None:
    case = Case((3, 3), {"strides": [2, 2], "group": 2}, channels=4, units=6)
    _, lowering = lowered(case.model("N", (7, 6)))
    (row,) = lowering.products
    positions = 3 * 2
    assert (row.node, row.what) == ("Conv 'conv'", "3x3 stride 2, 2 groups")
    assert row.to[-1] == "Transpose"
    assert "MatMul" in row.to
    assert (row.count, row.rows, row.columns) == (2, 9 * 2, 3)
    assert row.before == row.after == positions * 9 * 2 * 6
    assert row.bytes_before == row.bytes_after == 4 * (6 * 2 * 9 + 6)
    assert row.gathered == positions * 9 * 4 * 4
    assert lowering.roundings == 1


def test_costs_of_a_size_that_is_not_known() -> None:
    (row,) = lowered(Case().model())[1].products
    assert (row.before, row.after, row.gathered) == (None, None, None)
    (row,) = lowered(Case((1, 1)).model())[1].products
    assert row.gathered == 0


@pytest.mark.parametrize(
    ("case", "size", "roundings"),
    [(Case(bias=False), None, 0), (Case((3, 2)), (3, 2), 0), (Case((3, 2)), (4, 2), 1), (Case(), None, 1)],
)
def test_roundings(case: Case, size: Any, roundings: int) -> None:
    assert lowered(case.model("N", size))[1].roundings == roundings


def test_roundings_are_those_of_the_longest_path() -> None:
    """Two in a row beside one, added up: two."""
    weights = {"w": Case((1, 1), channels=2, units=2).weight(), "b": np.ones(2, np.float32)}
    text = [("x", "a"), ("a", "c"), ("x", "d")]
    nodes = [helper.make_node("Conv", [i, "w", "b"], [o], name=o) for i, o in text]
    nodes.append(helper.make_node("Add", ["c", "d"], ["y"]))
    assert lowered(model_of(nodes, {"x": ["N", 2, "H", "W"]}, weights))[1].roundings == 2


# -- sabotage ----------------------------------------------------------------------------------------------------------


def _wrong_rows(conv: Any) -> arrangement.Arrangement:
    """Rows of channels and, of each, taps."""
    right = RIGHT(conv)
    return arrangement.Arrangement(right.split, (1, *range(2, conv.rank + 2), 0), right.dims, right.places, right.runs)


def _with(args: Any, **wrong: int) -> str:
    """The taps of another kernel."""
    *first, along, block = args
    return SIDE_BY_SIDE(*first, replace(along, **wrong), block)


RIGHT = arrangement.right_operand
SABOTAGE = {
    "rows in another order": (product, "right_operand", _wrong_rows, KERNELS[3]),
    "taps from the last": (
        taps,
        "_concat",
        lambda e, parts, axis: CONCAT(e, parts[::-1], axis),
        KERNELS[3],
    ),
    "a stride too small": (patches, "side_by_side", lambda *a: _with(a, stride=1), KERNELS[6]),
    "a dilation lost": (patches, "side_by_side", lambda *a: _with(a, dilation=1), KERNELS[8]),
    "no pads": (emitter.Emitter, "pad", lambda self, x, *_: x, KERNELS[5]),
    "pads swapped": (
        emitter.Emitter,
        "pad",
        lambda self, x, before, after, value=None: PAD(self, x, after, before, value),
        KERNELS[6],
    ),
    "no bias": (product, "for_each_unit", lambda *a: a[0].constant(np.zeros(1, np.float32), "zero"), KERNELS[3]),
    "axes swapped behind": (
        layout,
        "channels_first",
        lambda e, conv, y, last: e.transpose(y, [0, 3, 2, 1]),
        KERNELS[3],
    ),
    "groups mixed": (
        layout,
        "units_together",
        lambda e, conv, y: (e.reshape(e.transpose(y, [0, 2, 3, 4, 1]), [0, 0, 0, conv.units]), True),
        GROUPS[0],
    ),
    "SAME_LOWER as SAME_UPPER": (
        same,
        "same_pads",
        lambda n, e, s, pad: convolution.same_pads(n, e, s, "SAME_UPPER"),
        SAME[6],
    ),
    "pads of another remainder": (same.Pads, "of", classmethod(lambda cls, conv, i: _shifted(conv, i)), SAME[1]),
    "a run of taps twice": (taps, "_step", lambda along, length: along.stride, LONG[4]),
}
SIDE_BY_SIDE = taps.side_by_side
CONCAT, PAD, PADS = taps._concat, emitter.Emitter.pad, same.Pads.of


def _shifted(conv: Any, axis: int) -> same.Pads:
    found = PADS(conv, axis).by_remainder
    return same.Pads((*found[1:], found[0]))


@pytest.mark.parametrize("what", SABOTAGE)
def test_a_mistake_is_seen(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name, wrong, case = SABOTAGE[what]
    check(case)
    monkeypatch.setattr(place, name, wrong, raising=False)
    with pytest.raises(AssertionError):
        check(case)
