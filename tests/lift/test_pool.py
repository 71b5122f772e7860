"""Pools over the whole map, in every spelling: they become pools over the window."""

from __future__ import annotations

import numpy as np
import pytest

import onnx_fc2conv as fc2conv
from onnx_fc2conv.ops import REDUCTIONS

from ..networks import Head, network
from .tables import Lifts, Refuses, every, head, spent, table, unread
from .test_reduce import EXACT, call

ROUNDS = {"terms": 12, "nodes": 4}  #: of an average; a maximum is exact


def pooled(text: str, opset: int = 17, *, channels: int = 2, **rest: object) -> Head:
    """A head whose text makes ``t`` [N, channels] of the map."""
    return head(f"{text}\ny = Gemm(t, M, C)", opset, channels=channels, **{"M": (channels, 3), "C": (3,), **rest})


def global_rows() -> dict[str, Lifts]:
    flattened = {
        "Flatten": ("t = Flatten(p)", {}),
        "Reshape": ("t = Reshape(p, d)", {"d": [-1, 2]}),
        "two views": ("q = Reshape(p, d)\nt = Flatten(q)", {"d": [0, 2, 1]}),
    }
    rows = {}
    for op_type in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        rounds = {} if op_type == "GlobalMaxPool" else ROUNDS
        for opset in (7, 9, 11, 13, 18, 22, 26):
            if op_type == "GlobalLpPool" and opset >= 22:
                continue  # onnxruntime runs none of these
            for name, (text, weights) in flattened.items():
                made = pooled(f"p = {op_type}(map)\n{text}", opset, **weights)
                rows[f"{op_type}, {name}, opset {opset}"] = Lifts(made, **rounds)
        rows[f"{op_type}, Squeeze with axes"] = Lifts(
            pooled(f"p = {op_type}(map)\nt = Squeeze <axes = [2, 3]> (p)", 11), **rounds
        )
        for window in ((1, 3), (4, 2), (5,), (2, 1, 3)):
            rows[f"{op_type}, window {window}"] = Lifts(
                pooled(f"p = {op_type}(map)\nt = Flatten(p)", window=window), **rounds
            )
        for channels in (1, 3):
            rows[f"{op_type}, {channels} channels"] = Lifts(
                pooled(f"p = {op_type}(map)\nt = Flatten(p)", channels=channels), **rounds
            )
        for batch in (1, 3):
            rows[f"{op_type}, batch {batch}"] = Lifts(
                pooled(f"p = {op_type}(map)\nt = Flatten(p)", batch=batch), **rounds
            )
    return rows


