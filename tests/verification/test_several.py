"""Images of one batch at an enlarged size: where they must not mix, and where the original mixes them itself."""

from __future__ import annotations

import pytest
from onnx import ModelProto

import onnx_fc2conv as fc2conv

from ..backbone.cases import CASES, classifier
from ..networks import Head, network

ALONE = Head("f = Flatten(map)\ny = Gemm(f, w)", {"w": (12, 3)})
MIXES = classifier(CASES["MeanVarianceNormalization"])  # over the batch too


def several(model: ModelProto) -> list[tuple[bool | None, str]]:
    report = fc2conv.convert(model).report
    return [(c.passed, c.note) for c in report.checks if c.name == "several images"]


def test_each_image_has_the_answers_that_it_has_alone() -> None:
    assert several(network(ALONE)) == [(True, "batch 2, each as alone")]


def test_an_original_that_mixes_them_is_said_to() -> None:
    assert several(MIXES) == [(None, "the original's answers for an image depend on the others of its batch")]


def test_the_question_is_put_to_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it always answered by no, the model that mixes would be rejected for what the original does."""
    from onnx_fc2conv.verification.enlarged import EnlargedChecks

    monkeypatch.setattr(EnlargedChecks, "_why_not_alone", lambda *_: "")
    with pytest.raises(fc2conv.VerificationFailed, match="several images"):
        several(MIXES)
