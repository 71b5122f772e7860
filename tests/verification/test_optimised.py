"""What graph optimisations make of a model that may be computed in integers, in each of the three kinds of checks.

A default session of the original, and one of the model under test, are made to answer something else, as integer
kernels and products with int8 weights do on some processors and in some versions of onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv.verification.runtime import OnnxRuntime
from tests.networks import Head, network

ACTIVATIONS = {"s": np.float32(0.25), "z": np.uint8(128), "w": (12, 4)}
WEIGHTS = {"W": np.arange(-24, 24, dtype=np.int32).reshape(12, 4), "t": np.float32(0.5)}  # which no version fuses yet
HEADS = {
    "activations": Head(
        "q = QuantizeLinear(map, s, z)\nd = DequantizeLinear(q, s, z)\nf = Flatten(d)\ny = MatMul(f, w)", ACTIVATIONS
    ),
    "weights": Head("f = Flatten(map)\nw = DequantizeLinear(W, t)\ny = MatMul(f, w)", WEIGHTS),
    "none": Head("f = Flatten(map)\ny = MatMul(f, w)", {"w": (12, 4)}),
}


#: by kind of check: what runs it, and the op_type that only the original has
WAYS: dict[str, tuple[Callable[[ModelProto], Any], str]] = {
    "enlarged": (fc2conv.convert, "MatMul"),
    "static": (lambda model: fc2conv.convert(model, static=True), "MatMul"),
    "products": (fc2conv.convolution_to_matmul, "Conv"),
}


def optimised(monkeypatch: pytest.MonkeyPatch, its_own: str, original: float, ours: float) -> None:
    """Let default sessions of the original, and of the model under test, multiply their answers by a number."""
    load = OnnxRuntime.load

    def loaded(self: OnnxRuntime, proto: ModelProto, folder: str = "", default: bool = False) -> Any:
        session = load(self, proto, folder, default)
        run, ops = session.run, {n.op_type for n in proto.graph.node}
        answers = "y" in {o.name for o in proto.graph.output}
        factor = (original if its_own in ops else ours) if default and answers else 1.0
        session.run = lambda *given: {n: v * v.dtype.type(factor) for n, v in run(*given).items()}
        return session

    monkeypatch.setattr(OnnxRuntime, "load", loaded)


def default_runs(result: Any) -> set[tuple[bool | None, str]]:
    return {(c.passed, (c.note or "")[:12]) for c in result.report.checks if c.name == "default run"}


@pytest.mark.parametrize("head", ["activations", "weights"])
@pytest.mark.parametrize("way", WAYS)
def test_an_original_that_becomes_another_model_is_nothing_to_compare_with(
    way: str, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert, its_own = WAYS[way]
    optimised(monkeypatch, its_own, original=2.0, ours=3.0)
    assert default_runs(convert(network(HEADS[head]))) == {(None, "not asserted")}


@pytest.mark.parametrize("head", ["activations", "weights"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ours", [2.0, 1.0], ids=["as the original optimised", "as the original as written"])
def test_either_answer_of_the_original_is_right(
    ours: float, way: str, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert, its_own = WAYS[way]
    optimised(monkeypatch, its_own, original=2.0, ours=ours)
    assert {passed for passed, _ in default_runs(convert(network(HEADS[head])))} == {True}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("way", WAYS)
def test_what_only_the_converted_model_becomes_is_rejected(
    way: str, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert, its_own = WAYS[way]
    optimised(monkeypatch, its_own, original=1.0, ours=3.0)
    with pytest.raises(fc2conv.VerificationFailed, match=r"default run: output 'y' .* differs"):
        convert(network(HEADS[head]))


@pytest.mark.parametrize("way", WAYS)
def test_floats_are_held_to_the_original_as_written(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    convert, its_own = WAYS[way]
    optimised(monkeypatch, its_own, original=3.0, ours=3.0)
    with pytest.raises(fc2conv.VerificationFailed, match=r"default run: output 'y' .* differs"):
        convert(network(HEADS["none"]))


@pytest.mark.parametrize("head", ["activations", "weights"])
def test_a_model_that_comes_back_is_held_to_both(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = fc2conv.convert(network(HEADS[head])).model
    optimised(monkeypatch, "none", original=1.0, ours=2.0)
    assert {passed for passed, _ in default_runs(fc2conv.revert(converted))} == {True}


@pytest.mark.parametrize("noise", [1e-7, -1e-7])
def test_rounding_does_not_make_the_original_another_model(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    convert, its_own = WAYS["static"]
    optimised(monkeypatch, its_own, original=1.0 + noise, ours=3.0)
    with pytest.raises(fc2conv.VerificationFailed, match=r"default run: output 'y' .* differs"):
        convert(network(HEADS["weights"]))
