"""The metadata of a model file, read without the model: however large the weights are, and whatever is damaged."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv.model_io import metadata

from ..test_cli import EXACT

GIGABYTES = 5 * 2**30  #: of weights, in a file that takes no place on the disk
CONVERTED = fc2conv.convert(EXACT, verify=False)
BYTES = CONVERTED.model.SerializeToString()


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def key(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


def entry(name: bytes, value: bytes) -> bytes:
    body = b"\x0a" + varint(len(name)) + name + b"\x12" + varint(len(value)) + value
    return key(14, 2) + varint(len(body)) + body


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


GRAPH = key(7, 2) + b"\x00"


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """A converted model in front of whose metadata gigabytes of weights lie: a hole in the file."""
    path = tmp_path / "huge.onnx"
    geometry = CONVERTED.geometry.to_json().encode()
    with open(path, "wb") as f:
        f.write(entry(b"before", b"1") + key(7, 2) + varint(GIGABYTES))
        f.seek(GIGABYTES, 1)
        f.write(entry(b"onnx_fc2conv.geometry", geometry) + entry(b"after", "ä".encode()))
    return path


def test_gigabytes_of_weights_are_stepped_over(huge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither do they come into memory, nor are they read from the disk."""
    assert huge.stat().st_size > GIGABYTES
    counted = []

    class Counting(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            counted.append(len(data))
            return data

        def readall(self) -> bytes:
            raise AssertionError("reads the whole file")

    monkeypatch.setattr("builtins.open", lambda path, mode, buffering: Counting(path, mode))
    tracemalloc.start()
    try:
        assert fc2conv.read_geometry(huge) == CONVERTED.geometry
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert 0 < sum(counted) < 2**17


def test_long_entries_of_other_keys_are_stepped_over(tmp_path: Path) -> None:
    """The record of the original is longer than all else that is not weights."""
    long = entry(b"long", b"x" * 2**20)
    reversed_ = key(14, 2) + varint(2008) + b"\x12" + varint(2000) + b"y" * 2000 + b"\x0a\x03odd"
    path = written(
        tmp_path / "m.onnx", long + reversed_ + GRAPH + entry(b"wanted", b"z" * 2000) + entry(b"short", b"s")
    )
    tracemalloc.start()
    try:
        assert metadata(path, "wanted") == {"short": "s", "wanted": "z" * 2000, "odd": "y" * 2000}
        assert tracemalloc.get_traced_memory()[1] < 2**19
    finally:
        tracemalloc.stop()
    assert list(metadata(path)) == ["short", "wanted", "odd", "long"]


def test_all_metadata_of_a_huge_file(huge: Path) -> None:
    assert list(metadata(huge)) == ["after", "onnx_fc2conv.geometry", "before"]
    assert metadata(huge)["after"] == "ä"


def test_it_is_what_onnx_reads(tmp_path: Path) -> None:
    model = ModelProto.FromString(BYTES)
    for name, value in (("", ""), ("author", "größe/模型"), ("long", "x" * 70_000), ("author", "the second")):
        model.metadata_props.add(key=name, value=value)
    onnx.save(model, tmp_path / "m.onnx")
    first: dict[str, str] = {}
    for p in onnx.load(tmp_path / "m.onnx").metadata_props:
        first.setdefault(p.key, p.value)
    assert metadata(tmp_path / "m.onnx") == first
    assert len(first) == 5


def test_every_kind_of_field_is_stepped_over(tmp_path: Path) -> None:
    """Fields that this version of ONNX does not know, of each wire type."""
    unknown = (
        key(1000, 0) + varint(2**63) + key(1001, 1) + b"12345678" + key(1002, 5) + b"1234" + key(1003, 2) + b"\x02ab"
    )
    path = written(tmp_path / "m.onnx", unknown + GRAPH + unknown + entry(b"a", b"b") + unknown)
    assert metadata(path) == {"a": "b"}
    assert ModelProto.FromString(path.read_bytes()).metadata_props[0].value == "b"


def test_metadata_that_is_as_large_as_weights_is_stepped_over(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", GRAPH + entry(b"big", b"x" * 2**24) + entry(b"a", b"b"))
    assert metadata(path) == {"a": "b"}


def test_a_model_without_metadata(tmp_path: Path) -> None:
    assert metadata(written(tmp_path / "m.onnx", key(1, 0) + b"\x08" + GRAPH)) == {}
    with pytest.raises(fc2conv.UsageError, match="carries no geometry"):
        fc2conv.read_geometry(tmp_path / "m.onnx")


DAMAGED = {
    "empty": (b"", "it is empty"),
    "no graph": (key(1, 0) + b"\x08", "it has no graph"),
    "text": (b"no model at all", "field 13 has wire type 6"),
    "a field that is longer than the file": (key(7, 2) + b"\x05ab", "field 7 ends 3 bytes behind the end of the file"),
    "a field that is longer than any file": (key(7, 2) + varint(2**63), "behind the end of the file"),
    "a tag that is cut off": (GRAPH + b"\x80", "it ends inside of a number"),
    "a length that is cut off": (key(7, 2), "it ends inside of a number"),
    "a length without an end": (key(7, 2) + b"\xff" * 11, "a number has more than 10 bytes"),
    "a fixed field that is cut off": (GRAPH + key(9, 1) + b"1234567", "field 9 ends 1 bytes behind"),
    "the number 0": (GRAPH + b"\x02\x00", "no field has the number 0"),
    "groups": (GRAPH + key(9, 3) + key(9, 4), "field 9 has wire type 3"),
    "an entry that is none": (GRAPH + key(14, 2) + b"\x02\x0a\x09", "not an ONNX model"),
}


@pytest.mark.parametrize(("data", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_files_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", data)
    with pytest.raises(fc2conv.UnreadableModel, match=message) as caught:
        fc2conv.read_geometry(path)
    assert "m.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_cut_off_anywhere_is_refused_or_read_right(tmp_path: Path) -> None:
    """It is no model only if it ends between two fields, and then what was read is right."""
    whole = {p.key: p.value for p in CONVERTED.model.metadata_props}
    path = tmp_path / "m.onnx"
    refused = 0
    for n in [*range(0, 60), *range(len(BYTES) - 700, len(BYTES))]:
        try:
            found = metadata(written(path, BYTES[:n]))
        except fc2conv.UnreadableModel:
            refused += 1
        else:
            assert found in ({}, whole)
    assert refused > 700


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_model_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, graph: bool) -> None:
    path = written(tmp_path_factory.getbasetemp() / "any.onnx", (GRAPH if graph else b"") + data)
    try:
        found = metadata(path)
    except fc2conv.UnreadableModel:
        return
    assert all(isinstance(text, str) for pair in found.items() for text in pair)


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_what_is_no_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(fc2conv.UnreadableModel, match=r"does not exist|is a folder"):
        metadata(tmp_path / name)
