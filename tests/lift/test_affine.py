"""A scale and shift of flattened features: taken in by the FC behind it, or carried out for whoever else reads them.

Every row is compared with a loop over windows through the original; how many nodes are left shows that the FC took in
what it should.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv.dtypes import tolerance

from ..networks import Head, assert_lifted, integers, network
from .tables import Lifts, every, head, table

FC = "y = Gemm(t, W, B)"
WEIGHTS = {"W": (12, 4), "B": (4,)}
ROUNDED = tolerance(TensorProto.FLOAT, 12, 3)


def scaled(text: str, fc: str = FC, opset: int = 17, **weights: object) -> Head:
    """A head ``v = Flatten(map)``, these lines up to ``t``, and an FC; what is no argument is its usual shape."""
    return head(f"v = Flatten(map)\n{text}\n{fc}", opset, **{**WEIGHTS, **weights})


CHAINS = {
    "added": ("t = Add(v, c)", {"c": (12,)}),
    "added from the left": ("t = Add(c, v)", {"c": (12,)}),
    "subtracted": ("t = Sub(v, c)", {"c": (12,)}),
    "subtracted from": ("t = Sub(c, v)", {"c": (12,)}),
    "multiplied": ("t = Mul(v, c)", {"c": (12,)}),
    "divided by powers of two": ("t = Div(v, c)", {"c": 2.0 ** integers((12,), 5)}),
    "a row": ("t = Mul(v, c)", {"c": (1, 12)}),
    "scale, then shift": ("a = Mul(v, c)\nt = Add(a, d)", {"c": (12,), "d": (12,)}),
    "shift, then scale": ("a = Add(v, d)\nt = Mul(a, c)", {"c": (12,), "d": (12,)}),
    "shift, negate, shift": ("a = Sub(v, d)\nb = Sub(c, a)\nt = Add(b, d)", {"c": (12,), "d": (12,)}),
    "scale, and one number": ("a = Mul(v, c)\nt = Add(a, one)", {"c": (12,), "one": np.float32(1)}),
    "through views": (
        "a = Mul(v, c)\nb = Unsqueeze(a, axes)\ne = Add(b, d)\nt = Squeeze(e, axes)",
        {"c": (12,), "d": (12, 1), "axes": [2]},
    ),
}


def normalised(opset: int) -> Head:
    """BatchNormalization of flattened features, with statistics that make scale and shift whole numbers."""
    variance = np.array([0.25, 1, 4] * 4, np.float32)
    return scaled(
        "t = BatchNormalization <epsilon = 0.0> (v, s, b, m, q)",
        opset=opset,
        s=integers((12,), 4) * np.sqrt(variance),
        b=integers((12,), 5),
        m=integers((12,), 6),
        q=variance,
    )


LIFTS = table(
    {f"{name}, then an FC": Lifts(scaled(text, **weights)) for name, (text, weights) in CHAINS.items()},
    {f"BatchNormalization, opset {opset}": Lifts(normalised(opset)) for opset in (7, 9, 14, 15, 17)},
    {
        f"an FC {name}": Lifts(scaled("t = Mul(v, c)", fc, c=(12,), **weights))
        for name, fc, weights in (
            ("with transB and alpha", "y = Gemm <transB = 1, alpha = 2.0> (t, W, B)", {"W": (4, 12)}),
            ("without bias", "y = MatMul(t, W)", {}),
            ("with a bias of one number", "y = Gemm(t, W, B)", {"B": (1,)}),
            ("on rows", "r = Reshape(t, d)\ny = MatMul(r, W)", {"d": [0, 3, 4], "W": (4, 2)}),
            ("on rows of a block of channels", "r = Reshape(t, d)\ny = MatMul(r, W)", {"d": [0, 2, 6], "W": (6, 3)}),
            ("on features listed twice", "r = Concat <axis = 1> (t, t)\ny = MatMul(r, W)", {"W": (24, 3)}),
            ("beside another part", "r = Concat <axis = 1> (t, v)\ny = MatMul(r, W)", {"W": (24, 3)}),
        )
    },
    {
        f"read by {name}": Lifts(scaled("t = Mul(v, c)\nz = Add(t, c)", fc, c=(12,)))
        for name, fc in (
            ("Relu", "r = Relu(z)\ny = MatMul(r, W)"),
            ("a reduction", "r = ReduceMax <axes = [1]> (z)\nq = MatMul(v, W)\ny = Sub(q, r)"),
            ("a Transpose", "r = Transpose(z)\nq = Transpose(r)\ny = MatMul(q, W)"),
            ("another value", "u = MatMul(v, W)\nq = MatMul(z, W)\ny = Mul(u, q)"),
            ("itself", "r = Mul(z, z)\ny = MatMul(r, W)"),
        )
    },
    {
        "both an FC and an output": Lifts(
            head("v = Flatten(map)\nt = Mul(v, c)\ny = MatMul(t, W)", c=(12,), W=(12, 4), outputs="y t")
        ),
        "joined with what it was, twice, each with a scale of its own": Lifts(
            head(
                "v = Flatten(map)\ns = Mul(v, c)\nt = Mul(v, d)\na = Concat <axis = 1> (s, v)\n"
                "b = Concat <axis = 1> (t, v)\np = ReduceMax <axes = [1]> (a)\nq = ReduceMax <axes = [1]> (b)\n"
                "u = MatMul(a, W)\nw = MatMul(b, W)\nx1 = Sub(u, p)\nx2 = Sub(w, q)\ny = Sub(x1, x2)",
                c=(12,),
                d=integers((12,), 9, 1, 4),
                W=(24, 3),
            )
        ),
        "read by two": Lifts(
            scaled(
                "t = Mul(v, c)", "p = ReduceMax <axes = [1]> (t)\nr = Relu(t)\nu = MatMul(r, W)\ny = Sub(u, p)", c=(12,)
            )
        ),
        "a scale with one value per channel": Lifts(
            scaled("t = Mul(v, c)", c=np.repeat(integers((2,), 3), 6)),
        ),
        "1-D": Lifts(scaled("t = Mul(v, c)", c=(12,), window=(6,))),
        "3-D": Lifts(scaled("t = Mul(v, c)", c=(12,), window=(3, 1, 2))),
    },
)


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@pytest.mark.parametrize("name", CHAINS)
def test_an_fc_takes_it_in(name: str) -> None:
    text, weights = CHAINS[name]
    model = fc2conv.convert(network(scaled(text, **weights)), verify=False).model
    assert [n.op_type for n in model.graph.node] == ["Conv", "Conv"]


def test_what_is_not_finite_is_carried_out_as_it_is() -> None:
    """A scale by 1 / 0 must give what the original gives, not what a folded weight would."""
    zeros, low = np.array([0, 1] * 6, np.float32), np.float32(-9)
    made = scaled("a = Div(v, c)\nt = Clip(a, low, high)", c=zeros, low=low, high=-low)
    model = fc2conv.convert(network(made), verify=False).model
    assert [n.op_type for n in model.graph.node].count("Div") == 1


def test_it_is_verified_with_rounding() -> None:
    made = scaled("t = Mul(v, c)\n", c=np.linspace(0.1, 3.0, 12, dtype=np.float32))
    assert_lifted(made, tolerance=ROUNDED)
    assert fc2conv.convert(network(made)).report.verified


def test_a_mean_far_from_zero_is_subtracted_before_the_sum() -> None:
    """Behind the sum, the difference of two large numbers would be left."""
    statistics = {"s": np.ones(12), "b": np.zeros(12), "m": np.full(12, 1e4), "q": np.ones(12)}
    made = scaled("t = BatchNormalization(v, s, b, m, q)", **{k: v.astype(np.float32) for k, v in statistics.items()})
    model = fc2conv.convert(network(made), verify=False).model
    assert [n.op_type for n in model.graph.node].count("BatchNormalization") == 1
