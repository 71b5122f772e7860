"""Operators of onnxruntime's own domain. Those on integers are compared bit for bit, activations by tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import onnx_fc2conv as fc2conv

from ..networks import Head, answers, integers, network, session
from .quantities import TYPES, stored, zeros
from .tables import Lifts, Refuses, every, head, node_of, some, spent, table, with_input

MS = "com.microsoft."
BOUNDS: dict[str, Any] = {"terms": 12, "nodes": 4}

GELUS = {
    "Gelu": "y = com.microsoft.Gelu(u)",
    "QuickGelu": "y = com.microsoft.QuickGelu <alpha = 0.5> (u)",
    "QuickGelu by default": "y = com.microsoft.QuickGelu(u)",
    "FastGelu": "y = com.microsoft.FastGelu(u)",
    "FastGelu with bias": "y = com.microsoft.FastGelu(u, k)",
    "BiasGelu": "y = com.microsoft.BiasGelu(u, k)",
}


def small(text: str, **rest: Any) -> Head:
    """A head whose values ``u`` [N, 4] are near zero, where these activations bend."""
    return head(f"v = Flatten(map)\nu = MatMul(v, M)\n{text}", **({"M": some(12, 4) / 16, "k": some(4) / 4} | rest))


def in_front(text: str, **rest: Any) -> Head:
    """The same in front of the FC, on values ``u`` [N, 12] that are still unread."""
    return head(
        f"v = Flatten(map)\nu = Mul(v, e)\n{text}\nz = MatMul(y, M)",
        outputs="z",
        e=0.25,
        **({"M": (12, 3), "k": some(12) / 4} | rest),
    )


ACTIVATIONS = table(
    {f"{name} behind an FC": Lifts(small(text), **BOUNDS) for name, text in GELUS.items()},
    {f"{name} in front of the FC": Lifts(in_front(text), **BOUNDS) for name, text in GELUS.items()},
    {f"{name} in 1-D": Lifts(in_front(text, window=(6,)), **BOUNDS) for name, text in GELUS.items()},
    {
        "FastGelu with one bias per channel": Lifts(
            in_front(GELUS["FastGelu with bias"], k=np.repeat(some(2), 6) / 4), **BOUNDS
        ),
        "BiasGelu of rows": Lifts(
            small("r = Reshape(u, s)\nb = com.microsoft.BiasGelu(r, q)\ny = Flatten(b)", s=[0, 2, 2], q=some(2) / 4),
            **BOUNDS,
        ),
        "Gelu between two FCs": Lifts(
            small("g = com.microsoft.Gelu(u)\nh = Relu(g)\ny = MatMul(h, L)", L=(4, 3)), **BOUNDS
        ),
    },
)

A, B, Y = "a, az", "b, bz", "c, cz"


def quantised(text: str, elem: str = "uint8", *, first: bool = False, **rest: Any) -> Head:
    """A head of the quantised values ``w``, behind an FC or right behind the flattening."""
    weights = {
        "a": 0.5,
        "az": zeros(elem),
        "b": 0.25,
        "bz": zeros(elem),
        "c": 2.0,
        "cz": np.array(3, TYPES[elem]),
    } | rest
    back = f"{text}\ny = DequantizeLinear(p, c, cz)"
    if first:
        line = f"v = Flatten(map)\nw = QuantizeLinear(v, a, az)\n{back}\nz = MatMul(y, M)"
        return head(line, outputs="z", **({"M": (12, 3)} | weights))
    return spent(f"w = QuantizeLinear(u, a, az)\n{back}", **weights)


UNARY = {
    "QLinearSigmoid": f"p = {MS}QLinearSigmoid(w, {A}, d, cz)\nq = DequantizeLinear(p, d, cz)",
    "QLinearLeakyRelu": f"p = {MS}QLinearLeakyRelu <alpha = 0.25> (w, {A}, {Y})",
    "QLinearLeakyRelu by default": f"p = {MS}QLinearLeakyRelu(w, {A}, {Y})",
}
BINARY = {
    "of two values": f"x2 = {MS}QLinearSigmoid(w, {A}, d, cz)\np = {MS}OP(w, {A}, x2, d, cz, {Y})",
    "of a value and itself": f"p = {MS}OP(w, {A}, w, {A}, {Y})",
    "of a value and a constant": f"p = {MS}OP(w, {A}, k, {B}, {Y})",
    "of a constant and a value": f"p = {MS}OP(k, {B}, w, {A}, {Y})",
    "of a value and one number": f"p = {MS}OP(w, {A}, o, {B}, {Y})",
}


def integer_rows() -> dict[str, Lifts]:
    rows = {}
    for elem in ("uint8", "int8"):
        for first in (False, True):
            where = f"{elem}, {'in front of' if first else 'behind'} an FC"
            k = stored(elem, 12 if first else 4)
            for name, text in UNARY.items():
                rows[f"{name}, {where}"] = Lifts(quantised(text, elem, first=first, d=0.0078125))
            for name, text in BINARY.items():
                for op_type in ("QLinearAdd", "QLinearMul"):
                    row = quantised(
                        text.replace("OP", op_type), elem, first=first, k=k, o=zeros(elem, 1) + TYPES[elem](3), d=0.125
                    )
                    rows[f"{op_type} {name}, {where}"] = Lifts(row)
    return rows


SOFTMAX = "w = QuantizeLinear(u, a, az)\np = com.microsoft.QLinearSoftmax <axis = {}, opset = {}> (w, a, az, c, cz)"
TO_256 = {"c": 0.00390625, "cz": np.array(0, np.uint8)}


def pooled(elem: str, window: tuple[int, ...], step: float, channels_last: int | None = 0, **rest: Any) -> Head:
    """A quantised mean over the whole map, in steps of this size."""
    attrs = "" if channels_last is None else f"<channels_last = {channels_last}>"
    text = f"q = QuantizeLinear(map, {A})\np = {MS}QLinearGlobalAveragePool {attrs} (q, {A}, {Y})\n"
    weights = {"a": 0.5, "az": zeros(elem), "c": step, "cz": np.array(3, TYPES[elem]), "M": (2, 3)} | rest
    return head(f"{text}v = Flatten(p)\nd = DequantizeLinear(v, {Y})\ny = MatMul(d, M)", window=window, **weights)


INTEGERS = table(
    integer_rows(),
    {
        f"QLinearSoftmax, axis {axis}, opset {o}": Lifts(
            quantised(SOFTMAX.format(axis, o).split("\n")[1], **TO_256), finite=True
        )
        for axis in (-1, 1)
        for o in (12, 13)
    },
    {
        "QLinearGlobalAveragePool without attributes": Lifts(pooled("uint8", (3, 2), 0.25, None)),
        "QLinearSoftmax of unread values": Lifts(
            quantised(f"p = {MS}QLinearSoftmax <axis = -1, opset = 13> (w, {A}, {Y})", first=True, **TO_256)
        ),
        "QLinearSoftmax of unread values that another operator made": Lifts(
            quantised(
                f"x2 = {MS}QLinearSigmoid(w, {A}, d, cz)\n"
                f"p = {MS}QLinearSoftmax <axis = -1, opset = 13> (x2, d, cz, {Y})",
                first=True,
                d=0.0078125,
                **TO_256,
            )
        ),
        "QLinearSoftmax of rows": Lifts(
            quantised(
                f"r = Reshape(w, s)\nt = {MS}QLinearSoftmax <axis = -1, opset = 13> (r, {A}, {Y})\np = Flatten(t)",
                s=[0, 2, 2],
                **TO_256,
            )
        ),
        "QLinearSoftmax in 1-D": Lifts(
            quantised(f"p = {MS}QLinearSoftmax <axis = -1, opset = 13> (w, {A}, {Y})", window=(6,), **TO_256)
        ),
        "QLinearAdd, one constant per channel in front of an FC": Lifts(
            quantised(f"p = {MS}QLinearAdd(w, {A}, k, {B}, {Y})", first=True, k=np.repeat(stored("uint8", 2), 6))
        ),
        **{
            f"QLinearGlobalAveragePool of {elem}, window {w}": Lifts(pooled(elem, w, 0.25))
            for elem in ("uint8", "int8")
            for w in ((3, 2), (3, 3), (6,))
        },
        "QLinearGlobalAveragePool, no rounding": Lifts(pooled("uint8", (2, 2), 0.125)),
    },
)

LIFTS = table(ACTIVATIONS, INTEGERS)

REFUSES = {
    "QLinearSoftmax over the rows": Refuses(
        quantised(
            f"r = Reshape(w, s)\np = {MS}QLinearSoftmax <axis = 1, opset = 13> (r, {A}, {Y})", s=[0, 2, 2], **TO_256
        ),
        "com.microsoft.QLinearSoftmax 'p'",
        "normalises over another axis than the last",
    ),
    "QLinearSoftmax over the batch": Refuses(
        quantised(f"p = {MS}QLinearSoftmax <axis = 0, opset = 13> (w, {A}, {Y})", batch=3, **TO_256),
        "com.microsoft.QLinearSoftmax 'p'",
        "works along the batch axis",
    ),
    "QLinearAdd, scale is a graph input": Refuses(
        quantised(f"p = {MS}QLinearAdd(w, {A}, k, {B}, {Y})", k=stored("uint8", 4)),
        "com.microsoft.QLinearAdd 'p'",
        "its input 'b' is neither a constant nor computed from the image",
        with_input("b"),
    ),
    "QLinearLeakyRelu, scale of the head": Refuses(
        quantised(f"m = ReduceMax <axes = [1], keepdims = 0> (u)\np = {MS}QLinearLeakyRelu(w, m, az, {Y})"),
        "com.microsoft.QLinearLeakyRelu 'p'",
        "its scales and zero points are not all constants of one value",
    ),
    "QLinearAdd that repeats the image": Refuses(
        quantised(f"p = {MS}QLinearAdd(w, {A}, k, {B}, {Y})", k=stored("uint8", 3, 4), batch=1),
        "com.microsoft.QLinearAdd 'p'",
        "would repeat the image",
    ),
    "QLinearGlobalAveragePool, channels last": Refuses(
        pooled("uint8", (2, 2), 0.25, 1), "com.microsoft.QLinearGlobalAveragePool 'p'", "has its channels last"
    ),
    "an operator of onnxruntime without a rule": Refuses(
        spent("y = com.microsoft.Inverse(u)", batch=4), "com.microsoft.Inverse 'y'", "no rule lifts this operator"
    ),
}


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


VERIFIED = (
    "Gelu between two FCs",
    "BiasGelu in front of the FC",
    "QLinearAdd of two values, uint8, behind an FC",
    "QLinearSoftmax, axis -1, opset 13",
    "QLinearGlobalAveragePool of uint8, window (3, 2)",
)


@pytest.mark.parametrize("name", VERIFIED)
def test_the_checks_accept(name: str) -> None:
    assert all(c.passed for c in fc2conv.convert(network(LIFTS[name].head)).report.checks)


def test_an_operator_of_a_domain_stays_in_it() -> None:
    model = fc2conv.convert(network(LIFTS["QuickGelu behind an FC"].head), verify=False).model
    found = node_of(model, "y")
    assert (found.domain, found.op_type) == ("com.microsoft", "QuickGelu")
    assert {a.name: a.f for a in found.attribute} == {"alpha": 0.5}


def test_a_mean_in_the_middle_between_two_steps_moves_by_one_step_at_most() -> None:
    """onnxruntime's pool over the whole map rounds it to even, the one over windows up."""
    original = network(pooled("uint8", (2, 2), 0.25, M=np.eye(2, dtype=np.float32)))
    image = integers((1, 1, 10, 12), seed=3)
    expected = answers(original, image, (2, 2))["y"]
    (found,) = session(fc2conv.convert(original, verify=False).model).run(None, {"x": image})
    assert np.abs(found - expected).max() <= 0.25
