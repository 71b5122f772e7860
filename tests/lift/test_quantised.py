"""Quantised heads: what is quantised stays quantised, and every answer is compared bit for bit."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import onnx_fc2conv as fc2conv

from ..networks import MAP, Head, network
from .quantities import MS, OPSETS, TYPES, activations, arrays, scales, stored, zeros
from .tables import LeavesAlone, Lifts, Refuses, every, head, node_of, some, spent, table, with_input

QDQ = "q = {d}QuantizeLinear(v, xs, xz)\nt = {d}DequantizeLinear(q, xs, xz)"


def qdq(elem: str, opset: int = 17, domain: str = "", **rest: Any) -> Head:
    """Quantised and dequantised right behind the flattening, behind an FC, and at the end."""
    back = "u = {d}QuantizeLinear(g, ys, yz)\nf = {d}DequantizeLinear(u, ys, yz)"
    text = f"v = Flatten(map)\n{QDQ}\ng = Gemm(t, M, C)\n{back}\nr = Relu(f)\ny = MatMul(r, K)".format(d=domain)
    low = TYPES[elem](3)
    return head(text, opset, **activations(elem), M=(12, 4), C=(4,), K=(4, 3), ys=2.0, yz=np.array(low), **rest)


# -- activations ------------------------------------------------------------------------------------------------------

ACTIVATIONS = table(
    {f"{elem} at opset {o}": Lifts(qdq(elem, o)) for elem in ("int8", "uint8") for o in OPSETS},
    {f"{elem} at opset {o}": Lifts(qdq(elem, o)) for elem in ("int16", "uint16") for o in (21, 25)},
    {f"{elem} of onnxruntime": Lifts(qdq(elem, 13, MS)) for elem in ("int8", "uint8", "int16", "uint16")},
    {
        "int32, dequantised": Lifts(
            spent("i = Cast <to = 6> (u)\nd = DequantizeLinear(i, xs)\ny = MatMul(d, M)", xs=0.25, M=(4, 3))
        ),
        "float8": Lifts(
            spent(
                "q = QuantizeLinear <saturate = 1> (u, xs, xz)\ny = DequantizeLinear(q, xs, xz)",
                19,
                xs=0.5,
                xz=np.array(0, ml_dtypes.float8_e4m3fn),
            )
        ),
        "int4": Lifts(
            spent(
                "q = QuantizeLinear(u, xs, xz)\ny = DequantizeLinear(q, xs, xz)",
                21,
                xs=4.0,
                xz=np.array(1, ml_dtypes.int4),
            )
        ),
        "the type as an attribute": Lifts(
            spent("q = QuantizeLinear <output_dtype = 3> (u, xs)\ny = DequantizeLinear(q, xs)", 21, xs=0.5)
        ),
        "no zero point": Lifts(spent("q = QuantizeLinear(u, xs)\ny = DequantizeLinear(q, xs)", xs=0.5)),
        "the quantised value is an output": Lifts(
            spent("y = QuantizeLinear(u, xs, xz)", **activations()),
        ),
        "quantised map, flattened": Lifts(
            head(
                "q = QuantizeLinear(map, xs, xz)\nv = Flatten(q)\nd = DequantizeLinear(v, xs, xz)\ny = MatMul(d, M)",
                M=(12, 3),
                **activations(),
            ),
        ),
        "quantised map, pooled": Lifts(
            head(
                "q = QuantizeLinear(map, xs, xz)\np = MaxPool <kernel_shape = [3, 2]> (q)\nv = Flatten(p)\n"
                "d = DequantizeLinear(v, xs, xz)\ny = MatMul(d, M)",
                M=(2, 3),
                **activations(),
            ),
        ),
        "channels last": Lifts(
            head(
                f"n = Transpose <perm = [0, 2, 3, 1]> (map)\nv = Flatten(n)\n{QDQ}\ny = MatMul(t, M)".format(d=""),
                M=(12, 3),
                **activations(),
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
        "the two largest of 16 bits, dequantised by onnxruntime": Lifts(
            spent(
                f"q = {MS}QuantizeLinear(u, xs, xz)\nd = {MS}DequantizeLinear(q, xs, xz)\n"
                "t, i = TopK <axis = 1> (d, k)\nf = Cast <to = 1> (i)\ny = Add(t, f)",
                13,
                k=[2],
                **activations("uint16"),
            )
        ),
        "saturating": Lifts(
            spent(
                "q = QuantizeLinear(u, xs, xz)\ny = DequantizeLinear(q, xs, xz)", xs=0.0625, xz=np.array(250, np.uint8)
            )
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
#: rows of channels, one for each position
ROWS = "r = Reshape(map, k)\nv = Transpose <perm = [0, 2, 1]> (r)\nw = QuantizeLinear(v, a, az)\n"

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
    "MatMulInteger of one image whose batch axis comes back with a Transpose": Lifts(
        spent(
            "r = Reshape(u, d)\nm = ReduceMax <axes = [1]> (r)\nt = Transpose(m)\nq = QuantizeLinear(t, xs, xz)\n"
            "y = MatMulInteger(q, i, xz)",
            units=6,
            batch=1,
            d=[3, 2],
            i=stored("int8", 3, 4),
            **activations("uint8"),
        )
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
    "MatMulInteger at every position": Lifts(
        product(f"{ROWS}h = MatMulInteger(w, i, az)\ny = Flatten(h)", k=[0, 2, 6], i=stored("int8", 2, 3))
    ),
    "MatMulInteger at every position, one row each": Lifts(
        product(f"{ROWS}h = MatMulInteger(w, i, az)\ny = Cast <to = 1> (h)", k=[-1, 2, 6], i=stored("int8", 2, 3))
    ),
    "QLinearMatMul at every position": Lifts(
        product(
            f"{ROWS}{MATMUL}\nd = DequantizeLinear(p, c, cz)\nf = Flatten(d)\ny = MatMul(f, l)",
            k=[0, 2, 6],
            i=stored("int8", 2, 3),
            l=(18, 4),
        )
    ),
    "MatMulInteger in 1-D": Lifts(integer(", az, iz", window=(6,))),
    "MatMulInteger in 3-D": Lifts(integer(", az, iz", window=(2, 1, 3))),
}

LIFTS = table(ACTIVATIONS, PRODUCTS, OTHERS)

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
        product(
            f"{FLAT}r = Transpose <perm = [1, 0]> (w)\nd = QLinearMatMul(w, a, az, r, a, az, c, cz)\n"
            "y = QLinearMatMul(d, a, az, i, a, az, c, cz)",
            i=stored("int8", 12, 3),
        ),
        "QLinearMatMul 'd'",
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
    "QGemm, the result's zero point is left out": Refuses(
        product(f"{FLAT}y = com.microsoft.QGemm(w, a, az, i, s, iz, , c)"),
        "com.microsoft.QGemm 'y'",
        "its scales and zero points are not all constants",
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
        spent("[q] q = QuantizeLinear(u, xs, xz)\n[y] y = DequantizeLinear(q, xs, xz)", **activations()), "q y"
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
    "QLinearMatMul uint8 x int8, one scale per unit, first",
    "QGemm int8 x int8, transB 1, with C",
    "MatMulInteger uint8 x int8, both zero points, first",
)


@pytest.mark.parametrize("name", VERIFIED)
def test_the_checks_accept(name: str) -> None:
    checks = fc2conv.convert(network(LIFTS[name].head)).report.checks
    assert {c.name for c in checks} >= {"same size", "windows", "default run", "image crops"}
    assert all(c.passed for c in checks)


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
