"""Every form gives the original's answers on every window, bit for bit, at several sizes and numbers of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import defs, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.tuning.forms import FORMS

from ..lift.test_static import Static, model_of
from ..lift.test_static import feeds_of as static_feeds
from ..networks import Head, integers, network, session
from .models import OTHERS, assert_answers, in_form, kinds, reasons

CHAIN = "f = Flatten (map)\na = Gemm <transB = 1> (f, v, b)\nr = Relu (a)\ny = Gemm <transB = 1> (r, w, c)"
CHAIN_WEIGHTS: dict[str, Any] = {"v": (5, 12), "b": (5,), "w": (3, 5), "c": (3,)}
BIASLESS = "f = Flatten (map)\na = MatMul (f, v)\nr = Relu (a)\ny = MatMul (r, w)"
OPSETS = (7, 9, 10, 11, 13, min(22, defs.onnx_opset_version()))
NHWC = "t = Transpose <perm = [0, 2, 3, 1]> (map)\n"


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("form", OTHERS)
def test_every_opset(form: str, opset: int) -> None:
    head = Head(BIASLESS, {"v": (12, 5), "w": (5, 3)}, opset=opset)
    proto = in_form(network(head), form).proto
    assert kinds(proto).count("Gemm") == (2 if form == "gemm" else 0)
    assert_answers(head, proto)


#: heads, and of each form how many nodes of some kinds the whole model has
HEADS: dict[str, tuple[Head, dict[str, dict[str, int]]]] = {
    "two FCs": (
        Head(CHAIN, CHAIN_WEIGHTS),
        {
            "folded": {"Conv": 3, "Gemm": 0, "Slice": 0, "Reshape": 2},
            "unfolded": {"Conv": 3, "Gemm": 0, "Slice": 5, "Reshape": 2},
            "gemm": {"Conv": 1, "Gemm": 2, "Slice": 5, "Reshape": 2},
        },
    ),
    "H, W, C": (Head(NHWC + CHAIN.replace("(map)", "(t)"), CHAIN_WEIGHTS), {"gemm": {"Gemm": 2}}),
    "one axis": (Head(CHAIN, CHAIN_WEIGHTS, window=(6,)), {"unfolded": {"Slice": 6}}),
    "three axes": (Head(CHAIN, CHAIN_WEIGHTS | {"v": (5, 24)}, window=(2, 3, 2)), {"unfolded": {"Slice": 7}}),
    "alpha, beta": (
        Head(CHAIN.replace("transB = 1> (f", "transB = 1, alpha = 2.0, beta = 3.0> (f"), CHAIN_WEIGHTS),
        {"gemm": {"Gemm": 2}},
    ),
    "biases that are added": (
        Head(
            "f = Flatten (map)\nm = MatMul (f, v)\na = Add (m, b)\nr = Relu (a)\nn = MatMul (r, w)\ny = Add (c, n)",
            {"v": (12, 5), "b": (5,), "w": (5, 3), "c": (1, 3)},
        ),
        {"unfolded": {"Conv": 3, "Transpose": 2}, "gemm": {"Gemm": 2, "Transpose": 2}},
    ),
    "activations with constants": (
        Head(
            """f = Flatten (map)
            a = Gemm <transB = 1> (f, v, b)
            p = PRelu (a, s)
            k = Clip (p, low, high)
            d = Dropout (k)
            y = Gemm <transB = 1> (d, w, c)""",
            CHAIN_WEIGHTS | {"s": (5,), "low": np.float32(-9), "high": np.float32(99)},
        ),
        {"unfolded": {"Transpose": 2}, "gemm": {"Transpose": 2}},
    ),
    "a constant for each image": (
        Head(
            "f = Flatten (map)\na = Gemm <transB = 1> (f, v, q)\ny = MatMul (a, w)",
            {"v": (5, 12), "q": (2, 1), "w": (5, 3)},
            batch=2,
        ),
        {"unfolded": {"Conv": 3}, "gemm": {"Gemm": 2}},
    ),
    "a constant for each image and feature": (
        Head(
            "f = Flatten (map)\na = Gemm <transB = 1> (f, v, q)\ny = MatMul (a, w)",
            {"v": (5, 12), "q": (2, 5), "w": (5, 3)},
            batch=2,
        ),
        {"unfolded": {"Conv": 3}, "gemm": {"Gemm": 2}},
    ),
    "a residual block": (
        Head(
            """f = Flatten (map)
            a = Gemm <transB = 1> (f, v, b)
            g = Gemm <transB = 1> (a, w, b)
            s = Add (a, g)
            y = Gemm <transB = 1> (s, w)""",
            {"v": (5, 12), "b": (5,), "w": (5, 5)},
        ),
        {"unfolded": {"Conv": 4, "Transpose": 2}, "gemm": {"Gemm": 3, "Transpose": 2}},
    ),
    "something between that mixes features": (
        Head(
            "f = Flatten (map)\na = Gemm <transB = 1> (f, v, b)\ns = ReduceMax <axes = [1], keepdims = 1> (a)\n"
            "d = Sub (a, s)\ny = Gemm <transB = 1> (d, w, c)",
            CHAIN_WEIGHTS,
        ),
        {"unfolded": {"Conv": 3, "ReduceMax": 1}, "gemm": {"Gemm": 2, "ReduceMax": 1}},
    ),
    "two FCs on one flattening": (
        Head(
            "f = Flatten (map)\ny = Gemm <transB = 1> (f, v, b)\na = Relu (f)\nz = Gemm <transB = 1> (f, w)",
            {"v": (5, 12), "b": (5,), "w": (3, 12)},
            outputs=("y", "z"),
        ),
        {"unfolded": {"Slice": 5, "Conv": 3}, "gemm": {"Slice": 5, "Gemm": 2}},
    ),
    "an output in the middle": (Head(CHAIN, CHAIN_WEIGHTS, outputs=("r", "y")), {"gemm": {"Gemm": 2}}),
    "a shared weight": (
        Head(
            "f = Flatten (map)\na = Gemm <transB = 1> (f, v)\nr = Relu (a)\ne = Gemm <transB = 1> (r, w)\n"
            "y = Gemm <transB = 1> (e, w)",
            {"v": (5, 12), "w": (5, 5)},
        ),
        {"gemm": {"Gemm": 3}},
    ),
    "a pool over the window": (
        Head(
            "p = GlobalAveragePool (map)\n" + CHAIN.replace("(map)", "(p)"),
            CHAIN_WEIGHTS | {"v": (5, 2)},
            window=(2, 2),
        ),
        {"folded": {"Conv": 3, "Slice": 0, "Transpose": 2}, "gemm": {"Gemm": 2, "Slice": 0}},
    ),
    "tokens": (
        Head(
            """t = Transpose <perm = [0, 2, 3, 1]> (map)
            s = Reshape (t, k)
            m = MatMul (s, v)
            f = Flatten (m)
            y = Gemm <transB = 1> (f, w)""",
            {"k": np.array([0, 6, 2]), "v": (2, 4), "w": (3, 24)},
        ),
        {"unfolded": {"Conv": 3}, "gemm": {"Gemm": 2}},
    ),
    "groups stay": (
        Head(
            """s = Reshape (map, k)
            m = MatMul (s, v)
            f = Flatten (m)
            y = Gemm <transB = 1> (f, w)""",
            {"k": np.array([0, 2, 6]), "v": (6, 4), "w": (3, 8)},
        ),
        {"folded": {"Conv": 3}, "gemm": {"Gemm": 1, "Conv": 2}},
    ),
    "a fixed batch": (Head(CHAIN, CHAIN_WEIGHTS, batch=2), {"gemm": {"Gemm": 2}}),
}
CASES = [(name, form) for name in HEADS for form in OTHERS]


@pytest.mark.parametrize(("name", "form"), CASES, ids=[f"{name}, {form}" for name, form in CASES])
def test_every_head(name: str, form: str) -> None:
    head, counts = HEADS[name]
    if reason := reasons(network(head))[form]:
        assert form not in counts
        assert reason in (
            "no product sees more than one cell, so it is the form 'folded'",
            "no product sees one cell only",
        )
        return
    conversion = in_form(network(head), form)
    found = kinds(conversion.proto)
    expected = counts.get(form, {})
    assert {kind: found.count(kind) for kind in expected} == expected
    assert len(conversion.kept) == found.count("Gemm")
    assert_answers(
        head,
        conversion.proto,
    )


def test_weights_keep_their_bytes() -> None:
    """Nothing but the dims of an initializer is another one, and no second copy is left."""
    head = Head(CHAIN, CHAIN_WEIGHTS)
    before = {t.name: t for t in network(head).graph.initializer}
    for form, dims in {"unfolded": ([5, 12, 1, 1], [3, 5, 1, 1]), "gemm": ([5, 12], [3, 5])}.items():
        after = {t.name: t for t in in_form(network(head), form).proto.graph.initializer}
        assert [list(after[name].dims) for name in "vw"] == list(dims)
        for name in before:
            np.testing.assert_array_equal(
                numpy_helper.to_array(after[name]).ravel(), numpy_helper.to_array(before[name]).ravel()
            )
        large = [t for t in after.values() if t.name not in before and len(t.raw_data) > 64]
        assert not large


def test_the_gemm_form_reads_what_the_original_reads() -> None:
    """At the trained size the rows are the original's own, so nothing can round differently."""
    head = Head(CHAIN, CHAIN_WEIGHTS | {"v": np.random.default_rng(1).normal(size=(5, 12)).astype(np.float32)})
    model, form = network(head), in_form(network(head), "gemm")
    image = np.random.default_rng(2).normal(size=(7, 1, 6, 4)).astype(np.float32)
    (expected,), (found,) = (session(m).run(None, {"x": image}) for m in (model, form.proto))
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_integers() -> None:
    """Products of integers become 1x1 Convs of integers, and never a Gemm."""
    text = "q = Cast <to = 2> (map)\nf = Flatten (q)\np = MatMulInteger (f, v)\ny = Cast <to = 1> (p)"
    model = network(Head(text, {"v": integers((12, 4), low=0, dtype=np.uint8)}))
    assert reasons(model)["gemm"] == "its products are of integers"
    proto = in_form(model, "unfolded").proto
    assert [kinds(proto).count(kind) for kind in ("ConvInteger", "Slice")] == [1, 5]
    assert fc2conv.verify(model, proto).verified
    plain = in_form(model, "conv").proto
    image = np.abs(integers((3, 1, 10, 8), seed=4)) * np.abs(integers((3, 1, 10, 8), seed=5))
    (expected,), (found,) = (session(m).run(None, {"x": image}) for m in (plain, proto))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("form", OTHERS)
