"""Operators that reduce, rank or accumulate over feature axes."""

from __future__ import annotations

import numpy as np

from onnx_fc2conv.ops import REDUCTIONS

from .tables import LeavesAlone, Lifts, Refuses, every, spent, table, unread

ROUNDS = {"terms": 12, "nodes": 4}
EXACT = {"ReduceMax", "ReduceMin", "ReduceL1", "ReduceSum", "ReduceSumSquare"}
WIDE = "s = Mul({x}, small)"
POSITIVE = "a = Abs({x})\nb = Add(a, one)\ns = Mul(b, small)"
LARGE = "a = Abs({x})\nb = Add(a, one)\ns = Mul(b, half)"
PREPARED = {"ReduceLogSum": POSITIVE, "ReduceProd": LARGE}
SCALES = {"small": 2.0**-3, "half": 0.5, "one": 1.0}


def by_input(op_type: str, opset: int) -> bool:
    """Whether the axes are an input."""
    return opset >= (13 if op_type == "ReduceSum" else 18)


def call(op_type: str, opset: int, axes: list[int], keep: int | None, x: str = "s") -> str:
    """A reduction as it is written at an opset; ``keep`` None leaves keepdims out."""
    attrs = [] if by_input(op_type, opset) else [f"axes = {axes}"]
    attrs += [] if keep is None else [f"keepdims = {keep}"]
    written = f" <{', '.join(attrs)}>" if attrs else ""
    return f"{op_type}{written} ({x}, axes)" if by_input(op_type, opset) else f"{op_type}{written} ({x})"


def reduction_rows(op_type: str) -> dict[str, Lifts]:
    rounds = {} if op_type in EXACT else ROUNDS
    prepare = PREPARED.get(op_type, WIDE)
    rows = {}
    for opset in (7, 11, 13, 18, 26):
        for axes in [[1]] if opset < 11 else [[1], [-1]]:
            for keep in (None, 0, 1):
                text = f"{prepare.format(x='u')}\ny = {call(op_type, opset, axes, keep)}"
                name = f"{op_type} over {axes}, keepdims {keep}, opset {opset}"
                rows[name] = Lifts(spent(text, opset, axes=axes, **SCALES), **rounds)
    for opset in (11, 18):
        for axes in ([1], [2], [1, 2], [-1], [2, 1], [-2, -1]):
            for keep in (0, 1):
                text = f"{prepare.format(x='u')}\nr = Reshape(s, d)\ny = {call(op_type, opset, axes, keep, 'r')}"
                name = f"{op_type} over {axes} of rank 3, keepdims {keep}, opset {opset}"
                rows[name] = Lifts(spent(text, opset, units=6, d=[0, 2, 3], axes=axes, **SCALES), **rounds)
        whole = f"{prepare.format(x='v')}\nt = {call(op_type, opset, [1], 1)}"
        rows[f"{op_type} of the whole vector in front, opset {opset}"] = Lifts(
            unread(whole, opset, features=1, axes=[1], **SCALES), **rounds
        )
        positions = f"r = Reshape(map, d)\n{prepare.format(x='r')}\nt = {call(op_type, opset, [2], 0)}"
        rows[f"{op_type} of the positions in front, opset {opset}"] = Lifts(
            unread(positions, opset, features=2, d=[0, 2, 6], axes=[2], **SCALES), **rounds
        )
        channels = f"r = Reshape(map, d)\n{prepare.format(x='r')}\nt = {call(op_type, opset, [1], 0)}"
        rows[f"{op_type} of the channels in front, opset {opset}"] = Lifts(
            unread(channels, opset, features=6, d=[0, 2, 6], axes=[1], **SCALES), **rounds
        )
    for axes, operand in (("no axes", ""), ("empty axes", ", axes")):
        text = f"{prepare.format(x='u')}\ny = {op_type} <noop_with_empty_axes = 1> (s{operand})"
        rows[f"{op_type} that does not reduce, {axes}"] = Lifts(spent(text, 18, axes=[], **SCALES), **rounds)
    for name, pick, size in (("part of", "Slice(v, first, last, first)", 4), ("twice", "Concat <axis = 1> (v, v)", 24)):
        text = f"k = {pick}\n{prepare.format(x='k')}\nt = {call(op_type, 11, [1], 1)}"
        rows[f"{op_type} of {name} the vector in front"] = Lifts(
            unread(text, 11, features=1, first=[1], last=[5], **SCALES), size * bool(rounds), 4 * bool(rounds)
        )
    rows[f"{op_type}, 1-D"] = Lifts(
        spent(f"{prepare.format(x='u')}\ny = {call(op_type, 18, [1], 1)}", 18, window=(6,), axes=[1], **SCALES),
        **rounds,
    )
    rows[f"{op_type}, batch 3"] = Lifts(
        spent(f"{prepare.format(x='u')}\ny = {call(op_type, 18, [1], 0)}", 18, batch=3, axes=[1], **SCALES), **rounds
    )
    return rows


