"""Weights that a DequantizeLinear makes of integers: lifted bit for bit, and stored as the same integers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto

import onnx_fc2conv as fc2conv

from ..networks import Head, network
from .quantities import MS, OPSETS, TYPES, arrays, scales, stored, zeros
from .tables import Lifts, Refuses, every, head, node_of, some, spent, table

PER = ("tensor", "unit", "input")


def weight(
    elem: str,
    per: str,
    trans_b: int,
    first: bool,
    opset: int = 21,
    *,
    swap: bool = False,
    zero: bool = True,
    domain: str = "",
    **rest: Any,
) -> Head:
    """An FC whose weight a DequantizeLinear makes, with one scale for each unit, each input, or all of it."""
    inputs, units = (12 if first else 4), 3
    units_axis = 0 if bool(trans_b) != swap else 1
    shape = (units, inputs) if units_axis == 0 else (inputs, units)
    axis = units_axis if per == "unit" else 1 - units_axis
    count = () if per == "tensor" else (shape[axis],)
    attrs = "" if per == "tensor" else f" <axis = {axis}>"
    made, swapping = ("m", "M = Transpose <perm = [1, 0]> (m)\n") if swap else ("M", "")
    zero_point = ", z" if zero else ""
    lines = (
        f"{made} = {domain}DequantizeLinear{attrs}(i, s{zero_point})\n{swapping}"
        f"y = Gemm <transB = {trans_b}> ({'v' if first else 'u'}, M, C)"
    )
    weights = {"i": stored(elem, *shape), "s": scales(*count), "C": (units,)}
    weights |= {"z": zeros(elem, *count)} if zero else {}
    return (
        head(f"v = Flatten(map)\n{lines}", opset, **weights, **rest)
        if first
        else spent(lines, opset, **weights, **rest)
    )


def weight_rows() -> dict[str, Lifts]:
    rows = {}
    for per, trans_b, first, swap in itertools.product(PER, (0, 1), (True, False), (False, True)):
        where = f"transB {trans_b}, {'first' if first else 'second'}{', through Transpose' * swap}"
        rows[f"weight, one scale per {per}, {where}"] = Lifts(weight("int8", per, trans_b, first, swap=swap))
    for elem, per in itertools.product(TYPES, PER):
        rows[f"weight of {elem}, one scale per {per}"] = Lifts(weight(elem, per, 1, True))
    for opset in OPSETS:
        for per in PER[: 1 if opset < 13 else 3]:
            rows[f"weight at opset {opset}, one scale per {per}"] = Lifts(weight("uint8", per, 0, True, opset))
    return rows


TWO_FCS = (
    "v = Flatten(map)\nM = DequantizeLinear <axis = 1> (i, s, z)\na = MatMul(v, M)\nr = Relu(a)\n"
    "y = Gemm <transB = 1> (r, M, C)"
)
SHARED = {"i": stored("int8", 12, 12), "s": scales(12), "z": zeros("int8", 12), "C": (12,)}

LIFTS = table(
    weight_rows(),
    {
        "weight without a zero point": Lifts(weight("int8", "unit", 1, True, zero=False)),
        "weight of int32": Lifts(
            head("v = Flatten(map)\nM = DequantizeLinear(i, s)\ny = MatMul(v, M)", i=some(12, 3, dtype=np.int32), s=0.5)
        ),
        "weight, negative axis": Lifts(
            head(
                "v = Flatten(map)\nM = DequantizeLinear <axis = -1> (i, s, z)\ny = MatMul(v, M)",
                i=stored("int8", 12, 3),
                s=scales(3),
                z=zeros("int8", 3),
            ),
        ),
        "weight, axis by default": Lifts(
            head(
                "v = Flatten(map)\nM = DequantizeLinear(i, s, z)\ny = MatMul(v, M)",
                i=stored("int8", 12, 3),
                s=scales(3),
                z=zeros("int8", 3),
            ),
        ),
        "weight, Transpose without perm": Lifts(
            head(
                "v = Flatten(map)\nm = DequantizeLinear <axis = 0> (i, s, z)\nM = Transpose(m)\ny = MatMul(v, M)",
                i=stored("int8", 3, 12),
                s=scales(3),
                z=zeros("int8", 3),
            ),
        ),
        "weight, one scale of shape [1]": Lifts(
            head(
                "v = Flatten(map)\nM = DequantizeLinear(i, s, z)\ny = MatMul(v, M)",
                i=stored("int8", 12, 3),
                s=scales(1),
                z=zeros("int8", 1),
            ),
        ),
        "weight, with alpha": Lifts(
            head(
                "v = Flatten(map)\nM = DequantizeLinear <axis = 1> (i, s, z)\ny = Gemm <alpha = 0.5> (v, M)",
                i=stored("int8", 12, 3),
                s=scales(3),
                z=zeros("int8", 3),
            ),
        ),
        "weight in blocks": Lifts(
            head(
                "v = Flatten(map)\nM = DequantizeLinear <axis = 0, block_size = 4> (i, s)\ny = MatMul(v, M)",
                21,
                i=stored("int8", 12, 3),
                s=scales(3, 3),
            ),
        ),
        "weight, channels last": Lifts(
            head(
                "n = Transpose <perm = [0, 2, 3, 1]> (map)\nv = Flatten(n)\n"
                "M = DequantizeLinear <axis = 1> (i, s, z)\ny = MatMul(v, M)",
                i=stored("int8", 12, 3),
                s=scales(3),
                z=zeros("int8", 3),
            ),
        ),
        "weight, every feature twice": Lifts(
            head(
                "v = Flatten(map)\nw = Concat <axis = 1> (v, v)\nM = DequantizeLinear <axis = 1> (i, s, z)\n"
                "y = MatMul(w, M)",
                i=stored("int8", 24, 3),
                s=scales(3),
                z=zeros("int8", 3),
            ),
        ),
        "weight, half of the features": Lifts(
            head(
                "v = Flatten(map)\nw = Gather <axis = 1> (v, g)\nM = DequantizeLinear <axis = 1> (i, s, z)\n"
                "y = MatMul(w, M)",
                g=[11, 0, 7, 2, 3, 9],
                i=stored("int8", 6, 3),
                s=scales(3),
                z=zeros("int8", 3),
            ),
        ),
        "weight for two rows of features": Lifts(
            head(
                "r = Reshape(map, k)\nM = DequantizeLinear <axis = 1> (i, s, z)\ny = MatMul(r, M)",
                k=[0, 2, 6],
                i=stored("int8", 6, 3),
                s=scales(3),
                z=zeros("int8", 3),
            ),
        ),
        "weight for all positions": Lifts(
            head(
                "n = Transpose <perm = [0, 2, 3, 1]> (map)\nr = Reshape(n, k)\n"
                "M = DequantizeLinear <axis = 1> (i, s, z)\na = MatMul(r, M)\ny = Flatten(a)",
                k=[0, 6, 2],
                i=stored("int8", 2, 3),
                s=scales(3),
                z=zeros("int8", 3),
            ),
        ),
        "one weight, two Gemms": Lifts(head(TWO_FCS, **SHARED)),
        **{
            f"weight of onnxruntime's DequantizeLinear, {elem}, one scale per {per}": Lifts(
                weight(elem, per, 0, True, 13, domain=MS)
            )
            for elem in ("int8", "int16")
            for per in PER
        },
        "weight of a FusedGemm": Lifts(
            head(
                "v = Flatten(map)\nM = DequantizeLinear <axis = 0> (i, s, z)\n"
                'y = com.microsoft.FusedGemm <transB = 1, activation = "Relu"> (v, M, C)',
                i=stored("int8", 3, 12),
                s=scales(3),
                z=zeros("int8", 3),
                C=(3,),
            )
        ),
        "weight of a FusedMatMul": Lifts(
            head(
                "v = Flatten(map)\nM = DequantizeLinear <axis = 0> (i, s, z)\n"
                "y = com.microsoft.FusedMatMul <transB = 1> (v, M)",
                i=stored("int8", 2, 12),
                s=scales(2),
                z=zeros("int8", 2),
            )
        ),
        "bias too": Lifts(
            head(
                "v = Flatten(map)\nM = DequantizeLinear <axis = 0> (i, s, z)\nC = DequantizeLinear <axis = 0> (c, s)\n"
                "y = Gemm <transB = 1> (v, M, C)",
                i=stored("int8", 3, 12),
                s=scales(3),
                z=zeros("int8", 3),
                c=some(3, dtype=np.int32),
            ),
        ),
        "weight quantised from floats": Lifts(
            head(
                "v = Flatten(map)\ni = QuantizeLinear <axis = 1> (m, s, z)\n"
                "M = DequantizeLinear <axis = 1> (i, s, z)\ny = MatMul(v, M)",
                m=(12, 3),
                s=scales(3),
                z=zeros("int8", 3),
            ),
        ),
        "weight dequantised to float16": Lifts(
            head(
                "v = Flatten(map)\nM = DequantizeLinear <axis = 1> (i, s, z)\ny = MatMul(v, M)",
                19,
                dtype=np.float16,
                i=stored("int8", 12, 3),
                s=scales(3).astype(np.float16),
                z=zeros("int8", 3),
            ),
        ),
        "weight in one dimension more": Lifts(
            head(
                "v = Flatten(map)\nm = DequantizeLinear <axis = 2> (i, s, z)\nM = Squeeze(m, k)\ny = MatMul(v, M)",
                i=stored("int8", 1, 12, 3),
                s=scales(3),
                z=zeros("int8", 3),
                k=[0],
            ),
        ),
        "weight in 1-D": Lifts(weight("int8", "unit", 1, True, window=(6,))),
        "weight in 3-D": Lifts(weight("int8", "unit", 0, True, window=(2, 1, 3))),
        "weight, scale and zero point from nodes": Lifts(
            head(
                "v = Flatten(map)\ns = Mul(o, o)\nz = Identity(k)\nj = Cast <to = 3> (i)\n"
                "M = DequantizeLinear <axis = 1> (j, s, z)\ny = MatMul(v, M)",
                i=stored("int16", 12, 3),
                o=scales(3),
                k=zeros("int8", 3),
            ),
        ),
    },
)

REFUSES = {
    "weight whose scale depends on the batch": Refuses(
        spent(
            "n = Shape(u)\nf = Cast <to = 1> (n)\ns = ReduceMax <keepdims = 0> (f)\nM = DequantizeLinear(i, s)\n"
            "y = MatMul(u, M)",
            i=stored("int8", 4, 3),
        ),
        "MatMul 'y'",
        "its input 'M' is computed at run time",
    ),
    "weight of other size": Refuses(
        spent("M = DequantizeLinear(i, s)\ny = MatMul(u, M)", i=stored("int8", 5, 3), s=0.5),
        "MatMul 'y'",
        "its weight takes 5 features, and it is fed 4",
    ),
}

VERIFIED = ("weight of uint8, one scale per unit", "weight of int8, one scale per input", "one weight, two Gemms")


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


def floats_of(found: dict[str, np.ndarray], size: int) -> int:
    """How many initializers of so many floats there are."""
    return sum(a.dtype == np.float32 and a.size == size for a in found.values())


def kernel_of(model: ModelProto, output: str) -> tuple[NodeProto, np.ndarray]:
    """What makes the kernel of the Conv behind an output, and the integers that it is made of."""
    made = node_of(model, node_of(model, output).input[1])
    return made, arrays(model)[made.input[0]]


STAYS = list(itertools.product(("tensor", "unit"), (0, 1), (True, False), (False, True), ("int8", "uint16")))


@pytest.mark.parametrize(("per", "trans_b", "first", "swap", "elem"), STAYS)
def test_integer_weights_stay_integers(per: str, trans_b: int, first: bool, swap: bool, elem: str) -> None:
    """The same integers as a kernel, the scale along the units; nowhere a float for each of them."""
    original = network(weight(elem, per, trans_b, first, swap=swap))
    model = fc2conv.convert(original, verify=False).model
    before, after = arrays(original), arrays(model)
    made, integers = kernel_of(model, "y")
    of_units = before["i"] if bool(trans_b) != swap else before["i"].T
    np.testing.assert_array_equal(integers, of_units.reshape(3, 2, 3, 2) if first else of_units[:, :, None, None])
    assert integers.dtype == before["i"].dtype
    assert made.op_type == "DequantizeLinear"
    assert {a.name: a.i for a in made.attribute} == ({"axis": 0} if per == "unit" else {})
    np.testing.assert_array_equal(after[made.input[1]], before["s"])
    np.testing.assert_array_equal(after[made.input[2]], before["z"])
    assert floats_of(after, before["i"].size) == floats_of(before, before["i"].size)
    assert sum(a.nbytes for a in after.values()) == sum(a.nbytes for a in before.values())


@pytest.mark.parametrize("per", ["tensor", "unit"])
def test_a_file_of_integer_weights_does_not_grow(per: str) -> None:
    """What is added is the geometry; it does not grow with the weights."""

    def growth(units: int) -> int:
        shape = (units, 12)
        count = (units,) if per == "unit" else ()
        text = "v = Flatten(map)\nM = DequantizeLinear <axis = 0> (i, s, z)\ny = Gemm <transB = 1> (v, M)"
        model = network(head(text, i=stored("int8", *shape), s=scales(*count), z=zeros("int8", *count)))
        return fc2conv.convert(model, verify=False).model.ByteSize() - model.ByteSize()

    assert growth(2000) <= growth(20) + 64


def test_one_scale_per_input_becomes_a_float_kernel() -> None:
    """A Conv's kernel has its inputs along three axes, so no DequantizeLinear of it could have such a scale."""
    model = fc2conv.convert(network(weight("int8", "input", 1, True)), verify=False).model
    kernel = arrays(model)[node_of(model, "y").input[1]]
    assert (kernel.dtype, kernel.shape) == (np.float32, (3, 2, 3, 2))
    assert not [n for n in model.graph.node if n.op_type == "DequantizeLinear"]


def test_one_integer_weight_of_two_gemms_is_stored_once_in_each_arrangement() -> None:
    text = TWO_FCS.replace("Gemm <transB = 1> (r, M, C)", "Gemm(r, M, C)")
    z = "w = Gemm(v, M, C)"
    model = fc2conv.convert(network(head(f"{text}\n{z}", outputs="y w", **SHARED)), verify=False).model
    of_weight = [a for a in arrays(model).values() if a.size == 144]
    assert sorted((a.dtype.name, a.shape) for a in of_weight) == [("int8", (12, 2, 3, 2)), ("int8", (12, 12, 1, 1))]


@pytest.mark.parametrize("name", VERIFIED)
def test_the_checks_accept(name: str) -> None:
    checks = fc2conv.convert(network(LIFTS[name].head)).report.checks
    assert {c.name for c in checks} >= {"same size", "windows", "default run", "image crops"}
    assert all(c.passed for c in checks)
