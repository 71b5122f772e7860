"""``--share-data``: the output refers to the input's data files, and what is written belongs to it alone."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import onnx_fc2conv as fc2conv
from onnx_fc2conv import cli, places
from onnx_fc2conv.model_io import Target, load, staged, staging
from tests.model_io.test_files import saved_external
from tests.networks import Head, integers
from tests.test_cli import LINEAR, call, saved, snapshot

KEPT = Head("f = Flatten (map)\ny = Gemm <transB = 1> (f, w)", {"w": (40, 12)})  # bytes that stay as they are
TURNED = Head("f = Flatten (map)\ny = Gemm (f, w)", {"w": (12, 40)})


@pytest.fixture(autouse=True)
def _all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LARGE", 1)


def referred_to(path: Path) -> set[str]:
    """The data files that a model refers to."""
    proto = onnx.load(path, load_external_data=False)
    return {e.value for t in proto.graph.initializer for e in t.external_data if e.key == "location"}


def answer(path: Path) -> np.ndarray:
    """What onnxruntime says to small integers."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = session.get_inputs()[0]
    feed = integers([d if isinstance(d, int) else {0: 1}.get(i, 9) for i, d in enumerate(wanted.shape)])
    found: np.ndarray = session.run(None, {wanted.name: feed})[0]
    return found


def test_the_output_refers_to_the_same_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = saved_external(tmp_path, head=KEPT)
    before = snapshot(tmp_path)
    call(capsys, source, tmp_path / "plain.onnx").clean()
    call(capsys, source, tmp_path / "out.onnx", "--share-data").clean()
    assert referred_to(tmp_path / "out.onnx") == {"w.bin"}
    new = {"plain.onnx", "plain.onnx.data", "out.onnx"}
    assert {p.name for p in tmp_path.iterdir()} == {"in.onnx", "w.bin"} | new
    assert {k: v for k, v in snapshot(tmp_path).items() if k not in new} == before
    assert np.array_equal(answer(tmp_path / "out.onnx"), answer(tmp_path / "plain.onnx"))


def test_what_is_listed_in_another_order_goes_to_a_file_of_its_own(tmp_path: Path) -> None:
    source = saved_external(tmp_path, head=TURNED)
    fc2conv.convert(source).save(tmp_path / "plain.onnx")
    fc2conv.convert(source).save(tmp_path / "out.onnx", share_data=True)
    assert "out.onnx.data" in referred_to(tmp_path / "out.onnx") <= {"out.onnx.data", "w.bin"}
    assert (tmp_path / "out.onnx.data").stat().st_size < (tmp_path / "plain.onnx.data").stat().st_size
    assert np.array_equal(answer(tmp_path / "out.onnx"), answer(tmp_path / "plain.onnx"))


def test_both_directions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = saved_external(tmp_path, head=KEPT)
    call(capsys, source, tmp_path / "out.onnx", "--share-data").clean()
    capsys.readouterr()
    arguments = [str(tmp_path / "out.onnx"), str(tmp_path / "back.onnx"), "--revert", "--share-data"]
    assert cli.main_reverse(arguments) == 0
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("inside", "target", "said"),
    [
        (True, "out.onnx", "there is no data to share: the model has its weights in the .onnx file, or none"),
        (False, "other/out.onnx", "to share its data files, the output must stand in the model's own folder"),
    ],
)
def test_there_must_be_data_beside_it(
    inside: bool, target: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    source = saved(LINEAR, tmp_path) if inside else saved_external(tmp_path, head=KEPT)
    before = snapshot(tmp_path)
    assert said in call(capsys, source, tmp_path / target, "--share-data").one_line(2)
    with pytest.raises(fc2conv.UsageError, match=said[:30]):
        fc2conv.convert(source, verify=False).save(tmp_path / target, share_data=True)
    assert snapshot(tmp_path) == before


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved_external(tmp_path, head=TURNED)
    result = fc2conv.convert(source, verify=False)
    before = snapshot(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(staging.os, name, full)
            with pytest.raises(fc2conv.UsageError, match="No space left on device"):
                result.save(tmp_path / "out.onnx", share_data=True)
        assert snapshot(tmp_path) == before


def test_data_that_another_model_refers_to_stays(tmp_path: Path) -> None:
    """Where the model that it was written for is replaced."""
    source = saved_external(tmp_path, head=KEPT)
    fc2conv.convert(source).save(tmp_path / "out.onnx")
    fc2conv.revert(tmp_path / "out.onnx").save(tmp_path / "shares.onnx", share_data=True)
    assert referred_to(tmp_path / "shares.onnx") == {"out.onnx.data"}
    fc2conv.convert(source).save(tmp_path / "out.onnx")
    assert referred_to(tmp_path / "out.onnx") == {"out.onnx.1.data"}
    assert np.array_equal(answer(tmp_path / "shares.onnx"), answer(source))
    (tmp_path / "shares.onnx").unlink()
    shutil.copy(tmp_path / "out.onnx.1.data", tmp_path / "kept")
    fc2conv.convert(source).save(tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx.1.data").exists()


def test_two_writers_of_one_target_never_mix(tmp_path: Path) -> None:
    """Each has a data file of its own, whoever comes last."""
    folders = [tmp_path / "a", tmp_path / "b"]
    sources = [saved_external(f, head=h) for f, h in zip(folders, (KEPT, TURNED), strict=True)]
    models = [load(s)[0] for s in sources]
    meet = threading.Barrier(2)
    target = Target(tmp_path / "out.onnx")

    def write(i: int) -> None:
        with staged(target, models[i].proto, models[i].folder):
            meet.wait()

    threads = [threading.Thread(target=write, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = onnx.load(tmp_path / "out.onnx")
    assert found.graph in [onnx.load(s).graph for s in sources]
    assert referred_to(tmp_path / "out.onnx") <= {p.name for p in tmp_path.iterdir()}
    assert not [p for p in os.listdir(tmp_path) if p.startswith(".")]
