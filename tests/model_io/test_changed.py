"""What is written is what was read and checked: a file that changes in between is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import onnx_fc2conv as fc2conv
from onnx_fc2conv import places
from onnx_fc2conv.model_io import staging
from tests.model_io.test_files import saved_external
from tests.model_io.test_sharing import KEPT, TURNED
from tests.networks import Head, network
from tests.test_cli import snapshot


@pytest.fixture(autouse=True)
def _all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LARGE", 1)


def inline(folder: Path, head: Head) -> Path:
    """A model with its weights in the model file."""
    onnx.save(network(head), folder / "in.onnx")
    return folder / "in.onnx"


def external(folder: Path, head: Head) -> Path:
    """The same with its weights in ``w.bin``."""
    return saved_external(folder, head=head)


def rewrite(path: Path) -> None:
    """Other bytes, as many as before, at another time."""
    data, status = path.read_bytes(), path.stat()
    path.write_bytes(bytes(b ^ 1 for b in data))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


def refused(result: Any, folder: Path, changed: str, share_data: bool = False) -> None:
    """Saving is refused for the file that changed, and leaves nothing."""
    before = set(os.listdir(folder))
    with pytest.raises(fc2conv.UnreadableModel, match=rf"{changed}' was changed while it was read"):
        result.save(folder / "out.onnx", share_data=share_data)
    assert set(os.listdir(folder)) == before


@pytest.mark.parametrize("share_data", [False, True])
@pytest.mark.parametrize("head", [KEPT, TURNED], ids=["kept", "turned"])
def test_a_data_file_that_changes_before_it_is_copied(head: Head, share_data: bool, tmp_path: Path) -> None:
    result = fc2conv.convert(external(tmp_path, head))
    rewrite(tmp_path / "w.bin")
    refused(result, tmp_path, r"w\.bin", share_data)


@pytest.mark.parametrize("head", [KEPT, TURNED], ids=["kept", "turned"])
@pytest.mark.parametrize(("made", "name"), [(inline, "in.onnx"), (external, "w.bin")])
def test_a_file_that_changes_while_it_is_copied(
    made: Callable[[Path, Head], Path], name: str, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = fc2conv.convert(made(tmp_path, head))
    written = staging.write

    def meanwhile(*arguments: Any) -> None:
        written(*arguments)
        rewrite(tmp_path / name)

    monkeypatch.setattr(staging, "write", meanwhile)
    refused(result, tmp_path, name.replace(".", r"\."))


def test_so_it_is_with_convolutions_as_products(tmp_path: Path) -> None:
    result = fc2conv.convolution_to_matmul(external(tmp_path, KEPT))
    rewrite(tmp_path / "w.bin")
    refused(result, tmp_path, r"w\.bin")


def test_so_it_is_on_the_way_back(tmp_path: Path) -> None:
    fc2conv.convert(external(tmp_path, KEPT)).save(tmp_path / "conv.onnx")
    result = fc2conv.revert(tmp_path / "conv.onnx")
    rewrite(tmp_path / "conv.onnx.data")
    refused(result, tmp_path, r"conv\.onnx\.data")


def test_a_file_that_nothing_is_taken_from_may_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small model is in memory once it is read."""
    monkeypatch.setattr(places, "LARGE", 2**16)
    source = inline(tmp_path, KEPT)
    result = fc2conv.convert(source)
    expected = snapshot(tmp_path)["in.onnx"]
    source.unlink()
    result.save(tmp_path / "out.onnx")
    fc2conv.revert(tmp_path / "out.onnx").save(tmp_path / "in.onnx")
    assert snapshot(tmp_path)["in.onnx"] == expected
