"""Heads as people build them: Dense on a map, perceptrons and attention over tokens, gates, grids of answers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from onnx_fc2conv.dtypes import tolerance

from ..networks import Head, assert_lifted
from .tables import FC, Lifts, every, head, spent, table

NHWC = "n = Transpose <perm = [0, 2, 3, 1]> (map)\n"
TOKENS = "q0 = Reshape(map, d)\nr = Transpose <perm = [0, 2, 1]> (q0)\n"
OF_TOKENS = {"d": [0, 2, 6]}
WIDE = {"units": 8}
ROUNDS: dict[str, Any] = {"terms": 12, "nodes": 10}

LIFTS = {
    "keras' Dense on a map, then Flatten and Dense": Lifts(
        head(
            f"{NHWC}f = Reshape(n, flat)\na = MatMul(f, M)\nb = Reshape(a, back)\nc = Add(b, C)\ne = Relu(c)\n"
            "v = Reshape(e, all)\ny = MatMul(v, L)",
            M=(2, 5),
            C=(5,),
            L=(30, 3),
            flat=[-1, 2],
            back=[-1, 3, 2, 5],
            all=[-1, 30],
        )
    ),
    "keras' Dense on a map is the answer": Lifts(
        head(
            f"{NHWC}f = Reshape(n, flat)\na = MatMul(f, M)\ny = Reshape(a, back)",
            M=(2, 5),
            flat=[-1, 2],
            back=[-1, 3, 2, 5],
        )
    ),
    "merged rows, averaged": Lifts(
        head(
            f"{NHWC}f = Reshape(n, flat)\na = Gemm(f, M, C)\nb = Relu(a)\nc = Reshape(b, back)\n"
            "y = ReduceMean <axes = [1], keepdims = 0> (c)",
            M=(2, 5),
            C=(5,),
            flat=[-1, 2],
            back=[-1, 6, 5],
        ),
        **ROUNDS,
    ),
    "merged rows of channels, averaged": Lifts(
        head(
            "f = Reshape(map, flat)\na = Gemm(f, M, C)\nc = Reshape(a, back)\n"
            "b = ReduceMean <axes = [1], keepdims = 0> (c)\ny = MatMul(b, L)",
            M=(6, 5),
            C=(5,),
            L=(5, 2),
            flat=[-1, 6],
            back=[-1, 2, 5],
        ),
        **ROUNDS,
    ),
    "a perceptron over tokens with a residual": Lifts(
        head(
            f"{TOKENS}a = MatMul(r, M)\nb = Add(a, C)\nc = Relu(b)\ne = MatMul(c, L)\nf = Add(e, E)\ng = Add(r, f)\n"
            "v = Flatten(g)\ny = Gemm(v, W, B)",
            M=(2, 4),
            C=(4,),
            L=(4, 2),
            E=(2,),
            W=(12, 3),
            B=(3,),
            **OF_TOKENS,
        )
    ),
    "tokens mixed, then channels": Lifts(
        head(
            f"{TOKENS}t = Transpose <perm = [0, 2, 1]> (r)\na = MatMul(t, M)\nb = Relu(a)\nc = MatMul(b, L)\n"
            "e = Transpose <perm = [0, 2, 1]> (c)\nf = Add(e, r)\ny = MatMul(f, W)",
            M=(6, 4),
            L=(4, 6),
            W=(2, 3),
            **OF_TOKENS,
        )
    ),
    "a token in front of all others": Lifts(
        head(
            f"{TOKENS}a = MatMul(r, M)\nb = Gather <axis = 1> (a, first)\ny = MatMul(b, W)",
            M=(2, 4),
            W=(4, 3),
            first=np.array(0),
            **OF_TOKENS,
        )
    ),
    "gated linear unit": Lifts(
        spent(
            "a, b = Split <axis = 1> (u, s)\nk = Mul(b, tiny)\ng = Sigmoid(k)\ny = Mul(a, g)",
            s=[4, 4],
            tiny=2.0**-6,
            **WIDE,
        ),
        **ROUNDS,
    ),
    "gated linear unit in front of an FC": Lifts(
        spent(
            "a, b = Split <axis = -1> (u, s)\nk = Mul(b, tiny)\ng = Sigmoid(k)\nm = Mul(a, g)\ny = MatMul(m, L)",
            s=[4, 4],
            L=(4, 3),
            tiny=2.0**-6,
            **WIDE,
        ),
        **ROUNDS,
    ),
    "dueling": Lifts(
        spent(
            "r = Relu(u)\nq = MatMul(r, V)\na = MatMul(r, A)\nm = ReduceMean <axes = [1]> (a)\n"
            "c = Sub(a, m)\ny = Add(q, c)",
            V=(4, 1),
            A=(4, 3),
        ),
        **ROUNDS,
    ),
    "letters of a captcha": Lifts(
        spent("k = Mul(u, tiny)\nr = Reshape(k, d)\ny = Softmax <axis = 2> (r)", units=12, d=[-1, 3, 4], tiny=2.0**-6),
        **ROUNDS,
    ),
    "letters of a captcha, opset 11": Lifts(
        spent(
            "k = Mul(u, tiny)\nr = Reshape(k, d)\ny = Softmax <axis = 2> (r)", 11, units=12, d=[-1, 3, 4], tiny=2.0**-6
        ),
        **ROUNDS,
    ),
    "letters of a captcha as rows": Lifts(
        spent("r = Reshape(u, d)\ny = ArgMax <axis = 1, keepdims = 0> (r)", units=12, d=[-1, 4])
    ),
    "boxes on a 7 x 7 grid": Lifts(spent("y = Reshape(u, d)", units=7 * 7 * 30, d=[-1, 7, 7, 30])),
    "boxes on a 7 x 7 grid, transposed": Lifts(
        spent("r = Reshape(u, d)\ny = Transpose <perm = [0, 3, 1, 2]> (r)", units=7 * 7 * 30, d=[-1, 7, 7, 30])
    ),
    "boxes, one product for each cell": Lifts(
        spent(
            "r = Reshape(u, d)\na = MatMul(r, M)\ny = Transpose <perm = [0, 3, 2, 1]> (a)",
            units=18,
            d=[-1, 3, 3, 2],
            M=(2, 5),
        )
    ),
    "a classifier for each part": Lifts(
        spent(
            "r = Reshape(u, d)\na = MatMul(r, M)\nb = Add(a, C)\ny = Squeeze(b, axes)",
            units=12,
            d=[0, 3, 1, 4],
            M=(3, 4, 5),
            C=(3, 1, 5),
            axes=[2],
        )
    ),
    "rows picked out of the merged ones": Lifts(
        spent(
            "r = Reshape(u, d)\na = Gemm(r, M, C)\nb = Reshape(a, e)\nc = Gather <axis = 1> (b, i)\ny = MatMul(c, L)",
            units=12,
            d=[-1, 4],
            M=(4, 5),
            C=(5,),
            e=[-1, 3, 5],
            i=[2, 0],
            L=(5, 2),
        )
    ),
}


# -- products of two values --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Between:
    """A head with products of two values, which stay; ``terms`` and ``nodes`` as in ``Lifts``."""

    head: Head
    products: int = 1
    terms: int = 0
    nodes: int = 0

    def check(self) -> None:
        allowed = tolerance(TensorProto.FLOAT, self.terms, self.nodes) if self.terms else 0.0
        result = assert_lifted(self.head, tolerance=allowed)
        left = [n.op_type for n in result.model.graph.node if n.op_type in FC]
        assert left == ["MatMul"] * self.products


QKV = "q = MatMul(r, Q)\nk = MatMul(r, K)\nv = MatMul(r, V)\n"
OF_QKV = {"Q": (2, 4), "K": (2, 4), "V": (2, 4)}
SCORES = "kt = Transpose <perm = [0, 2, 1]> (k)\ns = MatMul(q, kt)\n"
ATTENTION = f"{TOKENS}{QKV}{SCORES}m = Mul(s, tiny)\np = Softmax <axis = -1> (m)\no = MatMul(p, v)\n"
HEADED = "{0}r = Reshape({0}, split)\n{0}h = Transpose <perm = [0, 2, {1}]> ({0}r)\n"
TWO_HEADS = (
    f"{TOKENS}{QKV}{HEADED.format('q', '1, 3')}{HEADED.format('k', '3, 1')}{HEADED.format('v', '1, 3')}"
    "s = MatMul(qh, kh)\nm = Mul(s, tiny)\np = Softmax <axis = -1> (m)\no = MatMul(p, vh)\n"
    "b = Transpose <perm = [0, 2, 1, 3]> (o)\nj = Reshape(b, join)\n"
)
SMALL = {"tiny": 2.0**-10}
GRAM = "r = Reshape(map, d)\nq = Transpose <perm = [0, 2, 1]> (r)\n"
SUMS: dict[str, Any] = {"terms": 24, "nodes": 12}


SELF: dict[str, tuple[str, int, dict[str, Any], bool]] = {  #: text, products, weights, whether it rounds
    "scores of tokens": (f"{TOKENS}{QKV}{SCORES}y = Relu(s)", 1, OF_QKV, False),
    "attention without Softmax": (f"{TOKENS}{QKV}{SCORES}y = MatMul(s, v)", 2, OF_QKV, False),
    "Gram matrix": (f"{GRAM}g = MatMul(r, q)\nf = Flatten(g)\ny = MatMul(f, M)", 1, {"M": (4, 3)}, False),
    "attention": (f"{ATTENTION}y = MatMul(o, O)", 2, {"O": (4, 3), **OF_QKV, **SMALL}, True),
    "attention, the first token": (
        f"{ATTENTION}a = Gather <axis = 1> (o, first)\ny = MatMul(a, O)",
        2,
        {"O": (4, 3), "first": np.array(0), **OF_QKV, **SMALL},
        True,
    ),
    "attention with two heads": (
        f"{TWO_HEADS}y = MatMul(j, O)",
        2,
        {"O": (4, 3), "split": [0, 6, 2, 2], "join": [0, 6, 4], **OF_QKV, **SMALL},
        True,
    ),
}
PLACES: dict[str, dict[str, Any]] = {
    "2-D": {},
    "batch 1": {"batch": 1},
    "batch 3": {"batch": 3},
    "1-D": {"window": (6,)},
    "3-D": {"window": (2, 1, 3)},
    **{f"opset {opset}": {"opset": opset} for opset in (9, 11, 13, 21)},
}


def between_rows() -> dict[str, Between]:
    rows = {}
    for (name, (text, products, weights, rounds)), (where, rest) in itertools.product(SELF.items(), PLACES.items()):
        if where == "1-D":  # a Reshape to the map's own shape would not end the backbone
            text = "f0 = Flatten(map)\n" + text.replace("Reshape(map, d)", "Reshape(f0, d)")
        last = "<axis = -1>" if rest.get("opset", 13) > 11 else "<axis = 3>" if "heads" in name else "<axis = 2>"
        made = head(text.replace("<axis = -1>", last), **{**OF_TOKENS, **weights, **rest})
        rows[f"{name}, {where}"] = Between(made, products, **(SUMS if rounds else {}))
    return rows


BETWEEN = table(
    between_rows(),
    {
        "attention with biases and a residual, in two blocks": Between(
            head(
                f"{ATTENTION}a = MatMul(o, O)\nb = Add(a, C)\nr2 = Add(b, r)\nq2 = MatMul(r2, Q)\nk2 = MatMul(r2, K)\n"
                "kt2 = Transpose <perm = [0, 2, 1]> (k2)\ns2 = MatMul(q2, kt2)\nm2 = Mul(s2, tiny)\n"
                "p2 = Softmax <axis = -1> (m2)\no2 = MatMul(p2, r2)\nf = Flatten(o2)\ny = Gemm(f, W, B)",
                O=(4, 2),
                C=(2,),
                W=(12, 3),
                B=(3,),
                **OF_QKV,
                **SMALL,
                **OF_TOKENS,
            ),
            4,
            96,
            30,
        ),
        "two FCs' outer product": Between(
            spent(
                "w = MatMul(v, M)\na = Unsqueeze(u, two)\nb = Unsqueeze(w, one)\ny = MatMul(a, b)",
                M=(12, 3),
                one=[1],
                two=[2],
            )
        ),
        "two FCs' inner product": Between(
            spent(
                "w = MatMul(v, M)\na = Unsqueeze(u, one)\nb = Unsqueeze(w, two)\nc = MatMul(a, b)\n"
                "y = Squeeze(c, axes)",
                M=(12, 4),
                one=[1],
                two=[2],
                axes=[1, 2],
            )
        ),
        "one of the two is repeated": Between(
            spent("a = Reshape(u, d)\nb = Reshape(u, e)\ny = MatMul(a, b)", units=6, d=[0, 3, 1, 2], e=[0, 1, 2, 3])
        ),
        "of Gemm, at batch 1": Between(
            spent(
                "a = Reshape(u, d)\nb = Reshape(u, e)\ny = Gemm <alpha = 2.0> (a, b)",
                batch=1,
                units=6,
                d=[3, 2],
                e=[2, 3],
            )
        ),
        "of Gemm, transposed, at batch 1": Between(
            spent("a = Reshape(u, d)\ny = Gemm <transB = 1, alpha = 0.5> (a, a, C)", batch=1, units=6, d=[3, 2], C=(3,))
        ),
        "the unread rows and their FC": Between(
            head(
                f"{TOKENS}k = MatMul(r, M)\nt = Transpose <perm = [0, 2, 1]> (k)\ny = MatMul(t, r)",
                M=(2, 3),
                **OF_TOKENS,
            )
        ),
    },
)


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(BETWEEN)
def test_products_of_two_values(row: Between) -> None:
    row.check()
