"""Small networks in their dense form: which nodes are left, and the same answers, bit for bit, for 1, 2, 3 images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_fc2conv import dtypes
from onnx_fc2conv.conv2fc.dense import steps
from onnx_fc2conv.conv2fc.dense.reading import Reading

from .dense import Built, answers, built, deviation, feeds_of
from .small import integers, network
from .test_dense_matrix import assert_equal_bits

W = {"w": (4, 2, 3, 3), "b": (4,), "w2": (3, 4, 2, 2), "b2": (3,)}
#: scale, bias, mean, variance: the square root of variance + epsilon is 1 or 2
BN = {
    "s": np.array([2, -1, 4, 1], np.float32),
    "o": np.array([1, 0, -3, 2], np.float32),
    "m": np.array([3, -2, 0, 1], np.float32),
    "v": np.array([0.75, 3.75, 0.75, 3.75], np.float32),
}
NORM = "BatchNormalization <epsilon=0.25>"
HEAD = {"f": (24, 5), "g": (5,)}  #: behind [4, 3, 2]


@dataclass(frozen=True)
class Case:
    """A network, and the op_types of its dense form."""

    text: str
    left: str
    weights: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, ...] = (2, 5, 4)
    opset: int = 17
    outputs: tuple[str, ...] = ("y",)
    strict: bool = False
    batch: int | str = "N"


CASES = {
    "conv relu conv": Case(
        "a = Conv (x, w, b)\nr = Relu (a)\ny = Conv (r, w2, b2)", "Flatten Gemm Relu Gemm Reshape", W
    ),
    "classifier": Case(
        "a = Conv (x, w, b)\nr = Relu (a)\nv = Flatten (r)\ny = Gemm <transB=1> (v, f, g)",
        "Flatten Gemm Relu Gemm",
        {"w": (4, 2, 3, 3), "b": (4,), "f": (5, 24), "g": (5,)},
    ),
    "reshape, MatMul and Add become one Gemm": Case(
        "a = Conv (x, w)\nr = Relu (a)\nv = Reshape (r, to)\nm = MatMul (v, f)\ny = Add (g, m)",
        "Flatten Gemm Relu Gemm",
        {"w": (4, 2, 3, 3), "to": np.array([-1, 24]), **HEAD},
    ),
    "the last Conv gives a vector": Case("a = Conv (x, w)\ny = Flatten (a)", "Flatten Gemm", {"w": (6, 2, 5, 4)}),
    "norm behind a Conv": Case(
        f"a = Conv (x, w, b)\nn = {NORM} (a, s, o, m, v)\nr = Relu (n)\ny = Conv (r, w2)",
        "Flatten Gemm Relu Gemm Reshape",
        W | BN,
    ),
    "norm in front of a padded Conv": Case(
        f"a = Conv (x, w, b)\nr = Relu (a)\nn = {NORM} (r, s, o, m, v)\ny = Conv <pads=[1, 1, 1, 1]> (n, w2)",
        "Flatten Gemm Relu Gemm Reshape",
        W | BN,
    ),
    "norm of the image": Case(
        "d = Sub (x, c)\ne = Div (d, two)\ny = Conv <pads=[1, 1, 1, 1]> (e, w)",
        "Flatten Gemm Reshape",
        {"w": (4, 2, 3, 3), "c": (1, 2, 1, 1), "two": np.float32(2)},
    ),
    "norm between activations": Case(
        f"a = Conv (x, w, b)\nr = Relu (a)\nn = {NORM} (r, s, o, m, v)\ny = Relu (n)",
        "Flatten Gemm Relu Mul Add Relu Reshape",
        W | BN,
    ),
    "norm that two read": Case(
        f"a = Conv (x, w, b)\nn = {NORM} (a, s, o, m, v)\nr = Relu (n)\ny = Add (r, n)",
        "Flatten Gemm Relu Add Reshape",
        W | BN,
    ),
    "norm of a Conv that two read": Case(
        f"a = Conv (x, w, b)\nn = {NORM} (a, s, o, m, v)\nc = Conv (n, w2)\nd = Conv (a, w2)\ny = Sub (c, d)",
        "Flatten Gemm Gemm Gemm Sub Reshape",
        W | BN,
    ),
    "norm at the end": Case(
        f"a = Conv (x, w, b)\nr = Relu (a)\ny = {NORM} (r, s, o, m, v)", "Flatten Gemm Relu Mul Add Reshape", W | BN
    ),
    "norm of a vector": Case(
        f"a = Conv (x, w)\nu = Flatten (a)\nn = {NORM} (u, s, o, m, v)\ny = Relu (n)",
        "Flatten Gemm Relu",
        {"w": (4, 2, 5, 4)} | BN,
    ),
    "norm behind an FC": Case(
        f"a = Conv (x, w)\nc = Flatten (a)\nu = Gemm (c, f, s)\nn = {NORM} (u, s, o, m, v)\ny = Relu (n)",
        "Flatten Gemm Gemm Relu",
        {"w": (4, 2, 3, 3), "f": (24, 4)} | BN,
    ),
    "scale, shift and sign one after the other": Case(
        "a = Conv (x, w)\nn = Neg (a)\nc = Mul (n, k)\nd = Sub (one, c)\ne = Add (d, map)\ny = Relu (e)",
        "Flatten Gemm Relu Reshape",
        {"w": (4, 2, 3, 3), "k": (4, 1, 1), "one": np.float32(1), "map": (3, 2)},
    ),
    "a shift that broadcasts the map": Case(
        "a = Conv (x, w)\nr = Relu (a)\nd = Add (r, grid)\ny = Conv (d, w2)",
        "Flatten Gemm Relu Reshape Add Flatten Gemm Reshape",
        {"w": (4, 2, 5, 4), "grid": (3, 3), "w2": (3, 4, 2, 2)},
    ),
    "residual": Case(
        "a = Conv <pads=[1, 1, 1, 1]> (x, w)\nr = Relu (a)\nc = Conv <pads=[1, 1, 1, 1]> (r, q)\nd = Add (c, r)\n"
        "y = Relu (d)",
        "Flatten Gemm Relu Gemm Add Relu Reshape",
        {"w": (4, 2, 3, 3), "q": (4, 4, 3, 3)},
    ),
    "the image joins in": Case(
        "a = Conv <pads=[1, 1, 1, 1]> (x, w)\nd = Add (x, a)\ny = Relu (d)",
        "Flatten Gemm Add Relu Reshape",
        {"w": (2, 2, 3, 3)},
    ),
    "channels side by side": Case(
        "a = Conv (x, w)\nc = Conv (x, u)\nd = Concat <axis=1> (a, c)\nr = Relu (d)\ny = Conv (r, w2)",
        "Flatten Gemm Gemm Concat Relu Gemm Reshape",
        {"w": (4, 2, 3, 3), "u": (2, 2, 3, 3), "w2": (3, 6, 2, 2)},
    ),
    "rows side by side": Case(
        "a = Conv (x, w)\nc = Conv (x, u)\nd = Concat <axis=-2> (a, c)\nr = Relu (d)\ny = Conv (r, w2)",
        "Flatten Gemm Gemm Concat Relu Gemm Reshape",
        {"w": (4, 2, 3, 3), "u": (4, 2, 3, 3), "w2": (3, 4, 2, 2)},
    ),
    "a value beside itself": Case(
        "a = Conv (x, w)\nr = Relu (a)\nd = Concat <axis=2> (r, r)\ny = Conv (d, w2)",
        "Flatten Gemm Relu Reshape Concat Flatten Gemm Reshape",
        {"w": (4, 2, 3, 3), "w2": (3, 4, 2, 2)},
    ),
    "channels last at the image and at the head": Case(
        "t = Transpose <perm=[0, 3, 1, 2]> (x)\na = Conv (t, w)\nr = Relu (a)\nl = Transpose <perm=[0, 2, 3, 1]> (r)\n"
        "v = Reshape (l, to)\nm = MatMul (v, f)\ny = Add (m, g)",
        "Flatten Gemm Relu Gemm",
        {"w": (4, 2, 3, 3), "to": np.array([-1, 24]), **HEAD},
        (5, 4, 2),
    ),
    "channels last between": Case(
        "a = Conv (x, w)\nl = Transpose <perm=[0, 2, 3, 1]> (a)\nn = Add (l, k)\nr = Relu (n)\nz = Add (r, l)\n"
        "t = Transpose <perm=[0, 3, 1, 2]> (z)\ny = Conv (t, w2)",
        "Flatten Gemm Add Relu Add Gemm Reshape",
        {"w": (4, 2, 3, 3), "k": (4,), "w2": (3, 4, 2, 2)},
    ),
    "channels last at the output": Case(
        "a = Conv (x, w)\ny = Transpose <perm=[0, 2, 3, 1]> (a)", "Flatten Gemm Reshape", {"w": (4, 2, 3, 3)}
    ),
    "an order that an activation has in front": Case(
        "a = Conv (x, w)\nr = Relu (a)\ny = Transpose <perm=[0, 2, 3, 1]> (r)",
        "Flatten Gemm Relu Reshape Transpose",
        {"w": (4, 2, 3, 3)},
    ),
    "max pooling stays": Case(
        "a = Conv (x, w)\nr = Relu (a)\np = MaxPool <kernel_shape=[2, 2]> (r)\ny = Conv <pads=[1, 0, 0, 1]> (p, w2)",
        "Flatten Gemm Relu Reshape MaxPool Flatten Gemm Reshape",
        {"w": (4, 2, 3, 3), "w2": (3, 4, 2, 2)},
    ),
    "max pooling of channels last": Case(
        "a = Conv (x, w)\nl = Transpose <perm=[0, 2, 3, 1]> (a)\nr = Relu (l)\nt = Transpose <perm=[0, 3, 1, 2]> (r)\n"
        "y = MaxPool <kernel_shape=[2, 2]> (t)",
        "Flatten Gemm Relu Reshape MaxPool",
        {"w": (4, 2, 3, 3)},
    ),
    "average pooling": Case(
        "a = Conv (x, w)\nr = Relu (a)\np = AveragePool <kernel_shape=[1, 2]> (r)\nv = Flatten (p)\ny = Gemm (v, f)",
        "Flatten Gemm Relu Gemm Gemm",
        {"w": (4, 2, 3, 3), "f": (12, 5)},
    ),
    "slices, halves and pads": Case(
        "t = Slice (x, one, ends, axes)\na = Conv (t, w)\nr = Relu (a)\nh, l = Split <axis=1> (r)\n"
        "p = Pad (l, pads, two)\ny = Conv (p, w2)",
        "Flatten Gemm Relu Gemm Reshape",
        {
            "one": np.array([1]),
            "ends": np.array([4]),
            "axes": np.array([2]),
            "w": (4, 2, 2, 2),
            "pads": np.array([0, 0, 1, 0, 0, 0, 0, 1]),
            "two": np.float32(2),
            "w2": (3, 2, 2, 2),
        },
        opset=13,
    ),
    "an activation of a part": Case(
        "a = Conv (x, w)\ng = Gather <axis=1> (a, some)\nr = Relu (g)\ny = Conv (r, w2)",
        "Flatten Gemm Relu Gemm Reshape",
        {"w": (4, 2, 3, 3), "some": np.array([3, 1]), "w2": (3, 2, 2, 2)},
    ),
    "a part twice": Case(
        "a = Conv (x, w)\nr = Relu (a)\ng = Gather <axis=1> (r, some)\ny = Conv (g, w2)",
        "Flatten Gemm Relu Reshape Gather Flatten Gemm Reshape",
        {"w": (4, 2, 3, 3), "some": np.array([3, 1, 3]), "w2": (3, 3, 2, 2)},
    ),
    "a part twice, strict": Case(
        "a = Conv (x, w)\nr = Relu (a)\ng = Gather <axis=1> (r, some)\ny = Conv (g, w2)",
        "Flatten Gemm Relu Gemm Gemm Reshape",
        {"w": (4, 2, 3, 3), "some": np.array([3, 1, 3]), "w2": (3, 3, 2, 2)},
        strict=True,
    ),
    "an order at the end, strict": Case(
        "a = Conv (x, w)\nr = Relu (a)\ny = Transpose <perm=[0, 2, 3, 1]> (r)",
        "Flatten Gemm Relu Gemm Reshape",
        {"w": (4, 2, 3, 3)},
        strict=True,
    ),
    "squeeze and excitation": Case(
        "a = Conv (x, w)\nr = Relu (a)\ng = ReduceSum (r, axes)\nc = Conv (g, e)\nh = Clip (c, zero, six)\n"
        "z = Mul (r, h)\ny = Conv (z, w2)",
        "Flatten Gemm Relu Reshape Gemm Gemm Clip Reshape Mul Flatten Gemm Reshape",
        {
            "w": (4, 2, 3, 3),
            "axes": np.array([2, 3]),
            "e": (4, 4, 1, 1),
            "zero": np.float32(0),
            "six": np.float32(6),
            "w2": (3, 4, 2, 2),
        },
    ),
    "squeeze and excitation, strict": Case(
        "a = Conv (x, w)\nr = Relu (a)\ng = ReduceSum (r, axes)\nc = Conv (g, e)\nh = Clip (c, zero, six)\n"
        "z = Mul (r, h)\ny = Conv (z, w2)",
        "Flatten Gemm Relu Gemm Gemm Clip Gemm Mul Gemm Reshape",
        {
            "w": (4, 2, 3, 3),
            "axes": np.array([2, 3]),
            "e": (4, 4, 1, 1),
            "zero": np.float32(0),
            "six": np.float32(6),
            "w2": (3, 4, 2, 2),
        },
        strict=True,
    ),
    "slopes of each channel": Case(
        "a = Conv (x, w)\nr = PRelu (a, k)\ny = Conv (r, w2)",
        "Flatten Gemm PRelu Gemm Reshape",
        {"w": (4, 2, 3, 3), "k": (4, 1, 1), "w2": (3, 4, 2, 2)},
    ),
    "a threshold of each position, in another order": Case(
        "a = Conv (x, w)\nr = Relu (a)\nl = Transpose <perm=[0, 2, 3, 1]> (r)\nz = Max (l, k)\n"
        "t = Transpose <perm=[0, 3, 1, 2]> (z)\ny = Conv (t, w2)",
        "Flatten Gemm Relu Max Gemm Reshape",
        {"w": (4, 2, 3, 3), "k": (3, 2, 4), "w2": (3, 4, 2, 2)},
    ),
    "a value in both forms": Case(
        "a = Conv (x, w)\nr = Relu (a)\np = MaxPool <kernel_shape=[2, 2]> (r)\nc = Conv (r, w2)\ny = Identity (c)\n"
        "z = Relu (p)",
        "Flatten Gemm Relu Reshape MaxPool Gemm Reshape Relu",
        {"w": (4, 2, 3, 3), "w2": (3, 4, 2, 2)},
        outputs=("y", "z"),
    ),
    "outputs on the way": Case(
        f"a = Conv (x, w)\nn = {NORM} (a, s, o, m, v)\nr = Relu (n)\ny = Conv (r, w2)",
        "Flatten Gemm Reshape Mul Add Relu Gemm Reshape",
        {"w": (4, 2, 3, 3), "w2": (3, 4, 2, 2)} | BN,
        outputs=("y", "a"),
    ),
    "one image": Case(
        "a = Conv (x, w)\nr = Relu (a)\nv = Reshape (r, to)\ny = Gemm (v, f, g)",
        "Flatten Gemm Relu Gemm",
        {"w": (4, 2, 3, 3), "to": np.array([1, -1]), **HEAD},
        batch=1,
    ),
    "three images": Case(
        "a = Conv (x, w)\nr = Relu (a)\nv = Reshape (r, to)\ny = Gemm (v, f, g)",
        "Flatten Gemm Relu Gemm",
        {"w": (4, 2, 3, 3), "to": np.array([3, 24]), **HEAD},
        batch=3,
    ),
    "a sequence": Case(
        "a = Conv <pads=[1, 1]> (x, w)\nr = Relu (a)\ny = Conv <strides=[2]> (r, u)",
        "Flatten Gemm Relu Gemm Reshape",
        {"w": (4, 2, 3), "u": (3, 4, 2)},
        (2, 7),
    ),
    "a volume": Case(
        "a = Conv <pads=[1, 0, 1, 1, 0, 1]> (x, w)\nr = Relu (a)\ny = Conv <group=2> (r, u)",
        "Flatten Gemm Relu Gemm Reshape",
        {"w": (4, 2, 3, 1, 2), "u": (4, 2, 2, 2, 1)},
        (2, 3, 3, 2),
    ),
    "sums and FC nodes alone stay": Case(
        "m = ReduceSum (x, axes)\nc = Flatten (m)\nu = MatMul (c, f)\ny = Add (u, g)",
        "ReduceSum Flatten MatMul Add",
        {"axes": np.array([2, 3]), "f": (2, 3), "g": (3,)},
    ),
    "an activation of pads": Case(
        "a = Conv (x, w)\nr = Relu (a)\np = Pad (r, pads)\nz = Max (p, one)\ny = Conv (z, w2)",
        "Flatten Gemm Relu Reshape Pad Flatten Max Gemm Reshape",
        {"w": (4, 2, 3, 3), "pads": np.array([0, 0, 1, 0, 0, 0, 0, 1]), "one": np.float32(1), "w2": (3, 4, 2, 2)},
    ),
    "pads beside another value": Case(
        "a = Conv (x, w)\nr = Relu (a)\np = Pad (r, pads, one)\nc = Conv <pads=[2, 2, 1, 1]> (x, w)\n"
        "d = Concat <axis=1> (c, p)\ny = Conv (d, w2)",
        "Flatten Gemm Relu Gemm Concat Gemm Reshape",
        {"w": (4, 2, 3, 3), "pads": np.array([0, 0, 2, 2, 0, 0, 1, 1]), "one": np.float32(1), "w2": (3, 8, 2, 2)},
    ),
    "an order of what two read": Case(
        "a = Conv (x, w)\nl = Transpose <perm=[0, 2, 3, 1]> (a)\nn = Add (l, k)\ny = Relu (n)\nz = Relu (a)",
        "Flatten Gemm Reshape Transpose Add Relu Relu Reshape",
        {"w": (4, 2, 3, 3), "k": (4,)},
        outputs=("y", "z"),
    ),
    "a scaled part": Case(
        "a = Conv (x, w)\ng = Gather <axis=1> (a, some)\nn = Mul (g, k)\nr = Relu (n)\ny = Conv (r, w2)",
        "Flatten Gemm Reshape Gather Mul Flatten Relu Gemm Reshape",
        {"w": (4, 2, 3, 3), "some": np.array([3, 1]), "k": (2, 1, 1), "w2": (3, 2, 2, 2)},
    ),
    "a vector under two names": Case(
        "a = Conv (x, w)\nr = Relu (a)\nz = MaxPool <kernel_shape=[2, 2]> (r)\nv = Flatten (r)\ny = Hardmax (v)",
        "Flatten Gemm Relu Reshape MaxPool Hardmax",
        {"w": (4, 2, 3, 3)},
        outputs=("y", "z"),
    ),
    "several rows of each image": Case(
        "a = Conv (x, w)\nr = Relu (a)\nv = Reshape (r, to)\ny = MatMul (v, f)",
        "Flatten Gemm Relu Reshape Reshape Gemm",
        {"w": (4, 2, 3, 3), "to": np.array([-1, 6]), "f": (6, 2)},
    ),
    "alpha and beta": Case(
        "a = Conv (x, w)\nr = Relu (a)\nl = Transpose <perm=[0, 2, 3, 1]> (r)\nv = Flatten (l)\n"
        "u = Gemm <alpha=2.0, beta=3.0> (v, f, g)\nt = Gemm <alpha=2.0, beta=3.0, transB=1> (u, q, g)\ny = Add (t, g)",
        "Flatten Gemm Relu Gemm Gemm",
        {"w": (4, 2, 3, 3), "q": (5, 5), **HEAD},
    ),
    "a summand for each image, behind another order": Case(
        "a = Conv (x, w)\nr = Relu (a)\nl = Transpose <perm=[0, 2, 3, 1]> (r)\nv = Flatten (l)\ny = Gemm (v, f, rows)",
        "Flatten Gemm Relu Reshape Transpose Flatten Gemm",
        {"w": (4, 2, 3, 3), "f": (24, 5), "rows": (3, 5)},
        batch=3,
    ),
    "an activation in another order that a pool reads": Case(
        "a = Conv (x, w)\nl = Transpose <perm=[0, 2, 3, 1]> (a)\nr = Relu (l)\ny = MaxPool <kernel_shape=[1, 2]> (r)",
        "Flatten Gemm Reshape Transpose Relu MaxPool",
        {"w": (4, 2, 3, 3)},
    ),
    "any activation": Case(
        "a = Conv (x, w)\nr = Relu (a)\ny = Sin (r)", "Flatten Gemm Relu Sin Reshape", {"w": (4, 2, 3, 3)}
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_network(name: str) -> None:
    case = CASES[name]
    model = network(case.text, case.size, case.weights, case.opset, case.batch, outputs=case.outputs)
    found = built(model, strict=case.strict)
    assert " ".join(found.op_types) == case.left
    assert_equal_bits(model, found)
    assert_estimated(model, found)


def assert_estimated(model: ModelProto, found: Built) -> None:
    """What was said before anything was made is what is there: matrices, their zeros, and the bytes of what is new."""
    nodes = found.model.graph.node
    stored = [n.SerializeToString() for n in model.graph.node]
    given = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    same = {name for name, value in found.constants().items() if np.array_equal(value, given.get(name))}
    untouched = {n.name for n in model.graph.node if n.op_type == "Gemm" and same.issuperset(n.input[1:])}
    gemms = [n for n in nodes if n.op_type == "Gemm"]
    made = [(n, m) for n, m in zip(gemms, found.matrices(), strict=True) if n.name not in untouched]
    products = found.estimate.products
    assert [(p.rows, p.columns) for p in products] == [m.shape for _, m in made]
    assert [p.zeros for p in products] == pytest.approx([float((m == 0).mean()) for _, m in made], abs=1e-12)
    spelled = [n for n in nodes if n.op_type in ("Mul", "Add", "PRelu", "Max") and n.SerializeToString() not in stored]
    new = {name for n, _ in made for name in n.input[1:]} | {name for n in spelled for name in n.input[1:]} - same
    new &= set(found.constants())
    assert found.estimate.bytes == sum(found.constants()[name].nbytes for name in new)


TYPES = [
    # element type, opset, whether onnxruntime has its Conv
    (np.float16, 17, True),
    (np.float64, 17, False),
    *((np.float32, opset, True) for opset in (7, 8, 9, 10, 11, 12, 13, 14, 15, 18, 21)),
]
PLAIN = f"""a = Conv <pads=[1, 0, 0, 1]> (x, w)
n = {NORM} (a, s, o, m, v)
r = Relu (n)
p = AveragePool <kernel_shape=[2, 2], strides=[1, 2]> (r)
k = LeakyRelu <alpha=0.5> (p)
c = Flatten (k)
u = MatMul (c, f)
y = Add (u, g)"""


@pytest.mark.parametrize(("dtype", "opset", "runs"), TYPES)
def test_types_and_opsets(dtype: Any, opset: int, runs: bool) -> None:
    weights = {"w": (4, 2, 3, 3), **{k: v.astype(dtype) for k, v in BN.items()}, "f": (24, 5), "g": (5,)}
    model = network(PLAIN, (2, 5, 5), weights, opset, dtype=dtype)
    found = built(model)
    assert found.op_types == "Flatten Gemm Relu Gemm LeakyRelu Gemm".split()
    assert {v.dtype for v in found.constants().values()} == {np.dtype(dtype)}
    if runs:
        assert_equal_bits(model, found)
        return
    feeds = {"x": integers((2, 2, 5, 5), 1, dtype)}
    single = network(
        PLAIN, (2, 5, 5), {k: v.astype(np.float32) if hasattr(v, "astype") else v for k, v in weights.items()}
    )
    expected = answers(single, {"x": feeds["x"].astype(np.float32)})
    np.testing.assert_array_equal(answers(found.model, feeds)[0], expected[0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_any_weights_within_rounding(dtype: Any) -> None:
    """A norm with any statistics, folded: within the tolerance of its type, and not by chance."""
    random = np.random.default_rng(5)
    weights: dict[str, Any] = {"w": random.standard_normal((4, 2, 3, 3)), "f": random.standard_normal((24, 5))}
    weights |= {k: np.abs(random.standard_normal(4)) + 0.5 for k in BN} | {"g": random.standard_normal(5)}
    model = network(PLAIN, (2, 5, 5), {k: v.astype(dtype) for k, v in weights.items()}, dtype=dtype)
    found = built(model)
    elem_type = model.graph.input[0].type.tensor_type.elem_type
    tolerance = dtypes.tolerance(elem_type, 24, len(model.graph.node) + found.lowering.roundings)
    feeds = feeds_of(model, 3, small=False)
    expected = answers(model, feeds)
    assert deviation(answers(found.model, feeds), expected) <= tolerance
    weights["v"][2] *= 2
    other = network(PLAIN, (2, 5, 5), {k: v.astype(dtype) for k, v in weights.items()}, dtype=dtype)
    assert deviation(answers(built(other).model, feeds), expected) > tolerance


def test_weights_are_rounded_once() -> None:
    """A norm is folded in double precision: the weight is the product's nearest neighbour."""
    third = {"s": np.full(4, 1 / 3, np.float32), "o": np.zeros(4, np.float32), "m": np.zeros(4, np.float32)}
    weights = {"w": np.float32([0.1, 0.7, 3, 1e-3]).reshape(4, 1, 1, 1), "v": np.full(4, 1.7, np.float32), **third}
    found = built(network(f"a = Conv (x, w)\ny = {NORM} (a, s, o, m, v)", (1, 1, 1), weights))
    exact = weights["w"].ravel().astype(np.float64) * third["s"] / np.sqrt(np.float64(weights["v"]) + 0.25)
    np.testing.assert_array_equal(found.matrices()[0][0], exact.astype(np.float32))


