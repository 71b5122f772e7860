"""Weights that operators compute from constants: every operator that is folded, at every opset where it changed.

The judge is onnxruntime. What moves, selects or adds small integers is compared bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv import constants as constants_module
from onnx_fc2conv.constants import FOLDABLE
from onnx_fc2conv.dtypes import tolerance
from onnx_fc2conv.ops import BROADCASTING, REDUCTIONS, UNARY

from .lift.tables import Lifts, every, head, spent
from .networks import assert_close, integers, network
from .test_constants import by_runtime, constants_of, graph_of, int64, value_or_refusal

W = integers((2, 3, 4), 50, -4, 5)
POSITIVE = np.abs(W) + 1
FRACTIONS = W / 8
FLAGS = W > 0
WORDS = integers((2, 3, 4), 51, 0, 99, np.int32)
BYTES = WORDS.astype(np.uint8)
ROUNDED = tolerance(TensorProto.FLOAT, 24, 2)

Row = tuple[str, dict[str, Any], tuple[int, ...]]  #: nodes, constants, opsets

#: operand of the unary operators that do not take any float, or need one in their domain
OPERANDS: dict[str, np.ndarray] = {
    **dict.fromkeys(("Acos", "Asin", "Atanh"), FRACTIONS),
    **dict.fromkeys(("Acosh", "Log", "Reciprocal", "Sqrt"), POSITIVE),
    **dict.fromkeys(("Ceil", "Floor", "Round"), W / 4),
    "BitwiseNot": WORDS,
    "Not": FLAGS,
}
ATTRS = {
    "Cast": " <to = 6>",
    "Celu": " <alpha = 0.5>",
    "Elu": " <alpha = 0.5>",
    "HardSigmoid": " <alpha = 0.25, beta = 0.5>",
    "IsInf": " <detect_negative = 0>",
    "LeakyRelu": " <alpha = 0.25>",
    "Selu": " <alpha = 1.5, gamma = 0.5>",
    "Shrink": " <bias = 0.5, lambd = 1.5>",
    "ThresholdedRelu": " <alpha = 1.5>",
}
LEGAL = {
    "Equal": (WORDS, WORDS[:1]),
    **dict.fromkeys(("And", "Or", "Xor"), (FLAGS, FLAGS[:1])),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor"), (WORDS, WORDS[:1])),
    "BitShift": (BYTES, BYTES[:1] % np.uint8(4)),
    "Div": (W, np.exp2(W[:1])),
    "Mod": (WORDS, WORDS[:1] + np.int32(1)),
    "Pow": (W, np.float32(2)),
}
FIRST = {
    s.name: min(t.since_version for t in onnx.defs.get_all_schemas_with_history() if t.name == s.name and not t.domain)
    for s in onnx.defs.get_all_schemas()
    if not s.domain
}
TRIED = (7, 8, 9, 11, 12, 13, 18, 20, 21)


def opsets(op_type: str) -> tuple[int, ...]:
    """The opsets among those tried that have the operator, and its first."""
    first = max(FIRST[op_type], 7)
    return tuple(sorted({first, *(o for o in TRIED if o >= first)}))


def unary() -> dict[str, Row]:
    return {
        op: (f"c = {op}{ATTRS.get(op, '')} (w)", {"w": OPERANDS.get(op, W)}, opsets(op))
        for op in sorted(UNARY - {"Swish"})
    }


def broadcasting() -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for op in sorted(BROADCASTING - {"Clip", "Where"}):
        a, b = LEGAL.get(op, (W, W[:1]))
        attrs = ' <direction = "LEFT">' if op == "BitShift" else ""
        since = max(8, FIRST[op])
        rows[op] = f"c = {op}{attrs} (a, b)", {"a": a, "b": b}, tuple(o for o in {since, *opsets(op)} if o >= since)
    return rows


def reductions() -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for op in sorted(REDUCTIONS):
        operand = {"w": POSITIVE if "Log" in op else W}
        until = 12 if op == "ReduceSum" else 17
        rows[f"{op}, axes as an attribute"] = (
            f"c = {op} <axes = [0, -1], keepdims = 0> (w)",
            operand,
            tuple(o for o in (7, 11, 12, 13, 17) if o <= until and o >= 11),
        )
        rows[f"{op}, over all"] = f"c = {op} (w)", operand, (7, 13, 18)
        rows[f"{op}, axes as an input"] = f"c = {op} (w, k)", {**operand, "k": int64(1)}, (until + 1, 20)
    return rows


QUANTISED = {"w": BYTES[0], "s": np.array([0.5, 1, 2], np.float32), "z": np.array([3, 5, 7], np.uint8)}

OTHERS: dict[str, Row] = {
    "Clip, bounds as attributes": ("c = Clip <min = -1.0, max = 2.0> (w)", {"w": W}, (7, 9)),
    "Clip, bounds as inputs": ("c = Clip (w, a, b)", {"w": W, "a": np.float32(-1), "b": np.float32(2)}, (11, 12, 13)),
    "Clip, one bound": ("c = Clip (w, , b)", {"w": W, "b": np.float32(2)}, (11, 13)),
    "Where": ("c = Where (f, w, z)", {"w": W, "f": FLAGS[:1], "z": np.float32(3)}, (9, 16)),
    "Flatten": ("c = Flatten <axis = 2> (w)", {"w": W}, (7, 9, 11, 13)),
    "Reshape": ("c = Reshape (w, s)", {"w": W, "s": int64(0, -1)}, (7, 13, 14)),
    "Squeeze, axes as an attribute": ("c = Squeeze <axes = [0]> (w)", {"w": W[:1]}, (7, 11)),
    "Squeeze, axes as an input": ("c = Squeeze (w, k)", {"w": W[:1], "k": int64(0)}, (13, 21)),
    "Unsqueeze, axes as an attribute": ("c = Unsqueeze <axes = [0, 3]> (w)", {"w": W}, (7, 11)),
    "Unsqueeze, axes as an input": ("c = Unsqueeze (w, k)", {"w": W, "k": int64(0, 3)}, (13, 21)),
    "Concat": ("c = Concat <axis = 1> (w, w)", {"w": W}, (7, 11, 13)),
    "Concat, negative axis": ("c = Concat <axis = -1> (w, w)", {"w": W}, (11, 13)),
    "ConstantOfShape": ("c = ConstantOfShape <value = float[1] {2}> (s)", {"s": int64(3, 4)}, (9, 20)),
    "CumSum": ("c = CumSum <exclusive = 1, reverse = 1> (w, k)", {"w": W, "k": np.int64(1)}, (11, 14)),
    "DequantizeLinear": (
        "c = DequantizeLinear (w, s, z)",
        {"w": BYTES, "s": np.float32(0.5), "z": np.uint8(3)},
        (10, 13, 19, 21),
    ),
    "DequantizeLinear, per axis": ("c = DequantizeLinear <axis = 0> (w, s, z)", QUANTISED, (13, 19, 21)),
    "DequantizeLinear, in blocks": (
        "c = DequantizeLinear <axis = 1, block_size = 2> (w, s)",
        {"w": BYTES[0], "s": np.exp2(W[0, :, :2])},
        (21,),
    ),
    "DequantizeLinear of int32": ("c = DequantizeLinear (w, s)", {"w": WORDS, "s": np.float32(0.5)}, (10, 13, 21)),
    "QuantizeLinear": (
        "c = QuantizeLinear (w, s, z)",
        {"w": W * 100, "s": np.float32(0.5), "z": np.uint8(3)},
        (10, 13, 19, 21),
    ),
    "QuantizeLinear, per axis": ("c = QuantizeLinear <axis = 0> (w, s, z)", QUANTISED | {"w": W[0] / 4}, (13, 19, 21)),
    "QuantizeLinear, without a zero point": ("c = QuantizeLinear (w, s)", {"w": W, "s": np.float32(0.5)}, (10, 13, 19)),
    "Einsum": ('c = Einsum <equation = "aij,akj->ik"> (w, w)', {"w": W}, (12,)),
    "Expand": ("c = Expand (w, s)", {"w": W[:1], "s": int64(2, 1, 4)}, (8, 13)),
    "EyeLike": ("c = EyeLike <k = 1> (w)", {"w": W[0]}, (9, 22)),
    "Gather": ("c = Gather <axis = 2> (w, i)", {"w": W, "i": int64(3, 0, -1)}, (11, 13)),
    "GatherElements": (
        "c = GatherElements <axis = 1> (w, i)",
        {"w": W, "i": np.abs(WORDS % 3).astype(np.int64)},
        (11, 13),
    ),
    "GatherND": ("c = GatherND (w, i)", {"w": W, "i": np.array([[0, 1], [1, 2]], np.int64)}, (11, 13)),
    "GatherND, batch_dims": (
        "c = GatherND <batch_dims = 1> (w, i)",
        {"w": W, "i": np.array([[0], [2]], np.int64)},
        (12, 13),
    ),
    "Gemm": (
        "c = Gemm <alpha = 0.5, beta = 2.0, transA = 1> (a, b, d)",
        {"a": W[0], "b": W[1], "d": W[0, 0]},
        (7, 9, 11, 13),
    ),
    "LayerNormalization": ("c = LayerNormalization <axis = -1> (w, s, b)", {"w": W, "s": W[0, 0], "b": W[0, 1]}, (17,)),
    "MatMul": ("c = MatMul (w, v)", {"w": W, "v": integers((4, 5), 52)}, (7, 9, 13)),
    "Pad, pads as an attribute": ("c = Pad <pads = [0, 1, 0, 0, 0, 2], value = 1.5> (w)", {"w": W}, (7,)),
    "Pad, pads as an input": (
        "c = Pad (w, p, v)",
        {"w": W, "p": int64(0, 1, 0, 0, 0, 2), "v": np.float32(1.5)},
        (11, 13, 18),
    ),
    "Pad, reflect": ('c = Pad <mode = "reflect"> (w, p)', {"w": W, "p": int64(0, 1, 0, 0, 0, 2)}, (11, 13)),
    "Range": ("c = Range (a, b, d)", {"a": np.float32(1), "b": np.float32(4), "d": np.float32(0.5)}, (11,)),
    "ScatterElements": (
        "c = ScatterElements <axis = 1> (w, i, u)",
        {"w": W, "i": np.abs(WORDS[:, :1] % 3).astype(np.int64), "u": W[:, 1:2] * 9},
        (11, 13, 16, 18),
    ),
    "ScatterND": (
        "c = ScatterND (w, i, u)",
        {"w": W, "i": np.array([[0, 1], [1, 2]], np.int64), "u": W[0, :2] * 9},
        (11, 13, 18),
    ),
    "Shape": ("c = Shape (w)", {"w": W}, (7, 13, 15, 21)),
    "Size": ("c = Size (w)", {"w": W}, (7, 13)),
    "Slice, bounds as attributes": ("c = Slice <starts = [1, -3], ends = [9, 3], axes = [1, 2]> (w)", {"w": W}, (7, 9)),
    "Slice, bounds as inputs": (
        "c = Slice (w, s, e, a, t)",
        {"w": W, "s": int64(2, 0), "e": int64(-9, 4), "a": int64(1, -1), "t": int64(-1, 2)},
        (10, 11, 13),
    ),
    "Split, sizes as an attribute": ("a, c = Split <axis = 2, split = [1, 3]> (w)", {"w": W}, (7, 11)),
    "Split, sizes as an input": ("a, c = Split <axis = 2> (w, s)", {"w": W, "s": int64(1, 3)}, (13, 18)),
    "Split in equal parts": ("a, c = Split <axis = 2> (w)", {"w": W}, (7, 11, 13)),
    "Split in num_outputs": ("a, c = Split <axis = 1, num_outputs = 2> (w)", {"w": W}, (18,)),
    "Tile": ("c = Tile (w, r)", {"w": W, "r": int64(1, 2, 1)}, (7, 13)),
    "Transpose": ("c = Transpose <perm = [2, 0, 1]> (w)", {"w": W}, (7, 13, 21)),
    "Trilu": ("c = Trilu <upper = 0> (w, k)", {"w": W, "k": np.int64(-1)}, (14,)),
    "Trilu by default": ("c = Trilu (w)", {"w": W}, (14,)),
    "PRelu": ("c = PRelu (w, s)", {"w": W, "s": W[0, 0]}, (7, 9, 16)),
    "Mod of floats": ("c = Mod <fmod = 1> (a, b)", {"a": W * 3, "b": POSITIVE[:1]}, (10, 13)),
    "Mod of negative integers": ("c = Mod (a, b)", {"a": -WORDS, "b": WORDS[:1] + np.int32(1)}, (10, 13)),
    "Div of integers": ("c = Div (a, b)", {"a": WORDS - np.int32(50), "b": np.int32(7)}, (7, 13, 14)),
    "Max of three": ("c = Max (a, b, d)", {"a": W, "b": W[:1], "d": np.float32(1)}, (8, 13)),
    "Cast of floats to bool": ("c = Cast <to = 9> (w)", {"w": W}, (9, 13)),
    "Cast to float16": ("c = Cast <to = 10> (w)", {"w": W / 3}, (9, 13, 19)),
    "Cast of fractions to integers": ("c = Cast <to = 7> (w)", {"w": W / 3}, (9, 13)),
    "Cast to bfloat16 and back": ("b = Cast <to = 16> (w)\nc = Cast <to = 1> (b)", {"w": W / 3}, (13, 19)),
    "Gelu, tanh": ('c = Gelu <approximate = "tanh"> (w)', {"w": FRACTIONS}, (20,)),
    "LeakyRelu by default": ("c = LeakyRelu (w)", {"w": W}, (7, 16)),
    "HardSigmoid by default": ("c = HardSigmoid (w)", {"w": W}, (7, 22)),
    "Selu by default": ("c = Selu (w)", {"w": W}, (7, 22)),
    "Round of halves": ("c = Round (w)", {"w": W + np.float32(0.5)}, (11, 22)),
}

SCALE = {"w": W, **{k: integers((3,), i, 1, 4) for i, k in enumerate("sbmv")}}

#: operators of which ONNX's evaluator does not know all versions: what it gets wrong must not pass for a constant
DOUBTFUL: dict[str, Row] = {
    "BatchNormalization": ("c = BatchNormalization <epsilon = 0.5> (w, s, b, m, v)", SCALE, (7, 9, 14, 15)),
    "LpNormalization": ("c = LpNormalization <axis = 1, p = 1> (w)", {"w": POSITIVE}, (7, 22)),
    "LpNormalization by default": ("c = LpNormalization (w)", {"w": POSITIVE}, (7, 22)),
    "Softmax": ("c = Softmax <axis = 1> (w)", {"w": W}, (7, 11, 12, 13)),
    "Softmax by default": ("c = Softmax (w)", {"w": W}, (7, 11, 13)),
}

ROWS = {**unary(), **broadcasting(), **reductions(), **OTHERS}


def at_every_opset(rows: dict[str, Row]) -> pytest.MarkDecorator:
    """Run a test for every row at each of its opsets."""
    flat = {f"{name} at {o}": (text, weights, o) for name, (text, weights, found) in rows.items() for o in found}
    return pytest.mark.parametrize(("text", "weights", "opset"), flat.values(), ids=flat.keys())


@at_every_opset(ROWS)
def test_folded_as_onnxruntime_computes_it(text: str, weights: dict[str, Any], opset: int) -> None:
    proto = graph_of(text, weights, opset=opset)
    found = constants_of(proto, 2, 3).get("c")
    assert found is not None
    expected = by_runtime(proto, 2)
    assert (found.values.dtype, found.shape) == (expected.dtype, expected.shape)
    assert_close(found.values, expected, ROUNDED)


@at_every_opset(DOUBTFUL)
def test_folded_right_or_not_at_all(text: str, weights: dict[str, Any], opset: int) -> None:
    proto = graph_of(text, weights, opset=opset)
    found = constants_of(proto, 2, 3).get("c")
    if found is not None:
        assert_close(found.values, by_runtime(proto, 2), ROUNDED)


def test_every_operator_that_is_folded_has_a_row() -> None:
    """``Swish`` is newer than the runtime."""
    nodes = [n for row in {**ROWS, **DOUBTFUL}.values() for n in graph_of(*row[:2]).graph.node]
    assert FOLDABLE - {n.op_type for n in nodes} <= {"Swish"}


# -- weights as real files have them ----------------------------------------------------------------------------------

FC = "v = Flatten(map)\ny = Gemm <transB = 1> (v, M, C)"
UNIT: dict[str, Any] = {"w": integers((3, 12), 53, 1, 5), "C": (3,)}
NORM = "n = ReduceL2 <axes = [1], keepdims = 1> (w)"

LIFTS = {
    "divided by its norm": Lifts(head(f"{NORM}\nM = Div(w, n)\n{FC}", **UNIT), 12, 4),
    "divided by its norm, clipped and expanded": Lifts(
        head(
            f"{NORM}\nl = Clip(n, low)\nd = Shape(w)\ne = Expand(l, d)\no = Div(w, e)\nM = Transpose(o)\n"
            "v = Flatten(map)\ny = MatMul(v, M)",
            low=np.float32(1e-12),
            w=UNIT["w"],
        ),
        12,
        4,
    ),
    "scaled by a gain over its norm": Lifts(
        head(f"{NORM}\no = Div(w, n)\nM = Mul(o, g)\n{FC}", **UNIT, g=integers((3, 1), 54, 1, 4)), 12, 4
    ),
    "standardised": Lifts(
        head(
            "m = ReduceMean <axes = [1]> (w)\nd = Sub(w, m)\nq = Mul(d, d)\nv2 = ReduceMean <axes = [1]> (q)\n"
            f"e = Add(v2, eps)\ns = Sqrt(e)\nM = Div(d, s)\n{FC}",
            **UNIT,
            eps=np.float32(1e-5),
        ),
        12,
        6,
    ),
    "a sum with a product of small matrices": Lifts(
        head(f"p = MatMul(a, b)\nM = Add(w, p)\n{FC}", **UNIT, a=integers((3, 2), 55), b=integers((2, 12), 56))
    ),
    "masked": Lifts(
        head(f"M = Where(k, w, zero)\n{FC}", **UNIT, k=integers((3, 12), 57) > 0, zero=np.float32(0)),
    ),
    "by sign": Lifts(
        head(f"t = Sign(b)\nM = Cast <to = 1> (t)\n{FC}", b=integers((3, 12), 58, dtype=np.int8), C=(3,)),
    ),
    "joined from two parts": Lifts(
        head(
            f"a, b = Split <axis = 0> (w, k)\nc = Neg(b)\nM = Concat <axis = 0> (c, a)\n{FC}",
            **UNIT,
            k=np.array([1, 2], np.int64),
        )
    ),
    "the bias too": Lifts(
        head(
            "c = ReduceSum <keepdims = 0> (w, k)\nD = Mul(c, half)\nv = Flatten(map)\ny = Gemm <transB = 1> (v, w, D)",
            w=UNIT["w"],
            k=np.array([1], np.int64),
            half=np.float32(0.5),
        )
    ),
}


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


def test_a_normalised_weight_passes_every_check() -> None:
    checks = fc2conv.convert(network(LIFTS["divided by its norm, clipped and expanded"].head)).report.checks
    assert all(c.passed for c in checks)


# -- what must not be folded ------------------------------------------------------------------------------------------

BRANCHES = (
    "<then_branch = a () => (float[2,3,4] r) { r = Identity (w) }, "
    "else_branch = b () => (float[2,3,4] r) { r = Neg (w) }>"
)

NOT_FOLDED: dict[str, tuple[str, dict[str, Any]]] = {
    "random numbers": ("a = RandomUniform <shape = [2, 3]> ()\nc = Clip (a, z)", {"z": np.float32(0)}),
    "random numbers like a weight": ("a = RandomNormalLike (w)\nc = Mul (a, w)", {"w": W}),
    "coin flips": ("a = Bernoulli (p)\nc = Add (a, p)", {"p": np.full((2, 3), 0.5, np.float32)}),
    "a choice of two subgraphs": (f"c = If {BRANCHES} (f)", {"f": np.array(True), "w": W}),
    "behind a choice": (f"d = If {BRANCHES} (f)\nc = Transpose (d)", {"f": np.array(True), "w": W}),
    "a factor from the image": ("b = ReduceMax <keepdims = 0> (x)\nc = Mul (b, w)", {"w": W}),
}


@pytest.mark.parametrize(("text", "weights"), NOT_FOLDED.values(), ids=NOT_FOLDED.keys())
def test_not_folded(text: str, weights: dict[str, Any]) -> None:
    constants = constants_of(graph_of(text, weights), 2, 3)
    assert constants.get("c") is None
    assert constants.at_trained_size("c") is None


def test_a_random_weight_is_refused() -> None:
    """Each run would have another one, so no answer could be checked."""
    row = spent("r = RandomNormal <shape = [4, 3]> ()\nM = Clip(r, low)\ny = MatMul(u, M)", low=0.0)
    with pytest.raises(fc2conv.Unliftable, match="its weight is not a constant") as caught:
        fc2conv.convert(network(row), verify=False)
    assert caught.value.node == "MatMul 'y'"


BOUND = 100
SPREAD = "a = Cast <to = 11> (s)\nb = Cast <to = 7> (a)\n"  #: a shape that inference does not follow
ONE, COLUMN = np.ones((1, 1), np.float32), np.ones((20, 1), np.float32)

LARGE: dict[str, tuple[str, dict[str, Any]]] = {
    "Expand": ("c = Expand (o, s)", {"o": ONE, "s": int64(20, 20)}),
    "Tile": ("c = Tile (o, s)", {"o": ONE, "s": int64(20, 20)}),
    "ConstantOfShape": ("c = ConstantOfShape (s)", {"s": int64(20, 20)}),
    "Range": ("c = Range (o, n, t)", {"o": np.int64(0), "n": np.int64(400), "t": np.int64(1)}),
    "Pad": ("c = Pad (o, s)", {"o": ONE, "s": int64(0, 0, 20, 20)}),
    "MatMul": ("c = MatMul (o, n)", {"o": COLUMN, "n": COLUMN.T}),
    "Add": ("c = Add (o, n)", {"o": COLUMN, "n": COLUMN.T}),
    "Einsum": ('c = Einsum <equation = "ik,jk->ij"> (o, o)', {"o": COLUMN}),
    "Expand to a shape that is not inferred": (f"{SPREAD}c = Expand (o, b)", {"o": ONE, "s": int64(20, 20)}),
    "Tile by what is not inferred": (f"{SPREAD}c = Tile (o, b)", {"o": ONE, "s": int64(20, 20)}),
    "Pad by what is not inferred": (f"{SPREAD}c = Pad (o, b)", {"o": ONE, "s": int64(0, 0, 20, 20)}),
    "MatMul of shapes that are not inferred": (
        f"{SPREAD}o = Reshape (n, b)\nr = Transpose (o)\nc = MatMul (o, r)",
        {"n": COLUMN, "s": int64(20, 1)},
    ),
    "Add of shapes that are not inferred": (
        f"{SPREAD}o = Reshape (n, b)\nr = Transpose (o)\nc = Add (o, r)",
        {"n": COLUMN, "s": int64(20, 1)},
    ),
}


@pytest.mark.parametrize(("text", "weights"), LARGE.values(), ids=LARGE.keys())
def test_a_constant_beyond_the_bound_is_never_made(
    text: str, weights: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a bound that a test can afford: what is larger is refused by its size, or stays unknown."""
    monkeypatch.setattr(constants_module, "MAX_ELEMENTS", BOUND)
    constants = constants_of(graph_of(text, weights), 2, 3)
    found = value_or_refusal(constants, "c")
    assert found is None or "computes a constant of 4" in str(found)


WITHIN = {name: row for name, row in LARGE.items() if "inferred" not in name}


@pytest.mark.parametrize(("text", "weights"), WITHIN.values(), ids=WITHIN.keys())
def test_the_same_constant_within_the_bound_is_made(text: str, weights: dict[str, Any]) -> None:
    proto = graph_of(text, weights)
    found = constants_of(proto, 2, 3).at_trained_size("c")
    assert found is not None
    np.testing.assert_array_equal(found.values, by_runtime(proto, 2))
