"""Records that nobody wrote like this, and models that were edited: one line, no traceback, no guess."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import undo
from onnx_fc2conv.undo import skeleton

from ..networks import Head, network
from ..structure.models import build, sparse
from .models import converted, edited, packed, record_of, restored, set_weight, text_of, unpacked, view, with_record
from .models import with_text as with_text_of

ORIGINAL = network(
    Head(
        "f = Flatten (map)\nn = LpNormalization <axis = 1> (f)\n[one] h = Gemm <alpha = 0.3> (n, w, b)\n"
        "r = Relu (h)\n[two] y = MatMul (r, v)",
        {
            "w": np.random.default_rng(0).standard_normal((12, 400)).astype(np.float32),
            "b": (400,),
            "v": (400, 3),
        },
    )
)
PLAIN = converted(ORIGINAL)
TILED = converted(ORIGINAL, max_kernel=2, max_channels=200)
Row = dict[str, Any]


def put(value: Any, *path: Any) -> Callable[[Row], None]:
    """An edit of a record: the value at a path; ``...`` stands for the first key."""

    def edit(row: Row) -> None:
        place: Any = row
        for key in path[:-1]:
            place = place[next(iter(place)) if key is ... else key]
        last = next(iter(place)) if path[-1] is ... else path[-1]
        if value is None:
            del place[last]
        else:
            place[last] = value(place[last]) if callable(value) else value

    return edit


def of(kind: str) -> Callable[[Row], Row]:
    """The first recipe that has a key."""
    return lambda row: next(r for r in row["recipes"].values() if kind in r)


def recipe(kind: str, key: str, value: Any) -> Callable[[Row], None]:
    """An edit of the first recipe that has the first key."""

    def edit(row: Row) -> None:
        found = of(kind)(row)
        found[key] = value(found[key]) if callable(value) else value

    return edit


def frame(change: Callable[[ModelProto], None]) -> Callable[[Row], None]:
    """An edit of the stored part of the original."""

    def edit(row: Row) -> None:
        model = ModelProto.FromString(unpacked(row["frame"]))
        change(model)
        row["frame"] = packed(model.SerializeToString())

    return edit


def header(**fields: Any) -> Callable[[ModelProto], None]:
    """An edit of the first stored initializer."""

    def change(model: ModelProto) -> None:
        for name, value in fields.items():
            setattr(model.graph.initializer[0], name, value)

    return change


def negative_dims(model: ModelProto) -> None:
    tensor = model.graph.initializer.add(name="odd", data_type=TensorProto.FLOAT)
    tensor.dims.extend([-1, 4])


def short(model: ModelProto) -> None:
    tensor = model.graph.initializer.add(name="odd", data_type=TensorProto.FLOAT, raw_data=b"1234")
    tensor.dims.extend([2**20, 2**20])


def outside(model: ModelProto) -> None:
    tensor = model.graph.initializer.add(name="odd", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")


ONE_MORE = put(lambda runs: [*runs[:-1], [runs[-1][0], runs[-1][1] + 1]], "initializers")

DAMAGED: dict[str, tuple[Callable[[Row], None], str]] = {
    "no schema": (put(None, "schema"), "it has no 'schema'"),
    "another schema": (put(2, "schema"), "has schema 2, this version reads 1"),
    "no skeleton": (put(None, "skeleton"), "it has no 'skeleton'"),
    "a skeleton of numbers": (put(5, "skeleton"), "no text: 5"),
    "no frame": (put(None, "frame"), "it has no 'frame'"),
    "a frame that is no base64": (put("ä", "frame"), "ASCII"),
    "a frame that is no zlib": (put("AAAA", "frame"), "decompressing"),
    "a frame that is cut off": (put(lambda f: f[: len(f) // 8 * 4], "frame"), "cut off"),
    "a frame that is no model": (put(packed(b"\xff" * 40), "frame"), ""),
    "a frame that unpacks to gigabytes": (put(packed(bytes(2**26)), "frame"), "cut off, or too large"),
    "nodes that are not there": (put([[0, 99]], "nodes"), "more than there is"),
    "nodes before the first": (put([[-2, 1]], "nodes"), "no position: -2"),
    "a negative number of nodes": (put([[0, -1]], "nodes"), "no number >= 0: -1"),
    "a thousand million nodes": (put([[0, 10**9]], "nodes"), "more than there is"),
    "nodes out of nowhere": (put([[-1, 99]], "nodes"), "more"),
    "stored nodes that are left out": (put([], "nodes"), "more or less than it stores"),
    "nodes that are no runs": (put([1, 2], "nodes"), ""),
    "one initializer more": (ONE_MORE, "more"),
    "functions that are not there": (put([[0, 1]], "functions"), "more than there is"),
    "sparse tensors that are not there": (put([[0, 1]], "sparse"), "more than there is"),
    "recipes that are no table": (put([1], "recipes"), ""),
    "a recipe of nothing": (put({"0": {}}, "recipes"), "it has no"),
    "a recipe for a tensor that is not there": (lambda row: row["recipes"].update({"99": of("dims")(row)}), "range"),
    "a recipe for a tensor before the first": (lambda row: row["recipes"].update({"-1": of("dims")(row)}), ">= 0: -1"),
    "no number of a tensor": (lambda row: row["recipes"].update({"one": of("dims")(row)}), "invalid literal"),
    "a source that is not there": (recipe("dims", "from", 10**6), "range"),
    "a source before the first": (recipe("dims", "from", -1), "no number >= 0"),
    "a source of another size": (recipe("dims", "from", 0), "cannot be made"),
    "a source that is true": (recipe("dims", "from", True), "no number >= 0"),
    "dims of another size": (recipe("dims", "dims", [2, 2]), "reshape"),
    "dims of thousands of millions": (recipe("dims", "dims", lambda d: [2**40] * len(d)), "reshape"),
    "no permutation": (recipe("dims", "perm", lambda p: [0] * len(p)), "permutation"),
    "an order of another length": (recipe("dims", "order", packed(b"1234" * 3)), "bytes where"),
    "an order that unpacks to gigabytes": (recipe("dims", "order", packed(bytes(2**26))), "bytes where"),
    "an order out of range": (lambda row: of("dims")(row).update(order=_wrong_order(of("dims")(row))), "out of bounds"),
    "an order that is no zlib": (recipe("dims", "order", "AAAA"), "decompressing"),
    "a factor 0": (recipe("divisor", "divisor", 0), "no divisor: 0"),
    "a factor in words": (recipe("divisor", "divisor", "one"), "no divisor: 'one'"),
    "bits that are no base64": (recipe("residual", "residual", "!"), "base64"),
    "bits of another number": (lambda row: of("residual")(row).update(residual=packed(b"12")), "bytes where"),
    "no digest": (lambda row: of("dims")(row).pop("digest"), "it has no 'digest'"),
    "a guard of nothing": (put({"99": "x"}, "guards"), "range"),
    "an FC of nothing": (put([[1]], "lost"), "argument"),
    "an FC of numbers": (put([[1, [], "w", []]], "lost"), "no text: 1"),
    "a trained size in words": (put({"x": ["one"]}, "trained"), "no number >= 0: 'one'"),
    "a grid below 0": (put({"y": -1}, "grids"), "no number >= 0: -1"),
    "a stored tensor with negative dims": (frame(negative_dims), "dims"),
    "a stored tensor that is too short": (frame(short), "fewer values than its dims need"),
    "a stored tensor in another file": (frame(outside), "cannot be stored outside"),
    "a tensor of another type": (frame(header(data_type=TensorProto.INT8)), "cannot be made"),
}


def _wrong_order(row: Row) -> str:
    return packed(np.full(row["dims"][row["perm"][0]], 2**30, "<i4").tobytes())


def refused(proto: ModelProto) -> str:
    """The one line that a damaged record is refused with."""
    tracemalloc.start()
    try:
        with pytest.raises(fc2conv.UsageError) as caught:
            restored(proto)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 300
    return line


@pytest.mark.parametrize(("edit", "reason"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_records_are_refused(edit: Callable[[Row], None], reason: str) -> None:
    line = refused(with_record(PLAIN, edit))
    assert reason in line
    assert "record of" in line


TILES: dict[str, tuple[Callable[[Row], None], str]] = {
    "that start outside": (lambda tiles: tiles["tiles"][0].__setitem__(1, [10**6] * 4), "could not broadcast"),
    "that stick out": (lambda tiles: tiles["dims"].reverse(), ""),
    "of nothing": (lambda tiles: tiles["tiles"].clear(), "no tiles"),
    "too few": (lambda tiles: tiles["tiles"].pop(), "cannot be made"),
    "of another whole": (lambda tiles: tiles["dims"].append(7), "cannot be made"),
    "that are not there": (lambda tiles: tiles["tiles"][0].__setitem__(0, 10**6), "range"),
}


@pytest.mark.parametrize(("change", "reason"), TILES.values(), ids=TILES.keys())
def test_tiles_that_do_not_fit_are_refused(change: Callable[[Row], None], reason: str) -> None:
    def edit(row: Row) -> None:
        change(next(r["from"] for r in row["recipes"].values() if isinstance(r["from"], dict)))

    assert restored(TILED).proto == ORIGINAL
    assert reason in refused(with_record(TILED, edit))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"x"', "[" * 100_000, '{"schema": 1}', "x" * (4 * 2**20 + 1)], ids=lambda t: t[:12]
)
def test_text_that_is_no_record_is_refused(text: str) -> None:
    assert "record of its original is damaged" in refused(with_text_of(PLAIN, text))


@settings(derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_damage_ends_in_anything_but_a_refusal_or_a_model(data: st.DataObject) -> None:
    text = text_of(TILED) or ""
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start, min(start + 40, len(text))))
    instead = data.draw(st.sampled_from(["", "0", "-1", "9" * 9, "[", "{}", "null", "A", '"', "1e999", "NaN", ",0"]))
    model = view(TILED)
    model.proto = with_text_of(TILED, text[:start] + instead + text[end:])
    try:
        found = undo.restore(model)
    except (fc2conv.UsageError, undo.Edited) as e:
        one_line = "\n" not in str(e)
    else:
        one_line = found is not None and bool(found.proto.SerializeToString())
    assert one_line


# -- edited models -----------------------------------------------------------------------------------------------------


def rename_value(m: ModelProto) -> None:
    for node in m.graph.node:
        node.input[:] = ["other" if i == "r" else i for i in node.input]
        node.output[:] = ["other" if o == "r" else o for o in node.output]


def swap_initializers(m: ModelProto) -> None:
    first = m.graph.initializer[0]
    m.graph.initializer.append(first)
    del m.graph.initializer[0]


def set_dims(m: ModelProto) -> None:
    tensor = next(t for t in m.graph.initializer if t.name == "v")
    tensor.dims[0], tensor.dims[1] = tensor.dims[1], tensor.dims[0]


def set_type(m: ModelProto) -> None:
    tensor = next(t for t in m.graph.initializer if t.name == "b")
    tensor.data_type = TensorProto.INT32


def set_attribute(m: ModelProto) -> None:
    m.graph.node[0].attribute[0].ints[0] = 1


NOTICED: dict[str, Callable[[ModelProto], None]] = {
    "a node more": lambda m: m.graph.node.append(helper.make_node("Relu", ["y"], ["z"])),
    "a node less": lambda m: m.graph.node.pop(),
    "another operator": lambda m: setattr(m.graph.node[-2], "op_type", "Tanh"),
    "another domain": lambda m: setattr(m.graph.node[-2], "domain", "com.microsoft"),
    "another attribute": set_attribute,
    "an attribute less": lambda m: m.graph.node[0].attribute.pop(),
    "a value by another name": rename_value,
    "initializers in another order": swap_initializers,
    "an initializer more": lambda m: m.graph.initializer.append(numpy_helper.from_array(np.ones(2), "new")),
    "a weight of other dims": set_dims,
    "a weight of another type": set_type,
    "an output more": lambda m: m.graph.output.append(helper.make_tensor_value_info("r", 1, None)),
    "an input more": lambda m: m.graph.input.append(helper.make_tensor_value_info("new", 1, [1])),
    "another opset": lambda m: setattr(m.opset_import[0], "version", 18),
    "a function more": lambda m: m.functions.append(
        helper.make_function("l", "f", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], m.opset_import)
    ),
    "a sparse tensor more": lambda m: m.graph.sparse_initializer.append(sparse(np.eye(3, dtype=np.float32), "new")),
}


def changed(edit: Callable[[ModelProto], None]) -> undo.Restored:
    """What comes back of an edited model; checks on the file do not come first."""
    model = view(PLAIN)
    model.proto = edited(PLAIN, edit)
    found = undo.restore(model)
    assert found is not None
    return found


@pytest.mark.parametrize("edit", NOTICED.values(), ids=NOTICED.keys())
def test_edits_of_the_graph_are_noticed(edit: Callable[[ModelProto], None]) -> None:
    with pytest.raises(undo.Edited, match="its graph was edited after the conversion") as caught:
        changed(edit)
    assert "\n" not in str(caught.value)


def test_it_is_the_digest_that_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: without it an edit is lost without a word, or put where it does not belong."""
    monkeypatch.setattr("onnx_fc2conv.undo.restoring.digest", lambda *_: record_of(PLAIN)["skeleton"])
    assert changed(NOTICED["another operator"]).proto == ORIGINAL
    assert changed(NOTICED["another attribute"]).proto != ORIGINAL


