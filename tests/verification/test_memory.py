"""A check that lacks the memory to run is named, stops the write, and is never taken for an answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv.errors import NotVerified
from onnx_fc2conv.verification import require_loads, runtime
from onnx_fc2conv.verification.session import Feeds, OutOfMemory, RuntimeRefusal, refusal
from tests.networks import Head, network

HEAD = Head("f = Flatten(map)\n y = Gemm<transB = 1>(f, w)", {"w": (4, 12)})

NO_MEMORY: dict[str, Exception] = {
    "python": MemoryError(),
    "the arena": RuntimeError("bfc_arena.cc:360 AllocateRawInternal Failed to allocate memory for requested buffer"),
    "C++": RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc"),
    "numpy": MemoryError("Unable to allocate 62.5 KiB for an array"),
    "mapping": OSError(12, "Cannot allocate memory"),
}


@pytest.mark.parametrize("error", NO_MEMORY.values(), ids=NO_MEMORY)
def test_lack_of_memory_is_told_from_a_refusal(error: Exception) -> None:
    assert isinstance(refusal(error), OutOfMemory)
    assert isinstance(refusal(RuntimeError("Non-zero status code returned")), RuntimeRefusal)


def enlarged(model: ModelProto) -> object:
    return fc2conv.convert(model)


def static(model: ModelProto) -> object:
    return fc2conv.convert(model, static=True)


def lowered(model: ModelProto) -> object:
    return fc2conv.convolution_to_matmul(model)


def reference(model: ModelProto) -> object:
    return fc2conv.convert(model, runtime="reference")


Work = Callable[[ModelProto], object]


@pytest.mark.parametrize("work", [enlarged, static, lowered], ids=lambda f: f.__name__)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_session_that_cannot_run_stops_every_kind_of_verification(
    work: Work, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a runtime that refuses would be passed over: two images, where the original may take one only."""
    work(network(HEAD))
    run = runtime.ort.InferenceSession.run

    def starved(self: Any, outputs: Any, feeds: Feeds, *args: Any) -> Any:
        if any(value.shape[0] == batch for name, value in feeds.items() if name == "x"):
            raise RuntimeError("Failed to allocate memory for requested buffer of size 1024")
        return run(self, outputs, feeds, *args)

    monkeypatch.setattr(runtime.ort.InferenceSession, "run", starved)
    with pytest.raises(NotVerified, match=r"same size: the check was not run: not enough memory \(Failed to alloc"):
        work(network(HEAD))


def test_a_size_at_which_memory_ends_is_not_taken_for_one_that_the_network_cannot_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the steps of its stride a network may refuse to run, and the check goes on."""
    run = runtime.Session.run

    def starved(self: Any, feeds: Feeds, outputs: Any = None) -> Feeds:
        if "x" in feeds and feeds["x"].shape[2:] == (7, 4):
            raise OutOfMemory("no room")
        return run(self, feeds, outputs)

    monkeypatch.setattr(runtime.Session, "run", starved)
    with pytest.raises(NotVerified, match="grid law: the check was not run"):
        fc2conv.convert(network(HEAD))


@pytest.mark.parametrize("work", [enlarged, static, lowered], ids=lambda f: f.__name__)
def test_a_default_session_that_has_no_room_stops_every_kind_of_verification(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = runtime.Session.__init__

    def starved(self: Any, proto: Any, folder: str = "", default: bool = False, *rest: Any) -> None:
        if default:
            raise OutOfMemory("std::bad_alloc")
        load(self, proto, folder, default, *rest)

    monkeypatch.setattr(runtime.Session, "__init__", starved)
    with pytest.raises(NotVerified, match="default run: the check was not run: not enough memory"):
        work(network(HEAD))


def test_the_evaluator_of_onnx_says_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: Any, **__: Any) -> None:
        raise MemoryError("Unable to allocate 1 TiB")

    monkeypatch.setattr("onnx_fc2conv.verification.reference.ReferenceEvaluator.run", starved)
    with pytest.raises(NotVerified, match="same size: the check was not run"):
        reference(network(HEAD))


def test_the_checker_says_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: Any, **__: Any) -> None:
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr("onnx.checker.check_model", starved)
    with pytest.raises(NotVerified, match="structure: the check was not run"):
        fc2conv.convert(network(HEAD))


def test_nothing_is_written_where_a_check_was_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from onnx_fc2conv.cli import main

    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    source.write_bytes(network(HEAD).SerializeToString())

    def starved(*_: Any, **__: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(runtime.ort.InferenceSession, "run", starved)
        assert main([str(source), str(target), "--quiet"]) == 1
    assert "not enough memory" in capsys.readouterr().err
    assert not target.exists()
    assert main([str(source), str(target), "--quiet", "--no-verify"]) == 0
    assert target.exists()


def test_a_written_file_that_memory_does_not_take_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.onnx"
    path.write_bytes(network(HEAD).SerializeToString())
    require_loads(str(path), "onnxruntime")

    def starved(*_: Any, **__: Any) -> None:
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(runtime.ort.InferenceSession, "__init__", starved)
    with pytest.raises(NotVerified, match="structure: the check was not run"):
        require_loads(str(path), "onnxruntime")


def test_a_probe_of_opsets_does_not_take_lack_of_memory_for_a_new_opset(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(runtime.ort.InferenceSession, "__init__", starved)
    runtime.newest_opset.cache_clear()
    with pytest.raises(OutOfMemory):
        runtime.newest_opset()
