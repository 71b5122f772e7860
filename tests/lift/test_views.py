"""Views: every spelling of "feature map becomes vector", and views inside the head."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import onnx_fc2conv as fc2conv

from ..networks import network
from .tables import LeavesAlone, Lifts, Refuses, every, head, spent, table, unread, with_input

# How the map [N, 2, 3, 2] becomes v [N, 12]: nodes, weights, batch, opsets.
Spelling = tuple[str, dict[str, Any], Any, tuple[int, ...]]
MANY = (7, 9, 11, 13, 18, 21, 26)

COMPUTED = "q = Shape(map)\nn = Gather(q, zero)\n"
SPELLINGS: dict[str, Spelling] = {
    "Flatten": ("v = Flatten(map)", {}, "N", MANY),
    "Flatten, axis 1": ("v = Flatten <axis = 1> (map)", {}, "N", MANY),
    "Flatten, axis -3": ("v = Flatten <axis = -3> (map)", {}, "N", (11, 13, 21, 26)),
    "Flatten, batch 3": ("v = Flatten(map)", {}, 3, (17,)),
    "Reshape [0, -1]": ("v = Reshape(map, d)", {"d": [0, -1]}, "N", MANY),
    "Reshape [-1, K]": ("v = Reshape(map, d)", {"d": [-1, 12]}, "N", MANY),
    "Reshape [0, K]": ("v = Reshape(map, d)", {"d": [0, 12]}, "N", MANY),
    "Reshape [N, K]": ("v = Reshape(map, d)", {"d": [3, 12]}, 3, (7, 13, 26)),
    "Reshape [N, -1]": ("v = Reshape(map, d)", {"d": [3, -1]}, 3, (13,)),
    "Reshape [1, -1]": ("v = Reshape(map, d)", {"d": [1, -1]}, 1, (7, 13, 26)),
    "Reshape [1, K]": ("v = Reshape(map, d)", {"d": [1, 12]}, 1, (13,)),
    "Reshape with allowzero": ("v = Reshape <allowzero = 1> (map, d)", {"d": [3, 12]}, 3, (14, 19, 26)),
    "Reshape with allowzero and -1": ("v = Reshape <allowzero = 1> (map, d)", {"d": [-1, 12]}, "N", (14,)),
    "Reshape by Constant node": (
        "d = Constant <value = int64[2] {0, -1}> ()\nv = Reshape(map, d)",
        {},
        "N",
        (7, 13, 26),
    ),
    "Reshape, then Reshape": ("r = Reshape(map, d)\nv = Reshape(r, e)", {"d": [0, 2, -1], "e": [0, -1]}, "N", (7, 13)),
    "Reshape, then Flatten": ("r = Reshape(map, d)\nv = Flatten(r)", {"d": [0, 0, 6]}, "N", (7, 13)),
    "Flatten, then Flatten": ("r = Flatten(map)\nv = Flatten(r)", {}, "N", (17,)),
    "Reshape to [N, 1, K], then Squeeze": (
        "r = Reshape(map, d)\nv = Squeeze(r, axes)",
        {"d": [0, 1, -1], "axes": [1]},
        "N",
        (13, 26),
    ),
    "Reshape to [N, 1, K], then Flatten from axis 2": (
        "r = Reshape(map, d)\nv = Flatten <axis = 2> (r)",
        {"d": [0, 1, -1]},
        "N",
        (13,),
    ),
    "Unsqueeze, then Flatten": ("r = Unsqueeze(map, axes)\nv = Flatten(r)", {"axes": [1]}, "N", (13, 26)),
    "Unsqueeze at the end, then Flatten": ("r = Unsqueeze <axes = [4]> (map)\nv = Flatten(r)", {}, "N", (7, 11)),
    "Unsqueeze, Transpose, then Flatten": (
        "r = Unsqueeze(map, axes)\ns = Transpose <perm = [0, 4, 1, 3, 2]> (r)\nv = Flatten(s)",
        {"axes": [2]},
        "N",
        (13,),
    ),
    "computed: Shape, Gather, Unsqueeze, Concat": (
        f"{COMPUTED}m = Unsqueeze(n, axes)\nd = Concat <axis = 0> (m, k)\nv = Reshape(map, d)",
        {"zero": np.array(0), "axes": [0], "k": [-1]},
        "N",
        (13, 21, 26),
    ),
    "computed: Shape, Gather, Unsqueeze by attribute, Concat": (
        f"{COMPUTED}m = Unsqueeze <axes = [0]> (n)\nd = Concat <axis = 0> (m, k)\nv = Reshape(map, d)",
        {"zero": np.array(0), "k": [-1]},
        "N",
        (7, 9, 11),
    ),
    "computed: Shape, Slice, Concat with K": (
        "q = Shape(map)\nn = Slice(q, s, e)\nd = Concat <axis = 0> (n, k)\nv = Reshape(map, d)",
        {"s": [0], "e": [1], "k": [12]},
        "N",
        (10, 13, 26),
    ),
    "computed: Shape with end": (
        "n = Shape <start = 0, end = 1> (map)\nd = Concat <axis = 0> (n, k)\nv = Reshape(map, d)",
        {"k": [-1]},
        "N",
        (15, 26),
    ),
    "computed: K is a product of dims": (
        "q = Shape(map)\nn = Gather(q, zero)\nf = Slice(q, one, four)\np = ReduceProd(f)\n"
        "d = Concat <axis = 0> (n, p)\nv = Reshape(map, d)",
        {"zero": [0], "one": [1], "four": [4]},
        "N",
        (13, 18),
    ),
    "computed: -1 first, K computed": (
        "q = Shape(map)\nc = Gather(q, one)\nh = Gather(q, two)\nw = Gather(q, three)\na = Mul(c, h)\nb = Mul(a, w)\n"
        "d = Concat <axis = 0> (k, b)\nv = Reshape(map, d)",
        {"one": [1], "two": [2], "three": [3], "k": [-1]},
        "N",
        (13, 26),
    ),
    "computed: batch 3": (
        f"{COMPUTED}d = Concat <axis = 0> (n, k)\nv = Reshape(map, d)",
        {"zero": [0], "k": [-1]},
        3,
        (13,),
    ),
    "Transpose (0, 2, 3, 1)": ("n = Transpose <perm = [0, 2, 3, 1]> (map)\nv = Flatten(n)", {}, "N", MANY),
    "Transpose (0, 3, 2, 1)": ("n = Transpose <perm = [0, 3, 2, 1]> (map)\nv = Flatten(n)", {}, "N", (7, 13, 26)),
    "Transpose (0, 1, 3, 2)": (
        "n = Transpose <perm = [0, 1, 3, 2]> (map)\nv = Reshape(n, d)",
        {"d": [0, -1]},
        "N",
        (7, 13),
    ),
    "Transpose (0, 3, 1, 2)": (
        "n = Transpose <perm = [0, 3, 1, 2]> (map)\nv = Reshape(n, d)",
        {"d": [-1, 12]},
        "N",
        (13,),
    ),
    "Transpose (0, 2, 1, 3)": ("n = Transpose <perm = [0, 2, 1, 3]> (map)\nv = Flatten(n)", {}, "N", (13,)),
    "Transpose and back": (
        "n = Transpose <perm = [0, 2, 3, 1]> (map)\nr = Relu(n)\n"
        "m = Transpose <perm = [0, 3, 1, 2]> (r)\nv = Flatten(m)",
        {},
        "N",
        (13,),
    ),
    "Transpose twice": (
        "n = Transpose <perm = [0, 2, 3, 1]> (map)\nm = Transpose <perm = [0, 2, 1, 3]> (n)\nv = Flatten(m)",
        {},
        "N",
        (13,),
    ),
    "Transpose behind a view": (
        "r = Reshape(map, d)\nn = Transpose <perm = [0, 2, 1]> (r)\nv = Flatten(n)",
        {"d": [0, 2, 6]},
        "N",
        (7, 13, 26),
    ),
    "Transpose behind the flattening and a view": (
        "f = Flatten(map)\nr = Reshape(f, d)\nn = Transpose <perm = [0, 3, 1, 2]> (r)\nv = Reshape(n, e)",
        {"d": [0, 2, 3, 2], "e": [0, -1]},
        "N",
        (13,),
    ),
    "Transpose with Relu behind it": (
        "n = Transpose <perm = [0, 2, 3, 1]> (map)\nr = Relu(n)\nv = Flatten(r)",
        {},
        "N",
        (13,),
    ),
    "channel shuffle": (
        "r = Reshape(map, d)\nn = Transpose <perm = [0, 2, 1, 3]> (r)\nv = Flatten(n)",
        {"d": [0, 2, 3, 2]},
        "N",
        (13,),
    ),
    "behind Relu": ("r = Relu(map)\nv = Flatten(r)", {}, "N", (7, 13)),
    "behind Identity": ("r = Identity(map)\nv = Flatten(r)", {}, "N", (13,)),
    "behind Dropout": ("r = Dropout(map)\nv = Flatten(r)", {}, "N", (7, 13)),
    "behind a Mul per channel": ("r = Mul(map, c)\nv = Flatten(r)", {"c": (2, 1, 1)}, "N", (13,)),
    "in front of Relu": ("f = Flatten(map)\nv = Relu(f)", {}, "N", (7, 13)),
    "in front of Identity": ("f = Flatten(map)\nv = Identity(f)", {}, "N", (13,)),
}
#: spellings that only make sense for one image, in a model that declares any number; run with one
BAKED = {
    "Reshape [1, -1]": ("v = Reshape(map, d)", {"d": [1, -1]}),
    "Flatten, axis 0": ("v = Flatten <axis = 0> (map)", {}),
    "Reshape [-1], then [1, -1]": ("r = Reshape(map, d)\nv = Reshape(r, e)", {"d": [-1], "e": [1, -1]}),
    "Squeeze, then Unsqueeze": (
        "r = Reshape(map, d)\nf = Squeeze(r)\nv = Unsqueeze(f, a)",
        {"d": [1, 12], "a": [0]},
    ),
}


def spelling_rows() -> dict[str, Lifts]:
    rows = {}
    for name, (text, weights, batch, opsets) in SPELLINGS.items():
        for opset in opsets:
            made = head(f"{text}\ny = Gemm(v, M, C)", opset, batch=batch, M=(12, 4), C=(4,), **weights)
            rows[f"{name}, opset {opset}"] = Lifts(made)
    for name, (text, weights) in BAKED.items():
        made = head(f"{text}\ny = Gemm(v, M, C)", M=(12, 4), C=(4,), **weights)
        rows[f"{name} with a symbolic batch"] = Lifts(made, images=1)
    for window, perm in (
        ((4, 2), [0, 3, 2, 1]),
        ((1, 3), [0, 2, 3, 1]),
        ((5,), [0, 2, 1]),
        ((2, 1, 3), [0, 2, 4, 3, 1]),
    ):
        for channels in (1, 2, 3):
            size = channels * int(np.prod(window))
            text = f"n = Transpose <perm = {perm}> (map)\nv = Flatten(n)\ny = Gemm(v, M, C)"
            made = head(text, window=window, channels=channels, M=(size, 4), C=(4,))
            rows[f"Transpose {perm}, window {window}, {channels} channels"] = Lifts(made)
    return rows


INSIDE: dict[str, tuple[str, int, dict[str, Any]]] = {
    "Flatten of a vector": ("y = Flatten(u)", 17, {}),
    "Flatten of a vector, axis -1": ("y = Flatten <axis = -1> (u)", 17, {}),
    "Reshape [0, 0]": ("y = Reshape(u, d)", 7, {"d": [0, 0]}),
    "Reshape [-1, M]": ("y = Reshape(u, d)", 13, {"d": [-1, 6]}),
    "Reshape to rank 3": ("y = Reshape(u, d)", 7, {"d": [0, 2, 3]}),
    "Reshape to rank 4": ("y = Reshape(u, d)", 26, {"d": [-1, 1, 2, 3]}),
    "Reshape to rank 3 and back": ("r = Reshape(u, d)\ny = Flatten(r)", 13, {"d": [0, 3, 2]}),
    "Reshape to rank 3, Relu, and back": (
        "r = Reshape(u, d)\nq = Relu(r)\ny = Reshape(q, e)",
        13,
        {"d": [0, 3, 2], "e": [0, 6]},
    ),
    "Reshape to rank 3 and another": ("r = Reshape(u, d)\ny = Reshape(r, e)", 13, {"d": [0, 3, 2], "e": [0, 2, -1]}),
    "Unsqueeze, Squeeze": ("r = Unsqueeze(u, a)\ny = Squeeze(r, a)", 13, {"a": [2]}),
    "Unsqueeze, Squeeze, by attribute": ("r = Unsqueeze <axes = [1, 3]> (u)\ny = Squeeze <axes = [3]> (r)", 11, {}),
    "Unsqueeze, negative axis": ("y = Unsqueeze(u, a)", 26, {"a": [-1]}),
    "Squeeze without axes": ("r = Unsqueeze(u, a)\ny = Squeeze(r)", 13, {"a": [1, 3]}),
    "Squeeze to rank 1": ("r = ReduceMax <axes = [1]> (u)\ny = Squeeze(r, a)", 13, {"a": [1]}),
    "Unsqueeze of rank 1": ("r = ReduceMax <axes = [1], keepdims = 0> (u)\ny = Unsqueeze(r, a)", 13, {"a": [1]}),
    "Transpose that does nothing": ("y = Transpose <perm = [0, 1]> (u)", 13, {}),
    "Transpose of two feature axes": ("r = Reshape(u, d)\ny = Transpose <perm = [0, 2, 1]> (r)", 7, {"d": [0, 3, 2]}),
    "Transpose of three feature axes": (
        "r = Reshape(u, d)\ny = Transpose <perm = [0, 3, 1, 2]> (r)",
        13,
        {"d": [0, 1, 3, 2]},
    ),
    "shuffle": (
        "r = Reshape(u, d)\nq = Transpose <perm = [0, 2, 1]> (r)\ny = Reshape(q, e)",
        13,
        {"d": [0, 2, 3], "e": [0, -1]},
    ),
    "Expand of a column": ("r = ReduceMax <axes = [1]> (u)\ny = Expand(r, d)", 13, {"d": [1, 5]}),
    "Expand of a column, batch not named": ("r = ReduceMax <axes = [1]> (u)\ny = Expand(r, d)", 8, {"d": [5]}),
    "Expand that does nothing": ("y = Expand(u, d)", 13, {"d": [1, 6]}),
    "Expand of rank 3": ("r = Reshape(u, d)\ny = Expand(r, e)", 13, {"d": [0, 3, 1, 2], "e": [1, 1, 4, 1]}),
    "Expand to the batch by Shape": (
        "r = ReduceMax <axes = [1]> (u)\nq = Shape(u)\ny = Expand(r, q)",
        13,
        {},
    ),
    "Expand of rank 1": ("r = ReduceMax <axes = [1], keepdims = 0> (u)\ny = Expand(r, d)", 13, {"d": [1]}),
    "Reshape by a computed shape": (
        "q = Shape(u)\nn = Gather(q, z)\nd = Concat <axis = 0> (n, k)\ny = Reshape(u, d)",
        13,
        {"z": [0], "k": [2, 3]},
    ),
    "Reshape and an FC behind it": (
        "r = Reshape(u, d)\nf = Flatten(r)\ny = MatMul(f, L)",
        13,
        {"d": [0, 3, 2], "L": (6, 2)},
    ),
    "the same Reshape twice": ("y = Reshape(u, d)\nz = Reshape(u, d)", 13, {"d": [0, 3, 2], "outputs": "y z u"}),
    "there and back, all outputs": ("y = Reshape(u, d)\nz = Flatten(y)", 13, {"d": [0, 3, 2], "outputs": "y z u"}),
}
#: u [N, 6] becomes y, of which the batch is elsewhere
MOVED: dict[str, tuple[str, int, dict[str, Any]]] = {
    "Transpose without perm": ("y = Transpose(u)", 7, {}),
    "Transpose [1, 0]": ("y = Transpose <perm = [1, 0]> (u)", 13, {}),
    "Transpose twice": ("r = Transpose(u)\ny = Transpose(r)", 13, {}),
    "Transpose, Relu, Transpose": ("r = Transpose(u)\nq = Relu(r)\ny = Transpose(q)", 13, {}),
    "Transpose of rank 3, batch second": (
        "r = Reshape(u, d)\ny = Transpose <perm = [1, 0, 2]> (r)",
        9,
        {"d": [0, 3, 2]},
    ),
    "Transpose of rank 3, batch last": (
        "r = Reshape(u, d)\ny = Transpose <perm = [2, 1, 0]> (r)",
        26,
        {"d": [0, 3, 2]},
    ),
    "Transpose of rank 3, the batch around": (
        "r = Reshape(u, d)\nq = Transpose <perm = [2, 0, 1]> (r)\ny = Transpose <perm = [2, 1, 0]> (q)",
        13,
        {"d": [0, 3, 2]},
    ),
    "Unsqueeze in front of the batch": ("y = Unsqueeze(u, a)", 13, {"a": [0]}),
    "Unsqueeze in front of the batch, by attribute": ("y = Unsqueeze <axes = [0, 3]> (u)", 11, {}),
    "Unsqueeze in front of the batch, and Squeeze": (
        "r = Unsqueeze(u, a)\nq = Relu(r)\ny = Squeeze(q, a)",
        13,
        {"a": [0]},
    ),
    "Squeeze in front of the batch, one of two": (
        "r = Unsqueeze(u, a)\ny = Squeeze(r, b)",
        13,
        {"a": [0, 1], "b": [1]},
    ),
    "Reshape [1, -1, K]": ("y = Reshape(u, d)", 13, {"d": [1, -1, 6]}),
    "Reshape of the last axis, batch second": (
        "r = Unsqueeze(u, a)\ny = Reshape(r, d)",
        13,
        {"a": [0], "d": [1, -1, 3, 2]},
    ),
    "Reshape of the first axes, batch last": ("r = Transpose(u)\ny = Reshape(r, d)", 13, {"d": [3, 2, -1]}),
    "Reshape of the first axes, batch last, and back": (
        "r = Transpose(u)\nq = Reshape(r, d)\ns = Transpose <perm = [2, 1, 0]> (q)\ny = Flatten(s)",
        13,
        {"d": [3, 2, -1]},
    ),
    "Reshape to rows": ("y = Reshape(u, d)", 7, {"d": [-1, 2]}),
    "Reshape to rows of rank 3": ("y = Reshape(u, d)", 13, {"d": [-1, 2, 1]}),
    "Reshape to rows and back": ("r = Reshape(u, d)\nq = Relu(r)\ny = Reshape(q, e)", 13, {"d": [-1, 2], "e": [-1, 6]}),
    "Reshape to rows and to shorter ones": ("r = Reshape(u, d)\ny = Reshape(r, e)", 13, {"d": [-1, 3], "e": [-1, 1]}),
    "Reshape to rows and to longer ones": ("r = Reshape(u, d)\ny = Reshape(r, e)", 13, {"d": [-1, 1], "e": [-1, 3]}),
    "Reshape to rows, the features transposed": (
        "r = Reshape(u, d)\ny = Transpose <perm = [0, 2, 1]> (r)",
        13,
        {"d": [-1, 3, 2]},
    ),
    "Reshape to rows, some features transposed": (
        "r = Reshape(u, d)\ny = Transpose <perm = [0, 2, 1]> (r)",
        13,
        {"d": [-1, 3, 1]},
    ),
    "Flatten to rows": ("r = Reshape(u, d)\ny = Flatten <axis = 2> (r)", 26, {"d": [0, 3, 2]}),
    "Flatten to rows, axis -1": ("r = Reshape(u, d)\ny = Flatten <axis = -1> (r)", 13, {"d": [0, 3, 2]}),
    "Reshape to one axis": ("y = Reshape(u, d)", 13, {"d": [-1]}),
    "Reshape to one axis and back": ("r = Reshape(u, d)\nq = Neg(r)\ny = Reshape(q, e)", 13, {"d": [-1], "e": [-1, 6]}),
    "Unsqueeze of rows": ("r = Reshape(u, d)\ny = Unsqueeze(r, a)", 13, {"d": [-1, 2], "a": [1, 3]}),
    "Squeeze of rows": ("r = Reshape(u, d)\ny = Squeeze(r, a)", 13, {"d": [-1, 1, 2], "a": [1]}),
    "Expand of rows": ("r = Reshape(u, d)\ny = Expand(r, e)", 13, {"d": [-1, 1], "e": [1, 4]}),
    "Expand, batch second": ("r = Reshape(u, d)\ny = Expand(r, e)", 13, {"d": [1, -1, 6], "e": [4, 1, 1]}),
    "Expand, batch second, by an axis in front": (
        "r = Unsqueeze(u, a)\ny = Expand(r, e)",
        13,
        {"a": [0], "e": [2, 3, 1, 6]},
    ),
    "Expand adds an axis in front of the batch": ("y = Expand(u, e)", 8, {"e": [2, 1, 6]}),
    "Expand, batch last": (
        "r = ReduceMax <axes = [1]> (u)\nq = Transpose(r)\ny = Expand(q, e)",
        13,
        {"e": [5, 1]},
    ),
    "all of the middle values are outputs": (
        "r = Reshape(u, d)\nq = Transpose <perm = [1, 0, 2]> (r)\ns = Transpose <perm = [2, 1, 0]> (q)\n"
        "y = Unsqueeze(s, a)",
        13,
        {"d": [0, 3, 2], "a": [0], "outputs": "u r q s y"},
    ),
    "all of the rows are outputs": (
        "r = Reshape(u, d)\nq = Reshape(r, e)\ny = Reshape(q, f)",
        13,
        {"d": [-1, 2], "e": [-1], "f": [-1, 3, 2], "outputs": "u r q y"},
    ),
}
#: at batch 1 the first of two axes of size 1 is taken for the batch, and it is repeated
TWO_ONES = ("Expand, batch second", "Expand, batch second, by an axis in front")
#: u [1, 6] of a model for one image becomes y, of which the batch axis is gone
GONE: dict[str, tuple[str, int, dict[str, Any]]] = {
    "Squeeze without axes": ("y = Squeeze(u)", 7, {}),
    "Squeeze of the batch": ("y = Squeeze(u, a)", 13, {"a": [0]}),
    "Reshape [-1]": ("y = Reshape(u, d)", 7, {"d": [-1]}),
    "Reshape [K]": ("y = Reshape(u, d)", 13, {"d": [6]}),
    "Reshape to rows": ("y = Reshape(u, d)", 13, {"d": [3, 2]}),
    "Reshape to rows, transposed": ("r = Reshape(u, d)\ny = Transpose(r)", 13, {"d": [3, 2]}),
    "Reshape [1, -1]": ("y = Reshape(u, d)", 13, {"d": [1, -1]}),
    "Flatten, axis 0": ("y = Flatten <axis = 0> (u)", 13, {}),
    "Flatten, axis 2": ("y = Flatten <axis = 2> (u)", 13, {}),
    "Transpose": ("y = Transpose(u)", 13, {}),
    "Transpose and Reshape": ("r = Transpose(u)\ny = Reshape(r, d)", 13, {"d": [3, 2]}),
    "Reshape [K], and back": ("r = Reshape(u, d)\nq = Relu(r)\ny = Unsqueeze(q, a)", 13, {"d": [6], "a": [0]}),
    "Reshape [K], and Unsqueeze": ("r = Reshape(u, d)\ny = Unsqueeze(r, a)", 13, {"d": [6], "a": [1]}),
    "to a scalar": ("r = ReduceMax <axes = [1]> (u)\ny = Squeeze(r)", 13, {}),
    "a scalar, and back": ("r = ReduceMax <axes = [1]> (u)\nq = Squeeze(r)\ny = Reshape(q, d)", 13, {"d": [1, 1]}),
    "Expand adds an axis": ("y = Expand(u, d)", 13, {"d": [2, 1, 6]}),
    "Expand repeats the one image": ("y = Expand(u, d)", 13, {"d": [2, 6]}),
    "Expand of a vector": ("r = Reshape(u, d)\ny = Expand(r, e)", 13, {"d": [6], "e": [3, 6]}),
    "all of the middle values are outputs": (
        "r = Reshape(u, d)\nq = Reshape(r, e)\ny = Transpose(q)",
        13,
        {"d": [6], "e": [3, 2], "outputs": "u r q y"},
    ),
}
MOVED_FRONT: dict[str, tuple[str, int, dict[str, Any]]] = {
    "rows and back": ("r = Reshape(v, d)\ns = Relu(r)\nt = Reshape(s, e)", 13, {"d": [-1, 3], "e": [-1, 12]}),
    "transposed and back": ("r = Transpose(v)\ns = Neg(r)\nt = Transpose(s)", 13, {}),
    "transposed in part and back": (
        "r = Transpose(v)\ns = Reshape(r, d)\nq = Transpose <perm = [2, 1, 0]> (s)\nt = Flatten(q)",
        13,
        {"d": [3, 4, -1]},
    ),
    "rows, each reversed": (
        "r = Reshape(v, d)\ns = Slice(r, a, b, c, a)\nt = Reshape(s, e)",
        13,
        {"d": [-1, 3], "a": [-1], "b": [-100], "c": [1], "e": [-1, 12]},
    ),
    "one axis and back": ("r = Reshape(v, d)\nt = Reshape(r, e)", 13, {"d": [-1], "e": [-1, 12]}),
    "with extra outputs": (
        "r = Reshape(v, d)\nq = Unsqueeze(r, a)\ns = Transpose <perm = [2, 1, 0]> (q)\n"
        "p = Transpose <perm = [1, 2, 0]> (s)\nt = Reshape(p, e)",
        13,
        {"d": [-1, 12], "a": [0], "e": [-1, 12], "outputs": "r q s p t y"},
    ),
}
INSIDE_FRONT: dict[str, tuple[str, int, dict[str, Any]]] = {
    "Transpose of feature axes": (
        "r = Reshape(v, d)\nq = Transpose <perm = [0, 2, 1]> (r)\nt = Flatten(q)",
        13,
        {"d": [0, 3, 4]},
    ),
    "Expand": ("r = Slice(v, a, b, a)\nt = Expand(r, d)", 13, {"a": [1], "b": [2], "d": [1, 12]}),
    "Unsqueeze and Squeeze": ("r = Unsqueeze(v, a)\nt = Squeeze(r, a)", 13, {"a": [2]}),
    "Reshape with extra outputs": (
        "r = Reshape(v, d)\ns = Relu(r)\nt = Flatten(s)",
        13,
        {"d": [0, 3, 4], "outputs": "v r s t y"},
    ),
    "Transpose with extra outputs": (
        "r = Reshape(v, d)\nq = Transpose <perm = [0, 2, 1]> (r)\nt = Flatten(q)",
        13,
        {"d": [0, 3, 4], "outputs": "r q t y"},
    ),
}

LIFTS = table(
    spelling_rows(),
    {
        f"{name}, inside": Lifts(spent(text, opset, **{"units": 6, **weights}))
        for name, (text, opset, weights) in INSIDE.items()
    },
    {
        f"{name}, inside, batch 3, 1-D": Lifts(
            spent(text, opset, **{"units": 6, "batch": 3, "window": (6,), **weights})
        )
        for name, (text, opset, weights) in INSIDE.items()
    },
    {
        f"{name}, in front": Lifts(unread(text, opset, **weights))
        for name, (text, opset, weights) in INSIDE_FRONT.items()
    },
    {
        f"{name}, the batch elsewhere, batch {batch}": Lifts(
            spent(text, opset, **{"units": 6, "batch": batch, **weights})
        )
        for name, (text, opset, weights) in MOVED.items()
        for batch in ("N", 1, 3)
        if batch != 1 or name not in TWO_ONES
    },
    {
        f"{name}, the batch elsewhere, 3-D": Lifts(spent(text, opset, **{"units": 6, "window": (2, 1, 3), **weights}))
        for name, (text, opset, weights) in MOVED.items()
    },
    {
        f"{name}, the batch elsewhere, in front": Lifts(unread(text, opset, **{"batch": batch, **weights}))
        for name, (text, opset, weights) in MOVED_FRONT.items()
        for batch in ("N", 3)
    },
    {
        f"{name}, the batch gone, window {window}": Lifts(
            spent(text, opset, **{"units": 6, "batch": 1, "window": window, **weights})
        )
        for name, (text, opset, weights) in GONE.items()
        for window in ((3, 2), (6,), (2, 1, 3))
    },
    {
        f"{line} {dims} of one image, with a symbolic batch": Lifts(
            spent(f"r = {line}\ny = MatMul(r, M)", d=dims, M=(4, 3)), images=1
        )
        for line, dims in (
            ("Squeeze(u, d)", [0]),
            ("Reshape(u, d)", [1, -1]),
            ("Reshape(u, d)", [-1]),
            ("Flatten <axis = 0> (u)", []),
        )
    },
    {
        f"Squeeze of a map of one cell, opset {o}": Lifts(
            head(f"v = Squeeze{line}\ny = Gemm(v, M, C)", o, window=(1, 1), axes=[2, 3], M=(2, 4), C=(4,))
        )
        for o, line in ((7, " <axes = [2, 3]> (map)"), (13, "(map, axes)"), (26, "(map, axes)"))
    },
    {
        "Flatten of a map of one cell": Lifts(
            head("v = Flatten(map)\ny = Gemm(v, M, C)", window=(1, 1), M=(2, 4), C=(4,))
        ),
        "Squeeze of one axis, then Flatten": Lifts(
            head("q = Squeeze(map, axes)\nv = Flatten(q)\ny = Gemm(v, M, C)", window=(1, 3), axes=[2], M=(6, 4), C=(4,))
        ),
        "two spellings of one vector": Lifts(
            head(
                "a = Flatten(map)\nb = Reshape(map, d)\nv = Sub(a, b)\nw = Add(v, a)\ny = Gemm(w, M, C)",
                d=[0, -1],
                M=(12, 4),
                C=(4,),
            )
        ),
    },
)

REFUSES = {
    "Transpose moves the batch, on the vector": Refuses(
        unread("t = Transpose <perm = [1, 0]> (v)", batch=12),
        "Gemm 'y'",
        "sums over the batch axis, so it mixes the windows of different images",
    ),
    "Transpose moves the batch, in front of the flatten": Refuses(
        head("n = Transpose <perm = [1, 0, 2, 3]> (map)\nv = Flatten(n)\ny = MatMul(v, M)", batch=2, M=(12, 3)),
        "Flatten 'v'",
        "whose first axis is not the batch",
    ),
    "Reshape [-1, 2 * K]": Refuses(
        head("v = Reshape(map, d)\ny = MatMul(v, M)", batch=2, d=[-1, 24], M=(24, 3)),
        "Reshape 'v'",
        "merges the images of a batch into 1 row(s)",
    ),
    "Reshape that mixes images at an equal number of rows": Refuses(
        head(
            "r = Reshape(map, d)\nv = Transpose <perm = [1, 0, 2]> (r)\nw = Flatten(v)\ny = MatMul(w, M)",
            batch=2,
            d=[2, 2, 6],
            M=(12, 3),
        ),
        "Flatten 'w'",
        "mixes the values of different images",
    ),
    "Flatten, axis 0": Refuses(
        head("v = Flatten <axis = 0> (map)\ny = MatMul(v, M)", batch=2, M=(24, 3)),
        "Flatten 'v'",
        "merges the images of a batch into 1 row(s)",
    ),
    "Reshape of the head to one row": Refuses(
        spent("y = Reshape(u, d)", batch=3, d=[1, -1]), "Reshape 'y'", "merges the images of a batch into 1 row(s)"
    ),
    "Flatten of the head, axis 0": Refuses(
        spent("y = Flatten <axis = 0> (u)", batch=3), "Flatten 'y'", "merges the images of a batch into 1 row(s)"
    ),
    "Reshape of the transposed vector to rows": Refuses(
        spent("r = Transpose(u)\ny = Reshape(r, d)", batch=3, units=6, d=[-1, 6]),
        "Reshape 'y'",
        "mixes the values of different images",
    ),
    "Reshape of the transposed vector to one axis": Refuses(
        spent("r = Transpose(u)\ny = Reshape(r, d)", batch=3, d=[-1]),
        "Reshape 'y'",
        "mixes the values of different images",
    ),
    "Flatten with the batch second": Refuses(
        spent("r = Reshape(u, d)\nq = Transpose <perm = [1, 0, 2]> (r)\ny = Flatten(q)", batch=3, d=[0, 2, 2]),
        "Flatten 'y'",
        "merges the images of a batch into 2 row(s)",
    ),
    "Reshape of rows across images": Refuses(
        spent("r = Reshape(u, d)\ny = Reshape(r, e)", batch=3, d=[-1, 2], e=[2, 6]),
        "Reshape 'y'",
        "merges the images of a batch into 2 row(s)",
    ),
    "Transpose of rows": Refuses(
        spent("r = Reshape(u, d)\ny = Transpose(r)", d=[-1, 2]),
        "Transpose 'y'",
        "perm [1, 0] moves rows of several images away from the first axis",
    ),
    "Transpose of unread rows": Refuses(
        unread("r = Reshape(v, d)\nt = Transpose <perm = [1, 0, 2]> (r)", d=[-1, 3, 2], features=2),
        "Transpose 't'",
        "perm [1, 0, 2] moves rows of several images away from the first axis",
    ),
    "Reshape to a shape that is a graph input": Refuses(
        spent("y = Reshape(u, d)", d=[0, 4]),
        "Reshape 'y'",
        "its input 'd' is neither a constant nor computed from the image",
        with_input("d"),
    ),
    "Reshape to a shape that cannot be computed": Refuses(
        spent("q = Shape(u)\nn = NonZero(q)\nd = Flatten(n)\ny = Reshape(u, d)"),
        "Reshape 'y'",
        "its target shape is computed in a way that is not understood",
    ),
    "Reshape that copies a dim that is not there": Refuses(
        spent("y = Reshape(u, d)", d=[-1, 4, 0]), "Reshape 'y'", "copies a dim that its input does not have"
    ),
    "Expand repeats the images, batch second": Refuses(
        spent("r = Transpose(u)\ny = Expand(r, d)", batch=1, d=[4, 3]), "Expand 'y'", "repeats the images of the batch"
    ),
    "Expand repeats a row of one image": Refuses(
        spent("r = Transpose(u)\ny = Expand(r, d)", batch=1, d=[2, 4, 3]),
        "Expand 'y'",
        "repeats the images of the batch",
    ),
    "Expand adds an axis in front of rows": Refuses(
        spent("r = Reshape(u, d)\ny = Expand(r, e)", d=[-1, 2], e=[3, 1, 1]),
        "Expand 'y'",
        "repeats rows of several images",
    ),
    "Expand adds an axis in front of rows, of their number": Refuses(
        spent("r = Reshape(u, d)\ny = Expand(r, e)", batch=3, d=[-1, 2], e=[6, 1, 1]),
        "Expand 'y'",
        "repeats rows of several images",
    ),
    "two feature axes in front of the flatten": Refuses(
        head("r = Unsqueeze(map, a)\nq = Concat <axis = 1> (r, r)\nv = Flatten(q)\ny = MatMul(v, M)", a=[1], M=(24, 3)),
        "Flatten 'v'",
        "has 2 feature axes instead of one",
    ),
    "Tile": Refuses(spent("y = Tile(u, r)", r=[1, 2]), "Tile 'y'", "no rule lifts this operator"),
}

LEAVES_ALONE = {
    "what makes the map": LeavesAlone(
        head("[a] r = Relu(map)\n[b] n = Mul(r, c)\nv = Flatten(n)\ny = MatMul(v, M)", c=(2, 1, 1), M=(12, 3)), "r n"
    ),
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
    "name", ["Flatten, axis -3", "Reshape [-1, K]", "Transpose (0, 2, 3, 1)", "Transpose (0, 3, 2, 1)"]
)
def test_a_spelling_costs_no_node(name: str) -> None:
    text, weights, batch, opsets = SPELLINGS[name]
    original = network(head(f"{text}\ny = Gemm(v, M, C)", opsets[-1], batch=batch, M=(12, 4), C=(4,), **weights))
    model = fc2conv.convert(original, verify=False).model
    assert [n.op_type for n in model.graph.node] == ["Conv", "Conv"]
