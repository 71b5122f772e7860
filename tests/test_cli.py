"""The command line: what it prints where, what it writes, and which exit code it returns."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import cli, pipeline
from onnx_fc2conv.settings import Settings
from tests.networks import Head, network, session

MODELS = Path(__file__).parents[1] / "models"
EXACT = MODELS / "reference_detector.onnx"
PADDED = MODELS / "reference_detector_padded.onnx"
PREFIX = "onnx-fc2conv: "
LONGEST_LINE = 500

LINEAR = Head("f = Flatten(map)\ny = Gemm(f, w, b)", {"w": (12, 3), "b": (3,)})
WEIGHTLESS = Head("f = Flatten(map)\nt = Transpose(f)\ny = MatMul(f, t)")
UNLIFTABLE = Head("f = Flatten(map)\ng = Gemm(f, w)\ny = NonZero(g)", {"w": (12, 3)})


@dataclass(frozen=True)
class Ran:
    """What one run of the command line left behind."""

    code: int
    out: str
    err: str

    def one_line(self, *codes: int) -> str:
        """The one diagnostic of a run that ended with one of these codes."""
        assert self.code in codes, self
        assert "Traceback" not in self.err + self.out
        assert self.out == ""
        assert self.err.endswith("\n")
        assert len(self.err.splitlines()) == 1, self.err
        line = self.err.rstrip("\n")
        assert line.startswith(PREFIX)
        assert len(PREFIX) < len(line) <= LONGEST_LINE
        return line

    def clean(self) -> str:
        """The standard output of a run that ended well, without a word on stderr."""
        assert (self.code, self.err) == (0, ""), self
        return self.out

    def words(self) -> str:
        """The same on one line: where lines break depends on how long the paths are."""
        return " ".join(self.clean().replace("│", " ").split())


def call(capsys: pytest.CaptureFixture[str], *argv: object) -> Ran:
    """Run the command line in this interpreter."""
    capsys.readouterr()
    code = cli.main([str(a) for a in argv])
    out, err = capsys.readouterr()
    return Ran(code, out, err)


def start(*argv: object, **kwargs: Any) -> Ran:
    """Run the command line as users do."""
    done = subprocess.run(
        [sys.executable, "-m", "onnx_fc2conv", *map(str, argv)],
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs),
        encoding="utf-8",
        check=False,
    )
    return Ran(done.returncode, done.stdout or "", done.stderr or "")


def snapshot(folder: Path) -> dict[str, str]:
    """Everything below a folder, hidden files too, with the hash of its bytes."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "not a file"
        for p in sorted(folder.rglob("*"))
    }


