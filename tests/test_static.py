"""Static conversion from the outside: the options, what is said, and the models of this repository."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv.dtypes import tolerance
from onnx_fc2conv.geometry import METADATA_KEY
from onnx_fc2conv.ops import FULLY_CONNECTED
from onnx_fc2conv.report import markdown, print_report

from .lift.test_static import FORMS, Static, model_of, signature
from .networks import assert_close, session
from .test_cli import EXACT, MODELS, call

REPOSITORY = sorted(MODELS.glob("*.onnx"))


@pytest.mark.parametrize("path", REPOSITORY, ids=lambda p: p.stem)
@pytest.mark.parametrize("limits", [{}, {"max_kernel": 2, "max_channels": 8}], ids=["whole", "split"])
def test_every_model_of_the_repository(path: Path, limits: dict[str, int]) -> None:
    original = onnx.load(path)
    result = fc2conv.convert(path, static=True, **limits)
    assert result.report.verified
    assert signature(result.model) == signature(original)
    kinds = [n.op_type for n in result.model.graph.node if n.op_type in FULLY_CONNECTED]
    assert len(kinds) == len(result.report.left)
    rng = np.random.default_rng(4)
    inputs = session(original).get_inputs()
    feeds = {
        i.name: rng.integers(0, 2, [d if isinstance(d, int) else 2 for d in i.shape]).astype(
            {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}[i.type]
        )
        for i in inputs
    }
    expected = session(original).run(None, feeds)
    for a, b in zip(expected, session(result.model).run(None, feeds), strict=True):
        elem = TensorProto.FLOAT16 if a.dtype == np.float16 else TensorProto.FLOAT
        assert_close(b, a, tolerance(elem, 5000, len(original.graph.node)))


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = call(capsys, EXACT, tmp_path / "out.onnx", "--static", "--report", tmp_path / "r.json")
    words = ran.words()
    assert "converted and verified" in words
    assert "static: same signature, same size" in words
    assert "grid" not in words
    assert "image crops" not in words
    data = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (data["static"], data["verdict"], data["images"], data["outputs"], data["left"]) == (True, None, [], [], [])
    model = onnx.load(tmp_path / "out.onnx")
    assert METADATA_KEY not in {p.key for p in model.metadata_props}
    assert signature(model) == signature(onnx.load(EXACT))


def test_the_node_that_does_the_work_keeps_the_name() -> None:
    original = onnx.load(MODELS / "lenet.onnx")
    converted = fc2conv.convert(original, static=True, verify=False).model
    kept = {node.name for node in original.graph.node if node.op_type == "Gemm"}
    assert kept == {node.name for node in converted.graph.node if node.op_type == "Conv"} & kept


def test_inspecting(capsys: pytest.CaptureFixture[str]) -> None:
    words = call(capsys, EXACT, "--static", "--max-kernel", "3").words()
    assert "can be converted (nothing was written or checked)" in words
    assert "Gemm Slice + Conv + Slice + Conv + Add 2x2" in words


USAGE = [
    # options, what is said
    (
        ["--static", "--size", "256x128"],
        "--static keeps the trained size, so no other can be verified at",
    ),
    (
        ["--static", "--global-pool", "keep"],
        "--static keeps the trained size, at which every pool stays as it is",
    ),
    (
        ["--static", "--require-exact"],
        "--static makes no windows, so there are no image crops to be exact on",
    ),
    (["--static", "--dynamic-batch"], "--static keeps every input and output as it is, its batch too"),
    (["--static", "--output", "rows"], "--static keeps every output as it is"),
    (["--max-kernel", "0"], "--max-kernel '0' must be a whole number of at least 1"),
    (["--max-kernel", "-3"], "--max-kernel"),
    (["--max-kernel", "3x3"], "--max-kernel '3x3' must be a whole number of at least 1"),
    (["--max-channels", "1.5"], "--max-channels '1.5' must be a whole number of at least 1"),
    (["--max-channels", ""], "--max-channels '' must be a whole number of at least 1"),
    (["--max-channels", "9" * 5000], "--max-channels"),
    (["--max-channels", "²"], "must be a whole number of at least 1"),
]


@pytest.mark.parametrize(("options", "said"), USAGE, ids=[" ".join(o)[:40] for o, _ in USAGE])
def test_usage(options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in call(capsys, EXACT, tmp_path / "out.onnx", *options).one_line(2)
    assert not list(tmp_path.iterdir())


def test_nothing_to_convert_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(model_of(FORMS["mlp"]), tmp_path / "in.onnx")
    call(capsys, tmp_path / "in.onnx", tmp_path / "out.onnx", "--static").clean()
    line = call(capsys, tmp_path / "out.onnx", tmp_path / "again.onnx", "--static").one_line(1)
    assert line == "onnx-fc2conv: the model has no fully connected node"
    assert not (tmp_path / "again.onnx").exists()


def printed(report: Any) -> str:
    stream = StringIO()
    print_report(report, stream)
    return " ".join(stream.getvalue().split())


def test_what_is_left_is_said() -> None:
    report = fc2conv.convert(model_of(FORMS["attention"]), static=True).report
    reason = "multiplies values that are all computed at run time, so it has no constant weight"
    assert f"left as it is: MatMul 's': {reason}" in printed(report)
    assert f"| MatMul 's' | {reason} |" in markdown(report)
    assert [(row.node, row.reason) for row in report.left] == [("MatMul 's'", reason), ("MatMul 'o'", reason)]
    assert "Verdict: **static**" in markdown(report)
    assert "## Outputs" not in markdown(report)


def test_there_is_no_geometry() -> None:
    result = fc2conv.convert(EXACT, static=True)
    assert result.geometry.outputs == {}
    with pytest.raises(fc2conv.UsageError, match="carries no geometry"):
        fc2conv.read_geometry(result.model)


def test_the_api_has_the_options_everywhere() -> None:
    report = fc2conv.inspect(EXACT, static=True, max_kernel=2, max_channels=4)
    assert report.static
    converted = fc2conv.convert(EXACT, static=True).model
    assert fc2conv.verify(EXACT, converted, static=True).verified
    with pytest.raises(fc2conv.VerificationFailed, match="structure: a fully connected node is left"):
        fc2conv.verify(EXACT, EXACT, static=True)


def test_a_static_conversion_is_no_sliding_one() -> None:
    """The two kinds are told apart by the checks."""
    with pytest.raises(fc2conv.VerificationFailed, match="spatial dim"):
        fc2conv.verify(EXACT, fc2conv.convert(EXACT, static=True).model)
    with pytest.raises(fc2conv.VerificationFailed, match="structure: input 'input' has another type or shape"):
        fc2conv.verify(EXACT, fc2conv.convert(EXACT).model, static=True)


def test_many_heads_stay_on_one_screen() -> None:
    """A model may read an FC's input at many places; the report file lists them all."""
    text = "\n".join(f"s{i} = Softmax(x)\nh{i} = MatMul(s{i}, w)" for i in range(30))
    sums = "\n".join(f"a{i} = Add({'h0' if i == 1 else f'a{i - 1}'}, h{i})" for i in range(1, 30))
    case = Static(f"{text}\n{sums}\ny = Relu(a29)", {"w": (6, 5)})
    report = fc2conv.convert(model_of(case), static=True, verify=False).report
    assert len(report.heads) == 30
    shown = printed(report)
    assert "... and 27 more heads" in shown
    assert shown.count("head behind") == 3
    assert markdown(report).count("## Head behind") == 30