def arg_rows(op_type: str) -> dict[str, Lifts]:
    rows = {}
    for opset in (7, 11, 13, 26):
        for axis in (1,) if opset < 11 else (1, -1):
            for keep in ("", ", keepdims = 0", ", keepdims = 1"):
                text = f"y = {op_type} <axis = {axis}{keep}> (u)"
                rows[f"{op_type}, axis {axis}{keep}, opset {opset}"] = Lifts(spent(text, opset))
    for axis in (1, 2, -1, -2):
        text = f"r = Reshape(u, d)\ny = {op_type} <axis = {axis}, keepdims = 0> (r)"
        rows[f"{op_type} of rank 3, axis {axis}"] = Lifts(spent(text, units=6, d=[0, 2, 3]))
    for last in (0, 1):
        text = f"f = Sign(u)\ny = {op_type} <axis = 1, select_last_index = {last}> (f)"
        rows[f"{op_type} with ties, select_last_index {last}"] = Lifts(spent(text))
    rows[f"{op_type} in front"] = Lifts(unread(f"a = {op_type} <axis = -1> (v)\nt = Cast <to = 1> (a)", features=1))
    rows[f"{op_type} and what it was taken from"] = Lifts(
        spent(f"y = {op_type} <axis = 1> (u)\nz = Neg(u)", outputs="y z u")
    )
    return rows


TOPK = {
    "opset 7": ("TopK <k = 2, axis = 1> (u)", 7),
    "opset 9, axis left out": ("TopK <k = 2> (u)", 9),
    "opset 10": ("TopK <axis = 1> (u, k)", 10),
    "opset 11": ("TopK(u, k)", 11),
    "opset 13": ("TopK <axis = -1> (u, k)", 13),
    "opset 26": ("TopK <axis = 1> (u, k)", 26),
    "smallest": ("TopK <largest = 0> (u, k)", 17),
}
CUMSUM = {
    "plain": "",
    "exclusive": " <exclusive = 1>",
    "reverse": " <reverse = 1>",
    "both": " <exclusive = 1, reverse = 1>",
}

LIFTS = table(
    *(reduction_rows(op_type) for op_type in sorted(REDUCTIONS)),
    *(arg_rows(op_type) for op_type in ("ArgMax", "ArgMin")),
    {f"TopK {name}, both": Lifts(spent(f"y, z = {line}", o, outputs="y z", k=[2])) for name, (line, o) in TOPK.items()},
    {
        "TopK, values only": Lifts(spent("y, i = TopK(u, k)", k=[3])),
        "TopK, indices only": Lifts(spent("a, y = TopK(u, k)", k=[3])),
        "TopK, k by Constant node": Lifts(
            spent("k = Constant <value_ints = [2]> ()\ny, z = TopK(u, k)", outputs="y z")
        ),
        "TopK of rank 3": Lifts(
            spent("r = Reshape(u, d)\ny, z = TopK <axis = 1> (r, k)", units=6, d=[0, 3, 2], k=[2], outputs="y z")
        ),
        "TopK in front": Lifts(unread("t, i = TopK(v, k)", features=5, k=[5])),
        "the largest feature less the second": Lifts(
            spent("a, i = TopK(u, k)\nb, c = Split <axis = 1> (a)\ny = Sub(b, c)", 11, k=[2])
        ),
    },
    {
        f"CumSum {name}, axis {axis}, opset {opset}": Lifts(
            spent(f"y = CumSum{attrs}(u, axis)", opset, axis=np.array(axis))
        )
        for name, attrs in CUMSUM.items()
        for axis in (1, -1)
        for opset in (11, 14, 26)
    },
    {
        "CumSum, axis of shape (1,)": Lifts(spent("y = CumSum(u, axis)", axis=[1])),
        "CumSum, axis in int32": Lifts(spent("y = CumSum(u, axis)", axis=np.array(1, np.int32))),
        "CumSum of rank 3": Lifts(
            spent("r = Reshape(u, d)\ny = CumSum(r, axis)", units=6, d=[0, 3, 2], axis=np.array(-2))
        ),
        "CumSum in front": Lifts(unread("t = CumSum(v, axis)", axis=np.array(1))),
        "reducing twice": Lifts(
            spent(
                "r = Reshape(u, d)\na = ReduceMax <axes = [2], keepdims = 0> (r)\ny = ReduceSum(a, axes)",
                units=6,
                d=[0, 3, 2],
                axes=[1],
            )
        ),
        "standardised by hand": Lifts(
            spent("m = ReduceMean <axes = [1]> (u)\nc = Sub(u, m)\nq = Mul(c, c)\ny = ReduceSum(q, axes)", axes=[1]),
            **ROUNDS,
        ),
        "the vector less its own mean, in front": Lifts(
            unread("m = ReduceMean <axes = [-1]> (v)\nt = Sub(v, m)"), **ROUNDS
        ),
        "integers of the unread vector": Lifts(
            unread("i = Cast <to = 6> (v)\na = ReduceMin <axes = [1]> (i)\nt = Cast <to = 1> (a)", features=1)
        ),
        "float16": Lifts(spent("y = ReduceMax <axes = [1]> (u)", dtype=np.float16)),
        "axes by Constant node": Lifts(spent("a = Constant <value_ints = [1]> ()\ny = ReduceMax(u, a)", 18)),
    },
)

