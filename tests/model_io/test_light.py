"""Reading without the weights, and writing them back: protobuf itself says what must come out."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, places
from onnx_fc2conv.model_io import copying, light
from onnx_fc2conv.model_io.splicing import spliced
from onnx_fc2conv.places import place_of
from onnx_fc2conv.tensors import read, tensors
from tests.model_io.placed import everywhere

MODELS = sorted((Path(__file__).parents[2] / "models").glob("*.onnx"))


@pytest.fixture(autouse=True)
def _all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LARGE", 1)


def written(proto: ModelProto, path: Path) -> bytes:
    with open(path, "wb") as f:
        copying.write(spliced(proto), f)
    return path.read_bytes()


def saved(proto: ModelProto, path: Path) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def left(proto: ModelProto) -> set[str]:
    """The tensors whose values were left in the file."""
    return {t.name for t in tensors(proto) if place_of(t) is not None}


# -- there and back ---------------------------------------------------------------------------------------------------


def test_values_are_left_in_the_file_wherever_they_are(tmp_path: Path) -> None:
    model = everywhere()
    found = model_io.parse(saved(model, tmp_path / "m.onnx"))
    assert left(found) == {t.name for t in tensors(model)} - {"text", "none"}
    assert found.ByteSize() - sum(len(t.SerializeToString()) for t in tensors(found)) < model.ByteSize()
    assert written(found, tmp_path / "out.onnx") == model.SerializeToString()
    assert model_io.whole(found) == model


def test_values_are_read_from_where_they_are(tmp_path: Path) -> None:
    model = everywhere()
    found = model_io.parse(saved(model, tmp_path / "m.onnx"))
    for light_, full in zip(tensors(found), tensors(model), strict=True):
        a, b = read(light_, ""), numpy_helper.to_array(full)
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_a_file_comes_out_as_it_went_in(path: Path, tmp_path: Path) -> None:
    found = model_io.parse(path)
    assert left(found)
    assert written(found, tmp_path / "out.onnx") == path.read_bytes()


def test_fields_that_nobody_knows_are_kept(tmp_path: Path) -> None:
    """Once, in a tensor whose values are exchanged, and in the messages around it."""
    tensor = numpy_helper.from_array(np.arange(9.0), "w").SerializeToString() + b"\xa2\x06\x03new"
    graph = b"\x2a" + bytes([len(tensor)]) + tensor + b"\xaa\x06\x01x"
    data = b"\x3a" + places.varint(len(graph)) + graph
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert written(model_io.parse(path), tmp_path / "out.onnx") == data


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.external_data.add(key="location", value="raw.bin"),
        lambda t: setattr(t, "data_location", TensorProto.EXTERNAL),
        lambda t: t.segment.CopyFrom(TensorProto.Segment(begin=0, end=3)),
    ],
    ids=["it says where else they are", "it says that they are elsewhere", "it is a part"],
)
def test_a_tensor_that_says_more_is_taken_as_it_is(change: object, tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.arange(9.0), "w")
    change(tensor)  # type: ignore[operator]
    model = ModelProto(graph=onnx.GraphProto(initializer=[tensor]))
    assert model_io.parse(saved(model, tmp_path / "m.onnx")) == model


def merged_twice() -> bytes:
    """An attribute that has its tensor in two pieces, which protobuf puts together."""
    a = TensorProto(dims=[2], data_type=1).SerializeToString()
    b = TensorProto(raw_data=b"12345678", name="b").SerializeToString()
    attribute = b"".join(b"\x2a" + bytes([len(t)]) + t for t in (a, b))
    node = b"\x2a" + bytes([len(attribute)]) + attribute
    graph = b"\x0a" + bytes([len(node)]) + node
    return b"\x3a" + bytes([len(graph)]) + graph


def raw_twice() -> bytes:
    """A tensor with its values twice, of which the last count."""
    tensor = numpy_helper.from_array(np.arange(3.0), "w")
    both = TensorProto(raw_data=b"x" * 16).SerializeToString() + tensor.SerializeToString()
    graph = b"\x2a" + bytes([len(both)]) + both
    return b"\x3a" + bytes([len(graph)]) + graph


@pytest.mark.parametrize("data", [merged_twice(), raw_twice()], ids=["tensor", "values"])
def test_what_protobuf_merges_is_left_to_it(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert model_io.parse(path) == ModelProto.FromString(data)


# -- damage -----------------------------------------------------------------------------------------------------------

SOUND = everywhere().SerializeToString()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=3),
    st.integers(0, 2 * len(SOUND)),
)
def test_a_damaged_file_is_what_protobuf_says_it_is(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(SOUND)
    for at, byte in edits:
        data[at] = byte
    path = tmp_path_factory.mktemp("damaged") / "m.onnx"
    path.write_bytes(data[:cut])
    try:
        expected = ModelProto.FromString(bytes(data[:cut]))
    except DecodeError:
        expected = None
    try:
        found = model_io.whole(light.parse(path))
    except fc2conv.UnreadableModel:
        return
    assert expected is not None
    assert found.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


@pytest.mark.parametrize("stored", [b"\x80", b"\xff" * 10 + b"\x01", b"\x01\x80", b"\xff" * 9 + b"\x02"])
def test_damaged_lists_of_numbers_are_refused(stored: bytes, tmp_path: Path) -> None:
    """Where protobuf refuses them."""
    tensor = TensorProto(data_type=TensorProto.INT64, dims=[1]).SerializeToString()
    tensor += b"\x3a" + bytes([len(stored)]) + stored
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    (tmp_path / "m.onnx").write_bytes(b"\x3a" + bytes([len(graph)]) + graph)
    try:
        expected = ModelProto.FromString((tmp_path / "m.onnx").read_bytes())
    except DecodeError:
        with pytest.raises(fc2conv.UnreadableModel):
            model_io.parse(tmp_path / "m.onnx")
    else:
        assert model_io.whole(model_io.parse(tmp_path / "m.onnx")) == expected


def test_numbers_are_counted_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light, "BLOCK", 11)
    found = model_io.parse(saved(everywhere(), tmp_path / "m.onnx"))
    counts = {t.name: light.numbers_in(p) for t in tensors(found) if (p := place_of(t)) and not p.plain_field}
    assert counts == {"long": 20, "int": 40, "unsigned": 6, "half": 30, "nibbles": 17}


def test_messages_that_nest_too_deep_are_refused(tmp_path: Path) -> None:
    graph = b"\x2a\x04" + TensorProto(raw_data=b"12").SerializeToString()
    for _ in range(60):  # graph in attribute in node in graph
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            graph = tag + places.varint(len(graph)) + graph
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x3a" + places.varint(len(graph)) + graph)
    with pytest.raises(fc2conv.UnreadableModel, match="nest deeper than 100 levels"):
        model_io.parse(path)


@pytest.mark.parametrize("name", ["raw", "float", "double", "long", "half", "nibbles"])
def test_a_tensor_must_be_as_long_as_its_dims_say(name: str, tmp_path: Path) -> None:
    model = everywhere()
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.dims[0] += 2
    with pytest.raises(fc2conv.UnreadableModel, match=f"tensor '{name}' has .* its dims .* need"):
        model_io.load(saved(model, tmp_path / "m.onnx"))


@pytest.mark.filterwarnings("ignore:Ignoring unknown external data key")
def test_no_file_can_say_where_else_values_are(tmp_path: Path) -> None:
    """The key is another one in every process, so whatever a file says is an entry like any other."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"12345678")
    tensor = TensorProto(name="w", dims=[2], data_type=1)
    places.put(tensor, places.Place(str(secret), 0, 8, places.RAW_DATA))
    tensor.external_data[0].key = places.KEY[:-1] + ("0" if places.KEY[-1] != "0" else "1")
    model = helper.make_model(helper.make_graph([], "g", [], [onnx.ValueInfoProto(name="w")], [tensor]))
    with pytest.raises(fc2conv.UnreadableModel, match="is not a path inside the model's folder"):
        model_io.load(saved(model, tmp_path / "m.onnx"))