def test_names_stay_and_nothing_dead_is_left() -> None:
    model = network(
        "a = Conv (x, w, b)\nr = Relu (a)\nc = Conv (r, w2, b2)\nv = Flatten (c)\ny = Gemm (v, f, g)",
        (2, 5, 4),
        W | {"f": (6, 5), "g": (5,)},
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "unused"))
    found = built(model)
    assert [n.name for n in found.model.graph.node if n.op_type == "Gemm"] == ["conv_0", "conv_2", "gemm_4"]
    assert sorted(found.constants()) == ["b", "b2", "f", "g", "unused", "w", "w2"]
    for name in ("f", "g"):
        before = next(t for t in model.graph.initializer if t.name == name)
        assert before in found.model.graph.initializer
    assert [v.name for v in found.model.graph.value_info] == []
    assert found.model.graph.output == model.graph.output


def test_weights_in_constant_nodes() -> None:
    weight = integers((4, 2, 3, 3), 1)
    model = network("a = Conv (x, w)\ny = Relu (a)", (2, 5, 4), {"w": weight})
    node = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight))
    model.graph.node.insert(0, node)
    del model.graph.initializer[:]
    found = built(model)
    assert found.op_types == ["Flatten", "Gemm", "Relu", "Reshape"]
    assert_equal_bits(model, found)