REFUSES = table(
    {
        f"{op_type} over axis {axis}, opset {opset}": Refuses(
            spent(f"y = {call(op_type, opset, [axis], 1, 'u')}", opset, axes=[axis]),
            f"{op_type} 'y'",
            "works along the batch axis, so it mixes the windows of different images",
        )
        for op_type in sorted(REDUCTIONS)
        for axis, opset in ((0, 11), (-2, 18))
    },
    {
        f"{op_type} over all axes": Refuses(
            spent(f"y = {op_type}(u)", 13), f"{op_type} 'y'", "reduces over all axes, so it mixes the images of a batch"
        )
        for op_type in sorted(REDUCTIONS)
    },
    {
        "over all axes by an empty list": Refuses(
            spent("y = ReduceSum(u, axes)", axes=[]), "ReduceSum 'y'", "reduces over all axes"
        ),
        "over all axes of the flattened vector": Refuses(
            spent("y = ReduceMax(v)", outputs="y u"), "ReduceMax 'y'", "reduces over all axes"
        ),
        "over the batch among others": Refuses(
            spent("y = ReduceMax <axes = [0, 1]> (u)"), "ReduceMax 'y'", "works along the batch axis"
        ),
        "axes that are computed at run time": Refuses(
            spent("s = Shape(u)\na = Gather(s, i)\ny = ReduceSum(u, a)", i=[0]),
            "ReduceSum 'y'",
            "its input 'a' is computed at run time",
        ),
        "ArgMax's default axis": Refuses(spent("y = ArgMax(u)"), "ArgMax 'y'", "works along the batch axis"),
        "ArgMin, axis -2": Refuses(spent("y = ArgMin <axis = -2> (u)"), "ArgMin 'y'", "works along the batch axis"),
        "TopK over the batch": Refuses(
            spent("y, i = TopK <axis = 0> (u, k)", batch=3, k=[2]), "TopK 'y'", "works along the batch axis"
        ),
        "TopK with k of the batch's size": Refuses(
            spent("s = Shape(u)\nk = Gather(s, i)\ny, j = TopK(u, k)", i=[0]),
            "TopK 'y'",
            "its input 'k' is computed at run time",
        ),
        "CumSum over the batch": Refuses(
            spent("y = CumSum(u, axis)", axis=np.array(0)), "CumSum 'y'", "works along the batch axis"
        ),
    },
)

LEAVES_ALONE = {
    "ArgMax, axis 1": LeavesAlone(spent("[it] y = ArgMax <axis = 1, keepdims = 0> (u)"), "y"),
    "a reduction, axes attribute": LeavesAlone(spent("[it] y = ReduceMax <axes = [1], keepdims = 0> (u)"), "y"),
    "TopK, axis 1": LeavesAlone(spent("[it] y, i = TopK <axis = 1> (u, k)", k=[2], outputs="y i"), "y i"),
}


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


@every(LEAVES_ALONE)
def test_leaves_alone(row: LeavesAlone) -> None:
    row.check()
