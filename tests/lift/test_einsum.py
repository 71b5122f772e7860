"""Einsum: with a constant it is a product, among values of the head it is itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import onnx_fc2conv as fc2conv

from ..networks import Head, assert_lifted, network
from .tables import Lifts, Refuses, every, head, spent, table, unread


@dataclass(frozen=True)
class Product:
    """An Einsum of ``r`` and a constant ``M``.

    Attributes:
        equation: of the two operands; swapped, the constant comes first.
        rows: dims of ``r`` behind the batch.
        constant: dims of ``M``.
    """

    equation: str
    rows: tuple[int, ...]
    constant: tuple[int, ...]

    def line(self, swapped: bool) -> str:
        left, arrow, right = self.equation.partition("->")
        terms = left.split(",")
        equation = ",".join(terms[::-1] if swapped else terms) + arrow + right
        return f'y = Einsum <equation = "{equation}"> ({"M, r" if swapped else "r, M"})'


PRODUCTS = {
    "an FC": Product("nk,km->nm", (12,), (12, 5)),
    "an FC, transposed": Product("nk,mk->nm", (12,), (5, 12)),
    "an FC, spaces": Product(" n k , k m -> n m ", (12,), (12, 5)),
    "an FC, implicit": Product("ab,bc", (12,), (12, 5)),
    "an FC, implicit, the result transposed": Product("bc,ca", (12,), (12, 5)),
    "an FC, capitals": Product("Nk,kM->NM", (12,), (12, 5)),
    "units first": Product("nk,km->mn", (12,), (12, 5)),
    "two axes of units": Product("nk,kab->nab", (12,), (12, 2, 3)),
    "two axes of units, turned": Product("nk,akb->bna", (12,), (2, 12, 3)),
    "vector": Product("nk,k->n", (12,), (12,)),
    "rows": Product("nrk,km->nrm", (3, 4), (4, 5)),
    "rows, ellipsis": Product("...k,km->...m", (3, 4), (4, 5)),
    "rows, ellipsis, implicit": Product("...k,km", (3, 4), (4, 5)),
    "ellipsis in the middle": Product("n...k,km->n...m", (3, 2, 2), (2, 5)),
    "ellipsis of both": Product("n...k,...km->n...m", (3, 4), (3, 4, 5)),
    "ellipsis of nothing": Product("nk...,km->nm...", (12,), (12, 5)),
    "rows are summed": Product("nrk,rm->nkm", (3, 4), (3, 5)),
    "rows and features are summed": Product("nrk,rkm->nm", (3, 4), (3, 4, 5)),
    "rows and features are summed, constant turned": Product("nrk,mkr->nm", (3, 4), (5, 4, 3)),
    "all features are summed with two axes of units": Product("nrk,arkb->nab", (3, 4), (2, 3, 4, 3)),
    "a matrix for each row": Product("nrk,rkm->nrm", (3, 4), (3, 4, 5)),
    "a matrix for each row, turned": Product("nrk,kmr->nmr", (3, 4), (4, 5, 3)),
    "a matrix for each of two axes": Product("nabk,abkm->nabm", (3, 2, 2), (3, 2, 2, 5)),
    "a matrix for the second axis": Product("nabk,bkm->nabm", (3, 2, 2), (2, 2, 5)),
    "a matrix for the first axis, the second is summed": Product("nabk,abkm->nam", (3, 2, 2), (3, 2, 2, 5)),
    "a weight for each row, features are free": Product("nrk,r->nrk", (3, 4), (3,)),
    "scaling": Product("nk,k->nk", (12,), (12,)),
    "scaling of the last axis, rows turned": Product("nrk,k->nkr", (3, 4), (4,)),
    "outer product": Product("nk,m->nkm", (12,), (5,)),
    "outer product, units first": Product("nk,m->mnk", (12,), (5,)),
    "features summed that the constant lacks": Product("nrk,rm->nm", (3, 4), (3, 5)),
    "a label of the constant alone": Product("nk,kmz->nm", (12,), (12, 5, 2)),
    "a label of the constant alone, and one of the value": Product("nrk,kzm->nm", (3, 4), (4, 2, 5)),
    "the batch second": Product("nrk,km->rnm", (3, 4), (4, 5)),
    "the batch last": Product("nrk,km->mrn", (3, 4), (4, 5)),
}


def product_head(p: Product, swapped: bool, front: bool, opset: int = 17, **rest: Any) -> Head:
    """The product of what an FC made, or of the flattened vector itself; there an FC stands beside it."""
    text = f"r = Reshape({'v' if front else 'u'}, s)\n{p.line(swapped)}"
    outputs = "y u" if front else "y"
    weights = {"units": 12, "s": [0, *p.rows], "M": p.constant, "outputs": outputs, **rest}
    return spent(text, opset, **weights)


#: the vector of one image, without its batch axis
ONE_IMAGE = {
    "an FC": ("k,km->m", (12,), (12, 5)),
    "an FC, implicit": ("k,km", (12,), (12, 5)),
    "rows": ("rk,km->rm", (3, 4), (4, 5)),
    "all of it": ("k,k->", (12,), (12,)),
    "a matrix for each row": ("rk,rkm->mr", (3, 4), (3, 4, 5)),
}

#: how r [N, 12] is made, its equation, whose batch is elsewhere
MOVED = {
    "batch last": ("r = Transpose(u)", "kn,km->nm", (12, 5)),
    "batch last, and of the result": ("r = Transpose(u)", "kn,km->mn", (12, 5)),
    "batch second": ("q = Reshape(u, s)\nr = Transpose <perm = [1, 0, 2]> (q)", "rnk,rkm->nrm", (3, 4, 5)),
    "batch second, of both": ("q = Reshape(u, s)\nr = Transpose <perm = [1, 0, 2]> (q)", "rnk,km->rnm", (4, 5)),
    "batch second, ellipsis": ("q = Reshape(u, s)\nr = Transpose <perm = [1, 0, 2]> (q)", "...k,km->...m", (4, 5)),
}

ROWS = "a = Reshape(u, s)\nw = MatMul(v, L)\nb = Reshape(w, t)\n"
OF_ROWS = {"units": 12, "s": [0, 3, 4], "L": (12, 8), "t": [0, 2, 4]}

#: a [N, 3, 4] and b [N, 2, 4]
VALUES = {
    "scores": "nrk,nsk->nrs",
    "scores, turned": "nrk,nsk->snr",
    "ellipsis": "...rk,...sk->...rs",
    "all pairs": "nrk,nsk->nrsk",
    "sums": "nrk,nsk->nk",
    "one number": "nrk,nsk->n",
    "outer": "nrk,nsl->nrskl",
}
#: a [N, 3, 4] alone
ALONE = {
    "turned": "nrk->nkr",
    "batch last": "nrk->rkn",
    "rows summed": "nrk->nk",
    "all summed": "nrk->n",
    "implicit": "nrk",
    "ellipsis": "n...->...n",
}

LIFTS = table(
    {
        f"{name}{', constant first' * swapped}{', in front' * front}": Lifts(product_head(p, swapped, front))
        for name, p in PRODUCTS.items()
        for swapped in (False, True)
        for front in (False, True)
        if not (swapped and "implicit, the result" in name)
    },
    {
        f"{name}, opset {opset}": Lifts(product_head(PRODUCTS[name], False, False, opset))
        for name in ("an FC", "a matrix for each row", "rows and features are summed")
        for opset in (12, 13, 21, 26)
    },
    {
        f"{name}, {what}": Lifts(product_head(PRODUCTS[name], False, front, **rest))
        for name in ("an FC", "rows, ellipsis", "a matrix for each row, turned", "the batch second")
        for what, front, rest in (
            ("batch 1", False, {"batch": 1}),
            ("batch 3", True, {"batch": 3}),
            ("1-D", True, {"window": (6,)}),
            ("3-D", True, {"window": (2, 1, 3)}),
        )
    },
    {
        f"{name}, float16": Lifts(
            head(f"r = Reshape(map, s)\n{p.line(False)}", dtype=np.float16, s=[0, *p.rows], M=p.constant)
        )
        for name, p in PRODUCTS.items()
        if "summed" not in name and len(p.rows) < 3
    },
    {
        f"one image: {name}": Lifts(
            spent(
                f'r = Reshape(u, s)\ny = Einsum <equation = "{e}"> (r, M)', units=12, batch=1, s=list(rows), M=constant
            )
        )
        for name, (e, rows, constant) in ONE_IMAGE.items()
    },
    {
        f"{name}, batch {batch}": Lifts(
            spent(f'{text}\ny = Einsum <equation = "{e}"> (r, M)', units=12, batch=batch, s=[0, 3, 4], M=constant)
        )
        for name, (text, e, constant) in MOVED.items()
        for batch in ("N", 3)
    },
    {
        f"two values: {name}, batch {batch}": Lifts(
            spent(f'{ROWS}y = Einsum <equation = "{e}"> (a, b)', batch=batch, **OF_ROWS)
        )
        for name, e in VALUES.items()
        for batch in ("N", 1, 3)
    },
    {
        f"two values of one image: {name}": Lifts(
            spent(f'{ROWS}y = Einsum <equation = "{e}"> (a, b)', batch=1, **{**OF_ROWS, "s": [3, 4], "t": [2, 4]})
        )
        for name, e in {"scores": "rk,sk->rs", "outer": "rk,sl->slrk"}.items()
    },
    {
        f"one value: {name}": Lifts(spent(f'{ROWS}y = Einsum <equation = "{e}"> (a)', **OF_ROWS))
        for name, e in ALONE.items()
    },
    {
        f"unread values: {name}": Lifts(
            head(
                f"a = Reshape(map, s)\nq = Transpose <perm = [0, 2, 1]> (a)\nb = MatMul(q, L)\nc = Relu(b)\n"
                f'y = Einsum <equation = "{e}"> (a, c)',
                s=[0, 2, 6],
                L=(2, 3),
            )
        )
        for name, e in {
            "scores": "nch,nhd->ncd",
            "turned": "nch,nhd->cdn",
            "all": "nch,nhd->n",
        }.items()
    },
    {
        "attention written as Einsums": Lifts(
            head(
                "f = Reshape(map, s)\nr = Transpose <perm = [0, 2, 1]> (f)\n"
                'q = Einsum <equation = "ntc,cd->ntd"> (r, Q)\nk = Einsum <equation = "ntc,cd->ntd"> (r, K)\n'
                'p = Einsum <equation = "nqd,nkd->nqk"> (q, k)\ny = Einsum <equation = "nqk,nkc->nqc"> (p, r)',
                s=[0, 2, 6],
                Q=(2, 3),
                K=(2, 3),
            )
        ),
        "and an FC behind it": Lifts(
            unread(
                'r = Reshape(v, s)\na = Einsum <equation = "nrk,rkm->nrm"> (r, M)\nt = Flatten(a)',
                s=[0, 3, 4],
                M=(3, 4, 5),
                features=15,
            )
        ),
        "three values": Lifts(spent('r = Relu(u)\nw = Neg(u)\ny = Einsum <equation = "nk,nk,nl->nl"> (r, u, w)')),
        "a value that is the batch's only axis": Lifts(
            spent('r = ReduceMax <axes = [1], keepdims = 0> (u)\ny = Einsum <equation = "n,nk->nk"> (r, u)')
        ),
        "a value and itself transposed": Lifts(
            spent('t = Transpose(u)\ny = Einsum <equation = "nk,kn->nk"> (u, t)', batch=3)
        ),
        "the operands are outputs": Lifts(
            spent(f'{ROWS}y = Einsum <equation = "nrk,nsk->nsr"> (a, b)', outputs="u a b y", **OF_ROWS)
        ),
    },
)


def einsum(equation: str, operands: str = "r, M", text: str = "r = Reshape(u, s)\n", **rest: Any) -> Head:
    weights = {"units": 12, "s": [0, 3, 4], "batch": 3, **rest}
    return spent(f'{text}y = Einsum <equation = "{equation}"> ({operands})', **weights)


SUMS = "sums over the batch axis, so it mixes the windows of different images"
REASONS = {
    "the batch is summed": (einsum("nrk,km->rm", M=(4, 5)), SUMS),
    "the batch is summed, implicit": (einsum("zrk,nk->rn", M=(5, 4)), SUMS),
    "the batch is summed, of two values, implicit": (einsum("ark,ask", "r, r"), SUMS),
    "the batch is summed, of one value": (einsum("nrk->rk", "r"), SUMS),
    "the batch is summed, of two values": (einsum("nrk,nrk->rk", "r, r"), SUMS),
    "a row of the constant for each image": (
        einsum("nrk,nkm->nrm", M=(3, 4, 5)),
        "has a constant with a row for each image",
    ),
    "ellipsis of the constant holds the batch": (
        einsum("...k,...km->...m", M=(3, 3, 4, 5)),
        "has a constant with a row for each image",
    ),
    "pairs of images": (einsum("nrk,msk->nmrs", "r, r"), "pairs images with each other"),
    "an image's features with another's": (
        einsum("rk,rk->r", "u, t", "t = Transpose(u)\n", units=3),
        "pairs images with each other",
    ),
    "merged rows": (
        einsum("rk,km->rm", text="r = Reshape(u, s)\n", s=[-1, 4], M=(4, 5)),
        "reads rows of several images",
    ),
    "merged rows among values": (einsum("rk,rk->rk", "r, r", s=[-1, 4]), "reads rows of several images"),
    "a diagonal": (einsum("nkk->nk", "r", units=9, s=[0, 3, 3]), "its equation 'nkk->nk' takes a diagonal"),
    "a diagonal of the constant": (einsum("nrk,kk->nrk", M=(4, 4)), "its equation 'nrk,kk->nrk' takes a diagonal"),
    "ellipses of different lengths": (
        einsum("n...k,...km->n...m", s=[0, 3, 2, 2], M=(2, 2, 5)),
        "its equation 'n...k,...km->n...m' does not fit its operands",
    ),
    "too few labels": (einsum("nk,km->nm", M=(4, 5)), "its equation 'nk,km->nm' does not fit its operands"),
    "too many labels": (einsum("nark,km->narm", M=(4, 5)), "does not fit its operands"),
    "float64": (
        einsum("nrk,km->nrm", "e, M", "r = Reshape(u, s)\ne = Cast <to = 11> (r)\n", M=np.ones((4, 5))),
        "no float64 Conv",
    ),
}
REFUSES = {name: Refuses(made, "Einsum 'y'", reason) for name, (made, reason) in REASONS.items()}


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


@pytest.mark.parametrize("name", ["an FC", "an FC, transposed", "rows and features are summed"])
def test_a_product_with_a_constant_is_a_conv(name: str) -> None:
    made = product_head(PRODUCTS[name], swapped=False, front=False)
    model = fc2conv.convert(network(made), verify=False).model
    assert "Einsum" not in {n.op_type for n in model.graph.node}
    assert [n.op_type for n in model.graph.node].count("Conv") == 3


def test_among_values_the_grid_is_carried_along() -> None:
    made = spent(f'{ROWS}y = Einsum <equation = "nrk,nsk->nrs"> (a, b)', **OF_ROWS)
    (node,) = (n for n in assert_lifted(made).model.graph.node if n.op_type == "Einsum")
    (equation,) = (a.s.decode() for a in node.attribute if a.name == "equation")
    (first, second), result = equation.split("->")[0].split(","), equation.split("->")[1]
    assert first[-2:] == second[-2:] == result[-2:]
    assert len({*first, *second}) == 6