def test_denser_maps(form: str) -> None:
    """With --stride the window is dilated."""
    model = network(Head(CHAIN, CHAIN_WEIGHTS))
    plain = fc2conv.convert(model, stride=1, verify=False).model
    other = in_form(model, form, stride=(1,)).proto
    image = integers((2, 1, 11, 9), 5)
    (expected,), (found,) = (session(m).run(None, {"x": image}) for m in (plain, other))
    np.testing.assert_array_equal(found, expected)
    assert expected.shape == (2, 3, 6, 6)
    assert fc2conv.verify(model, other, stride=1).verified


@pytest.mark.parametrize("output", ["rows", "mean", "max"])
@pytest.mark.parametrize("form", OTHERS)
def test_forms_of_the_outputs(form: str, output: str) -> None:
    model = network(Head(CHAIN, CHAIN_WEIGHTS))
    other = in_form(model, form, output=output).proto
    assert fc2conv.verify(model, other, output=output).verified


STATIC = {
    "a map": Static(
        "f = Flatten (x)\na = Gemm <transB = 1> (f, v, b)\nr = Relu (a)\ny = Gemm <transB = 1> (r, w)",
        {"v": (5, 12), "b": (5,), "w": (3, 5)},
        {"x": ("N", 2, 3, 2)},
    ),
    "a vector": Static("a = Gemm (x, v, b)\nr = Relu (a)\ny = MatMul (r, w)", {"v": (6, 5), "b": (5,), "w": (5, 3)}),
    "a vector, opset 7": Static(
        "a = MatMul (x, v)\nr = Relu (a)\ny = MatMul (r, w)", {"v": (6, 5), "w": (5, 3)}, opset=7
    ),
}


