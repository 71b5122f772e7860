"""Products with a constant: the three ways to lift rows, a weight on either side, one image without its batch axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import onnx_fc2conv as fc2conv

from ..networks import Head, network
from .tables import Lifts, Refuses, as_custom, every, head, some, spent, table, unread, with_input

SHAPES = {(3, 2): 4, (6,): 2, (2, 1, 3): 2, (2, 2): 6, (1, 1): 4}  #: windows and their channels
MIXES = "sums over the batch axis, so it mixes the windows of different images"


@dataclass(frozen=True)
class Rows:
    """A value ``r`` of shape [N, count, size], made of the map."""

    text: str
    count: int
    size: int
    weights: dict[str, Any]


def channels_last(window: tuple[int, ...]) -> str:
    return f"n = Transpose <perm = {[0, *range(2, 2 + len(window)), 1]}> (map)\n"


def viewed(name: str, of: str) -> str:
    """A view of the flattened map: a Reshape to the map's own shape would not end the backbone."""
    return f"f = Flatten({of})\n{name} = Reshape(f, d)"


def positions(window: tuple[int, ...], channels: int) -> Rows:
    """A row for each position, of an N, H, W, C map."""
    cells = math.prod(window)
    return Rows(channels_last(window) + viewed("r", "n"), cells, channels, {"d": [0, cells, channels]})


def tokens(window: tuple[int, ...], channels: int) -> Rows:
    """A row for each position, of an N, C, H, W map."""
    cells = math.prod(window)
    text = viewed("q", "map") + "\nr = Transpose <perm = [0, 2, 1]> (q)"
    return Rows(text, cells, channels, {"d": [0, channels, cells]})


def one_channel(window: tuple[int, ...], channels: int) -> Rows:
    """A row for each channel."""
    return Rows(viewed("r", "map"), channels, math.prod(window), {"d": [0, channels, -1]})


