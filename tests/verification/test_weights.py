"""Large tensors are kept once for all sessions, wherever models keep them, and mean what they meant before."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io
from onnx_fc2conv.places import RAW_DATA, Place, View, put
from onnx_fc2conv.verification import require_loads, runtime, structure, weights
from onnx_fc2conv.verification.apart import apart
from onnx_fc2conv.verification.weights import Weights
from tests.networks import Head, integers, network, session

WIDE = 1600
LARGE = Head(
    "f = Flatten(map)\n g = Gemm<transB = 1>(f, w, b)\n r = Relu(g)\n y = Gemm<transB = 1>(r, v)",
    {"w": (WIDE, 12), "b": (WIDE,), "v": (12, WIDE)},
)


def with_constants(model: ModelProto) -> ModelProto:
    """The same model with its weights in Constant nodes."""
    for tensor in model.graph.initializer:
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    del model.graph.initializer[:]
    return model


def with_a_branch(model: ModelProto) -> ModelProto:
    """The same model, whose ``v`` is given by both branches of an If that depends on the image, and captured there."""
    tensor = next(t for t in model.graph.initializer if t.name == "v")
    own = TensorProto()
    own.CopyFrom(tensor)
    own.name = "inner"
    value = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, list(tensor.dims))
    inner = helper.make_graph([helper.make_node("Identity", ["inner"], ["chosen"])], "inner", [], [value], [own])
    outer = helper.make_graph([helper.make_node("Identity", ["v"], ["chosen"])], "outer", [], [value])
    nodes = parser.parse_graph(
        "g (float x) => (float y) { s = ReduceSum <keepdims = 0> (x) t = Greater (s, zero) }"
    ).node
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "zero"))
    for node in reversed([*nodes, helper.make_node("If", ["t"], ["w2"], then_branch=inner, else_branch=outer)]):
        model.graph.node.insert(0, node)
    model.graph.node[-1].input[1] = "w2"
    return model


def as_it_is(model: ModelProto) -> ModelProto:
    return model


def external(model: ModelProto, folder: Path) -> Path:
    """The model in a file, all its tensors in another."""
    path = folder / "in.onnx"
    copy = ModelProto()
    copy.CopyFrom(model)
    onnx.save(copy, path, save_as_external_data=True, location="in.data", size_threshold=0, convert_attribute=True)
    return path


@pytest.mark.parametrize("default", [False, True], ids=["as written", "default"])
@pytest.mark.parametrize("spelled", [as_it_is, with_constants, with_a_branch], ids=lambda f: f.__name__)
def test_a_session_gives_what_the_whole_model_gives(spelled: Any, default: bool, tmp_path: Path) -> None:
    model = spelled(network(LARGE))
    image = integers((2, 1, 6, 4), seed=3)
    expected = session(model).run(["y"], {"x": image})[0]
    given = onnx.load(external(model, tmp_path), load_external_data=False)
    for proto, folder in ((given, str(tmp_path)), (model, "")):
        assert proto is model or all(
            t.data_location == TensorProto.EXTERNAL for t in proto.graph.initializer if t.name != "zero"
        )
        found = runtime.Session(proto, folder, default).run({"x": image})["y"]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("ir_version", [3, 8])
def test_weights_that_are_too_large_to_rearrange_are_run_as_they_are(
    ir_version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "rearranged", lambda sizes: [min(sizes)])
    converted = fc2conv.convert(network(LARGE), verify=False).model
    converted.ir_version = ir_version
    if ir_version == 3:  # lists its constants among its inputs
        converted.graph.input.extend(
            helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in converted.graph.initializer
        )
    image = integers((2, 1, 10, 12), seed=3)
    loaded = runtime.Session(converted, "", default=True)
    assert len(loaded.as_stored) == 1
    assert loaded.inputs == ["x"] or set(loaded.inputs) - {"x"} <= set(loaded.as_stored)
    np.testing.assert_array_equal(loaded.run({"x": image})["y"], session(converted).run(["y"], {"x": image})[0])


def test_the_report_says_which_weights_were_not_rearranged(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = {c.note for c in fc2conv.convert(network(LARGE)).report.checks if c.name == "default run"}
    assert notes == {""}
    monkeypatch.setattr(runtime, "rearranged", lambda sizes: [])
    notes = {c.note for c in fc2conv.convert(network(LARGE)).report.checks if c.name == "default run"}
    assert notes == {"the 2 largest weights were run as stored, not rearranged, to save memory"}


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ({"a": 10, "b": 1}, ["b", "a"]),  # little: whatever it takes
        ({"a": 2**30, "b": 2**20, "c": 2**21}, ["b", "c"]),
        ({f"w{i}": 2**28 for i in range(8)}, ["w0", "w1"]),
        ({}, []),
    ],
)
def test_what_is_rearranged_takes_no_more_than_all_weights(sizes: dict[str, int], chosen: list[str]) -> None:
    found = runtime.rearranged(sizes)
    assert found == chosen
    copies = runtime.COPIES * sum(sizes[name] for name in found)
    copies += runtime.TRANSIENT * max((sizes[name] for name in found), default=0)
    assert copies <= max(sum(sizes.values()), runtime.REARRANGED)


def test_all_sessions_of_a_verification_read_each_tensor_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read, places, sessions = external(network(LARGE), tmp_path), weights.read, [], []
    load = runtime.Session.__init__

    def noted(tensor: TensorProto, folder: str) -> np.ndarray:
        places.append(tensor.name)
        return read(tensor, folder)

    def counted(self: Any, *args: Any, **kwargs: Any) -> None:
        load(self, *args, **kwargs)
        sessions.append(self)

    monkeypatch.setattr(weights, "read", noted)
    monkeypatch.setattr(runtime.Session, "__init__", counted)
    assert fc2conv.convert(path).report.verified
    assert len(places) == 2  # w and v
    readers = [s for s in sessions if s._keep]
    assert len(readers) >= 4  # the original, its head, the converted model, and that in a default session
    arrays = [[v for v in s._keep.values() if v.shape[0] == WIDE] for s in readers]
    assert all(np.shares_memory(found[0], arrays[0][0]) for found in arrays)
    assert {found[0].shape for found in arrays} == {(WIDE, 12), (WIDE, 2, 3, 2)}


def test_a_copy_of_what_is_stored_otherwise_is_made_once(tmp_path: Path) -> None:
    """A reader may give a permuted view of a file."""
    stored = integers((4, 6))
    (tmp_path / "data").write_bytes(stored.tobytes())
    known = Weights()
    first, second = (known.of(left(tmp_path, [6, 4], View((4, 6), (1, 0))), "") for _ in range(2))
    np.testing.assert_array_equal(first, stored.T)
    assert first.flags.c_contiguous
    assert np.shares_memory(first, second)


def left(folder: Path, dims: list[int], view: View | None = None, offset: int = 0) -> TensorProto:
    """A tensor whose values are left in the file ``data``."""
    made = TensorProto(data_type=TensorProto.FLOAT, dims=dims)
    put(made, Place(str(folder / "data"), offset, 4 * prod(dims), RAW_DATA, view=view))
    return made


def test_tensors_are_the_same_only_if_all_that_is_said_of_them_is(tmp_path: Path) -> None:
    values = np.arange(32, dtype=np.float32)
    (tmp_path / "data").write_bytes(values.tobytes())

    def tensor(dims: list[int], **said: object) -> TensorProto:
        made = TensorProto(data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
        for key, value in ({"location": "data"} | said).items():
            made.external_data.add(key=key, value=str(value))
        return made

    known = Weights()
    first = known.of(tensor([2, 4], offset=0, length=32), str(tmp_path))
    np.testing.assert_array_equal(first, values[:8].reshape(2, 4))
    same = [tensor([8]), tensor([4, 2], offset=0)]
    assert all(np.shares_memory(known.of(t, str(tmp_path)), first) for t in same)
    moved = left(tmp_path, [8], View((2, 4), (1, 0)))
    others = [tensor([4]), tensor([8], offset=32), moved, left(tmp_path, [8], View((4, 2), (1, 0)))]
    found = [known.of(t, str(tmp_path)) for t in others]
    assert not any(np.shares_memory(a, first) for a in found)
    assert not np.shares_memory(found[2], found[3])
    np.testing.assert_array_equal(found[1], values[8:16])
    assert np.shares_memory(known.of(left(tmp_path, [4, 2], View((2, 4), (1, 0))), ""), found[2])
    assert np.shares_memory(known.of(left(tmp_path, [8]), ""), known.of(left(tmp_path, [2, 4]), ""))


def test_equal_values_inside_of_models_are_kept_once() -> None:
    zero, negative = np.zeros(2**15, np.float32), np.full(2**15, -0.0, np.float32)
    tensors = [numpy_helper.from_array(v, "w") for v in (zero, zero.reshape(2, -1), negative)]
    known = Weights()
    first, reshaped, other = (known.of(t, "") for t in tensors)
    assert np.shares_memory(first, reshaped)
    assert reshaped.shape == (2, 2**14)
    assert np.signbit(other).all()


def test_a_model_of_small_tensors_is_not_copied() -> None:
    model = network(Head("f = Flatten(map)\n y = Gemm(f, w)", {"w": (12, 4)}))
    parts = apart(model, "", Weights())
    assert parts.light is model
    assert parts.values == {}


def test_what_the_checks_run_holds_no_large_tensor(tmp_path: Path) -> None:
    for spelled in (as_it_is, with_constants):
        model = spelled(network(LARGE))
        parts = apart(model, "", Weights())
        assert set(parts.values) == {"w", "v"}
        assert parts.light.ByteSize() < 2**14 < model.ByteSize()


# -- the written file --------------------------------------------------------------------------------------------------


def written(folder: Path) -> Path:
    path = folder / "out.onnx"
    fc2conv.convert(network(LARGE)).save(path)
    return path


def read_back(path: str) -> ModelProto:
    return model_io.parse(path)


@pytest.mark.parametrize("name", ["onnxruntime", "reference"])
def test_a_large_file_is_read_back_and_loaded_from_where_its_tensors_lie(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structure, "LOADED_WHOLE", 0)
    path = written(tmp_path)
    require_loads(str(path), name, read_back)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(fc2conv.UnreadableModel, match="truncated"):
        require_loads(str(path), name, read_back)


@pytest.mark.parametrize("large", [False, True])
def test_a_written_file_that_is_no_valid_model_is_rejected(
    large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structure, "LOADED_WHOLE", 0 if large else 2**30)
    path = written(tmp_path)
    model = onnx.load(path)
    model.graph.node[-1].op_type = "Unheard"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(fc2conv.VerificationFailed, match=r"the written file.*Unheard"):
        require_loads(str(path), "onnxruntime", read_back)


def test_a_written_file_that_is_cut_short_is_rejected(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(fc2conv.VerificationFailed, match="onnxruntime does not load the written file"):
        require_loads(str(path), "onnxruntime")


def test_a_file_of_a_newer_opset_than_the_runtime_knows_is_loaded_lowered(tmp_path: Path) -> None:
    newest = runtime.newest_opset()
    if newest >= onnx.defs.onnx_opset_version():
        pytest.skip("this onnxruntime knows every opset that onnx does")
    path = written(tmp_path)
    model = onnx.load(path)
    model.opset_import[0].version = newest + 1
    path.write_bytes(model.SerializeToString())
    with pytest.raises(Exception, match="opset"):
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    require_loads(str(path), "onnxruntime")