@pytest.mark.parametrize("name", STATIC)
def test_static(name: str) -> None:
    """Where no size changes, unfolding is a Reshape, and no shape is computed at run time."""
    case = STATIC[name]
    model = model_of(case)
    form = "unfolded" if name == "a map" else "folded"
    proto = in_form(model, form, static=True).proto
    assert not {"Shape", "Gather", "Slice", "Concat", "Gemm", "MatMul"} & set(kinds(proto))
    for batch in (1, 3):
        feeds = static_feeds(model, batch)
        (expected,), (found,) = (session(m).run(None, feeds) for m in (model, proto))
        np.testing.assert_array_equal(found, expected)
    assert fc2conv.verify(model, proto, static=True).verified


NOT: list[tuple[Any, dict[str, Any], str, str]] = [
    # head, options, form, why not
    (Head("f = Flatten (map)\ny = Gemm (f, v)", {"v": (12, 5)}), {}, "folded", "no product sees one cell only"),
    (
        HEADS["a pool over the window"][0],
        {},
        "unfolded",
        "no product sees more than one cell, so it is the form 'folded'",
    ),
    (Head(CHAIN, CHAIN_WEIGHTS), {"batch": 1}, "folded", "one image needs no folding"),
    (STATIC["a map"], {"static": True}, "gemm", "--static is for what runs no FC"),
    (
        Static("y = MatMul (x, v)", {"v": (6, 5)}, {"x": ("N", 4, 6)}),
        {"static": True},
        "folded",
        "no Conv of a head is a product with a constant matrix",
    ),
]


@pytest.mark.parametrize(("head", "options", "form", "reason"), NOT, ids=[reason[:40] for *_, reason in NOT])
def test_forms_that_do_not_fit(head: Any, options: dict[str, Any], form: str, reason: str) -> None:
    model = network(head) if isinstance(head, Head) else model_of(head)
    assert reasons(model, **options)[form] == reason


def test_every_form_is_told_apart() -> None:
    assert tuple(FORMS) == OTHERS