def two_channels(window: tuple[int, ...], channels: int) -> Rows:
    """A row for each pair of channels, the positions listed backwards."""
    size = 2 * math.prod(window)
    text = viewed("q", "map") + "\nr = Slice(q, last, first, two, last)"
    return Rows(text, channels // 2, size, {"d": [0, channels // 2, size], "last": [-1], "first": [-99], "two": [2]})


def one_line(window: tuple[int, ...], channels: int) -> Rows:
    """A row for each line of an N, H, W, C map: neither positions nor channels."""
    size = channels * math.prod(window[1:])
    return Rows(channels_last(window) + viewed("r", "n"), window[0], size, {"d": [0, window[0], size]})


def across_channels(window: tuple[int, ...], channels: int) -> Rows:
    """Rows that begin in the middle of a channel."""
    count, size = 2 * math.prod(window), channels // 2
    return Rows(viewed("r", "map"), count, size, {"d": [0, count, size]})


def some_channels(window: tuple[int, ...], channels: int) -> Rows:
    """A row for each position, without the first channel."""
    of = tokens(window, channels)
    text = of.text.replace("r =", "t =") + "\nr = Gather <axis = 2> (t, i)"
    return Rows(text, of.count, channels - 1, {**of.weights, "i": list(range(1, channels))})


def a_feature_twice(window: tuple[int, ...], channels: int) -> Rows:
    """A row for each position, which lists a channel twice."""
    of = tokens(window, channels)
    text = of.text.replace("r =", "t =") + "\nr = Gather <axis = 2> (t, i)"
    return Rows(text, of.count, 3, {**of.weights, "i": [1, 0, 1]})


def backwards_but_one(window: tuple[int, ...], channels: int) -> Rows:
    """A row for each channel, of which all but the first are listed backwards."""
    of = one_channel(window, channels)
    lines = [
        "a0 = Gather <axis = 1> (t, first)",
        "b0 = Gather <axis = 1> (t, rest)",
        "c0 = Gather <axis = 2> (b0, back0)",
    ]
    text = "\n".join([of.text.replace("r =", "t ="), *lines, "r = Concat <axis = 1> (a0, c0)"])
    picks = {"first": [0], "rest": list(range(1, channels)), "back0": list(range(of.size))[::-1]}
    return Rows(text, of.count, of.size, {**of.weights, **picks})


def of_an_fc(window: tuple[int, ...], channels: int) -> Rows:
    """Rows of what an FC made."""
    weights = {"d": [0, 3, 2], "W": (channels * math.prod(window), 6)}
    return Rows("f = Flatten(map)\nu = MatMul(f, W)\nr = Reshape(u, d)", 3, 2, weights)


KINDS = {
    "positions": positions,
    "tokens": tokens,
    "one channel": one_channel,
    "two channels": two_channels,
    "one line": one_line,
    "across channels": across_channels,
    "some channels": some_channels,
    "a feature twice": a_feature_twice,
    "backwards but one": backwards_but_one,
    "of an FC": of_an_fc,
}
MERGED = "m = Reshape(r, rows)\n"


def forms(rows: Rows) -> dict[str, tuple[str, dict[str, Any]]]:
    """Ways to multiply ``r`` and the weights that they take, by name."""
    r, k = rows.count, rows.size
    flat = {"rows": [-1, k]}
    back = {**flat, "back": [-1, r, 3]}
    return {
        "MatMul": ("y = MatMul(r, M)", {"M": (k, 3)}),
        "MatMul, bias": ("a = MatMul(r, M)\ny = Add(C, a)", {"M": (k, 3), "C": (3,)}),
        "MatMul, a bias for each row": ("a = MatMul(r, M)\ny = Add(a, C)", {"M": (k, 3), "C": (r, 3)}),
        "leading one": ("y = MatMul(r, M)", {"M": (1, k, 3)}),
        "vector": ("y = MatMul(r, M)", {"M": (k,)}),
        "a matrix for each row": ("a = Unsqueeze(r, two)\ny = MatMul(a, M)", {"M": (r, k, 3), "two": [2]}),
        "one matrix in a stack": ("a = Unsqueeze(r, two)\ny = MatMul(a, M)", {"M": (1, 1, k, 3), "two": [2]}),
        "on the left": ("y = MatMul(M, r)", {"M": (3, r)}),
        "on the left, leading one": ("y = MatMul(M, r)", {"M": (1, 3, r)}),
        "two FCs": ("a = MatMul(r, M)\nb = Relu(a)\ny = MatMul(b, L)", {"M": (k, 4), "L": (4, 3)}),
        "and an FC of all": (
            "a = MatMul(r, M)\nb = Relu(a)\nc = Flatten(b)\ny = Gemm(c, L, C)",
            {"M": (k, 3), "L": (3 * r, 2), "C": (2,)},
        ),
        "merged, MatMul": (f"{MERGED}y = MatMul(m, M)", {"M": (k, 3), **flat}),
        "merged, Gemm": (f"{MERGED}y = Gemm(m, M, C)", {"M": (k, 3), "C": (3,), **flat}),
        "merged, Gemm with all attributes, and back": (
            f"{MERGED}g = Gemm <transB = 1, alpha = 0.5, beta = -2.0> (m, M, C)\ny = Reshape(g, back)",
            {"M": (3, k), "C": (1, 3), **back},
        ),
        "merged, one bias": (f"{MERGED}y = Gemm <transB = 1> (m, M, C)", {"M": (3, k), "C": (), **flat}),
        "merged, MatMul, Add, Relu and back, then an FC": (
            f"{MERGED}a = MatMul(m, M)\nb = Add(a, C)\nc = Relu(b)\ne = Reshape(c, all)\ny = MatMul(e, L)",
            {"M": (k, 3), "C": (3,), "L": (3 * r, 2), "all": [-1, 3 * r], **flat},
        ),
        "merged twice": (
            f"{MERGED}a = MatMul(m, M)\nb = Relu(a)\ny = Gemm(b, L, C)",
            {"M": (k, 4), "L": (4, 3), "C": (3,), **flat},
        ),
    }


def rows_head(kind: str, form: str, window: tuple[int, ...] = (3, 2), opset: int = 17, **rest: Any) -> Head:
    """The head of one kind and form."""
    channels = SHAPES[window]
    rows = KINDS[kind](window, channels)
    text, weights = forms(rows)[form]
    if opset < 13:  # axes of Unsqueeze and operands of Slice are attributes
        text = text.replace("Unsqueeze(r, two)", "Unsqueeze <axes = [2]> (r)")
    return head(f"{rows.text}\n{text}", opset, window=window, channels=channels, **{**rows.weights, **weights, **rest})


FORMS = list(forms(positions((3, 2), 2)))
SOME = ("MatMul, bias", "a matrix for each row", "on the left", "merged, Gemm with all attributes, and back")

ROWS = table(
    {f"{kind}: {form}": Lifts(rows_head(kind, form)) for kind in KINDS for form in FORMS},
    {
        f"{kind}: {form}, window {window}": Lifts(rows_head(kind, form, window))
        for kind in KINDS
        for form in SOME
        for window in SHAPES
        if window != (3, 2)
    },
    {
        f"{kind}: {form}, batch {batch}": Lifts(rows_head(kind, form, batch=batch))
        for kind in KINDS
        for form in (*SOME, "merged, Gemm", "two FCs")
        for batch in (1, 3)
    },
    {
        f"{kind}: {form}, opset {opset}": Lifts(rows_head(kind, form, opset=opset))
        for kind in KINDS
        for form in SOME
        for opset in (9, 11, 13, 21)
        if opset > 9 or kind != "two channels"  # Slice has no steps yet
    },
    {
        f"{kind}: {form}, float16": Lifts(rows_head(kind, form, dtype=np.float16))
        for kind in KINDS
        for form in (*SOME, "merged, MatMul", "vector")
    },
)

NHWC = "n = Transpose <perm = [0, 2, 3, 1]> (map)\n"
ROUNDS: dict[str, Any] = {"terms": 12, "nodes": 10}

VECTOR = "v = Reshape(map, d)\n"
OF_ONE = {"batch": 1, "d": [12]}
ONE_IMAGE = {
    "MatMul": Lifts(head(f"{VECTOR}y = MatMul(v, M)", M=(12, 5), **OF_ONE)),
    "MatMul, by Reshape [-1]": Lifts(head(f"{VECTOR}y = MatMul(v, M)", M=(12, 5), batch=1, d=[-1])),
    "MatMul, by Squeeze": Lifts(head("f = Flatten(map)\nv = Squeeze(f)\ny = MatMul(v, M)", M=(12, 5), batch=1)),
    "MatMul, N, H, W, C order": Lifts(head(f"{NHWC}v = Reshape(n, d)\ny = MatMul(v, M)", M=(12, 5), **OF_ONE)),
    "weight on the left": Lifts(head(f"{VECTOR}y = MatMul(M, v)", M=(5, 12), **OF_ONE)),
    "two FCs with biases": Lifts(
        head(
            f"{VECTOR}a = MatMul(v, M)\nb = Add(a, C)\nc = Relu(b)\ne = MatMul(L, c)\ny = Add(e, E)",
            M=(12, 5),
            C=(5,),
            L=(3, 5),
            E=(3,),
            **OF_ONE,
        )
    ),
    "Softmax": Lifts(
        head(
            f"{VECTOR}a = MatMul(v, M)\nb = Mul(a, tiny)\ny = Softmax <axis = 0> (b)", M=(12, 5), tiny=2.0**-6, **OF_ONE
        ),
        **ROUNDS,
    ),
    "Softmax, opset 11": Lifts(
        head(
            f"{VECTOR}a = MatMul(v, M)\nb = Mul(a, tiny)\ny = Softmax <axis = 0> (b)",
            11,
            M=(12, 5),
            tiny=2.0**-6,
            **OF_ONE,
        ),
        **ROUNDS,
    ),
    "the largest": Lifts(head(f"{VECTOR}a = MatMul(v, M)\ny = ArgMax <keepdims = 0> (a)", M=(12, 5), **OF_ONE)),
    "vector times vector": Lifts(head(f"{VECTOR}y = MatMul(v, M)", M=(12,), **OF_ONE)),
    "a matrix of one column": Lifts(head(f"{VECTOR}y = MatMul(v, M)", M=(12, 1), **OF_ONE)),
    "Gemm of rows": Lifts(head("v = Reshape(map, d)\ny = Gemm(v, M, C)", M=(6, 5), C=(5,), batch=1, d=[2, 6])),
    "1-D": Lifts(head(f"{VECTOR}y = MatMul(v, M)", M=(12, 5), window=(6,), **OF_ONE)),
    "3-D": Lifts(head(f"{VECTOR}y = MatMul(v, M)", M=(12, 5), window=(2, 1, 3), **OF_ONE)),
    "float16": Lifts(head(f"{VECTOR}y = MatMul(v, M)", M=(12, 5), dtype=np.float16, **OF_ONE)),
    "symbolic batch": Lifts(head(f"{VECTOR}y = MatMul(v, M)", M=(12, 5), d=[-1]), images=1),
}

COLUMNS = "v = Flatten(map)\nt = Transpose(v)\n"  #: [12, N]
LEFT = {
    "MatMul": (f"{COLUMNS}y = MatMul(M, t)", {"M": (5, 12)}),
    "MatMul, bias, Relu, MatMul": (
        f"{COLUMNS}a = MatMul(M, t)\nb = Add(a, C)\nc = Relu(b)\ny = MatMul(L, c)",
        {"M": (5, 12), "C": (5, 1), "L": (3, 5)},
    ),
    "MatMul and back": (f"{COLUMNS}a = MatMul(M, t)\ny = Transpose(a)", {"M": (5, 12)}),
    "Gemm": (f"{COLUMNS}y = Gemm(M, t, C)", {"M": (5, 12), "C": (5, 1)}),
    "Gemm, one bias": (f"{COLUMNS}y = Gemm <beta = 2.0> (M, t, C)", {"M": (5, 12), "C": (1,)}),
    "Gemm, no bias": (f"{COLUMNS}y = Gemm <alpha = 0.5> (M, t)", {"M": (5, 12)}),
    "Gemm, transA": (f"{COLUMNS}y = Gemm <transA = 1> (M, t, C)", {"M": (12, 5), "C": (5, 1)}),
    "Gemm, transB": ("v = Flatten(map)\ny = Gemm <transB = 1> (M, v, C)", {"M": (5, 12), "C": (5, 1)}),
    "Gemm, transA and transB": (
        "v = Flatten(map)\ny = Gemm <transA = 1, transB = 1, alpha = -1.0> (M, v)",
        {"M": (12, 5)},
    ),
    "Gemm of the columns, transA": (f"{COLUMNS}y = Gemm <transA = 1> (t, M, C)", {"M": (12, 5), "C": (5,)}),
    "Gemm of the columns, transA and transB": (
        f"{COLUMNS}y = Gemm <transA = 1, transB = 1, alpha = 2.0> (t, M, C)",
        {"M": (5, 12), "C": (1, 5)},
    ),
    "MatMul of [1, N, K]": ("v = Flatten(map)\ne = Unsqueeze(v, zero)\ny = MatMul(e, M)", {"M": (12, 5), "zero": [0]}),
    "MatMul of [1, N, K] and [1, K, M]": (
        "v = Flatten(map)\ne = Unsqueeze(v, zero)\ny = MatMul(e, M)",
        {"M": (1, 12, 5), "zero": [0]},
    ),
    "MatMul of [2, N, K]": (
        "v = Flatten(map)\ne = Reshape(v, d)\nt = Transpose <perm = [1, 0, 2]> (e)\ny = MatMul(t, M)",
        {"M": (6, 5), "d": [0, 2, 6]},
    ),
    "MatMul of [2, N, K], the middle is an output": (
        "v = Flatten(map)\ne = Reshape(v, d)\nt = Transpose <perm = [1, 0, 2]> (e)\na = MatMul(t, M)\ny = Relu(a)",
        {"M": (6, 5), "d": [0, 2, 6], "outputs": "t y a"},
    ),
}

ONE_STACK = Lifts(
    spent(
        'r = Reshape(u, d)\ny = MatMul(r, M)\nq = Reshape(u, e)\nz = Einsum <equation = "nrak,rkm->nram"> (q, M)',
        units=16,
        d=[0, 2, 2, 1, 4],
        e=[0, 2, 2, 4],
        M=(2, 4, 3),
        outputs="y z",
    )
)

LIFTS = table(
    ROWS,
    {"one stack of matrices, for the inner rows and for the outer ones": ONE_STACK},
    {f"one image: {name}": row for name, row in ONE_IMAGE.items()},
    {
        f"the batch last: {name}, batch {batch}": Lifts(head(text, **{"batch": batch, **weights}))
        for name, (text, weights) in LEFT.items()
        for batch in ("N", 1, 3)
        if batch != 1 or "[1, N, K]" not in name
    },
    {
        f"the batch last, behind an FC: {name}": Lifts(
            head(
                text.replace("Flatten(map)", "Gemm(f, W, B)").replace("v =", "f = Flatten(map)\nv =", 1),
                **{"W": (12, 12), "B": (12,), **weights},
            )
        )
        for name, (text, weights) in LEFT.items()
    },
)


REFUSES = {
    "MatMul of columns": Refuses(spent("t = Transpose(u)\ny = MatMul(t, M)", batch=3, M=(3, 5)), "MatMul 'y'", MIXES),
    "MatMul of unread columns": Refuses(
        unread("a = Transpose(v)\nb = MatMul(a, M)\nt = Transpose(b)", batch=3, M=(3, 3)), "MatMul 'b'", MIXES
    ),
    "MatMul of rows merged to one axis": Refuses(
        spent("r = Reshape(u, d)\ny = MatMul(r, M)", batch=3, d=[-1], M=(12, 5)), "MatMul 'y'", MIXES
    ),
    "MatMul of one number for each image": Refuses(
        spent("r = ReduceMax <axes = [1], keepdims = 0> (u)\ny = MatMul(r, M)", batch=3, M=(3, 5)), "MatMul 'y'", MIXES
    ),
    "a weight on the left of rows of images": Refuses(
        spent("y = MatMul(M, u)", batch=3, M=(5, 3)), "MatMul 'y'", MIXES
    ),
    "a weight on the left of [1, N, K]": Refuses(
        spent("e = Unsqueeze(u, a)\ny = MatMul(M, e)", batch=3, a=[0], M=(5, 3)), "MatMul 'y'", MIXES
    ),
    "a weight on the left of merged rows": Refuses(
        spent("r = Reshape(u, d)\ny = MatMul(M, r)", batch=3, d=[-1, 2], M=(5, 6)),
        "MatMul 'y'",
        "moves rows of several images away from the first axis",
    ),
    "a weight on the left, too wide": Refuses(
        spent("t = Transpose(u)\ny = MatMul(M, t)", M=(5, 3)),
        "MatMul 'y'",
        "its weight takes 3 features, and it is fed 4",
    ),
    "too many rows in the weight of rows": Refuses(
        spent("r = Reshape(u, d)\ny = MatMul(r, M)", d=[0, 2, 2], M=(3, 5)),
        "MatMul 'y'",
        "its weight takes 3 features, and it is fed 2",
    ),
    "a vector on the left": Refuses(
        spent("r = Reshape(u, d)\ny = MatMul(M, r)", d=[0, 2, 2], M=(2,)),
        "MatMul 'y'",
        "has a vector as its weight on the left",
    ),
    "a matrix for each image": Refuses(
        spent("r = Reshape(u, d)\ny = MatMul(r, M)", batch=3, d=[0, 2, 2], M=(3, 2, 5)),
        "MatMul 'y'",
        "its weight 'M' has a matrix for each image",
    ),
    "a matrix for each merged row": Refuses(
        spent("r = Reshape(u, d)\ny = MatMul(r, M)", batch=3, d=[-1, 2, 2], M=(3, 2, 5)),
        "MatMul 'y'",
        "its weight 'M' has a matrix for each image",
    ),
    "a stack on rows of images": Refuses(
        spent("y = MatMul(u, M)", M=(1, 4, 5)), "MatMul 'y'", "has more axes ([1, 4, 5]) than the value"
    ),
    "two values whose rows are images": Refuses(
        spent("w = MatMul(v, M)\nt = Transpose(w)\ny = MatMul(u, t)", batch=3, M=(12, 4)),
        "MatMul 'y'",
        "multiplies two values that both depend on the image, over the batch",
    ),
    "two values, one with its columns": Refuses(
        spent("t = Transpose(u)\ny = MatMul(t, u)", batch=3),
        "MatMul 'y'",
        "multiplies two values that both depend on the image, over the batch",
    ),
    **{
        f"two values with the batch {where}": Refuses(
            spent(
                f"r = Reshape(u, d)\nt = Transpose <perm = {perm}> (r)\ny = MatMul(t, t)", batch=3, units=6, d=[0, 2, 3]
            ),
            "MatMul 'y'",
            "multiplies two values that both depend on the image, over the batch",
        )
        for where, perm in (("second", [1, 0, 2]), ("last", [1, 2, 0]))
    },
    "two values of merged rows": Refuses(
        spent("r = Reshape(u, d)\ny = MatMul(r, r)", batch=3, units=12, d=[-1, 6]),
        "MatMul 'y'",
        "multiplies two values that both depend on the image, over the batch",
    ),
    "two values of other ranks": Refuses(
        spent("r = Reshape(u, d)\ny = MatMul(r, u)", batch=2, d=[0, 2, 2]),
        "MatMul 'y'",
        "multiplies two values that both depend on the image, over the batch",
    ),
    "Gemm of two values": Refuses(
        spent("w = Gemm <transB = 1> (u, u, C)\ny = Relu(w)", batch=3, C=1.0),
        "Gemm 'w'",
        "multiplies two values that both depend on the image, over the batch",
    ),
    "a value and another input": Refuses(
        spent("r = Reshape(u, d)\ny = MatMul(M, r)", d=[0, 2, 2], M=(5, 2)),
        "MatMul 'y'",
        "its weight is not a constant",
        with_input("M"),
    ),
    "Gemm with a C of rank 3": Refuses(
        spent("t = Transpose(u)\ny = Gemm(M, t, C)", M=(5, 4), C=(1, 5, 1)),
        "Gemm 'y'",
        "its C has shape [1, 5, 1]",
    ),
    "Gemm of columns with a bias for each image": Refuses(
        spent("t = Transpose(u)\ny = Gemm(M, t, C)", batch=3, M=(5, 4), C=(1, 3)),
        "Gemm 'y'",
        "has a row for each of several images",
    ),
    "int32 rows": Refuses(
        spent("i = Cast <to = 6> (u)\nr = Reshape(i, d)\ny = MatMul(r, M)", d=[0, 2, 2], M=some(2, 3, dtype=np.int32)),
        "MatMul 'y'",
        "not for int32",
    ),
    "FusedMatMul of a batch of matrices": Refuses(
        spent("r = Reshape(u, d)\ny = MatMul <transBatchA = 1> (r, M)", d=[0, 2, 2], M=(2, 3)),
        "com.microsoft.FusedMatMul 'y'",
        "transposes stacks of matrices, and its operands are none",
        as_custom("y", "com.microsoft", "FusedMatMul"),
    ),
    "FusedMatMul of a vector, transposed": Refuses(
        spent("r = Reshape(u, d)\ny = MatMul <transA = 1> (r, M)", batch=1, d=[4], M=(4, 3)),
        "com.microsoft.FusedMatMul 'y'",
        "needs two axes",
        as_custom("y", "com.microsoft", "FusedMatMul"),
    ),
    "FusedGemm with an activation of its own": Refuses(
        spent('y = Gemm <activation = "Mish"> (u, M, C)', M=(4, 3), C=(3,)),
        "com.microsoft.FusedGemm 'y'",
        "its activation 'Mish' is not known",
        as_custom("y", "com.microsoft", "FusedGemm"),
    ),
}


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


CONVS = {  #: kind -> kernel_shape and group of the product with ``r`` of a window of 3 x 2
    "positions": ([1, 1], 1),
    "tokens": ([1, 1], 1),
    "one channel": ([3, 2], 4),
    "two channels": ([3, 2], 2),
    "one line": ([1, 1], 3),
    "across channels": ([1, 1], 12),
    "of an FC": ([1, 1], 3),
}


@pytest.mark.parametrize("kind", CONVS)
def test_each_way_has_its_conv(kind: str) -> None:
    made = rows_head(kind, "and an FC of all")
    model = fc2conv.convert(network(made), verify=False).model
    convs = [{a.name: list(a.ints) or a.i for a in n.attribute} for n in model.graph.node if n.op_type == "Conv"]
    kernel_shape, group = CONVS[kind]
    assert (convs[-2]["kernel_shape"], convs[-2]["group"]) == (kernel_shape, group)
    spends = kind in ("positions", "tokens")  # the product itself has left the window unread
    assert convs[-1]["kernel_shape"] == ([3, 2] if spends else [1, 1])


def test_dense_on_a_map_costs_what_a_conv_of_one_cell_costs() -> None:
    made = rows_head("positions", "merged, MatMul, Add, Relu and back, then an FC")
    model = fc2conv.convert(network(made), verify=False).model
    assert [n.op_type for n in model.graph.node] == ["Conv", "Conv", "Add", "Relu", "Conv"]