def reduce_rows() -> dict[str, Lifts]:
    rows = {}
    for op_type in ("ReduceMean", "ReduceMax", "ReduceSum"):
        rounds = {} if op_type == "ReduceMax" else ROUNDS
        input_from = 13 if op_type == "ReduceSum" else 18
        for axes in ([2, 3], [-2, -1], [3, 2]):
            for keep, view in ((1, "t = Flatten(p)"), (0, "t = Identity(p)")):
                for opset in (11, input_from, 26):
                    by_input = opset >= input_from
                    attrs = f"<keepdims = {keep}>" if by_input else f"<axes = {axes}, keepdims = {keep}>"
                    text = f"p = {op_type} {attrs} ({'map, axes' if by_input else 'map'})\n{view}"
                    name = f"{op_type} over {axes}, keepdims {keep}, opset {opset}"
                    rows[name] = Lifts(pooled(text, opset, axes=axes), **rounds)
        nhwc = "n = Transpose <perm = [0, 2, 3, 1]> (map)\n"
        rows[f"{op_type}, NHWC"] = Lifts(
            pooled(f"{nhwc}t = {op_type} <keepdims = 0> (n, axes)", 18, axes=[1, 2]), **rounds
        )
        rows[f"{op_type}, NHWC, keepdims"] = Lifts(
            pooled(f"{nhwc}p = {op_type}(n, axes)\nt = Flatten(p)", 18, axes=[-3, -2]), **rounds
        )
        rows[f"{op_type}, positions reshaped to one axis"] = Lifts(
            pooled(f"r = Reshape(map, d)\nt = {op_type} <keepdims = 0> (r, axes)", 18, d=[0, 0, -1], axes=[2]), **rounds
        )
        rows[f"{op_type}, channels in reverse"] = Lifts(
            pooled(
                f"r = Reshape(map, d)\ng = Gather <axis = 1> (r, i)\nt = {op_type} <keepdims = 0> (g, axes)",
                18,
                d=[0, 0, -1],
                i=[1, 0],
                axes=[2],
            ),
            **rounds,
        )
        rows[f"{op_type}, one channel three times"] = Lifts(
            pooled(
                f"r = Reshape(map, d)\ng = Gather <axis = 1> (r, i)\nt = {op_type} <keepdims = 0> (g, axes)",
                18,
                d=[0, 0, -1],
                i=[1, 1, 1],
                axes=[2],
                M=(3, 3),
            ),
            **rounds,
        )
        rows[f"{op_type}, one spatial axis"] = Lifts(
            head(f"p = {op_type}(map, axes)\nt = Flatten(p)\ny = MatMul(t, M)", 18, axes=[3], M=(6, 3)), **rounds
        )
        rows[f"{op_type}, channels and one spatial axis"] = Lifts(
            head(f"t = {op_type} <keepdims = 0> (map, axes)\ny = MatMul(t, M)", 18, axes=[1, 2], M=(2, 3)), **rounds
        )
        rows[f"{op_type}, channels and all positions"] = Lifts(
            head(
                f"p = {op_type} <keepdims = 1> (map, axes)\nt = Flatten(p)\ny = MatMul(t, M)",
                18,
                axes=[1, 2, 3],
                M=(1, 3),
            ),
            **rounds,
        )
        rows[f"{op_type}, the whole flattened vector"] = Lifts(
            head(f"v = Flatten(map)\nt = {op_type}(v, axes)\ny = MatMul(t, M)", 18, axes=[1], M=(1, 3)), **rounds
        )
        rows[f"{op_type}, half of each channel"] = Lifts(
            unread(f"r = Reshape(v, d)\nt = {op_type} <keepdims = 0> (r, axes)", 18, features=4, d=[0, 4, 3], axes=[2]),
            **rounds,
        )
    return rows


def other_reduction_rows() -> dict[str, Lifts]:
    """Reductions that no pool of ONNX computes; and every reduction in two steps, one spatial axis each."""
    rows = {}
    for op_type in sorted(REDUCTIONS):
        rounds = {} if op_type in EXACT else ROUNDS
        prepare, weights = ("a = Abs(map)\nb = Add(a, one)\ns = Mul(b, half)", {"one": 1.0, "half": 0.5})
        for axes in ([2, 3], [-1, -2]):
            for keep, view in ((1, "t = Flatten(p)"), (0, "t = Identity(p)")):
                for opset in (11, 18):
                    text = f"{prepare}\np = {call(op_type, opset, axes, keep)}\n{view}"
                    name = f"{op_type} over {axes} of what may be pooled by no pool, keepdims {keep}, opset {opset}"
                    rows[name] = Lifts(pooled(text, opset, axes=axes, **weights), **rounds)
        nhwc = f"{prepare}\nn = Transpose <perm = [0, 2, 3, 1]> (s)\n"
        rows[f"{op_type} of N, H, W, C"] = Lifts(
            pooled(f"{nhwc}t = {call(op_type, 18, [1, 2], 0, 'n')}", 18, axes=[1, 2], **weights), **rounds
        )
        for first, second, keep in ((3, 2, 0), (2, 2, 0), (3, 2, 1), (2, 3, 1)):
            text = (
                f"{prepare}\np = {call(op_type, 11, [first], keep)}\n"
                f"q = {call(op_type, 11, [second], keep, 'p')}\nt = Flatten(q)"
            )
            rows[f"{op_type} over {first}, then over {second}, keepdims {keep}"] = Lifts(
                pooled(text, 11, **weights), **rounds
            )
        one = f"{prepare}\np = {call(op_type, 11, [3], 0)}\nt = Flatten(p)"
        rows[f"{op_type} over one spatial axis, the other is flattened"] = Lifts(
            pooled(one, 11, M=(6, 3), **weights), **rounds
        )
    return rows


