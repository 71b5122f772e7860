"""Heads at the edges of what the rules say: sizes of 1, one image, values that depend on the batch size only."""

from __future__ import annotations

import numpy as np

from ..networks import Head
from .tables import Lifts, Refuses, every, spent


def einsum(equation: str, rows: tuple[int, ...], constant: tuple[int, ...]) -> Head:
    """An Einsum of ``r`` [N, *rows] and a constant ``M``."""
    text = f'r = Reshape(u, s)\ny = Einsum <equation = "{equation}"> (r, M)'
    return spent(text, units=12, s=[0, *rows], M=constant)


LIFTS: dict[str, Lifts] = {
    # axes are an attribute up to some opset, and an input from then on
    "ReduceSum over all axes of a value without its batch axis": Lifts(
        spent("r = Reshape(u, d)\ny = ReduceSum(r)", batch=1, d=[2, 2])
    ),
    "ReduceMax over all axes of a value without its batch axis, opset 18": Lifts(
        spent("r = Reshape(u, d)\ny = ReduceMax <keepdims = 0> (r)", 18, batch=1, d=[2, 2])
    ),
    # a label whose size is 1 in one of the operands
    "Einsum, the constant has one matrix for all rows": Lifts(einsum("nrk,rkm->nrm", (3, 4), (1, 4, 5))),
    "Einsum, the constant has one row for all that is summed": Lifts(einsum("nrk,km->nrm", (3, 4), (1, 5))),
    "Einsum, the value has one row for all matrices": Lifts(einsum("nrk,rkm->nrm", (1, 12), (3, 12, 5))),
    "Einsum of two values, one with one row, then a view": Lifts(
        spent(
            'a = Reshape(u, s)\nb = Reshape(u, t)\nc = Einsum <equation = "nrk,nrl->nrkl"> (a, b)\ny = Flatten(c)',
            units=6,
            s=[0, 3, 2],
            t=[0, 1, 6],
        )
    ),
    "Einsum with a scalar": Lifts(einsum("nk,->nk", (12,), ())),
    "a stack of matrices with a leading one": Lifts(
        spent("r = Reshape(u, s)\ny = MatMul(r, M)", units=12, s=[0, 3, 1, 4], M=(1, 3, 4, 2))
    ),
    "a matrix for each of the rows that stand in front of the batch": Lifts(
        spent("r = Reshape(u, d)\nt = Transpose <perm = [1, 0, 2]> (r)\ny = MatMul(t, M)", d=[0, 2, 2], M=(2, 2, 5))
    ),
    # ONNX infers no shape for this operator, though it is its input's
    "GroupNormalization behind an FC": Lifts(
        spent(
            "r = Reshape(u, d)\ny = GroupNormalization <num_groups = 2> (r, s, s)",
            21,
            units=12,
            d=[0, 2, 3, 2],
            s=np.ones(2, np.float32),
        ),
        terms=24,
        nodes=8,
    ),
    # one image counts as a feature where its axis is repeated or meets others
    "Expand of one image to three": Lifts(spent("y = Expand(u, d)", batch=1, d=[3, 4])),
    "values of shape [6] and [1], which is one image": Lifts(
        spent("r = Reshape(u, d)\nq = ReduceMax <axes = [1], keepdims = 0> (u)\ny = Sub(r, q)", batch=1, units=6, d=[6])
    ),
    "one constant in two Einsums, each with its labels in another order": Lifts(
        spent(
            'r = Reshape(u, s)\na = Einsum <equation = "nrk,rkm->nrm"> (r, M)\n'
            'b = Einsum <equation = "nrk,krm->nrm"> (r, M)\ny = Sub(a, b)',
            units=9,
            s=[0, 3, 3],
            M=(3, 3, 3),
        )
    ),
    # a constant that is the same for every image, however many there are
    "one number for each image": Lifts(
        spent(
            "s = Shape(u)\nn = Gather(s, zero)\nd = Concat <axis = 0> (n, one)\nc = Expand(two, d)\ny = Mul(u, c)",
            zero=[0],
            one=[1],
            two=np.float32([[2]]),
        )
    ),
    "a row for each image as Gemm's C": Lifts(
        spent(
            "s = Shape(u)\nn = Gather(s, zero)\nd = Concat <axis = 0> (n, one)\nc = Expand(two, d)\ny = Gemm(u, M, c)",
            zero=[0],
            one=[3],
            two=np.float32([[2, 3, 4]]),
            M=(4, 3),
        )
    ),
    "a constant that depends on the batch": Lifts(spent("s = Shape(u)\nc = ConstantOfShape(s)\ny = Add(u, c)")),
    "a constant that depends on the batch of the flattened vector": Lifts(
        spent("s = Shape(v)\nc = ConstantOfShape(s)\ny = Add(v, c)", outputs="y u")
    ),
    "Expand of the first of two axes of size 1": Lifts(
        spent("r = Unsqueeze(u, a)\ny = Expand(r, d)", batch=1, a=[0], d=[4, 1, 1])
    ),
}

REFUSES: dict[str, Refuses] = {
    "a stack of matrices for one row": Refuses(
        spent("r = Reshape(u, s)\ny = MatMul(r, M)", units=12, s=[0, 1, 3, 4], M=(2, 4, 2)),
        "MatMul 'y'",
        "or repeats rows of the value",
    ),
    # the original runs on two images and mixes them, so no batch of one is baked in
    "Reshape of the head to one row, symbolic batch": Refuses(
        spent("y = Reshape(u, d)", d=[1, -1]), "Reshape 'y'", "merges the images of a batch into 1 row(s)"
    ),
    "Flatten of the head, axis 0, symbolic batch": Refuses(
        spent("y = Flatten <axis = 0> (u)"), "Flatten 'y'", "merges the images of a batch into 1 row(s)"
    ),
    "Reshape of the transposed vector to rows, symbolic batch": Refuses(
        spent("t = Transpose(u)\ny = Reshape(t, d)", d=[-1, 4]), "Reshape 'y'", "mixes the values of different images"
    ),
}


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()