def test_what_a_shape_is_computed_from_is_not_lost() -> None:
    """An exporter's computed target shape goes; one that something else needs stays."""
    text = "a = Conv (x, w)\nr = Relu (a)\nh = Shape (r)\nn = Gather <axis=0> (h, zero)\nu = Unsqueeze (n, zero)\n"
    weights = {"w": (4, 2, 3, 3), "zero": np.array([0]), "rest": np.array([24]), "scalar": np.array(0)}
    text = text.replace("(h, zero)", "(h, scalar)") + "t = Concat <axis=0> (u, rest)\nv = Reshape (r, t)\n"
    gone = network(text + "y = MatMul (v, f)", (2, 5, 4), weights | {"f": (24, 5)})
    stays = network(
        text + "y = MatMul (v, f)\nz = Cast <to=1> (h)", (2, 5, 4), weights | {"f": (24, 5)}, outputs=("y", "z")
    )
    assert built(gone).op_types == "Flatten Gemm Relu Gemm".split()
    assert built(stays).op_types == "Flatten Gemm Relu Reshape Shape Gemm Cast".split()
    assert_equal_bits(gone, built(gone))
    assert_equal_bits(stays, built(stays))


FUSED = {
    "Relu": ('activation="Relu"', "Relu", ""),
    "a slope": ('activation="LeakyRelu", activation_params=[0.5]', "LeakyRelu", ""),
    "nothing": ("", "", ""),
    "a summand": ('activation="Relu"', None, "adds another value behind its product"),
    "a hard swish": ('activation="HardSwish"', None, "its activation 'HardSwish' is not known"),
}