def change_one_weight(proto: ModelProto) -> None:
    """Add one to one element of the last matrix or kernel of a model."""
    tensor = [t for t in proto.graph.initializer if len(t.dims) > 1][-1]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def saved(head: Head, folder: Path, name: str = "in.onnx") -> Path:
    """The head's network as a file."""
    onnx.save(network(head), folder / name)
    return folder / name


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model with a linear head, alone in a folder."""
    return saved(LINEAR, tmp_path)


# -- convert ---------------------------------------------------------------------------------------------------------


def test_convert_writes_a_model_that_runs_on_the_reference_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "converted and verified" in call(capsys, EXACT, tmp_path / "out.onnx").words()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.onnx"]
    answer = session(onnx.load(tmp_path / "out.onnx")).run(None, {"input": np.zeros((1, 3, 512, 1024), np.float32)})
    assert [a.shape for a in answer] == [(1, 1, 13, 31)]


def test_as_a_subprocess_nothing_is_on_stderr(model: Path) -> None:
    ran = start(model, model.with_name("out.onnx"))
    assert "converted and verified" in ran.words()
    assert "\x1b" not in ran.out, "no colours where stdout is no terminal"
    onnxruntime.InferenceSession(model.with_name("out.onnx"), providers=["CPUExecutionProvider"])


def test_a_refusal_as_a_subprocess_is_one_line(tmp_path: Path) -> None:
    line = start(saved(UNLIFTABLE, tmp_path), tmp_path / "out.onnx").one_line(1)
    assert "NonZero" in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.onnx"]


def test_the_same_file_comes_out_twice(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.onnx", "b.onnx"):
        call(capsys, model, model.with_name(name)).clean()
    assert model.with_name("a.onnx").read_bytes() == model.with_name("b.onnx").read_bytes()


# -- inspect ---------------------------------------------------------------------------------------------------------


def test_inspect_says_what_would_be_done_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXACT, "in.onnx")
    before = snapshot(tmp_path)
    out = call(capsys, "in.onnx").words()
    assert "can be converted" in out
    assert all(word in out for word in ("gemm_1", "Gemm", "Conv", "4x2", "exact"))
    assert "passed" not in out, "nothing was checked"
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(("head", "reason"), [(WEIGHTLESS, "no weights"), (UNLIFTABLE, "NonZero")])
@pytest.mark.parametrize("target", [[], ["out.onnx"]])
def test_what_cannot_be_converted_is_one_line_and_exit_1(
    head: Head, reason: str, target: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = saved(head, tmp_path)
    before = snapshot(tmp_path)
    assert reason in call(capsys, source, *(tmp_path / t for t in target)).one_line(1)
    assert snapshot(tmp_path) == before


# -- options ---------------------------------------------------------------------------------------------------------

SIZES = [
    # model, options, exit code, what is said
    ("reference_detector.onnx", ["512x1024"], 0, "512x1024: 13x31 = 403"),
    ("reference_detector.onnx", ["160x96", "128X64", "129x65"], 0, "129x65: 1x1 = 1"),
    ("conv1d.onnx", ["160"], 0, "160: 13 = 13"),
    ("conv3d.onnx", ["16x32x32"], 0, "16x32x32: "),
    ("reference_detector.onnx", ["512"], 2, "has 1 axes, input 'input' has 2"),
    ("reference_detector.onnx", ["512x1024x3"], 2, "has 3 axes"),
    ("conv1d.onnx", ["160x160"], 2, "has 2 axes"),
    ("reference_detector.onnx", ["127x64"], 2, "smaller than the trained size 128x64"),
    ("reference_detector.onnx", ["1x1"], 2, "smaller than the trained size"),
    ("reference_detector.onnx", ["160x96", "1x1"], 2, "smaller than the trained size"),
    ("reference_detector.onnx", ["0x1"], 2, "must look like 512x1024"),
    ("reference_detector.onnx", ["axb"], 2, "must look like 512x1024"),
    ("reference_detector.onnx", ["-1x64"], 2, ""),
    ("reference_detector.onnx", ["1x2x3x4"], 2, "must look like 512x1024"),
    ("reference_detector.onnx", [""], 2, "must look like 512x1024"),
    ("reference_detector.onnx", ["512x"], 2, "must look like 512x1024"),
    ("reference_detector.onnx", ["512,1024"], 2, "must look like 512x1024"),
    ("reference_detector.onnx", ["1000000x1000000"], 1, "memory"),
]


@pytest.mark.parametrize(("name", "sizes", "code", "said"), SIZES, ids=[f"{n[:-5]}-{s}" for n, s, _, _ in SIZES])
def test_size(
    name: str, sizes: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for size in sizes for word in ("--size", size)]
    ran = call(capsys, MODELS / name, tmp_path / "out.onnx", *options)
    if code:
        assert said in ran.one_line(code)
        assert not list(tmp_path.iterdir())
    else:
        assert said in ran.words()
        assert (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("size", ["512", "127x64", "axb"])
def test_a_bad_size_is_refused_when_inspecting_too(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert size in call(capsys, EXACT, "--size", size).one_line(2)


def test_the_checks_run_at_the_asked_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "r.json"
    sizes = ["--size", "160x96", "--size", "129x65"]
    call(capsys, EXACT, tmp_path / "out.onnx", *sizes, "--report", report).clean()
    checks = json.loads(report.read_text())["checks"]
    at = {tuple(c["size"]) for c in checks if c["name"] == "windows"}
    assert at == {(160, 96), (129, 65)}


@pytest.mark.parametrize("target", [[], ["out.onnx"]])
def test_require_exact(target: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = [tmp_path / t for t in target]
    line = call(capsys, PADDED, *targets, "--require-exact").one_line(1)
    assert "Conv 'conv_" in line
    assert "padded" in line
    assert not list(tmp_path.iterdir())
    call(capsys, PADDED, *targets).clean()
    call(capsys, EXACT, *targets, "--require-exact").clean()


def test_no_verify_says_so_and_runs_no_check(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, change_one_weight)
    out = call(capsys, model, model.with_name("out.onnx"), "--no-verify").words()
    assert "NOT verified" in out
    assert "passed" not in out
    assert model.with_name("out.onnx").exists()


DOUBLE = Head("f = Flatten(map)\ny = Gemm(f, w)", {"w": (12, 3)}, dtype=np.float64)


def test_runtime_says_what_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out, report = saved(DOUBLE, tmp_path), tmp_path / "out.onnx", tmp_path / "r.json"
    line = call(capsys, model, out).one_line(1)
    assert line.startswith(f"{PREFIX}Gemm 'y': onnxruntime's CPU provider has no float64 Conv")
    assert line.endswith("--runtime reference")
    assert not out.exists()
    assert "can be converted" in call(capsys, model, "--runtime", "reference").words()
    words = call(capsys, model, out, "--runtime", "reference", "--report", report).words()
    assert f"verified with onnx.reference {onnx.__version__} (onnxruntime was not used)" in words
    assert json.loads(report.read_text())["runtime"] == f"onnx.reference {onnx.__version__}"
    onnx.checker.check_model(out, full_check=True)


def test_an_unknown_runtime_is_a_usage_error(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = call(capsys, model, "--runtime", "tensorrt").one_line(2)
    assert "argument --runtime: invalid choice: 'tensorrt'" in line
    assert "onnxruntime" in line


REPORTS = {"json": lambda text: json.loads(text)["schema"] == 1, "md": lambda text: text.startswith("# ")}


@pytest.mark.parametrize("name", ["r.json", "r.md", "R.JSON", "größe.md"])
@pytest.mark.parametrize("target", [[], ["out.onnx"]])
def test_report(name: str, target: list[str], model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = model.with_name(name)
    call(capsys, model, *(model.with_name(t) for t in target), "--report", report).clean()
    assert REPORTS[name.lower().rpartition(".")[2]](report.read_text(encoding="utf-8"))
    assert {p.name for p in model.parent.iterdir()} == {"in.onnx", name, *target}


UNWRITABLE_REPORTS = [
    ("r.txt", "must end in .json or .md"),
    ("report", "must end in .json or .md"),
    ("missing/r.json", "r.json"),
    ("folder.json", "folder.json"),
]


@pytest.mark.parametrize(("name", "said"), UNWRITABLE_REPORTS)
def test_a_report_that_cannot_be_written_is_exit_2_and_nothing_is_written(
    name: str, said: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.with_name("folder.json").mkdir()
    before = snapshot(model.parent)
    ran = call(capsys, model, model.with_name("out.onnx"), "--report", model.parent / name)
    assert said in ran.one_line(2)
    assert snapshot(model.parent) == before


@pytest.mark.parametrize("clash", ["in.md", "out.md"])
def test_the_report_replaces_neither_input_nor_output(
    clash: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = saved(LINEAR, tmp_path, "in.md")
    before = snapshot(tmp_path)
    call(capsys, source, tmp_path / "out.md", "--report", tmp_path / clash).one_line(2)
    assert snapshot(tmp_path) == before


def test_quiet_prints_nothing(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, model, model.with_name("out.onnx"), "--quiet").clean() == ""
    assert call(capsys, model, "--quiet").clean() == ""
    assert model.with_name("out.onnx").exists()


def test_quiet_does_not_silence_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "missing.onnx" in call(capsys, tmp_path / "missing.onnx", "--quiet").one_line(2)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version").clean() == f"onnx-fc2conv {fc2conv.__version__}\n"


def test_help_lists_every_option(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    shown = "".join(call(capsys, "--help").clean().split())
    for option in fields(Settings):
        flag = option.metadata.get("flag", "--" + option.name.replace("_", "-"))
        assert flag in shown
        assert "".join(option.metadata["help"].split()) in shown
    assert all(f"{code}" in shown.partition("exitcodes")[2] for code in range(4))


MISUSES = [
    ([], "IN"),
    (["--nope"], "IN"),
    (["in.onnx", "--nope"], "--nope"),
    (["in.onnx", "--quie"], "--quie"),
    (["in.onnx", "out.onnx", "third.onnx"], "third.onnx"),
    (["in.onnx", "--size"], "--size"),
    (["in.onnx", "--quiet=yes"], "--quiet"),
]


@pytest.mark.parametrize(("argv", "said"), MISUSES, ids=[" ".join(a) or "nothing" for a, _ in MISUSES])
def test_misuse_is_exit_2_and_points_to_help(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = call(capsys, *argv).one_line(2)
    assert said in line
    assert "--help" in line


# -- when things go wrong --------------------------------------------------------------------------------------------


def sabotage(monkeypatch: pytest.MonkeyPatch, damage: Callable[[ModelProto], None]) -> None:
    """Let the tool build a wrong model."""
    right = pipeline.assemble

    def wrong(*args: Any) -> ModelProto:
        proto = right(*args)
        damage(proto)
        return proto

    monkeypatch.setattr(pipeline, "assemble", wrong)


def _transpose_kernel(proto: ModelProto) -> None:
    tensor = next(t for t in proto.graph.initializer if tuple(t.dims[-2:]) == (3, 2))
    values = numpy_helper.to_array(tensor)
    flipped = values.reshape(*values.shape[:2], -1)[..., ::-1].reshape(values.shape)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(flipped), tensor.name))


def _drop_bias(proto: ModelProto) -> None:
    node = next(n for n in proto.graph.node if n.op_type == "Conv" and len(n.input) == 3)
    del node.input[2]


def _swap_output(proto: ModelProto) -> None:
    proto.graph.node[-1].op_type = "ConvTranspose"


@pytest.mark.parametrize("damage", [change_one_weight, _transpose_kernel, _drop_bias, _swap_output])
def test_a_failed_check_is_exit_3_and_no_file(
    damage: Callable[[ModelProto], None],
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = snapshot(model.parent)
    sabotage(monkeypatch, damage)
    call(capsys, model, model.with_name("out.onnx"), "--report", model.with_name("r.json")).one_line(3)
    assert snapshot(model.parent) == before


ACCIDENTS: list[tuple[BaseException, int, list[str]]] = [
    (RuntimeError("boom\nand more"), 1, ["internal error", "RuntimeError: boom and more", "report"]),
    (AssertionError(), 1, ["internal error", "AssertionError"]),
    (RecursionError("too deep"), 1, ["internal error", "RecursionError"]),
    (ValueError("x" * 2000), 1, ["internal error", "ValueError", "..."]),
    (MemoryError(), 1, ["memory"]),
    (KeyboardInterrupt(), 130, ["interrupted"]),
]


@pytest.mark.parametrize(("accident", "code", "said"), ACCIDENTS, ids=[type(a).__name__ for a, _, _ in ACCIDENTS])
def test_an_accident_is_one_line(
    accident: BaseException,
    code: int,
    said: list[str],
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise accident

    monkeypatch.setattr(pipeline, "assemble", fail)
    before = snapshot(model.parent)
    line = call(capsys, model, model.with_name("out.onnx")).one_line(code)
    assert all(word in line for word in said)
    assert snapshot(model.parent) == before


def test_an_internal_error_names_the_place(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "assemble", lambda *_: 1 // 0)
    assert "test_cli.py:" in call(capsys, model).one_line(1)


@pytest.mark.parametrize("name", ["a" * 200, "ä" * 100, "x\ny", "x\x1b[31my"])
def test_a_strange_path_stays_on_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path.joinpath(name, name, name, "in.onnx")
    line = call(capsys, path).one_line(2)
    assert "\x1b" not in line, "a file name must not steer the terminal"


# -- standard streams ------------------------------------------------------------------------------------------------


def through_shell(redirect: str, *argv: object, **kwargs: Any) -> Ran:
    """Run the command with a redirection that ``subprocess`` has no name for."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-m", "onnx_fc2conv", *map(str, argv)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        **kwargs,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def test_a_reader_that_closes_the_pipe_early_is_no_accident(model: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = start(model, model.with_name("out.onnx"), stdout=writer)
    os.close(writer)
    assert ran.err == ""
    assert ran.code in (0, 1)
    assert model.with_name("out.onnx").exists()


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-"])
def test_without_standard_streams_the_model_is_converted(redirect: str, model: Path) -> None:
    ran = through_shell(redirect, model, model.with_name("out.onnx"))
    assert (ran.code, ran.err) == (0, "")
    assert model.with_name("out.onnx").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_is_one_true_line(model: Path) -> None:
    ran = through_shell(">/dev/full", model, model.with_name("out.onnx"))
    line = ran.one_line(1, 2)
    assert "internal error" not in line
    assert ("nothing was written" in line) != model.with_name("out.onnx").exists()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict", "cp1252"])
@pytest.mark.parametrize("name", ["größe.onnx", "模型.onnx", os.fsdecode(b"in\xff.onnx")], ids=ascii)
def test_names_that_stdout_cannot_encode_are_printed_somehow(encoding: str, name: str, tmp_path: Path) -> None:
    saved(LINEAR, tmp_path).rename(tmp_path / name)
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-m", "onnx_fc2conv", tmp_path / name, tmp_path / "out.onnx"],
        capture_output=True,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"converted and verified" in b" ".join(done.stdout.split())


# -- progress --------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from onnx_fc2conv import cli
from onnx_fc2conv.cli.progress import Progress
Progress.AFTER = float(sys.argv.pop(1))
sys.exit(cli.main())
"""


def on_a_terminal(after: float, *argv: object) -> tuple[int, str]:
    """Exit code and stderr of a run whose stderr is a terminal; the bar may come ``after`` so many seconds."""
    master, slave = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(after), *map(str, argv)],
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # Linux's way of saying that the other side is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(master)
    return running.wait(), shown.decode()


def test_a_slow_verification_shows_its_progress_on_a_terminal(model: Path) -> None:
    code, shown = on_a_terminal(0, model, model.with_name("out.onnx"))
    assert code == 0
    assert "checking: " in shown
    assert shown.rstrip("\r\n").endswith(("\x1b[2K", "\x1b[?25h")), "the bar is wiped when it is done"


@pytest.mark.parametrize(("after", "options"), [(3600, []), (0, ["--quiet"])], ids=["fast", "quiet"])
def test_no_progress_where_it_is_not_wanted(after: float, options: list[str], model: Path) -> None:
    assert on_a_terminal(after, model, model.with_name("out.onnx"), *options) == (0, "")


def test_a_failure_under_the_bar_is_still_one_readable_line(tmp_path: Path) -> None:
    code, shown = on_a_terminal(0, saved(UNLIFTABLE, tmp_path), tmp_path / "out.onnx")
    assert code == 1
    assert shown.count(PREFIX) == 1


def test_no_progress_when_piped(model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "0", model, model.with_name("out.onnx")], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")])
def test_a_model_larger_than_the_memory_is_one_line(
    error: BaseException, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("onnx_fc2conv.model_io.load", fails)
    source = saved(LINEAR, tmp_path)
    before = snapshot(tmp_path)
    said = call(capsys, source, tmp_path / "out.onnx").one_line(1)
    assert said == f"{PREFIX}not enough memory for this model; nothing was written"
    assert snapshot(tmp_path) == before
