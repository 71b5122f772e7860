"""Elementwise operators of several operands: constants of every shape, and values of the head among themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import onnx_fc2conv as fc2conv

from ..networks import network
from .tables import LeavesAlone, Lifts, Refuses, every, opsets, powers, some, spent, table, unread, with_input

Constant = Callable[..., np.ndarray]

# A line with a constant c, the constant's values, and whether the result rounds or is no float.
WITH_CONSTANT: dict[str, tuple[str, Constant]] = {
    "Add": ("Add({x}, c)", some),
    "Sub": ("Sub({x}, c)", some),
    "Sub, constant first": ("Sub(c, {x})", some),
    "Mul": ("Mul({x}, c)", powers),
    "Mul, constant first": ("Mul(c, {x})", powers),
    "Div": ("Div({x}, c)", powers),
    "Max": ("Max({x}, c)", some),
    "Min": ("Min(c, {x})", some),
    "Sum": ("Sum({x}, c, {x})", some),
    "Mean": ("Mean({x}, c)", some),
    "Pow": ("Pow({x}, c)", lambda *shape: some(*shape, low=1, high=4)),
    "PRelu": ("PRelu({x}, c)", powers),
    "Greater": ("Greater({x}, c)", some),
    "GreaterOrEqual": ("GreaterOrEqual({x}, c)", some),
    "Less": ("Less(c, {x})", some),
    "LessOrEqual": ("LessOrEqual({x}, c)", some),
    "Equal": ("Equal({x}, c)", some),
    "Mod": ("Mod <fmod = 1> ({x}, c)", lambda *shape: some(*shape, low=2, high=6)),
    "Where": ("Where(c, {x}, other)", lambda *shape: some(*shape, low=0, high=2).astype(bool)),
}
SHAPES = {"()": (), "(1,)": (1,), "(K,)": None, "(1,K)": (1, None), "(1,1)": (1, 1)}
FIRST = {"Equal": 11, "Max": 8, "Min": 8, "Sum": 8, "Mean": 8}  #: opset from which they take floats, or broadcast


def constant_rows(name: str, line: str, values: Constant) -> dict[str, Lifts]:
    rows = {}
    op_type = name.split(",")[0]
    tried = [(17, shape) for shape in SHAPES]
    tried += [(o, "(1,K)") for o in opsets(op_type, (7, 9, 13, 26)) if o >= FIRST.get(op_type, 7)]
    for opset, spelled in tried:
        shape = SHAPES[spelled]
        for where, x, size in (("behind an FC", "u", 4), ("in front", "v", 12)):
            dims = (size,) if shape is None else tuple(size if d is None else d for d in shape)
            result = f"r = {line.format(x=x)}"
            weights = {"c": values(*dims), "other": 1.5}
            made = spent(f"{result}\ny = Identity(r)", opset, **weights)
            if x == "v":
                made = unread(f"{result}\nt = Cast <to = 1> (r)", opset, **weights)
            rows[f"{name}, {spelled}, opset {opset}, {where}"] = Lifts(made, 12 * (name == "Pow"), 3 * (name == "Pow"))
    return rows


BETWEEN_VALUES = "Add Sub Mul Max Min Sum Mean Greater GreaterOrEqual Less LessOrEqual Equal".split()


def value_rows(op_type: str) -> dict[str, Lifts]:
    other = "w = Gemm(v, M, C)"
    weights = {"M": (12, 4), "C": (4,)}
    as_float = "\nt = Cast <to = 1> (r)"
    return {
        f"{op_type} of two heads": Lifts(spent(f"{other}\ny = {op_type}(u, w)", **weights)),
        f"{op_type} of the unread vector and what is made of it": Lifts(
            unread(f"n = Neg(v)\na = Relu(n)\nr = {op_type}(a, v){as_float}")
        ),
        f"{op_type} of an unread and a spent value": Lifts(
            unread(f"w = Gemm(v, M, C)\nr = {op_type}(v, w){as_float}", M=(12, 12), C=(12,))
        ),
        f"{op_type} of a value and one column": Lifts(
            spent(f"w = Gather <axis = 1> (u, i)\ny = {op_type}(w, u)", i=[1]),
        ),
        f"{op_type} of two rank-3 values": Lifts(
            spent(
                f"{other}\na = Reshape(u, s)\nb = Relu(a)\nc = Reshape(w, s)\nd = Relu(c)\ny = {op_type}(b, d)",
                s=[0, 2, 2],
                **weights,
            )
        ),
    }


PER_CHANNEL = np.repeat([2, 4], 6).astype(np.float32)
NHWC = "n = Transpose <perm = [0, 2, 3, 1]> (map)\nw = Flatten(n)\n"
FLAGS = "a = Greater(u, zero)\nq = Gather <axis = 1> (u, i)\nb = Less(u, q)\n"
FLAG_WEIGHTS = {"zero": 0.0, "i": [1, 2, 3, 0]}
UINT = "p = Abs(u)\ni = Cast <to = 12> (p)\n"
INT = "i = Cast <to = 6> (u)\n"


def ints(*shape: int, low: int = 1, high: int = 6, dtype: type = np.int32) -> np.ndarray:
    return some(*shape, low=low, high=high, dtype=dtype)


LIFTS = table(
    *(constant_rows(name, *how) for name, how in WITH_CONSTANT.items()),
    *(value_rows(op_type) for op_type in BETWEEN_VALUES),
    {
        f"{op} at opset {o}, operands of one shape": Lifts(
            spent(f"w = Gemm(v, M, C)\ny = {op}(u, w)", o, M=(12, 4), C=(4,))
        )
        for op in ("Max", "Min", "Sum", "Mean")
        for o in (7, 8)
    },
    {
        f"{op} at opset 8, with a constant": Lifts(spent(f"y = {op}(u, c)", 8, c=(4,)))
        for op in ("Max", "Min", "Sum", "Mean")
    },
    {f"{op} of one operand": Lifts(spent(f"y = {op}(u)")) for op in ("Max", "Min", "Sum", "Mean")},
    {
        f"{op} of five operands": Lifts(
            spent(f"n = Neg(u)\nr = Relu(u)\ny = {op}(u, c, n, d, r)", c=(4,), d=2.0), nodes=5 * (op == "Mean")
        )
        for op in ("Max", "Min", "Sum", "Mean")
    },
    {f"{op} of two comparisons": Lifts(spent(f"{FLAGS}y = {op}(a, b)", **FLAG_WEIGHTS)) for op in ("And", "Or", "Xor")},
    {
        f"{op} with a constant": Lifts(spent(f"{FLAGS}y = {op}(b, c)", **FLAG_WEIGHTS, c=np.array([1, 0, 1, 0], bool)))
        for op in ("And", "Or", "Xor")
    },
    {
        f"{op} in front, with a scalar": Lifts(
            unread(f"a = Greater(v, zero)\nr = {op}(a, c)\nt = Cast <to = 1> (r)", zero=0.0, c=np.array(op != "Or"))
        )
        for op in ("And", "Or", "Xor")
    },
    {
        f"BitShift {way}, {name}": Lifts(
            spent(f'{UINT}y = BitShift <direction = "{way}"> (i, c)', c=ints(*dims, low=1, high=3, dtype=np.uint32))
        )
        for way in ("LEFT", "RIGHT")
        for name, dims in {"()": (), "(K,)": (4,)}.items()
    },
    {
        f"{op}, {name}, behind an FC": Lifts(spent(f"{INT}y = {op}(i, c)", 18, c=ints(*dims)))
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "Mod", "Add", "Mul", "Equal", "Max", "Div")
        for name, dims in {"()": (), "(1,)": (1,), "(K,)": (4,), "(1,K)": (1, 4)}.items()
    },
    {
        f"{op}, {name}, in front": Lifts(
            unread(f"i = Cast <to = 6> (v)\nr = {op}(i, c)\nt = Cast <to = 1> (r)", 18, c=values)
        )
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "Mod", "Add")
        for name, values in {"()": ints(), "per channel": PER_CHANNEL.astype(np.int32)}.items()
    },
    {
        "BitShift in front": Lifts(
            unread(
                'p = Abs(v)\ni = Cast <to = 12> (p)\nr = BitShift <direction = "LEFT"> (i, c)\nt = Cast <to = 1> (r)',
                c=np.array([1], np.uint32),
            )
        )
    },
    {
        f"Clip {name}, opset {opset}": Lifts(spent(f"y = Clip{line}", opset, **bounds))
        for name, line, opset, bounds in (
            ("attributes", " <min = -3.0, max = 5.0> (u)", 7, {}),
            ("min attribute", " <min = -3.0> (u)", 9, {}),
            ("inputs", "(u, lo, hi)", 11, {"lo": -3.0, "hi": 5.0}),
            ("inputs", "(u, lo, hi)", 13, {"lo": -3.0, "hi": 5.0}),
            ("inputs", "(u, lo, hi)", 26, {"lo": -3.0, "hi": 5.0}),
            ("only min", "(u, lo)", 17, {"lo": -3.0}),
            ("only max", "(u, , hi)", 17, {"hi": 5.0}),
            ("no bounds", "(u)", 17, {}),
            ("inputs of shape (1,)", "(u, lo, hi)", 17, {"lo": some(1, low=-3, high=-2), "hi": some(1, low=5, high=6)}),
        )
    },
    {
        f"Clip {name}, in front": Lifts(unread(f"t = Clip{line}", opset, **bounds))
        for name, line, opset, bounds in (
            ("attributes", " <min = -1.0, max = 2.0> (v)", 9, {}),
            ("inputs", "(v, lo, hi)", 17, {"lo": -1.0, "hi": 2.0}),
            ("only max", "(v, , hi)", 17, {"hi": 2.0}),
            ("inputs of shape (1,)", "(v, lo, hi)", 17, {"lo": some(1, low=-1, high=0), "hi": some(1, low=2, high=3)}),
        )
    },
    {
        "Clip by computed constants": Lifts(
            spent("lo = Neg(bound)\nhi = Identity(bound)\ny = Clip(u, lo, hi)", bound=3.0)
        ),
        "Where with three values": Lifts(
            spent("c = Greater(u, zero)\nn = Neg(u)\nr = Relu(u)\ny = Where(c, n, u)", zero=1.0)
        ),
        "Where with a constant on either side": Lifts(
            spent("c = Greater(u, zero)\na = Where(c, u, k)\nd = Less(a, zero)\ny = Where(d, k, a)", zero=1.0, k=(4,))
        ),
        "Where on the unread vector": Lifts(
            unread("c = Greater(v, zero)\nn = Neg(v)\nt = Where(c, n, k)", zero=1.0, k=PER_CHANNEL)
        ),
        "Mul between two unread scalings": Lifts(unread("a = Mul(v, c)\nt = Add(a, d)", c=(12,), d=(1, 12))),
        "scale and shift per channel": Lifts(
            unread("a = Mul(v, c)\nt = Add(a, d)", c=PER_CHANNEL, d=PER_CHANNEL[None])
        ),
        "one per-channel constant, two feature orders": Lifts(
            spent(
                "a = Mul(v, c)\nr = Slice(v, s, e, axes, steps)\nb = Mul(r, c)\ny = MatMul(a, M)\nz = MatMul(b, M)",
                outputs="y z",
                c=PER_CHANNEL,
                M=(12, 3),
                s=[-1],
                e=[-100],
                axes=[1],
                steps=[-1],
            )
        ),
        "one constant, per channel in NHWC order only": Lifts(
            spent(
                f"{NHWC}a = Mul(v, c)\nb = Mul(w, c)\ny = MatMul(a, M)\nz = MatMul(b, M)",
                outputs="y z",
                c=np.tile([2, 4], 6).astype(np.float32),
                M=(12, 3),
            )
        ),
        "one constant, in front and behind": Lifts(
            unread("a = Mul(v, c)\nb = MatMul(a, M)\nt = Mul(b, c)", c=(12,), M=(12, 12)),
        ),
        "the flattened vector in two orders": Lifts(unread(f"{NHWC}t = Sub(v, w)")),
        "the flattened vector and a spent column": Lifts(
            unread("q = MatMul(v, M)\ns = ReduceMax <axes = [1]> (q)\nt = Add(v, s)", M=(12, 3))
        ),
        "a column that grows by a constant": Lifts(spent("s = ReduceMax <axes = [1]> (u)\ny = Add(s, c)", c=(5,))),
        "the unread vector with one feature grows": Lifts(
            unread("s = Slice(v, a, b, axes)\nt = Add(s, c)", features=5, a=[3], b=[4], axes=[1], c=(1, 5))
        ),
        "rank 1 and a scalar": Lifts(spent("s = ReduceMax <axes = [1], keepdims = 0> (u)\ny = Add(s, c)", c=2.0)),
        "rank 1 and a constant of shape (1,)": Lifts(
            spent("s = ReduceMax <axes = [1], keepdims = 0> (u)\ny = Mul(s, c)", c=powers(1))
        ),
        "a row per image": Lifts(spent("y = Add(u, c)", batch=3, c=(3, 4))),
        "one number per image": Lifts(spent("y = Add(c, u)", batch=3, c=(3, 1))),
        "a row per image, in front": Lifts(unread("t = Add(v, c)", batch=3, c=(3, 12))),
        "one number per image, in front": Lifts(unread("t = Mul(c, v)", batch=3, c=(3, 1))),
        "an unread map times a gate": Lifts(
            spent(
                "e = Reshape(u, s)\nm = Mul(e, map)\nf = Flatten(m)\ny = MatMul(f, M)",
                units=2,
                s=[0, 2, 1, 1],
                M=(12, 3),
            )
        ),
        "a gated map is the answer": Lifts(
            spent("e = Unsqueeze(u, axes)\nr = Relu(map)\ny = Mul(r, e)", units=2, axes=[2, 3])
        ),
        "constants by Constant node and Identity": Lifts(
            spent(
                "c = Constant <value = float[4] {1.0, 2.0, 3.0, 4.0}> ()\nd = Identity(c)\na = Mul(u, c)\ny = Sub(a, d)"
            )
        ),
        "middle values are outputs": Lifts(unread("a = Mul(v, c)\nt = Add(a, v)", outputs="y a t v", c=(12,))),
        "PRelu with a slope per channel": Lifts(unread("t = PRelu(v, c)", c=PER_CHANNEL)),
        "PRelu at opset 7": Lifts(spent("y = PRelu(u, c)", 7, c=powers(4))),
        "PRelu with one slope at opset 7": Lifts(unread("t = PRelu(v, c)", 7, c=powers(1))),
        "PRelu on rank 3": Lifts(spent("r = Reshape(u, s)\ny = PRelu(r, c)", s=[0, 2, 2], c=powers(2, 1))),
        "Pow with one exponent": Lifts(spent("y = Pow(u, c)", c=2.0)),
        "Pow of a constant": Lifts(spent("a = Mul(u, small)\ny = Pow(c, a)", small=2.0**-6, c=powers(4)), nodes=3),
        "float16": Lifts(spent("a = Mul(u, c)\ny = Max(a, d)", dtype=np.float16, c=(4,), d=1.0)),
        "1-D": Lifts(unread("t = Mul(v, c)", window=(6,), c=(12,))),
        "per-feature integers on the unread vector": Lifts(
            unread("i = Cast <to = 6> (v)\na = Add(i, c)\nt = Cast <to = 1> (a)", c=ints(12))
        ),
        "flags of the unread vector choose spent values": Lifts(
            unread("g = Greater(v, zero)\nw = MatMul(v, M)\nt = Where(g, w, zero)", zero=0.0, M=(12, 12))
        ),
        "3-D, per channel": Lifts(unread("t = Mul(v, c)", window=(2, 1, 3), c=PER_CHANNEL)),
    },
    {
        f"rank 3 and a constant of shape {dims}": Lifts(
            spent("r = Reshape(u, s)\na = Add(r, c)\ny = Identity(a)", units=6, s=[0, 3, 2], c=dims)
        )
        for dims in ((), (1,), (2,), (3, 1), (3, 2), (1, 2), (1, 3, 2), (1, 3, 1), (1, 1, 2), (1, 1, 1))
    },
    {
        f"unread rank 3 and a constant of shape {dims}": Lifts(
            unread("r = Reshape(map, s)\na = Mul(r, c)\nt = Flatten(a)", s=[0, 2, 6], c=dims)
        )
        for dims in ((2, 1), (6,), (2, 6), (1, 2, 1))
    },
)

REFUSES = {
    "more axes than the value": Refuses(
        spent("y = Add(u, c)", c=(1, 1, 4)), "Add 'y'", "its constant 'c' has more axes than the value"
    ),
    "leading axes": Refuses(spent("y = Add(u, c)", c=(2, 1, 4)), "Add 'y'", "has more axes than the value"),
    "more rows than one image has": Refuses(
        spent("y = Add(u, c)", batch=1, c=(2, 4)), "Add 'y'", "its constant 'c' has 2 rows and would repeat the image"
    ),
    "rows that are no batch": Refuses(
        spent("y = Add(u, c)", c=(5, 4)), "Add 'y'", "its constant 'c' has 5 rows and would repeat the image"
    ),
    **{
        f"a column for each of {n} images": Refuses(
            spent("t = Transpose(u)\ny = Add(t, c)", batch=n, c=(4, n)),
            "Add 'y'",
            "its constant 'c' has a row for each of several images",
        )
        for n in (2, 3)
    },
    "a vector on rank 1": Refuses(
        spent("s = ReduceMax <axes = [1], keepdims = 0> (u)\ny = Add(s, c)", batch=1, c=(3,)),
        "Add 'y'",
        "its constant 'c' has 3 rows",
    ),
    **{
        f"{op} at opset 7 with a constant, batch {b}": Refuses(
            spent(f"y = {op}(u, c)", 7, batch=b, c=some(b, 4)), f"{op} 'y'", "does not broadcast before opset 8"
        )
        for op in ("Max", "Min", "Sum", "Mean")
        for b in (1, 3)
    },
    "ranks 2 and 3": Refuses(
        spent("r = Reshape(u, s)\ny = Add(u, r)", s=[0, 1, 4]),
        "Add 'y'",
        "combines values of shape [N, 4] and [N, 1, 4]: the batch would meet features",
    ),
    "ranks 1 and 2": Refuses(
        spent("s = ReduceMax <axes = [1], keepdims = 0> (u)\ny = Sub(u, s)", batch=1),
        "Sub 'y'",
        "combines values of shape [N, 4] and [N]: the batch would meet features",
    ),
    "sizes that do not broadcast": Refuses(spent("y = Add(u, c)", c=(3,)), "Add 'y'", "its operands do not broadcast"),
    "a constant that is a graph input": Refuses(
        spent("y = Add(u, c)", c=(4,)),
        "Add 'y'",
        "its input 'c' of shape [4] has no row for each image",
        with_input("c"),
    ),
    "effective strides 4 and 6": Refuses(
        spent(
            "p = MaxPool <kernel_shape = [1, 1], strides = [2, 2]> (map)\nw = Flatten(p)\na = MatMul(w, M)\n"
            "q = MaxPool <kernel_shape = [1, 1], strides = [3, 3]> (map)\nx1 = Flatten(q)\nb = MatMul(x1, L)\n"
            "y = Add(a, b)",
            M=(4, 4),
            L=(2, 4),
        ),
        "Add 'y'",
        "combines heads on different grids",
    ),
}

LEAVES_ALONE = {
    "a scalar": LeavesAlone(spent("[it] y = Mul(u, c)", c=2.0), "y"),
    "two heads": LeavesAlone(spent("w = Gemm(v, M, C)\n[it] y = Add(u, w)", M=(12, 4), C=(4,)), "y"),
    "Clip's attributes": LeavesAlone(spent("[it] y = Clip <min = -3.0, max = 5.0> (u)", 9), "y"),
    "Clip's inputs": LeavesAlone(spent("[it] y = Clip(u, lo, hi)", lo=-3.0, hi=5.0), "y"),
    "a comparison and what it chooses": LeavesAlone(
        spent("[a] c = Greater(u, zero)\n[b] y = Where(c, u, zero)", zero=0.0), "c y"
    ),
    "fmod": LeavesAlone(spent("[it] y = Mod <fmod = 1> (u, c)", c=3.0), "y"),
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


@pytest.mark.parametrize(
    ("op_type", "constant", "convs"),
    [("Mul", c, 2) for c in ((), (1,), (1, 1), PER_CHANNEL, (12,))]
    + [("Max", c, 2) for c in ((), (1, 1), PER_CHANNEL)]
    + [("Max", (12,), 3)],
    ids=str,
)
def test_only_a_constant_per_feature_that_no_fc_takes_in_costs_a_conv(
    op_type: str, constant: object, convs: int
) -> None:
    model = fc2conv.convert(network(unread(f"t = {op_type}(v, c)", c=constant)), verify=False).model
    assert sum(n.op_type == "Conv" for n in model.graph.node) == convs