def test_a_number_in_a_shape_is_noticed_and_a_weight_is_not() -> None:
    original = network(Head("s = Slice (map, a, e, c)\nf = Flatten (s)\ny = MatMul (f, w)", SLICED))
    proto = converted(original)
    name = next(t.name for t in proto.graph.initializer if t.name == "a")
    with pytest.raises(undo.Edited, match="its graph was edited"):
        restored(edited(proto, lambda m: set_weight(m, name, lambda v: v + 1)))
    assert restored(edited(proto, lambda m: set_weight(m, "backbone", lambda v: v + 1))).proto != original


SLICED = {"a": np.array([0]), "e": np.array([1]), "c": np.array([1]), "w": (6, 3)}


def inside(m: ModelProto) -> None:
    next(a for a in m.graph.node[-1].attribute if a.name == "else_branch").g.node[0].op_type = "Tanh"


def test_edits_of_subgraphs_and_functions_are_noticed() -> None:
    text = """f = Flatten (map)
    v = MatMul (f, w)
    y = If (go) <then_branch = t () => (float[N, 3] a) { a = Relu (v) },
     else_branch = e () => (float[N, 3] c) { c = l.twice (v) }>"""
    twice = '<domain: "l", opset_import: ["" : 17]> twice (x) => (y) { y = Add (x, x) }'
    original = build(text, {"w": (12, 3)}, [twice])
    original.graph.input.append(helper.make_tensor_value_info("go", TensorProto.BOOL, []))
    proto = converted(original, static=True)
    assert restored(proto).proto == original
    for edit in (inside, lambda m: setattr(m.functions[0].node[0], "op_type", "Mul")):
        with pytest.raises(undo.Edited, match="its graph was edited"):
            restored(edited(proto, edit))


