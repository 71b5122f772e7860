"""``--tune`` from the outside: what is written, said, refused, checked and undone."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import head_form
from onnx_fc2conv.report import markdown, print_report

from ..lift.test_static import model_of
from ..networks import Head, network
from ..test_cli import EXACT, call
from ..undo.models import edited, stripped
from .models import OTHERS, in_form, kinds
from .test_forms import CHAIN, CHAIN_WEIGHTS, HEADS, NHWC, STATIC

MODEL = network(Head(CHAIN, CHAIN_WEIGHTS))
Measured = Callable[..., list[float]]


def printed(report: Any) -> str:
    stream = StringIO()
    print_report(report, stream)
    return " ".join(stream.getvalue().split())


def test_the_fastest_is_written(measured: Measured) -> None:
    left = measured(0.5, 0.5, 0.4, 0.6, 2.0, 2.0, 0.8)  # folded, unfolded, gemm at two sizes, the original
    result = fc2conv.convert(MODEL, tune=8, sizes=[(10, 8)])
    assert not left
    assert (result.report.form, head_form.stored(result.model)) == ("unfolded", "unfolded")
    assert kinds(result.model).count("Slice") == 5
    tuning = result.report.tuning
    assert tuning is not None
    assert (tuning.batch, tuning.sizes, tuning.chosen) == (8, ["6x4", "10x8"], "unfolded")
    assert {f.form: list(f.times.values()) for f in tuning.forms} == {
        "conv": [1.0, 1.0],
        "folded": [0.5, 0.5],
        "unfolded": pytest.approx([0.2, 0.3]),
        "gemm": pytest.approx([0.4, 0.6]),
    }
    assert [f.to_original for f in tuning.forms] == pytest.approx([6.25, 3.125, 1.25, 2.5])  # 0.8 of 0.2 of the plain
    assert result.report.verified


def test_the_gemm_form_says_what_it_is(measured: Measured) -> None:
    measured(1.0, 1.0, 0.5, 0.5)
    report = fc2conv.convert(MODEL, tune=2).report
    assert report.form == "gemm"
    structure = next(c for c in report.checks if c.name == "structure")
    assert "no FC left but the 2 of the form 'gemm'" in structure.note
    assert [node.to[-1] for node in report.heads[0].nodes if node.op == "Gemm"] == ["Gemm", "Transpose"]
    words = printed(report)
    assert "the head has the form 'gemm', the fastest with 2 images at a time on onnxruntime" in words
    assert "every FC a Gemm" in words
    assert "## --tune: times with 2 images, relative to 'conv'" in markdown(report)
    assert "| gemm | 0.50 | 2.00 | chosen |" in markdown(report)


def test_the_plain_form_stays(measured: Measured) -> None:
    """Nothing is faster by more than chance, so the file is the one that is written without the option."""
    measured(0.98, 1.2, 1.3, 1.0)
    result = fc2conv.convert(MODEL, tune=8)
    assert result.report.form == "conv"
    assert result.model == fc2conv.convert(MODEL, verify=False).model


def test_forms_that_do_not_fit_are_not_measured(measured: Measured) -> None:
    left = measured(0.9, 0.9, 1.0, 1.0)  # unfolded, once more as the gain is small; gemm; the original
    report = fc2conv.convert(network(Head("f = Flatten (map)\ny = MatMul (f, v)", {"v": (12, 5)})), tune=1).report
    assert not left
    assert report.tuning is not None
    folded = next(f for f in report.tuning.forms if f.form == "folded")
    assert (folded.reason, folded.times, folded.mean) == ("no product sees one cell only", {}, None)
    assert "no product sees one cell only" in printed(report)


def test_nothing_to_measure(measured: Measured) -> None:
    assert measured() == []
    model = network(Head("y = Relu (map)", {}))
    report = fc2conv.convert(model, tune=4).report
    assert report.tuning is not None
    assert (report.form, report.tuning.chosen) == ("conv", "conv")
    assert "there was nothing to measure" in printed(report)


def test_inspecting_runs_nothing(measured: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    measured()
    tuning = fc2conv.inspect(MODEL, tune=8).tuning
    assert tuning is not None
    assert (tuning.chosen, tuning.runtime) == (None, None)
    assert [f.form for f in tuning.forms if not f.reason] == list(head_form.FORMS)
    words = call(capsys, EXACT, "--tune", "1").words()
    assert "with 1 images at a time, on onnxruntime, would be measured: conv, unfolded, gemm." in words


def test_without_checks_it_still_measures(measured: Measured) -> None:
    left = measured(0.5, 1.0, 1.0, 1.0)
    report = fc2conv.convert(MODEL, tune=8, verify=False).report
    assert not left
    assert (report.form, report.verified, report.checks) == ("folded", False, [])


def test_the_command_line(measured: Measured, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(1.0, 0.5, 1.5, 1.0)
    ran = call(capsys, EXACT, tmp_path / "out.onnx", "--tune", "8", "--report", tmp_path / "r.json")
    assert "converted and verified" in ran.words()
    assert "the head has the form 'unfolded'" in ran.words()
    data = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (data["form"], data["tuning"]["chosen"], data["tuning"]["batch"]) == ("unfolded", "unfolded", 8)
    assert data["tuning"]["runtime"].startswith("onnxruntime ")
    assert data["tuning"]["forms"][2]["times"] == {"128x64": 0.5}
    assert head_form.stored(onnx.load(tmp_path / "out.onnx")) == "unfolded"


USAGE = [
    # options, what is said
    (["--tune", "0"], "--tune '0' must be a whole number of at least 1"),
    (["--tune", "many"], "--tune 'many' must be a whole number of at least 1"),
    (["--tune", "8", "--max-kernel", "3"], "--max-kernel splits Convs for other hardware, and --tune chooses for"),
    (["--tune", "8", "--max-channels", "3"], "--max-channels splits Convs for other hardware"),
    (["--tune", "8", "--runtime", "reference"], "--tune measures onnxruntime, and --runtime reference does without"),
    (["--tune", "8", "--size", "8x8"], "size 8x8 is smaller than the trained size"),
]


@pytest.mark.parametrize(("options", "said"), USAGE, ids=[" ".join(o) for o, _ in USAGE])
def test_usage(options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in call(capsys, EXACT, tmp_path / "out.onnx", *options).one_line(2)
    assert not list(tmp_path.iterdir())


def test_a_fixed_batch(measured: Measured) -> None:
    model = network(Head(CHAIN, CHAIN_WEIGHTS, batch=2))
    with pytest.raises(fc2conv.UsageError, match=r"takes 2 at a time; give --tune 2, or free .* --dynamic-batch"):
        fc2conv.convert(model, tune=8)
    measured(1.0, 1.0, 0.5, 1.0)
    assert fc2conv.convert(model, tune=2).report.form == "gemm"
    measured(1.0, 1.0, 0.5)
    report = fc2conv.convert(model, tune=3, dynamic_batch=True).report
    assert report.tuning is not None
    assert [f.to_original for f in report.tuning.forms] == [None] * 4
    assert "the original does not run on 3 images" in printed(report)


def test_static(measured: Measured) -> None:
    """No size is measured but the only one, and no form that has what ``--static`` is to avoid."""
    left = measured(1.0, 0.5, 1.0)  # folded, unfolded, the original
    report = fc2conv.convert(model_of(STATIC["a map"]), static=True, tune=4).report
    assert not left
    assert (report.form, report.verified) == ("unfolded", True)
    assert report.tuning is not None
    assert report.tuning.sizes == [""]
    assert report.tuning.forms[3].reason == "--static is for what runs no FC"
    assert "| unfolded | 0.50 | 1.00 | chosen |" in markdown(report)


@pytest.mark.parametrize("form", ["unfolded", "gemm"])
def test_without_metadata_the_original_is_not_guessed(form: str) -> None:
    """Only a plain head can be found in a graph; what cannot is no model that is wrong."""
    with pytest.raises((fc2conv.Unliftable, fc2conv.VerificationFailed)):
        fc2conv.revert(stripped(in_form(MODEL, form).proto))


def test_a_form_that_does_not_run_is_none(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnx_fc2conv import verification

    load = verification.default_session

    def refusing(proto: ModelProto, folder: str) -> Any:
        if head_form.stored(proto) == "gemm":
            raise verification.RuntimeRefusal("no such kernel")
        return load(proto, folder)

    monkeypatch.setattr(verification, "default_session", refusing)
    measured(1.0, 1.0, 1.0)
    tuning = fc2conv.convert(MODEL, tune=8, verify=False).report.tuning
    assert tuning is not None
    assert tuning.forms[3].reason == "onnxruntime does not run it: no such kernel"


# -- checks ------------------------------------------------------------------------------------------------------------


def swapped(proto: ModelProto) -> None:
    """The taps along the last axis in another order."""
    slices = [n for n in proto.graph.node if n.op_type == "Slice"]
    slices[0].input[1], slices[1].input[1] = slices[1].input[1], slices[0].input[1]
    slices[0].input[2], slices[1].input[2] = slices[1].input[2], slices[0].input[2]


def images_swapped(proto: ModelProto) -> None:
    """The images in another order than they came in, as far as the shapes allow."""
    last = next(n for n in reversed(proto.graph.node) if n.op_type == "Reshape")
    gather = next(n for n in proto.graph.node if n.op_type == "Gather")
    axes = next(t for t in proto.graph.initializer if t.name == gather.input[1])
    values = numpy_helper.to_array(axes)
    axes.CopyFrom(numpy_helper.from_array(values[[0, 2, 1]], axes.name))
    assert last.input


def weight_changed(proto: ModelProto) -> None:
    tensor = next(t for t in proto.graph.initializer if t.name == "v")
    values = numpy_helper.to_array(tensor).copy()
    values.flat[7] += 1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def form_denied(proto: ModelProto) -> None:
    head_form.store(proto, "unfolded" if "Gemm" in kinds(proto) else "gemm")


def another_gemm(proto: ModelProto) -> None:
    """An FC more than the form has."""
    for node in proto.graph.node:
        if node.op_type == "Gemm":
            node.name = "not_" + node.name


def form_unknown(proto: ModelProto) -> None:
    next(p for p in proto.metadata_props if p.key == head_form.METADATA_KEY).value = '{"schema":1,"form":"magic"}'


SABOTAGE: list[tuple[str, Callable[[ModelProto], None], str]] = [
    ("unfolded", swapped, "differs by"),
    ("gemm", swapped, "differs by"),
    ("unfolded", images_swapped, "grid law|differs by"),
    ("gemm", images_swapped, "grid law|differs by"),
    ("folded", weight_changed, "differs by"),
    ("unfolded", weight_changed, "differs by"),
    ("gemm", weight_changed, "differs by"),
    ("gemm", stripped, "a fully connected node is left in the head"),
    ("gemm", form_denied, "a fully connected node is left in the head"),
    ("gemm", another_gemm, "a fully connected node is left in the head"),
]


@pytest.mark.parametrize(("form", "harm", "said"), SABOTAGE, ids=[f"{f} {h.__name__}" for f, h, _ in SABOTAGE])
def test_sabotage(form: str, harm: Callable[[ModelProto], Any], said: str) -> None:
    proto = in_form(MODEL, form).proto
    harmed = stripped(proto) if harm is stripped else edited(proto, harm)
    with pytest.raises(fc2conv.VerificationFailed, match=said):
        fc2conv.verify(MODEL, harmed)


@pytest.mark.parametrize("form", OTHERS)
def test_a_right_model_is_accepted(form: str) -> None:
    report = fc2conv.verify(MODEL, in_form(MODEL, form).proto)
    assert (report.verified, report.form) == (True, form)


def test_claims_that_make_no_sense() -> None:
    plain = in_form(MODEL, "conv").proto
    with pytest.raises(fc2conv.UsageError, match="metadata on the form of its head is damaged"):
        fc2conv.verify(MODEL, edited(in_form(MODEL, "gemm").proto, form_unknown))
    alone = network(HEADS["a pool over the window"][0])
    lying = edited(in_form(alone, "conv").proto, lambda m: head_form.store(m, "unfolded"))
    assert fc2conv.verify(alone, lying).form == "unfolded"  # of one cell it is the same as 'folded'
    single = network(Head("f = Flatten (map)\ny = MatMul (f, v)", {"v": (12, 5)}))
    folded = edited(in_form(single, "conv").proto, lambda m: head_form.store(m, "folded"))
    with pytest.raises(fc2conv.VerificationFailed, match="has the form 'folded', which it cannot have"):
        fc2conv.verify(single, folded)
    assert head_form.stored(plain) == "conv"
    for text in ("{", "[]", '{"schema": 2, "form": "gemm"}', '{"schema": 1}'):
        damaged = edited(plain, lambda m, t=text: m.metadata_props.add(key=head_form.METADATA_KEY, value=t))  # type: ignore[misc]
        with pytest.raises(fc2conv.UsageError, match=r"form of (its|the) head"):
            head_form.stored(damaged)


# -- back again --------------------------------------------------------------------------------------------------------

BACK: dict[str, Head] = {
    "as stored": Head(CHAIN, CHAIN_WEIGHTS),
    "transposed": Head("f = Flatten (map)\na = MatMul (f, v)\ny = MatMul (a, w)", {"v": (12, 5), "w": (5, 3)}),
    "H, W, C": Head(NHWC + "f = Flatten (t)\na = MatMul (f, v)\ny = MatMul (a, w)", {"v": (12, 5), "w": (5, 3)}),
    "H, W, C and alpha": Head(
        NHWC + "f = Flatten (t)\ny = Gemm <alpha = 0.3> (f, v)",
        {"v": np.random.default_rng(5).normal(size=(12, 600)).astype(np.float32)},
    ),
}


@pytest.mark.parametrize("form", ["unfolded", "gemm"])
@pytest.mark.parametrize("name", BACK)
def test_the_original_comes_back(name: str, form: str) -> None:
    model = network(BACK[name])
    back = fc2conv.revert(in_form(model, form).proto)
    assert back.model == model
    assert back.report.verified


def test_a_second_conversion_says_nothing_old() -> None:
    """The metadata of a tuned model does not survive what is made of it."""
    tuned = in_form(MODEL, "unfolded").proto
    lowered = fc2conv.convolution_to_matmul(tuned, verify=False).model
    assert head_form.METADATA_KEY not in {p.key for p in lowered.metadata_props}
    assert head_form.stored(fc2conv.revert(tuned, verify=False).model) == "conv"
