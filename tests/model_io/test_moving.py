"""Values on their way from file to file: numpy says what must arrive."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv.model_io import copying, moving
from onnx_fc2conv.model_io.exchange import Hole
from onnx_fc2conv.places import RAW_DATA, Place, View

TYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.INT8: np.int8}


@st.composite
def views(draw: st.DrawFn) -> View:
    dims = draw(st.lists(st.integers(1, 6), max_size=4))
    return View(tuple(dims), tuple(draw(st.permutations(range(len(dims))))), draw(st.sampled_from([1.0, 0.5, -3.0])))


@settings(max_examples=200, deadline=None)
@given(views(), st.sampled_from(sorted(TYPES)), st.integers(0, 9), st.integers(1, 300), st.integers(1, 60))
def test_every_order_of_the_axes(
    tmp_path_factory: pytest.TempPathFactory, view: View, elem_type: int, offset: int, strip: int, tile: int
) -> None:
    """Whatever fits into memory at once."""
    values = np.random.default_rng(0).integers(-9, 9, view.dims).astype(TYPES[elem_type])
    path = tmp_path_factory.mktemp("moved") / "values"
    path.write_bytes(b"x" * offset + values.tobytes() + b"behind")
    place = Place(str(path), offset, values.nbytes, RAW_DATA, view=view)
    expected = (values.transpose(view.perm) * np.asarray(view.factor, values.dtype)).astype(values.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving, "STRIP", strip)
        patch.setattr(moving, "TILE", tile)
        blocks = [block.copy() for block in moving.moved(place, view, elem_type)]
    assert np.concatenate(blocks).tobytes() == expected.tobytes()
    assert place.values(elem_type, expected.shape).tobytes() == expected.tobytes()
    assert all(block.nbytes <= max(strip, values.itemsize) for block in blocks)


def test_nothing_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "values").write_bytes(b"")
    view = View((0, 3), (1, 0))
    assert not list(moving.moved(Place(str(tmp_path / "values"), 0, 0, RAW_DATA, view=view), view, TensorProto.FLOAT))


DATA = np.random.default_rng(0).integers(0, 256, 3 * 4096 + 77, np.uint8).tobytes()


def stretch(tmp_path: Path, offset: int, length: int) -> Hole:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return Hole(Place(str(path), offset, length, RAW_DATA), TensorProto.UINT8, (length,), length)


def broken_after(count: int) -> object:
    """A kernel that copies so many bytes at most, and then says that it cannot."""
    done = 0

    def copy_file_range(source: int, target: int, length: int, offset: int, at: int) -> int:
        nonlocal done
        if done >= count:
            raise OSError(errno.EXDEV, "no")
        length = min(length, count - done)
        done += length
        return os.pwrite(target, os.pread(source, length, offset), at)

    return copy_file_range


@pytest.mark.parametrize("kernel", ["as it is", "none", "refuses", "stops", "ends"])
@pytest.mark.parametrize(("front", "offset"), [(0, 0), (5, 5), (5, 0), (4096, 0), (1, 4097), (0, 77)])
def test_bytes_are_copied_one_way_or_the_other(
    kernel: str, front: int, offset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the kernel, where it can and where pages fit; in blocks else, or from where the kernel stopped."""
    monkeypatch.setattr(copying, "BLOCK", 1000)
    if kernel == "none":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    elif kernel != "as it is":
        call = {"refuses": broken_after(0), "stops": broken_after(5000), "ends": lambda *_: 0}[kernel]
        monkeypatch.setattr(os, "copy_file_range", call, raising=False)
    hole = stretch(tmp_path, offset, len(DATA) - offset - 3)
    with open(tmp_path / "target", "wb") as f:
        copying.write([b"f" * front, hole, b"behind", hole], f)
    piece = DATA[offset:-3]
    assert (tmp_path / "target").read_bytes() == b"f" * front + piece + b"behind" + piece


def test_a_file_that_becomes_shorter_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hole = stretch(tmp_path, 0, 5000)
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    monkeypatch.setattr(Place, "open", lambda self: os.open(self.path, os.O_RDONLY))
    os.truncate(tmp_path / "source", 4000)
    with open(tmp_path / "target", "wb") as f, pytest.raises(fc2conv.UnreadableModel, match="became shorter"):
        copying.write([hole], f)


def test_the_fewest_axes() -> None:
    assert moving.merged((2, 3, 4, 5), (0, 1, 3, 2)) == ((6, 4, 5), (0, 2, 1))
    assert moving.merged((2, 1, 4), (0, 1, 2)) == ((8,), (0,))
    assert moving.merged((1, 1), (1, 0)) == ((), ())
