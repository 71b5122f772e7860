"""``onnx-conv2fc``: what it prints where, what it writes, and which exit code it returns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import cli, reverse
from tests.reverse.models import NAMED, WEIGHTS, image, model, op_types, run
from tests.test_cli import MODELS, Ran, snapshot

DETECTOR = MODELS / "reference_detector_padded.onnx"
LINEAR = "f = Flatten(x)\ny = Gemm(f, w)"
PREFIX = "onnx-conv2fc: "


def call(capsys: pytest.CaptureFixture[str], *argv: object) -> Ran:
    """Run the command line in this interpreter."""
    capsys.readouterr()
    code = cli.main_reverse([str(a) for a in argv])
    out, err = capsys.readouterr()
    return Ran(code, out, err)


def line_of(ran: Ran, code: int) -> str:
    """The one diagnostic."""
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (code, "", 1), ran
    assert ran.err.startswith(PREFIX)
    assert "Traceback" not in ran.err
    return ran.err


@pytest.fixture
def source(tmp_path: Path) -> Path:
    onnx.save(model(), tmp_path / "in.onnx")
    return tmp_path / "in.onnx"


def fixed(folder: Path, **parts: Any) -> Path:
    onnx.save(model(shape=("N", 2, 8, 6), **parts), folder / "fixed.onnx")
    return folder / "fixed.onnx"


def test_the_default_form_is_matmul(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = source.read_bytes()
    words = call(capsys, source, source.with_name("out.onnx")).words()
    assert "3 nodes as matrix products, verified" in words
    assert "no convolution left" in words
    assert source.read_bytes() == before
    made = onnx.load(source.with_name("out.onnx"))
    assert "Conv" not in op_types(made)
    x = image(2, 2, 13, 9)
    assert np.array_equal(run(made, x)[0], run(onnx.load(source), x)[0])


def test_inspect_writes_nothing(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(source.parent)
    words = call(capsys, source).words()
    assert "3 nodes can be written as matrix products (nothing was written or checked)" in words
    assert "18 x 4" in words
    assert snapshot(source.parent) == before


def test_as_an_installed_command(source: Path) -> None:
    program = Path(sys.executable).with_name("onnx-conv2fc")
    if not program.exists():
        pytest.skip("the package is not installed beside this interpreter")
    done = subprocess.run(
        [program, source, source.with_name("out.onnx")], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_dense_prints_its_estimate_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything large exists: the build is never reached here."""
    path = fixed(tmp_path)

    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(reverse, "assemble", fail)
    ran = call(capsys, path, tmp_path / "out.onnx", "--form", "dense")
    assert ran.code == 1
    assert "96 x 192" in ran.out
    assert "in all (" in " ".join(ran.out.split())
    assert "not enough memory" in ran.err
    assert not (tmp_path / "out.onnx").exists()


def test_dense_says_it_all_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, fixed(tmp_path), tmp_path / "out.onnx", "--form", "dense").clean()
    assert out.count("96 x 192") == 1
    assert set(op_types(onnx.load(tmp_path / "out.onnx"))) <= {"Flatten", "Gemm", "Relu", "Reshape"}


def test_dense_inspect_estimates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = call(capsys, fixed(tmp_path), "--form", "dense").words()
    assert "96 x 192" in words
    assert "%" in words


