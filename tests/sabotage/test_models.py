"""Every way to be wrong that is known is a real one, and the checks reject it."""

from __future__ import annotations

from collections import Counter

import pytest
from onnx import ModelProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv import VerificationFailed
from onnx_fc2conv.geometry import METADATA_KEY
from tools.sabotaging.models import networks
from tools.sabotaging.models.mistakes import MISTAKES
from tools.sabotaging.models.proof import Proof
from tools.sabotaging.models.score import table
from tools.sabotaging.models.subjects import SUBJECTS, Subject
from tools.sabotaging.models.trial import ACCEPTED, REJECTED, VACUOUS, Verdict, sabotaged

BY_NAME = {subject.name: subject for subject in SUBJECTS}
#: One place each of these, in a model that has what they break; ``python -m tools.sabotage models`` makes all.
CASES = [
    ("C, H, W and H, W, C confused", "mlp"),
    ("alpha lost: the weight doubled", "mlp"),
    ("beta lost: the bias doubled", "mlp"),
    ("one weight off by 1 %", "two heads"),
    ("a dtype downcast", "two heads"),
    ("stride ignored", "groups, dilations, two maps"),
    ("a pool left global", "groups, dilations, two maps"),
    ("groups in another order", "groups, dilations, two maps"),
    ("a branch misaligned", "branches"),
    ("the grid moved by one cell", "branches"),
    ("a window off by one", "two images"),
    ("a constant not reshaped", "normed"),
    ("epsilon, alpha or beta lost", "normed"),
    ("another axis", "channels last, opset 11"),
    ("the first image's answer for all", "channels last, opset 11"),
    ("grid axes swapped", "selecting"),
    ("two outputs swapped", "two heads"),
    ("outputs in another order", "two heads"),
    ("a stale shape of an output", "pooled"),
    ("another stride in the metadata", "pooled"),
    ("an output missing in the metadata", "two heads"),
    ("a scale off by 1 %", "--static, quantised"),
    ("an output off by 0.1 %", "--static, quantised"),
    ("one weight off by 1 %", "--form matmul"),
    ("dilation lost", "--stride 1"),
]


@pytest.mark.parametrize(("mistake", "subject"), CASES)
def test_a_mistake_is_rejected(mistake: str, subject: str) -> None:
    found = list(sabotaged(BY_NAME[subject], [MISTAKES[mistake]], most=1))
    assert [v.result for v in found if v.result != VACUOUS] == [REJECTED]
    assert found[-1].difference
    assert found[-1].reason


def test_what_changes_nothing_does_not_count() -> None:
    """The proof is asked first: an edit without effect is no mistake, and an accepted one is reported."""
    right = BY_NAME["pooled"].right
    same = ModelProto.FromString(right.SerializeToString())
    same.doc_string = "edited"
    proof = Proof(BY_NAME["pooled"])
    assert proof.difference(same) is None
    same.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 1
    assert "is declared as" in (proof.difference(same) or "")


def test_an_accepted_mistake_lowers_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = BY_NAME["pooled"]
    monkeypatch.setattr(Subject, "verify", lambda self, model: None)
    found = list(sabotaged(subject, [MISTAKES["bias lost"]]))
    assert {v.result for v in found} == {ACCEPTED}
    assert table(found)[-1] == ("all", "1", f"{len(found)}", "0", "0.0%")
    other = Verdict(MISTAKES["bias lost"], "pooled", "", REJECTED, "", "")
    assert table([*found, *[other] * len(found)])[-1][-1] == "50.0%"


def test_every_mistake_can_be_made_somewhere() -> None:
    """Nothing is run here: each has a place in some model's right conversion."""
    places: Counter[str] = Counter()
    for subject in SUBJECTS:
        for name, mistake in MISTAKES.items():
            if not places[name]:
                places[name] += any(True for _ in mistake.sites(subject.right))
    assert not [name for name in MISTAKES if not places[name]]


def rejected(model: ModelProto, reason: str) -> None:
    with pytest.raises(VerificationFailed, match=reason):
        fc2conv.verify(networks.WITH_MAP, model)


def test_declarations_that_are_false() -> None:
    right = fc2conv.convert(networks.WITH_MAP, verify=False).model
    conv = next(n.output[0] for n in right.graph.node if n.op_type == "Conv")
    inside = ModelProto.FromString(right.SerializeToString())
    inside.graph.value_info.add(name=conv).type.tensor_type.elem_type = 1
    for dim in ("N", 2, 3, 2):
        added = inside.graph.value_info[-1].type.tensor_type.shape.dim.add()
        setattr(added, "dim_param" if isinstance(dim, str) else "dim_value", dim)
    rejected(inside, f"structure: value '{conv}' is declared as .* and has shape")
    damaged = ModelProto.FromString(right.SerializeToString())
    for prop in damaged.metadata_props:
        prop.value = "{" if prop.key == METADATA_KEY else prop.value
    rejected(damaged, "structure: in the metadata the geometry is damaged")
    stripped = ModelProto.FromString(right.SerializeToString())
    del stripped.metadata_props[:]
    assert fc2conv.verify(networks.WITH_MAP, stripped).verified
