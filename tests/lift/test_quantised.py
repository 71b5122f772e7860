"""Quantised heads: scales are powers of two and sums are small, so every answer is compared bit for bit."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, numpy_helper

import onnx_fc2conv as fc2conv

from ..networks import MAP, Head, network
from .tables import LeavesAlone, Lifts, Refuses, every, head, node_of, some, spent, table, with_input

OPSETS = (10, 13, 19, 21, 23, 25)
TYPES = {"int8": np.int8, "uint8": np.uint8, "int16": np.int16, "uint16": np.uint16}
WIDE = ("int16", "uint16")  #: quantised by operators of the standard from opset 21 on
MS = "com.microsoft."


def scales(*shape: int) -> np.ndarray:
    """Powers of two from 1/4 to 2, so that products with small integers are exact."""
    exponents = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape) % 4
    return np.exp2(exponents - 2).astype(np.float32)


def zeros(elem: str, *shape: int) -> np.ndarray:
    """Zero points that differ from zero, and from each other."""
    return (np.arange(int(np.prod(shape))).reshape(shape) % 3 + (1 if "u" not in elem else 5)).astype(TYPES[elem])


def stored(elem: str, *shape: int) -> np.ndarray:
    """Integers as a quantiser stores them."""
    return some(*shape, low=0, high=9, dtype=TYPES[elem])


def quantised(elem: str = "uint8") -> dict[str, Any]:
    """Scale and zero point of the activations."""
    return {"xs": 0.5, "xz": np.array(100 if elem.startswith("u") else 3, TYPES[elem])}


QDQ = "q = {d}QuantizeLinear(v, xs, xz)\nt = {d}DequantizeLinear(q, xs, xz)"


def qdq(elem: str, opset: int = 17, domain: str = "", **rest: Any) -> Head:
    """Quantised and dequantised right behind the flattening, behind an FC, and at the end."""
    back = "u = {d}QuantizeLinear(g, ys, yz)\nf = {d}DequantizeLinear(u, ys, yz)"
    text = f"v = Flatten(map)\n{QDQ}\ng = Gemm(t, M, C)\n{back}\nr = Relu(f)\ny = MatMul(r, K)".format(d=domain)
    low = TYPES[elem](3)
    return head(text, opset, **quantised(elem), M=(12, 4), C=(4,), K=(4, 3), ys=2.0, yz=np.array(low), **rest)


# -- activations ------------------------------------------------------------------------------------------------------

ACTIVATIONS = table(
    {f"{elem} at opset {o}": Lifts(qdq(elem, o)) for elem in ("int8", "uint8") for o in OPSETS},
    {f"{elem} at opset {o}": Lifts(qdq(elem, o)) for elem in WIDE for o in (21, 25)},
    {f"{elem} of onnxruntime": Lifts(qdq(elem, 13, MS)) for elem in TYPES},
    {
        "int32, dequantised": Lifts(
            spent("i = Cast <to = 6> (u)\nd = DequantizeLinear(i, xs)\ny = MatMul(d, M)", xs=0.25, M=(4, 3))
        ),
        "no zero point": Lifts(spent("q = QuantizeLinear(u, xs)\ny = DequantizeLinear(q, xs)", xs=0.5)),
        "the quantised value is an output": Lifts(
            spent("y = QuantizeLinear(u, xs, xz)", **quantised()),
        ),
        "quantised map, flattened": Lifts(
            head(
                "q = QuantizeLinear(map, xs, xz)\nv = Flatten(q)\nd = DequantizeLinear(v, xs, xz)\ny = MatMul(d, M)",
                M=(12, 3),
                **quantised(),
            ),
        ),
        "quantised map, pooled": Lifts(
            head(
                "q = QuantizeLinear(map, xs, xz)\np = MaxPool <kernel_shape = [3, 2]> (q)\nv = Flatten(p)\n"
                "d = DequantizeLinear(v, xs, xz)\ny = MatMul(d, M)",
                M=(2, 3),
                **quantised(),
            ),
        ),
        "channels last": Lifts(
            head(
                f"n = Transpose <perm = [0, 2, 3, 1]> (map)\nv = Flatten(n)\n{QDQ}\ny = MatMul(t, M)".format(d=""),
                M=(12, 3),
                **quantised(),
            ),
        ),
        "one scale per feature behind the flattening": Lifts(
            head(
                "v = Flatten(map)\nq = QuantizeLinear <axis = 1> (v, xs, xz)\n"
                "t = DequantizeLinear <axis = 1> (q, xs, xz)\ny = MatMul(t, M)",
                M=(12, 3),
                xs=scales(12),
                xz=zeros("int8", 12),
            ),
        ),
        "one scale per unit": Lifts(
            spent(
                "q = QuantizeLinear <axis = 1> (u, xs, xz)\ny = DequantizeLinear <axis = -1> (q, xs, xz)",
                xs=scales(4),
                xz=zeros("int8", 4),
            ),
        ),
        "one scale per unit, axis by default": Lifts(
            spent("q = QuantizeLinear(u, xs, xz)\ny = DequantizeLinear(q, xs, xz)", xs=scales(4), xz=zeros("int8", 4)),
        ),
        "one scale per row of features": Lifts(
            spent(
                "r = Reshape(u, s)\nq = QuantizeLinear <axis = -2> (r, xs, xz)\n"
                "d = DequantizeLinear <axis = 1> (q, xs, xz)\ny = Flatten(d)",
                s=[0, 2, 2],
                xs=scales(2),
                xz=zeros("uint8", 2),
            ),
        ),
        "in 1-D": Lifts(qdq("int8", window=(6,))),
        "in 3-D": Lifts(qdq("int8", window=(2, 1, 3))),
        "fixed batch": Lifts(qdq("int8", batch=3)),
        "saturating": Lifts(
            spent(
                "q = QuantizeLinear(u, xs, xz)\ny = DequantizeLinear(q, xs, xz)", xs=0.0625, xz=np.array(250, np.uint8)
            )
        ),
    },
)


# -- weights ----------------------------------------------------------------------------------------------------------

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

WEIGHTS = table(
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


# -- integer products -------------------------------------------------------------------------------------------------

PAIRS = (("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8"))  #: int8 with uint8 is one that onnxruntime has not


def qlinear(
    line: str,
    a: str = "uint8",
    b: str = "int8",
    per_unit: bool = False,
    *,
    trans_b: bool = False,
    first: bool = True,
    units: int = 3,
    opset: int = 17,
    **rest: Any,
) -> Head:
    """A head whose ``line`` makes ``p`` of the quantised ``x``, with a weight ``i`` and all scales and zero points."""
    inputs = 12 if first else 4
    text = f"w = QuantizeLinear({'v' if first else 'u'}, a, az)\n{line}\ny = DequantizeLinear(p, c, cz)"
    weights = {
        "a": 0.5,
        "az": np.array(3, TYPES[a]),
        "i": stored(b, *((units, inputs) if trans_b else (inputs, units))),
        "s": scales(units) if per_unit else scales(),
        "iz": zeros(b, units) if per_unit else np.array(2, TYPES[b]),
        "c": 2.0,
        "cz": np.array(5, TYPES[a]),
    }
    text = f"v = Flatten(map)\n{text}" if first else text
    return (head if first else spent)(text, opset, **weights, **rest)


MATMUL = "p = QLinearMatMul(w, a, az, i, s, iz, c, cz)"
GEMM = "p = com.microsoft.QGemm <transB = {t}> (w, a, az, i, s, iz, {c}, c, cz)"


def integer(z: str, a: str = "uint8", b: str = "int8", first: bool = True, opset: int = 17, **rest: Any) -> Head:
    inputs = 12 if first else 4
    text = (
        f"w = QuantizeLinear({'v' if first else 'u'}, a, az)\nj = MatMulInteger(w, i{z})\nf = Cast <to = 1> (j)\n"
        "y = Mul(f, k)"
    )
    weights = {
        "a": 0.5,
        "az": np.array(3, TYPES[a]),
        "i": stored(b, inputs, 3),
        "iz": np.array(2, TYPES[b]),
        "k": 0.125,
    }
    text = f"v = Flatten(map)\n{text}" if first else text
    return (head if first else spent)(text, opset, **(weights | rest))


PRODUCTS = table(
    {
        f"QLinearMatMul {a} x {b}{', one scale per unit' * per}, {'first' if first else 'second'}": Lifts(
            qlinear(MATMUL, a, b, per, first=first)
        )
        for a, b in PAIRS
        for per in (False, True)
        for first in (True, False)
    },
    {f"QLinearMatMul at opset {o}": Lifts(qlinear(MATMUL, opset=o)) for o in OPSETS},
    {
        f"QGemm {a} x {b}, transB {t}{', one scale per unit' * per}, {'with' if c else 'without'} C": Lifts(
            qlinear(GEMM.format(t=t, c=c), a, b, per, trans_b=bool(t), first=bool(t), C=some(3, dtype=np.int32))
        )
        for a, b in PAIRS
        for t in (0, 1)
        for per in (False, True)
        for c in ("", "C")
    },
    {
        f"MatMulInteger {a} x {b}{words}, {'first' if first else 'second'}": Lifts(integer(z, a, b, first))
        for a, b in itertools.product(("uint8", "int8"), repeat=2)
        for z, words in (
            ("", ""),
            (", az", ", a's zero point"),
            (", az, iz", ", both zero points"),
            (", , iz", ", b's zero point"),
        )
        for first in (True, False)
    },
)


def product(text: str, opset: int = 17, **rest: Any) -> Head:
    """A head of quantised values ``w``, behind the flattening unless it says otherwise."""
    weights = {
        "a": 0.5,
        "az": np.array(3, np.uint8),
        "i": stored("int8", 12, 3),
        "s": scales(3),
        "iz": zeros("int8", 3),
        "c": 2.0,
        "cz": np.array(5, np.uint8),
    }
    return head(text, opset, **(weights | rest))


FLAT = "v = Flatten(map)\nw = QuantizeLinear(v, a, az)\n"

OTHERS = {
    "QLinearMatMul, channels last": Lifts(
        product(
            f"n = Transpose <perm = [0, 2, 3, 1]> (map)\nv = Flatten(n)\nw = QuantizeLinear(v, a, az)\n{MATMUL}\n"
            "y = DequantizeLinear(p, c, cz)"
        )
    ),
    "QLinearMatMul, every feature twice": Lifts(
        product(
            f"{FLAT}d = Concat <axis = 1> (w, w)\np = QLinearMatMul(d, a, az, i, s, iz, c, cz)\n"
            "y = DequantizeLinear(p, c, cz)",
            i=stored("int8", 24, 3),
        )
    ),
    "QLinearMatMul, scales of shape [1]": Lifts(
        product(
            f"{FLAT}{MATMUL}\ny = Identity(p)",
            **{k: scales(1) for k in "asc"},
            **{k: np.array([3], np.uint8) for k in ("az", "cz")},
            iz=zeros("int8", 1),
        )
    ),
    "QLinearMatMul, one unit": Lifts(
        product(f"{FLAT}{MATMUL}\ny = Identity(p)", i=stored("int8", 12, 1), s=scales(1), iz=zeros("int8", 1))
    ),
    "QLinearMatMul, two in a row": Lifts(
        product(
            f"{FLAT}{MATMUL}\ny = QLinearMatMul(p, c, cz, k, a, iz0, c, cz)",
            k=stored("int8", 3, 5),
            iz0=np.array(2, np.int8),
        )
    ),
    "QLinearMatMul, the weight twice": Lifts(
        product(
            f"{FLAT}p = QLinearMatMul(w, a, az, i, s, iz, c, cz)\ny = QLinearMatMul(p, c, cz, i, s, iz, c, cz)",
            i=stored("int8", 12, 12),
            s=scales(12),
            iz=zeros("int8", 12),
        )
    ),
    "QLinearMatMul in 1-D": Lifts(product(f"{FLAT}{MATMUL}\ny = Identity(p)", window=(6,))),
    "QLinearMatMul in 3-D": Lifts(product(f"{FLAT}{MATMUL}\ny = Identity(p)", window=(2, 1, 3))),
    "QLinearMatMul of one image without its batch axis": Lifts(
        product(f"v = Reshape(map, k)\nw = QuantizeLinear(v, a, az)\n{MATMUL}\ny = Identity(p)", k=[12], batch=1)
    ),
    "QLinearMatMul of a flattened quantised map": Lifts(
        product(f"q = QuantizeLinear(map, a, az)\nw = Flatten(q)\n{MATMUL}\ny = DequantizeLinear(p, c, cz)")
    ),
    "QLinearMatMul, weight by Transpose": Lifts(
        product(
            f"{FLAT}o = Transpose <perm = [1, 0]> (t)\ny = QLinearMatMul(w, a, az, o, s, iz, c, cz)",
            t=stored("int8", 3, 12),
        )
    ),
    "QGemm, C as a row": Lifts(
        product(f"{FLAT}{GEMM.format(t=0, c='C')}\ny = Identity(p)", C=some(1, 3, dtype=np.int32))
    ),
    "QGemm, attributes by default": Lifts(
        product(
            f"{FLAT}p = com.microsoft.QGemm(w, a, az, i, s, iz, C, c, cz)\ny = Identity(p)", C=some(3, dtype=np.int32)
        )
    ),
    "QGemm, attributes written out": Lifts(
        product(
            f"{FLAT}p = com.microsoft.QGemm <alpha = 1.0, transA = 0, transB = 0> (w, a, az, i, s, iz, , c, cz)\n"
            "y = Identity(p)"
        )
    ),
    "MatMulInteger, zero points of shape [1]": Lifts(
        integer(", az, iz", "uint8", az=np.array([3], np.uint8), iz=zeros("int8", 1))
    ),
    "MatMulInteger with scales per unit behind it": Lifts(integer(", az, iz", "uint8", k=scales(3))),
    "MatMulInteger, channels last": Lifts(
        product(
            "n = Transpose <perm = [0, 2, 3, 1]> (map)\nv = Flatten(n)\nw = QuantizeLinear(v, a, az)\n"
            "y = MatMulInteger(w, i, az, k)",
            k=np.array(2, np.int8),
        )
    ),
    "MatMulInteger in 1-D": Lifts(integer(", az, iz", window=(6,))),
    "MatMulInteger in 3-D": Lifts(integer(", az, iz", window=(2, 1, 3))),
}

LIFTS = table(ACTIVATIONS, WEIGHTS, PRODUCTS, OTHERS)

DYNAMIC = """u8, us, uz = DynamicQuantizeLinear(v)
j = MatMulInteger(u8, i, uz, iz)
f = Cast <to = 1> (j)
k = Mul(us, s)
y = Mul(f, k)"""

REFUSES = {
    "DynamicQuantizeLinear": Refuses(
        head(f"v = Flatten(map)\n{DYNAMIC}", i=stored("int8", 12, 3), iz=zeros("int8"), s=scales()),
        "DynamicQuantizeLinear 'u8'",
        "its scale is computed over the whole tensor",
    ),
    "DynamicQuantizeLinear behind an FC": Refuses(
        spent(DYNAMIC.replace("(v)", "(u)"), i=stored("int8", 4, 3), iz=zeros("int8"), s=scales()),
        "DynamicQuantizeLinear 'u8'",
        "its scale is computed over the whole tensor",
    ),
    "QuantizeLinear in blocks": Refuses(
        spent("y = QuantizeLinear <axis = 1, block_size = 2> (u, xs)", 21, batch=2, xs=scales(2, 2)),
        "QuantizeLinear 'y'",
        "quantises in blocks",
    ),
    "DequantizeLinear in blocks": Refuses(
        spent(
            "q = QuantizeLinear(u, a)\ny = DequantizeLinear <axis = 1, block_size = 2> (q, xs)",
            21,
            batch=2,
            a=0.5,
            xs=scales(2, 2),
        ),
        "DequantizeLinear 'y'",
        "quantises in blocks",
    ),
    "scale of the head": Refuses(
        spent("m = ReduceMax <keepdims = 0> (u)\ny = QuantizeLinear(u, m)"), "ReduceMax 'm'", "batch"
    ),
    "scale of each image": Refuses(
        spent("m = ReduceMax <axes = [1], keepdims = 0> (u)\ny = QuantizeLinear <axis = 0> (u, m)"),
        "QuantizeLinear 'y'",
        "its scale is not a constant",
    ),
    "scale is a graph input": Refuses(
        spent("y = QuantizeLinear(u, xs)", xs=0.5),
        "QuantizeLinear 'y'",
        "its input 'xs' is neither a constant nor computed from the image",
        with_input("xs"),
    ),
    "one scale for each image": Refuses(
        spent("y = QuantizeLinear <axis = 0> (u, xs, xz)", batch=3, xs=scales(3), xz=zeros("int8", 3)),
        "QuantizeLinear 'y'",
        "works along the batch axis",
    ),
    "QLinearMatMul, weight on the left": Refuses(
        product(
            f"{FLAT}y = QLinearMatMul(i, s, iz, w, a, az, c, cz)",
            i=stored("uint8", 3, 3),
            s=0.5,
            iz=np.array(3, np.uint8),
            batch=3,
        ),
        "QLinearMatMul 'y'",
        "has its weight on the left",
    ),
    "QLinearMatMul of two values": Refuses(
        product(f"{FLAT}r = Transpose <perm = [1, 0]> (w)\ny = QLinearMatMul(w, a, az, r, a, az, c, cz)"),
        "QLinearMatMul 'y'",
        "its weight is not a constant matrix",
    ),
    "QLinearMatMul, a stack of weights": Refuses(
        product(f"{FLAT}y = QLinearMatMul(w, a, az, i, c, k, c, cz)", i=stored("int8", 5, 12, 3), k=zeros("int8")),
        "QLinearMatMul 'y'",
        "its weight is not a constant matrix",
    ),
    "QLinearMatMul of rows": Refuses(
        product(
            "r = Reshape(map, k)\nw = QuantizeLinear(r, a, az)\ny = QLinearMatMul(w, a, az, i, s, iz, c, cz)",
            k=[0, 2, 6],
            i=stored("int8", 6, 3),
        ),
        "QLinearMatMul 'y'",
        "works on more than one row for each image",
    ),
    "QLinearMatMul, weight of other size": Refuses(
        product(f"{FLAT}y = QLinearMatMul(w, a, az, i, s, iz, c, cz)", i=stored("int8", 7, 3)),
        "QLinearMatMul 'y'",
        "its weight takes 7 features, and it is fed 12",
    ),
    "QLinearMatMul, scale of the head": Refuses(
        product(f"{FLAT}m = ReduceMax <keepdims = 0, axes = [1]> (v)\ny = QLinearMatMul(w, m, az, i, s, iz, c, cz)"),
        "QLinearMatMul 'y'",
        "its scales and zero points are not all constants",
    ),
    "QGemm, transA": Refuses(
        product(f"{FLAT}y = com.microsoft.QGemm <transA = 1> (w, a, az, i, s, iz, , c, cz)", batch=12),
        "com.microsoft.QGemm 'y'",
        "transA=1 would sum over the batch axis",
    ),
    "QGemm, alpha": Refuses(
        product(f"{FLAT}y = com.microsoft.QGemm <alpha = 0.5> (w, a, az, i, s, iz, , c, cz)"),
        "com.microsoft.QGemm 'y'",
        "has an alpha",
    ),
    "QGemm, floating-point result": Refuses(
        product(f"{FLAT}y = com.microsoft.QGemm(w, a, az, i, s, iz)"),
        "com.microsoft.QGemm 'y'",
        "gives floating-point results",
    ),
    "QGemm, C is one number": Refuses(
        product(f"{FLAT}y = com.microsoft.QGemm(w, a, az, i, s, iz, C, c, cz)", C=np.array([3], np.int32)),
        "com.microsoft.QGemm 'y'",
        "its C is not a constant with one value per unit",
    ),
    "QGemm, C for each image": Refuses(
        product(f"{FLAT}y = com.microsoft.QGemm(w, a, az, i, s, iz, C, c, cz)", C=some(2, 3, dtype=np.int32), batch=2),
        "com.microsoft.QGemm 'y'",
        "its C is not a constant with one value per unit",
    ),
    "MatMulInteger, zero point of the head": Refuses(
        product(f"{FLAT}m = ReduceMax <keepdims = 0, axes = [1]> (w)\ny = MatMulInteger(w, i, m)"),
        "MatMulInteger 'y'",
        "its zero points vary",
    ),
    "MatMulInteger, one zero point per unit": Refuses(
        integer(", az, zs", "uint8", zs=zeros("int8", 3)), "MatMulInteger 'j'", "zero point for each unit"
    ),
    "MatMulInteger, weight on the left": Refuses(
        product(f"{FLAT}y = MatMulInteger(i, w)", i=stored("uint8", 3, 3), batch=3),
        "MatMulInteger 'y'",
        "has its weight on the left",
    ),
}

LEAVES_ALONE = {
    "QuantizeLinear and DequantizeLinear": LeavesAlone(
        spent("[q] q = QuantizeLinear(u, xs, xz)\n[y] y = DequantizeLinear(q, xs, xz)", **quantised()), "q y"
    ),
    "one scale per unit": LeavesAlone(
        spent(
            "[q] q = QuantizeLinear <axis = 1> (u, xs, xz)\n[y] y = DequantizeLinear <axis = 1> (q, xs, xz)",
            xs=scales(4),
            xz=zeros("int8", 4),
        ),
        "q y",
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


VERIFIED = (
    "no zero point",
    "int32, dequantised",
    "quantised map, flattened",
    "weight of uint8, one scale per unit",
    "weight of int8, one scale per input",
    "QLinearMatMul uint8 x int8, one scale per unit, first",
    "QGemm int8 x int8, transB 1, with C",
    "MatMulInteger uint8 x int8, both zero points, first",
)


@pytest.mark.parametrize("name", VERIFIED)
def test_the_checks_accept(name: str) -> None:
    checks = fc2conv.convert(network(LIFTS[name].head)).report.checks
    assert {c.name for c in checks} >= {"same size", "windows", "default run", "image crops"}
    assert all(c.passed for c in checks)


def arrays(model: ModelProto) -> dict[str, np.ndarray]:
    """All initializers."""
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


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


PRODUCTS_OF = {"QLinearMatMul": (qlinear(MATMUL), 3), "MatMulInteger": (integer(", az, iz"), 1)}


@pytest.mark.parametrize(("row", "position"), PRODUCTS_OF.values(), ids=PRODUCTS_OF.keys())
def test_an_integer_product_is_an_integer_convolution(row: Head, position: int) -> None:
    original = network(row)
    model = fc2conv.convert(original, verify=False).model
    (conv,) = (n for n in model.graph.node if n.op_type in ("QLinearConv", "ConvInteger"))
    kernel = arrays(model)[conv.input[position]]
    np.testing.assert_array_equal(kernel, arrays(original)["i"].T.reshape(3, 2, 3, 2))
    assert kernel.dtype == np.int8
    assert [n.op_type for n in model.graph.node][1] == "QuantizeLinear"


def test_quantising_behind_the_flattening_acts_on_the_map() -> None:
    """No window is laid out: the values are quantised once, not once for every window that they are in."""
    model = fc2conv.convert(network(qdq("int8")), verify=False).model
    assert [n.op_type for n in model.graph.node][:4] == ["Conv", "QuantizeLinear", "DequantizeLinear", "Conv"]
    assert node_of(model, "y").op_type == "Conv"
    assert next(n for n in model.graph.node if n.op_type == "QuantizeLinear").input[0] == MAP