@pytest.mark.parametrize("inspect", [True, False], ids=["inspect", "write"])
def test_too_many_bytes_are_refused_with_the_numbers(
    inspect: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fixed(tmp_path)
    before = snapshot(tmp_path)
    arguments = [path, "--form", "dense", "--max-bytes", "100000"]
    ran = call(capsys, *arguments[:1], *([] if inspect else [tmp_path / "out.onnx"]), *arguments[1:])
    assert ran.code == 1
    assert "over --max-bytes 100000" in ran.err
    assert "144 x 192" in ran.err or "192 x 144" in ran.err
    assert snapshot(tmp_path) == before


def test_dense_needs_a_size(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(call(capsys, source, source.with_name("out.onnx"), "--form", "dense"), 2)
    assert "input 'x' leaves 2 open; give --size" in line
    out = source.with_name("out.onnx")
    assert call(capsys, source, out, "--form", "dense", "--size", "8x6").clean()
    x = image(2, 2, 8, 6)
    assert np.array_equal(run(onnx.load(out), x)[0], run(onnx.load(source), x)[0])
    assert [d.dim_value for d in onnx.load(out).graph.input[0].type.tensor_type.shape.dim[1:]] == [2, 8, 6]


def test_only_and_skip_take_names_and_patterns(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = source.with_name("out.onnx")
    words = call(capsys, source, out, "--only", "c*").words()
    assert "left as it is: Conv 'y': --only names others" in words
    assert op_types(onnx.load(out)).count("Conv") == 1
    words = call(capsys, source, out, "--skip", "c1", "--skip", "y").words()
    assert "left as it is: Conv 'c1': --skip names it" in words
    assert op_types(onnx.load(out)).count("Conv") == 2


def test_pointwise_only(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = source.with_name("out.onnx")
    words = call(capsys, source, out, "--pointwise-only").words()
    assert words.count("is not 1x1, and --pointwise-only was given") == 2
    assert {t.name for t in onnx.load(out).graph.initializer} >= {"w1", "w3"}


def test_weights_that_nothing_reads_any_more_are_gone(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = source.with_name("out.onnx")
    call(capsys, source, out).clean()
    graph = onnx.load(out).graph
    used = {name for node in graph.node for name in node.input}
    assert [t.name for t in graph.initializer if t.name not in used] == []


REFUSED: list[tuple[list[str], int, str]] = [
    (["--only", "nothing"], 2, "--only 'nothing': no node to rewrite has this name; there are: 'c1', 'c2', 'y'"),
    (["--skip", "c7*"], 2, "--skip 'c7*': no node to rewrite has this name"),
    (["--skip", "*"], 1, "Conv 'c1': no convolution can be rewritten: --skip names it"),
    (["--form", "toeplitz"], 2, "invalid choice: 'toeplitz'"),
    (["--strict"], 2, "--strict is an option of --form dense"),
    (["--max-bytes", "5"], 2, "--max-bytes is an option of --form dense"),
    (["--max-bytes", "many", "--form", "dense"], 2, "--max-bytes 'many' must be a whole number"),
    (["--pointwise-only", "--form", "dense"], 2, "--pointwise-only is an option of --form matmul"),
    (["--form", "dense", "--size", "8x6", "--size", "9x9"], 2, "give --size once"),
    (["--size", "8"], 2, "size 8 has 1 axes, input 'x' leaves 2 open"),
    (["--revert", "--form", "dense"], 2, "--revert undoes a conversion as a whole; leave --form out"),
    (["--revert", "--only", "c1"], 2, "leave --only out"),
]


@pytest.mark.parametrize(("options", "code", "said"), REFUSED, ids=[" ".join(o) for o, _, _ in REFUSED])
def test_refusals_are_one_line_and_write_nothing(
    options: list[str], code: int, said: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(source.parent)
    assert said in line_of(call(capsys, source, source.with_name("out.onnx"), *options), code)
    assert snapshot(source.parent) == before


def test_size_of_a_fixed_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fixed(tmp_path)
    assert "every size of the model is fixed" in line_of(call(capsys, path, "--size", "8x6"), 2)


def test_a_model_without_convolutions_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(model(LINEAR, {"w": (24, 3)}, ("N", 24), {"y": 2}), tmp_path / "in.onnx")
    assert "the model has no convolution" in line_of(call(capsys, tmp_path / "in.onnx"), 1)


def test_the_input_is_never_the_output(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is the input itself" in line_of(call(capsys, source, source), 2)


@pytest.mark.parametrize("suffix", ["json", "md"])
def test_reports(suffix: str, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = source.with_name(f"report.{suffix}")
    call(capsys, source, source.with_name("out.onnx"), "--report", report, "--skip", "c2", "--quiet").clean()
    text = report.read_text(encoding="utf-8")
    if suffix == "md":
        assert "| Conv 'c1' |" in text
        assert "| Conv 'c2' | --skip names it |" in text
        return
    data = json.loads(text)
    assert data["schema"] == 1
    assert [p["node"] for p in data["products"]] == ["Conv 'c1'", "Conv 'y'"]
    assert data["products"][0] | {"to": []} == {
        "node": "Conv 'c1'",
        "what": "3x3",
        "to": [],
        "count": 1,
        "rows": 18,
        "columns": 4,
        "before": None,
        "after": None,
        "bytes_before": 4 * (72 + 4),
        "bytes_after": 4 * (72 + 4),
        "gathered": None,
        "zeros": 0.0,
    }


def test_quiet_prints_nothing(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, source, source.with_name("out.onnx"), "--quiet") == Ran(0, "", "")


def test_no_verify_says_so(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "NOT verified" in call(capsys, source, source.with_name("out.onnx"), "--no-verify").words()


def test_reference_runtime(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fixed(tmp_path)
    words = call(capsys, path, tmp_path / "out.onnx", "--runtime", "reference").words()
    assert "(onnxruntime was not used)" in words


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version").clean() == f"onnx-conv2fc {fc2conv.__version__}\n"
    help_ = call(capsys, "--help").clean()
    assert "onnx-conv2fc" in help_
    assert "onnx-fc2conv IN" not in help_


# -- back -----------------------------------------------------------------------------------------------------------


def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there, back = tmp_path / "map.onnx", tmp_path / "back.onnx"
    assert cli.main([str(DETECTOR), str(there), "--quiet"]) == 0
    words = call(capsys, there, back, "--revert").words()
    assert "bit-identical" in words
    before, after = onnx.load(DETECTOR), onnx.load(back)
    assert {t.name: numpy_helper.to_array(t).tobytes() for t in before.graph.initializer} == {
        t.name: numpy_helper.to_array(t).tobytes() for t in after.graph.initializer
    }
    assert op_types(before) == op_types(after)
    x = np.random.default_rng(0).standard_normal((1, 3, 128, 64)).astype(np.float32)
    assert np.array_equal(run(before, x)[0], run(after, x)[0])


def test_a_model_without_a_head_cannot_be_reverted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(model("y = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)", WEIGHTS), tmp_path / "in.onnx")
    before = snapshot(tmp_path)
    line = line_of(call(capsys, tmp_path / "in.onnx", tmp_path / "out.onnx", "--revert"), 1)
    assert "Conv 'y': it pads, so it is no FC" in line
    assert snapshot(tmp_path) == before


def test_the_way_back_can_be_looked_at_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "map.onnx"
    assert cli.main([str(DETECTOR), str(there), "--quiet"]) == 0
    words = call(capsys, there, "--revert").words()
    assert "2 nodes can be written as FC again (nothing was written or checked)" in words


def test_another_size_than_the_recorded_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "map.onnx"
    assert cli.main([str(DETECTOR), str(there), "--quiet"]) == 0
    assert "is not the one that the model was trained at" in line_of(
        call(capsys, there, "--revert", "--size", "9x9"), 2
    )
    assert call(capsys, there, "--revert", "--size", "128x64").clean()


def test_a_converted_model_is_rewritten_at_sizes_that_it_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The geometry that it carries says what its trained size and its stride are."""
    there, out = tmp_path / "map.onnx", tmp_path / "matmul.onnx"
    assert cli.main([str(DETECTOR), str(there), "--quiet"]) == 0
    words = call(capsys, there, out).words()
    for size in ("128x64", "160x160", "256x128"):
        assert size in words
    assert fc2conv.read_geometry(out).grid_size((512, 1024)) == (13, 31)


def test_a_converted_model_becomes_dense_at_its_trained_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, out = tmp_path / "map.onnx", tmp_path / "dense.onnx"
    small = MODELS / "lenet.onnx"
    assert cli.main([str(small), str(there), "--quiet"]) == 0
    call(capsys, there, out, "--form", "dense").clean()
    assert "Conv" not in op_types(onnx.load(out))
    with pytest.raises(fc2conv.UsageError, match="carries no geometry"):
        fc2conv.read_geometry(out)


def test_what_is_named_and_left_stays_as_it_was(tmp_path: Path) -> None:
    proto = model(NAMED, WEIGHTS)
    made = fc2conv.convolution_to_matmul(proto, skip=["c1"]).model
    assert made.graph.node[0] == proto.graph.node[0]
    assert [t for t in made.graph.initializer if t.name == "w1"] == [
        t for t in proto.graph.initializer if t.name == "w1"
    ]


def test_the_size_of_an_image_with_channels_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "t = Transpose <perm = [0, 3, 1, 2]> (x)\ny = Conv(t, w1, b1)"
    onnx.save(model(text, WEIGHTS, ("N", 9, 7, 2)), tmp_path / "in.onnx")
    words = call(capsys, tmp_path / "in.onnx", tmp_path / "out.onnx").words()
    assert "costs of one image of 9x7" in words
    assert "same size 9x7" in words