@pytest.mark.parametrize("what", FUSED)
def test_products_with_an_activation(what: str) -> None:
    """Those of onnxruntime's own domain, which its optimiser writes, become two standard nodes each."""
    attributes, activation, reason = FUSED[what]
    summand, first = (", z", "z = Conv (x, w, b)\n") if "summand" in what else ("", "")
    text = f"""{first}a = com.microsoft.FusedConv <{attributes}> (x, w, b{summand})
    v = Flatten (a)
    u = com.microsoft.FusedGemm <activation="LeakyRelu", activation_alpha=0.5, transB=1> (v, f, g)
    y = Abs (u)"""
    weights = {"w": (4, 2, 3, 3), "b": (4,), "f": (5, 24), "g": (5,)}
    model = network(text.replace(" <>", ""), (2, 5, 4), weights, 10)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5]))
    found = built(model)
    if reason:
        assert list(found.estimate.left.values()) == [reason]
        assert "FusedConv" in found.op_types
    else:
        chain = ["Flatten", "Gemm", *([activation] if activation else []), "Gemm", "LeakyRelu", "Abs"]
        assert found.op_types == chain
    assert_equal_bits(model, found)


def test_roundings_are_those_of_the_longest_path() -> None:
    text = f"a = Conv (x, w)\nn = {NORM} (a, s, o, m, v)\nr = Relu (n)\np = GlobalAveragePool (r)"
    weights = {"w": (4, 2, 3, 3), "q": (4, 2, 1, 1), **BN}
    found = built(network(f"{text}\nc = GlobalAveragePool (x)\nd = Conv (c, q)\ny = Add (p, d)", (2, 5, 4), weights))
    assert found.lowering.roundings == 2
    assert built(network("a = Conv (x, w)\ny = Relu (a)", (2, 5, 4), {"w": (4, 2, 3, 3)})).lowering.roundings == 0


SABOTAGE = {
    "a scale that is lost": ("scale", lambda numbers: None),
    "a shift that is lost": ("shift", lambda numbers: None),
    "an order that is lost": ("index", lambda numbers: None),
    "an order read backwards": ("index", lambda numbers: None if numbers is None else np.argsort(numbers)),
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_the_comparison_sees(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in what is folded is a mistake in the answers of these networks."""
    attribute, spoil = SABOTAGE[what]
    real = steps.matrix.build

    def spoiled(linear: Any, reads: Reading, *rest: Any) -> np.ndarray:
        return real(linear, replace(reads, **{attribute: spoil(getattr(reads, attribute))}), *rest)

    monkeypatch.setattr(steps.matrix, "build", spoiled)
    bias = steps.matrix.bias_of
    monkeypatch.setattr(
        steps.matrix,
        "bias_of",
        lambda linear, reads, *rest: bias(
            linear, replace(reads, **{attribute: spoil(getattr(reads, attribute))}), *rest
        ),
    )
    seen = []
    for name in ("norm in front of a padded Conv", "channels last at the image and at the head"):
        try:
            test_network(name)
        except AssertionError:
            seen.append(name)
    assert seen
