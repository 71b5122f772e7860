"""The scripts in ``tools/examples``: each does what it says, or says in one line what it lacks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import onnx_fc2conv as fc2conv
from tests.networks import Head, network
from tests.test_cli import EXACT
from tools.examples import export_and_convert, openvino_two_sizes, tensorrt_engine

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tools" / "examples"
EXAMPLES = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
LONGEST = 110  #: lines


def script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A script as a user runs it."""
    command = [sys.executable, str(FOLDER / name), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


def without(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    for library in libraries:
        monkeypatch.setitem(sys.modules, library, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_each_is_short_and_says_how_it_is_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert f"``python tools/examples/{path.name}" in text
    assert len(text.splitlines()) <= LONGEST
    assert f"tools/examples/{path.name}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_each_explains_itself(path: Path) -> None:
    done = script(path.name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage:" in done.stdout


# -- torch -----------------------------------------------------------------------------------------------------------


def test_a_torch_network_is_exported_and_converted(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript, which torch exports with, is not installed")
    out = tmp_path / "out.onnx"
    done = script("export_and_convert.py", out)
    assert done.returncode == 0, done.stderr
    assert "exact: 25 x 35 answers on an image of 256 x 320 pixels" in done.stdout
    assert f"trtexec --onnx={out}" in done.stdout
    assert fc2conv.read_geometry(out).grid_size((256, 320)) == (25, 35)
    session = ort.InferenceSession(out, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"image": np.zeros((3, 3, 80, 64), np.float32)})
    assert scores.shape == (3, 4, 3, 3), "the batch is free as well"


@pytest.mark.parametrize("library", ["torch", "onnxscript"])
def test_without_torch_nothing_is_exported(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, library)
    if library == "torch":
        monkeypatch.setitem(sys.modules, "onnxscript", ModuleType("onnxscript"))
    assert export_and_convert.main([str(tmp_path / "out.onnx")]) == 0
    assert capsys.readouterr() == ("", f"nothing was exported: {library} is not installed\n")
    assert not list(tmp_path.iterdir())


# -- OpenVINO --------------------------------------------------------------------------------------------------------

LINE = r"([\dx, ]+): '(\w+)' \[([\d, ]+)\], largest difference (\S+), of (\S+)"
CHANNELS_LAST = Head("f = Flatten(map)\ny = Gemm(f, w)\nz = Relu(y)", {"w": (12, 3)}, outputs=("y", "z"), batch=2)


def converted(source: Any, tmp_path: Path) -> Path:
    result = fc2conv.convert(source, verify=False)
    result.save(tmp_path / "converted.onnx")
    return tmp_path / "converted.onnx"


@pytest.mark.parametrize(
    ("source", "asked", "shapes"),
    [
        (EXACT, [], {"128x64": "1, 1, 1, 1", "224x160": "1, 1, 4, 4"}),
        (EXACT, ["160x96", "512x1024"], {"160x96": "1, 1, 2, 2", "512x1024": "1, 1, 13, 31"}),
        (network(CHANNELS_LAST), [], {"6x4": "2, 3, 1, 1", "12x10": "2, 3, 4, 4"}),
    ],
    ids=["default sizes", "sizes that are asked for", "two outputs and a fixed batch"],
)
def test_openvino_and_onnxruntime_agree(
    source: Any, asked: list[str], shapes: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    assert openvino_two_sizes.main([str(converted(source, tmp_path)), *asked]) == 0
    lines = capsys.readouterr().out.splitlines()
    found: dict[str, set[str]] = {}
    for line in lines:
        size, _, shape, error, largest = re.fullmatch(LINE, line).groups()  # type: ignore[union-attr]
        found.setdefault(size, set()).add(shape)
        assert float(error) <= 1e-5 * float(largest)
    assert found == {size: {shape} for size, shape in shapes.items()}


def test_openvino_as_a_script(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    done = script("openvino_two_sizes.py", converted(EXACT, tmp_path))
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 2)


def test_a_model_that_was_not_converted_is_said_in_one_line() -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    done = script("openvino_two_sizes.py", EXACT)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "carries no geometry" in done.stderr


def test_without_openvino_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "openvino")
    assert openvino_two_sizes.main([str(converted(EXACT, tmp_path))]) == 0
    assert capsys.readouterr() == ("", "nothing was run: openvino is not installed\n")


# -- TensorRT --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["tensorrt", "torch"])
def test_without_tensorrt_no_engine_is_built(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    without(monkeypatch, library)
    assert tensorrt_engine.main([str(EXACT)]) == 0
    assert capsys.readouterr() == ("", f"no engine was built: {library} is not installed\n")


def test_without_a_gpu_no_engine_is_built(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    monkeypatch.setitem(sys.modules, "torch", FakeTorch(gpu=False))
    assert tensorrt_engine.main([str(EXACT)]) == 0
    assert capsys.readouterr() == ("", "no engine was built: there is no GPU\n")


def test_an_engine_gives_onnxruntimes_answers_at_two_sizes() -> None:
    """The real thing, where there is one."""
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    torch = pytest.importorskip("torch", reason="torch, which reaches the GPU, is not installed")
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    done = script("tensorrt_engine.py", EXACT, "256x192", "512x1024")
    assert done.returncode == 0, done.stderr
    differences = re.findall(r"largest difference (\S+), of (\S+)", done.stdout)
    assert len(differences) == 2
    assert all(float(error) <= 1e-3 * float(largest) for error, largest in differences)


class FakeTensor:
    """An array that says that it is on a GPU; its address is a number to find it by."""

    memory: dict[int, np.ndarray] = {}

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def cuda(self) -> FakeTensor:
        self.memory[id(self)] = self.array
        return self

    cpu = cuda

    def data_ptr(self) -> int:
        return id(self)

    def numpy(self) -> np.ndarray:
        return self.array


class FakeTorch(ModuleType):
    """As much of torch as reaches a GPU."""

    def __init__(self, gpu: bool = True) -> None:
        super().__init__("torch")
        self.from_numpy = FakeTensor
        stream = SimpleNamespace(cuda_stream=7, synchronize=lambda: None)
        self.cuda = SimpleNamespace(is_available=lambda: gpu, Stream=lambda: stream)


class FakeTensorRT(ModuleType):
    """TensorRT's calls in the order in which it demands them, with onnxruntime in place of an engine.

    As the real one, it refuses shapes outside of the profile, and knows the outputs' shapes once all inputs have one.
    """

    def __init__(self, readable: bool = True, buildable: bool = True) -> None:
        super().__init__("tensorrt")
        self.readable, self.buildable = readable, buildable
        self.Logger = type("Logger", (), {"WARNING": 2, "__init__": lambda self, level: None})
        self.BuilderFlag = SimpleNamespace(TF32="TF32")
        self.TensorIOMode = SimpleNamespace(OUTPUT="out", INPUT="in")
        self.profile: dict[str, tuple[Any, Any, Any]] = {}
        self.added: list[Any] = []
        self.path = ""
        self.ran: list[dict[str, tuple[int, ...]]] = []
        self.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda plan: FakeEngine(self))
        self.nptype = lambda dtype: dtype

    def Builder(self, logger: Any) -> Any:
        config = SimpleNamespace(clear_flag=lambda flag: None, add_optimization_profile=self.added.append)
        return SimpleNamespace(
            create_network=lambda flags: "network",
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=self._set_shape),
            build_serialized_network=lambda network, config: b"plan" if self.buildable else None,
        )

    def _set_shape(self, name: str, *shapes: Any) -> None:
        self.profile[name] = shapes  # type: ignore[assignment]

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        def parse(path: str) -> bool:
            self.path = path
            return self.readable

        error = SimpleNamespace(desc=lambda: "node 'x' is not supported")
        return SimpleNamespace(parse_from_file=parse, get_error=lambda i: error)


class FakeEngine:
    """An engine, and the one context of it."""

    def __init__(self, trt: FakeTensorRT) -> None:
        self.trt, self.session = trt, ort.InferenceSession(trt.path, providers=["CPUExecutionProvider"])
        self.inputs = {i.name: i.shape for i in self.session.get_inputs()}
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.num_io_tensors = len(self.inputs) + len(self.outputs)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def create_execution_context(self) -> FakeEngine:
        assert self.trt.added, "an engine with dynamic inputs needs a profile"
        self.shapes, self.addresses = {}, {}
        return self

    def get_tensor_name(self, i: int) -> str:
        return [*self.inputs, *self.outputs][i]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name in self.inputs else "out"

    def get_tensor_dtype(self, name: str) -> Any:
        return np.float32

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        smallest, _, largest = self.trt.profile[name]
        assert all(a <= n <= b for a, n, b in zip(smallest, shape, largest, strict=True))
        self.shapes[name] = shape

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert set(self.shapes) == set(self.inputs)
        zeros = {n: np.zeros(shape, np.float32) for n, shape in self.shapes.items()}
        return self.session.run([name], zeros)[0].shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> None:
        assert stream == 7
        feeds = {name: FakeTensor.memory[self.addresses[name]] for name in self.inputs}
        self.trt.ran.append({name: values.shape for name, values in feeds.items()})
        for name, values in zip(self.outputs, self.session.run(self.outputs, feeds), strict=True):
            FakeTensor.memory[self.addresses[name]][...] = values


def test_an_engine_is_built_with_the_profile_and_run_at_two_of_its_sizes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With stand-ins for TensorRT and the GPU: the calls, their order, and the shapes."""
    trt = FakeTensorRT()
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setitem(sys.modules, "torch", FakeTorch())
    assert tensorrt_engine.main([str(EXACT), "256x192", "160x320"]) == 0
    assert trt.profile == {"input": ([1, 3, 128, 64], [1, 3, 256, 192], [1, 3, 256, 320])}
    assert trt.ran == [{"input": (1, 3, 256, 192)}, {"input": (1, 3, 256, 320)}]
    out = capsys.readouterr().out
    assert [float(e) for e in re.findall(r"'score' largest difference (\S+),", out)] == [0.0, 0.0]
    assert all(float(largest) > 0 for largest in re.findall(r", of (\S+)", out))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"readable": False}, "TensorRT cannot read the model: node 'x' is not supported"),
        ({"buildable": False}, "TensorRT cannot build an engine; its own messages say why"),
    ],
    ids=["unreadable", "unbuildable"],
)
def test_what_tensorrt_refuses_is_said(broken: dict[str, bool], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT(**broken))
    monkeypatch.setitem(sys.modules, "torch", FakeTorch())
    with pytest.raises(SystemExit, match=re.escape(said)):
        tensorrt_engine.main([str(EXACT), "160x96"])
