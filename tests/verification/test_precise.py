"""A second opinion in double precision: where the original's own rounding is larger than the bound.

The heads subtract numbers that are nearly equal, so that the order of a sum shows in the result.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.errors import VerificationFailed
from onnx_fc2conv.verification.bounds import Steps
from onnx_fc2conv.verification.judgement import DOUBTS, Judgement
from onnx_fc2conv.verification.outcome import Check
from onnx_fc2conv.verification.precise import Doubled
from onnx_fc2conv.verification.session import RuntimeRefusal

from ..networks import Head, network

RNG = np.random.default_rng(7)
WEIGHTS = {
    "W": (RNG.standard_normal((12, 64)) / 30).astype(np.float32),
    "ages": np.arange(64, dtype=np.float32),
    "scale": np.float32(1000),
    "middle": np.float32(31500),
}
CANCELS = Head(
    """v = Flatten(map)
    u = MatMul(v, W)
    p = Softmax <axis = 1> (u)
    q = Mul(p, ages)
    e = ReduceSum(q, axes)
    m = Mul(e, scale)
    y = Sub(m, middle)""",
    {**WEIGHTS, "axes": np.array([1])},
)


def doubts(report: fc2conv.Report) -> list[str]:
    return [c.note for c in report.checks if "in double precision" in c.note]


def test_a_head_that_cancels_is_accepted_by_double_precision() -> None:
    report = fc2conv.convert(network(CANCELS)).report
    assert report.verified
    assert doubts(report)


def test_without_it_the_same_model_would_be_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judgement, "_as_near", lambda *_: False)
    with pytest.raises(VerificationFailed, match="differs by"):
        fc2conv.convert(network(CANCELS))


def test_an_opinion_that_the_original_is_all_wrong_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would excuse everything: compared with what is far away, both are about as near."""
    run = Doubled.run

    def elsewhere(self: Doubled, feeds: dict[str, Any], outputs: list[str]) -> dict[str, Any]:
        return {name: 2 * value for name, value in run(self, feeds, outputs).items()}

    monkeypatch.setattr(Doubled, "run", elsewhere)
    with pytest.raises(VerificationFailed, match="differs by"):
        fc2conv.convert(network(CANCELS))


def edited(model: ModelProto, name: str, factor: float) -> ModelProto:
    """The model with one initializer multiplied."""
    copy = ModelProto()
    copy.CopyFrom(model)
    tensor = next(t for t in copy.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))
    return copy


@pytest.mark.parametrize(("name", "factor"), [("W", 1.001), ("W", -1.0), ("ages", 1.00001), ("middle", 1.00001)])
def test_a_wrong_model_is_not_saved_by_it(name: str, factor: float) -> None:
    original = network(CANCELS)
    converted = fc2conv.convert(original).model
    known = next(t.name for t in converted.graph.initializer if t.name.startswith(name))
    with pytest.raises(VerificationFailed):
        fc2conv.verify(original, edited(converted, known, factor))


def judged(found: np.ndarray) -> Check:
    """The verdict where the original is off by 1e-3 at more answers than are examined, and the last one is exact."""
    answers = np.linspace(0.5, 1, 2 * DOUBTS, dtype=np.float32)
    true = answers + np.where(np.arange(answers.size) < answers.size - 1, 1e-3, 0)
    few = SimpleNamespace(head_terms=8, head_nodes=2, head_steps=Steps(0, 0, 0.0, 0.0))
    check = Check("windows", (4, 4), True)
    found = np.where(np.isnan(found), found, true).astype(found.dtype)
    judgement = Judgement(cast(Any, few), {})
    judgement.compare(check, {"y": found}, {"y": answers}, whole=False, exact=lambda _, cells: true[cells])
    return check


def test_a_nan_among_many_doubts_is_never_as_near() -> None:
    """It is larger than no number: where only the farthest answers are examined, it must not stay behind them."""
    found = np.zeros(2 * DOUBTS, np.float32)
    assert "in double precision" in judged(found).note
    found[-1] = np.nan
    with pytest.raises(VerificationFailed, match="differs by inf"):
        judged(found)


def test_another_element_type_is_never_as_near() -> None:
    with pytest.raises(VerificationFailed, match="differs by inf"):
        judged(np.zeros(2 * DOUBTS, np.float64))


def test_a_head_that_no_evaluator_runs_stays_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeRefusal("no such operator")

    monkeypatch.setattr(Doubled, "run", refuse)
    with pytest.raises(VerificationFailed, match="differs by"):
        fc2conv.convert(network(CANCELS))


def test_everything_is_doubled() -> None:
    """Weights, constants, casts and inputs: a single one left would round to single precision again."""
    head = Head(
        """v = Flatten(map)
        c = Constant <value = float[1] {0.1}> ()
        h = Cast <to = 10> (v)
        f = Cast <to = 1> (h)
        u = MatMul(f, W)
        y = Add(u, c)""",
        {"W": np.full((12, 3), 1 / 3, np.float32)},
    )
    model = network(head)
    del model.graph.node[0]
    model.graph.input[0].name = "map"
    window = RNG.standard_normal((2, 2, 3, 2)).astype(np.float32)
    (found,) = Doubled(model, "").run({"map": window}, ["y"]).values()
    third, tenth = (np.float64(np.float32(x)) for x in (1 / 3, 0.1))
    expected = window.astype(np.float64).reshape(2, 12) @ np.full((12, 3), third) + tenth
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_what_is_equal_needs_no_second_opinion() -> None:
    report = fc2conv.convert(network(Head("v = Flatten(map)\ny = MatMul(v, W)", {"W": (12, 3)}))).report
    assert not doubts(report)