def test_a_file_that_changes_meanwhile_is_not_believed(tmp_path: Path) -> None:
    source = saved(onnx.load(MODELS[-1]), tmp_path / "m.onnx")
    result = fc2conv.convert(source, verify=False)
    os.utime(source, ns=(1, 1))
    for use in (lambda: result.model, lambda: result.save(tmp_path / "out.onnx")):
        with pytest.raises(fc2conv.UnreadableModel, match=r"m\.onnx' was changed while it was read"):
            use()
    assert os.listdir(tmp_path) == ["m.onnx"]


# -- conversion -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_a_conversion_of_a_file_is_that_of_the_model_in_memory(path: Path, tmp_path: Path) -> None:
    """The record of the original included; and what is taken back is the file, byte for byte."""
    expected = fc2conv.convert(onnx.load(path), verify=False).model
    result = fc2conv.convert(path, verify=False)
    assert left(result.light)
    result.save(tmp_path / "out.onnx")
    assert result.model == expected
    assert (tmp_path / "out.onnx").read_bytes() == expected.SerializeToString()
    fc2conv.revert(tmp_path / "out.onnx", verify=False).save(tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == path.read_bytes()


def test_the_result_can_be_edited_before_it_is_saved(tmp_path: Path) -> None:
    result = fc2conv.convert(MODELS[0], verify=False)
    result.model.producer_name = "edited"
    result.save(tmp_path / "out.onnx")
    assert onnx.load(tmp_path / "out.onnx").producer_name == "edited"


@pytest.mark.parametrize(("trans", "alpha"), [(0, 1.0), (1, 1.0), (0, 0.5), (1, 0.5)])
def test_weights_never_come_into_memory(
    trans: int, alpha: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as they are, not transposed, not times a factor."""
    monkeypatch.setattr(places, "LARGE", 2**16)
    monkeypatch.setattr("onnx_fc2conv.model_io.moving.STRIP", 2**18)
    monkeypatch.setattr("onnx_fc2conv.undo.left.LARGEST_DIVIDED", 2**18)
    size = (2000, 8 * 6 * 6) if trans else (8 * 6 * 6, 2000)
    weight = np.random.default_rng(0).integers(-2, 3, (4, *size)).astype(np.float32)
    parts = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weight)]
    nodes = [helper.make_node("Flatten", ["x"], ["f"])]
    nodes += [helper.make_node("Gemm", ["f", f"w{i}"], [f"y{i}"], transB=trans, alpha=alpha) for i in range(4)]
    outputs = [helper.make_tensor_value_info(f"y{i}", 1, ["N", 2000]) for i in range(4)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, ["N", 8, 6, 6])], outputs, parts)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    source = saved(model, tmp_path / "m.onnx")
    fc2conv.convert(source, verify=False)  # what is imported on the way does not count
    tracemalloc.start()
    try:
        fc2conv.convert(source, verify=False).save(tmp_path / "out.onnx")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < weight[0].nbytes < source.stat().st_size / 3
    expected = fc2conv.convert(model, verify=False).model
    found = onnx.load(tmp_path / "out.onnx")
    assert list(found.graph.initializer) == list(expected.graph.initializer)


def test_a_file_that_protobuf_could_not_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of numbers stay in the model: they are no bytes that a data file could have."""
    light_ = model_io.parse(saved(everywhere(), tmp_path / "m.onnx"))
    monkeypatch.setattr("onnx_fc2conv.model_io.staging.PROTOBUF_LIMIT", 500)
    with (
        pytest.raises(fc2conv.UsageError, match="more than 2 GiB that cannot be external data"),
        model_io.staged(model_io.Target.of(tmp_path / "out.onnx"), light_, str(tmp_path)),
    ):
        pass
    assert os.listdir(tmp_path) == ["m.onnx"]