INTEGERS = "i = Cast <to = {type}> (map)\np = {op} <keepdims = 0> (i, axes)\nt = Cast <to = 1> (p)"


LIFTS = table(
    global_rows(),
    {
        f"{op_type} of integers of type {type_}": Lifts(
            pooled(INTEGERS.format(type=type_, op=op_type), 18 if op_type == "ReduceMax" else 17, axes=[2, 3])
        )
        for op_type in ("ReduceMax", "ReduceSum")
        for type_ in (6, 7)
    },
    reduce_rows(),
    other_reduction_rows(),
    {
        f"{op_type} that covers the map{attrs}": Lifts(
            pooled(f"p = {op_type} <kernel_shape = [3, 2]{attrs}> (map)\nt = Flatten(p)", 18),
            **({} if op_type == "MaxPool" else ROUNDS),
        )
        for op_type in ("AveragePool", "MaxPool", "LpPool")
        for attrs in (
            "",
            ", strides = [1, 1]",
            ", strides = [3, 2]",
            ", strides = [7, 5]",
            ', auto_pad = "VALID"',
            ', auto_pad = "SAME_UPPER", strides = [3, 2]',
            ", pads = [0, 0, 0, 0]",
            ", ceil_mode = 1",
        )
    },
    {
        f"{op_type} that covers the map, window {window}": Lifts(
            pooled(
                f"p = {op_type} <kernel_shape = {list(window)}, strides = {list(window)}> (map)\nt = Flatten(p)",
                window=window,
            ),
            **({} if op_type == "MaxPool" else ROUNDS),
        )
        for op_type in ("AveragePool", "MaxPool", "LpPool")
        for window in ((1, 3), (5,), (2, 1, 3))
    },
    {
        f"LpPool, p {p}": Lifts(pooled(f"p = LpPool <kernel_shape = [3, 2], p = {p}> (map)\nt = Flatten(p)"), **ROUNDS)
        for p in (1, 2, 3)
    },
    {
        f"GlobalLpPool of one value, p {p}": Lifts(
            pooled(f"p = GlobalLpPool <p = {p}> (map)\nt = Flatten(p)", window=(1, 1)), **ROUNDS
        )
        for p in (1, 2)
    },
    {
        f"GlobalLpPool, p {p}": Lifts(pooled(f"p = GlobalLpPool <p = {p}> (map)\nt = Flatten(p)"), **ROUNDS)
        for p in (1, 2, 3)
    },
    {
        "AveragePool with count_include_pad": Lifts(
            pooled("p = AveragePool <kernel_shape = [3, 2], count_include_pad = 1> (map)\nt = Flatten(p)"), **ROUNDS
        ),
        "average and maximum side by side": Lifts(
            pooled(
                "p = GlobalAveragePool(map)\nq = GlobalMaxPool(map)\nc = Concat <axis = 1> (p, q)\nt = Flatten(c)",
                M=(4, 3),
            ),
            **ROUNDS,
        ),
        "a pool beside the flattened map": Lifts(
            pooled("p = GlobalMaxPool(map)\na = Flatten(p)\nb = Flatten(map)\nt = Concat <axis = 1> (b, a)", M=(14, 3))
        ),
        "elementwise behind the pool": Lifts(
            pooled("p = GlobalAveragePool(map)\nq = Mul(p, c)\nr = Relu(q)\nt = Flatten(r)", c=(2, 1, 1)), **ROUNDS
        ),
        "the pool is an output": Lifts(
            pooled("p = GlobalMaxPool(map)\nt = Flatten(p)", outputs="p y t"),
        ),
        "back to the map's layout, then a pool": Lifts(
            pooled(
                "v = Flatten(map)\nr = Relu(v)\nm = Reshape(r, d)\np = GlobalMaxPool(m)\nt = Flatten(p)", d=[0, 2, 3, 2]
            )
        ),
        "back to the map's layout, then a covering pool": Lifts(
            pooled(
                "v = Flatten(map)\nm = Reshape(v, d)\np = AveragePool <kernel_shape = [3, 2]> (m)\nt = Flatten(p)",
                d=[0, 2, 3, 2],
            ),
            **ROUNDS,
        ),
        "float16": Lifts(pooled("p = GlobalMaxPool(map)\nt = Flatten(p)", dtype=np.float16)),
    },
    {
        f"{op_type} of integers of type {to}, opset {opset}": Lifts(
            pooled(
                f"i = Cast <to = {to}> (map)\np = {call(op_type, opset, [2, 3], 0, 'i')}\nt = Cast <to = 1> (p)",
                opset,
                axes=[2, 3],
            )
        )
        for op_type, to in (("ReduceMax", 6), ("ReduceMin", 7), ("ReduceMax", 3), ("ReduceSum", 6), ("ReduceSum", 7))
        for opset in (13, 18)
    },
    {
        f"{op_type} of integers, opset 9, before Slice takes its bounds as inputs": Lifts(
            pooled(
                f"i = Cast <to = 6> (map)\np = {op_type} <axes = [2, 3]> (i)\nq = Cast <to = 1> (p)\nt = Flatten(q)", 9
            )
        )
        for op_type in ("ReduceSum", "ReduceMax")
    },
    {
        f"{op_type} of integers, window {window}": Lifts(
            pooled(
                f"i = Cast <to = 6> (map)\np = {op_type} <keepdims = 0> (i, axes)\nt = Cast <to = 1> (p)",
                18,
                window=window,
                axes=list(range(2, 2 + len(window))),
            )
        )
        for op_type in ("ReduceSum", "ReduceMax")
        for window in ((1, 1), (1, 3), (4, 2), (5,), (2, 1, 3))
    },
    {
        "the same pools behind an FC": Lifts(
            spent("m = Reshape(u, d)\np = GlobalMaxPool(m)\ny = Flatten(p)", d=[0, 1, 2, 2])
        ),
        "a covering pool behind an FC": Lifts(
            spent("m = Reshape(u, d)\np = MaxPool <kernel_shape = [2, 2]> (m)\ny = Flatten(p)", d=[0, 1, 2, 2])
        ),
    },
)