def fix_input(m: ModelProto) -> None:
    for dim, n in zip(m.graph.input[0].type.tensor_type.shape.dim, (1, 1, 8, 8), strict=True):
        dim.dim_value = n


HARMLESS: dict[str, Callable[[ModelProto], None]] = {
    "doc strings": lambda m: setattr(m, "doc_string", "said"),
    "metadata": lambda m: m.metadata_props.add(key="a", value="b"),
    "declared shapes": lambda m: m.graph.value_info.append(helper.make_tensor_value_info("r", 1, [1, 400, 1, 1])),
    "a fixed size": fix_input,
    "the producer": lambda m: setattr(m, "producer_name", "somebody"),
    "the IR version": lambda m: setattr(m, "ir_version", 9),
}


@pytest.mark.parametrize("edit", HARMLESS.values(), ids=HARMLESS.keys())
def test_edits_of_nothing_that_is_computed_are_harmless(edit: Callable[[ModelProto], None]) -> None:
    found = restored(edited(PLAIN, edit))
    assert found.proto == ORIGINAL
    assert found.identical


def test_names_that_a_tool_gave_to_nodes_stay() -> None:
    proto = edited(PLAIN, lambda m: setattr(m.graph.node[0], "name", "named"))
    found = restored(proto).proto
    assert found.graph.node[0].name == "named"
    assert [n.op_type for n in found.graph.node] == [n.op_type for n in ORIGINAL.graph.node]


def test_the_digest_does_not_depend_on_where_bytes_are() -> None:
    raw, typed = (edited(PLAIN, lambda m: None) for _ in range(2))
    for tensor in typed.graph.initializer:
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.INT64):
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(helper.make_tensor(tensor.name, tensor.data_type, tensor.dims, values.ravel().tolist()))
    assert raw != typed
    assert skeleton.digest(raw, "") == skeleton.digest(typed, "")
    assert json.loads(text_of(raw) or "")["skeleton"] == skeleton.digest(raw, "")