REFUSES = {
    "the positions of the maxima": Refuses(
        pooled("p, i = MaxPool <kernel_shape = [3, 2]> (map)\nt = Flatten(p)", outputs="y i"),
        "MaxPool 'p'",
        "gives positions inside the trained map",
    ),
    "a pool with another layout": Refuses(
        unread("m = Reshape(v, d)\np = GlobalMaxPool(m)\nt = Flatten(p)", features=3, d=[0, 3, 2, 2]),
        "GlobalMaxPool 'p'",
        "pools values that are no longer laid out as a feature map",
    ),
    "a covering pool with another layout": Refuses(
        unread(
            "m = Reshape(v, d)\np = MaxPool <kernel_shape = [2, 2]> (m)\nt = Flatten(p)", features=3, d=[0, 3, 2, 2]
        ),
        "Reshape 'm'",
        "reshapes the feature map in a way that is not understood",
    ),
}


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("p = GlobalAveragePool(map)", "AveragePool"),
        ("p = GlobalMaxPool(map)", "MaxPool"),
        ("p = ReduceMean <axes = [2, 3]> (map)", "AveragePool"),
        ("p = ReduceMax <axes = [2, 3]> (map)", "MaxPool"),
        ("p = AveragePool <kernel_shape = [3, 2], strides = [5, 5]> (map)", "AveragePool"),
        ("p = MaxPool <kernel_shape = [3, 2], strides = [5, 5]> (map)", "MaxPool"),
    ],
)
def test_the_window_is_pooled_at_stride_one(text: str, kind: str) -> None:
    model = fc2conv.convert(network(pooled(f"{text}\nt = Flatten(p)", 11)), verify=False).model
    (pool,) = (n for n in model.graph.node if n.op_type.endswith("Pool"))
    attrs = {a.name: list(a.ints) for a in pool.attribute}
    assert pool.op_type == kind
    assert (attrs["kernel_shape"], attrs["strides"]) == ([3, 2], [1, 1])
