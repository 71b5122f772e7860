"""There and back by the record: the given model comes out again, byte for byte, whatever was done to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import undo
from onnx_fc2conv.undo import record as records

from ..networks import Head, integers, network
from ..structure.models import build
from ..structure.models import sparse as sparse_tensor
from ..test_assemble import decorated
from .models import converted, record_of, restored, set_weight, text_of, view

FC = "f = Flatten (map)\ny = Gemm <transB = 1> (f, w, b)"
FEATURES = 12  #: of a map of 2 x 3 x 2
REAL = np.random.default_rng(5).standard_normal((600, FEATURES)).astype(np.float32)


def head(text: str, **weights: Any) -> ModelProto:
    return network(Head(text, weights))


def typed_fields() -> ModelProto:
    """Values in ``float_data``, which a transposition reads and writes."""
    model = head("f = Flatten (map)\ny = Gemm (f, w, b)", w=(FEATURES, 4), b=(4,))
    for i, t in enumerate(model.graph.initializer):
        if t.name == "w":
            values = numpy_helper.to_array(t)
            typed = helper.make_tensor("w", t.data_type, list(t.dims), values.ravel().tolist())
            model.graph.initializer[i].CopyFrom(typed)
    return model


def half() -> ModelProto:
    """The same in float16, where the field for the type is one of integers."""
    model = network(Head("f = Flatten (map)\ny = MatMul (f, w)", {"w": (FEATURES, 4)}, dtype=np.float16))
    tensor = next(t for t in model.graph.initializer if t.name == "w")
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(helper.make_tensor("w", TensorProto.FLOAT16, [FEATURES, 4], values.ravel().tolist()))
    return model


def with_sparse_weight() -> ModelProto:
    model = build("f = Flatten(map)\n y = Gemm(f, w, b)")
    tensor = next(t for t in model.graph.initializer if t.name == "w")
    model.graph.sparse_initializer.append(sparse_tensor(numpy_helper.to_array(tensor), "w"))
    model.graph.initializer.remove(tensor)
    return model


def old_opset() -> ModelProto:
    model = network(Head(FC, {"w": (3, FEATURES), "b": (3,)}, batch=1))
    model.graph.node[-1].attribute.append(helper.make_attribute("broadcast", 1))
    model.opset_import[0].version = 6
    return model


LIN = "<domain: 'l', opset_import: ['' : 17]> lin (x, w, b) => (y) { f = Flatten (x)\n y = Gemm (f, w, b) }".replace(
    "'", '"'
)
BRANCH = """f = Flatten (map)
y = If (yes) <then_branch = t () => (float[N, 3] a) { a = Gemm (f, w, b) },
 else_branch = e () => (float[N, 3] c) { c = MatMul (f, w) }>"""


def of_type(elem_type: int, opset: int) -> ModelProto:
    """Weights of a quantised type behind a DequantizeLinear."""
    model = head(
        "f = Flatten (map)\nd = DequantizeLinear (w, s)\ny = MatMul (f, d)", w=(FEATURES, 4), s=np.float32(0.5)
    )
    model.opset_import[0].version, model.ir_version = opset, 10
    tensor = next(t for t in model.graph.initializer if t.name == "w")
    values = (np.arange(4 * FEATURES) % 7).reshape(FEATURES, 4)
    tensor.CopyFrom(numpy_helper.from_array(values.astype(helper.tensor_dtype_to_np_dtype(elem_type)), "w"))
    return model


def with_complex_numbers() -> ModelProto:
    model = head(FC, w=(3, FEATURES), b=(3,))
    for dtype in (np.complex64, np.complex128):
        model.graph.initializer.append(numpy_helper.from_array(np.ones((40, 40), dtype), dtype.__name__))
    return model


MODELS: dict[str, tuple[Callable[[], ModelProto], dict[str, Any]]] = {
    "other dims": (lambda: head(FC, w=(3, FEATURES), b=(3,)), {}),
    "transposed": (lambda: head("f = Flatten (map)\ny = MatMul (f, w)", w=(FEATURES, 3)), {}),
    "H, W, C": (
        lambda: head(
            "t = Transpose <perm = [0, 2, 3, 1]> (map)\nf = Flatten (t)\ny = Gemm <transB = 1> (f, w)",
            w=(3, FEATURES),
        ),
        {},
    ),
    "features in any order": (
        lambda: head(
            "f = Flatten (map)\ng = Gather <axis = 1> (f, order)\ny = MatMul (g, w)",
            order=np.random.default_rng(3).permutation(FEATURES),
            w=REAL.T,
        ),
        {},
    ),
    "units in rows, features in any order": (
        lambda: head(
            "f = Flatten (map)\ng = Gather <axis = 1> (f, order)\ny = Gemm <transB = 1> (g, w)",
            order=np.random.default_rng(3).permutation(FEATURES),
            w=REAL,
        ),
        {},
    ),
    "a factor, exact": (
        lambda: head("f = Flatten (map)\ny = Gemm <alpha = 0.5, transB = 1> (f, w)", w=(400, FEATURES)),
        {},
    ),
    "a factor, rounded": (
        lambda: head("f = Flatten (map)\ny = Gemm <alpha = 0.3, beta = 1.7> (f, w, b)", w=REAL.T, b=REAL[:, 0]),
        {},
    ),
    "all weights equal": (
        lambda: head("f = Flatten (map)\ny = MatMul (f, w)", w=np.ones((FEATURES, 3), np.float32)),
        {},
    ),
    "computed weights": (
        lambda: head(
            "f = Flatten (map)\nv = Expand (w, dims)\ny = MatMul (f, v)", w=(1, 3), dims=np.array([FEATURES, 3])
        ),
        {},
    ),
    "computed weights, large": (
        lambda: head("f = Flatten (map)\nv = Neg (w)\ny = MatMul (f, v)", w=REAL.T),
        {},
    ),
    "weights in a Constant": (
        lambda: head(
            "w = Constant <value = float[12, 2] {"
            + ", ".join(map(str, range(24)))
            + "}> ()\nf = Flatten (map)\ny = MatMul (f, w)"
        ),
        {},
    ),
    "typed fields": (typed_fields, {}),
    "float16 in typed fields": (half, {}),
    "everything that a file can carry": (decorated, {}),
    "int8": (lambda: of_type(TensorProto.INT8, 13), {}),
    "int4, packed": (lambda: of_type(TensorProto.INT4, 21), {}),
    "float8": (lambda: of_type(TensorProto.FLOAT8E4M3FN, 19), {}),
    "complex numbers beside": (with_complex_numbers, {}),
    "two FCs, one weight": (
        lambda: head("f = Flatten (map)\ng = Gemm (f, w)\ny = Gemm (g, w)", w=(FEATURES, FEATURES)),
        {},
    ),
    "a function": (lambda: build("y = l.lin (map, w, b)", functions=[LIN]), {}),
    "a branch": (lambda: build(BRANCH, {"w": (12, 3), "b": (3,), "yes": np.array(True)}), {}),
    "sparse": (with_sparse_weight, {}),
    "an old opset": (old_opset, {}),
    "an unbaked size": (
        lambda: head(
            "q = Reshape (map, s)\nr = Relu (q)\nf = Flatten (r)\ny = MatMul (f, w)",
            s=np.array([-1, 2, 3, 2]),
            w=(FEATURES, 3),
        ),
        {},
    ),
    "static": (lambda: head(FC, w=(3, FEATURES), b=(3,)), {"static": True}),
    "static, a vector": (
        lambda: head(FC + "\nr = Relu (y)\nz = MatMul (r, v)", w=(3, FEATURES), b=(3,), v=(3, 2)),
        {"static": True},
    ),
    "rows": (lambda: head(FC, w=(3, FEATURES), b=(3,)), {"output": "rows"}),
    "mean": (lambda: head(FC, w=(3, FEATURES), b=(3,)), {"output": "mean"}),
    "max": (lambda: head(FC, w=(3, FEATURES), b=(3,)), {"output": "max"}),
    "any batch": (
        lambda: network(
            Head("f = Reshape (map, s)\ny = MatMul (f, w)", {"s": np.array([2, 12]), "w": (12, 3)}, batch=2)
        ),
        {"dynamic_batch": True},
    ),
    "a global pool": (
        lambda: head("p = GlobalAveragePool (map)\nf = Flatten (p)\ny = MatMul (f, w)", w=(2, 3)),
        {"global_pool": "keep"},
    ),
    "a window pool": (lambda: head("p = GlobalAveragePool (map)\nf = Flatten (p)\ny = MatMul (f, w)", w=(2, 3)), {}),
    "no head": (lambda: head("y = Relu (map)"), {}),
    "tiles": (lambda: head("f = Flatten (map)\ny = MatMul (f, w)", w=(FEATURES, 5)), {"max_kernel": 2}),
    "blocks": (
        lambda: head(FC + "\nr = Relu (y)\nz = MatMul (r, v)", w=(9, FEATURES), b=(9,), v=(9, 2)),
        {"max_channels": 4, "max_kernel": 1},
    ),
}


@pytest.mark.parametrize(("make", "options"), MODELS.values(), ids=MODELS.keys())
def test_the_original_comes_back_byte_for_byte(make: Callable[[], ModelProto], options: dict[str, Any]) -> None:
    original = make()
    before = original.SerializeToString(deterministic=True)
    proto = converted(original, **options)
    found = restored(proto)
    assert found.proto.SerializeToString(deterministic=True) == before
    assert found.proto == original
    assert (found.source, found.notes) == (undo.RECORDED, ())
    assert all(row.how == undo.IDENTICAL for row in found.rows)
    assert found.identical


def steps(proto: ModelProto) -> set[str]:
    """Which kinds of steps the recipes of a record are made of."""
    recipes = record_of(proto)["recipes"].values()
    found = {key for recipe in recipes for key in recipe if key not in ("from", "digest", "back")}
    found |= {"tiles" for recipe in recipes if isinstance(recipe["from"], dict)}
    found |= {"exact" for recipe in recipes if recipe["exactly"]} | {"back" for r in recipes if r.get("back")}
    return found - {"exactly"} | ({"typed"} if record_of(proto)["typed"] else set())


KINDS = {
    "other dims": set(),
    "transposed": {"dims", "perm"},
    "H, W, C": {"dims", "perm"},
    "features in any order": {"dims", "perm", "order"},
    "units in rows, features in any order": {"dims", "perm", "order", "back"},
    "a factor, exact": {"divisor"},
    "a factor, rounded": {"dims", "perm", "divisor", "residual", "exact"},
    "all weights equal": {"exact"},
    "typed fields": {"dims", "perm", "typed"},
    "tiles": {"dims", "perm", "tiles"},
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_entry_is_used(name: str) -> None:
    """Else a weight that is stored as it is would make the round trip as well."""
    make, options = MODELS[name]
    assert steps(converted(make(), **options)) == KINDS[name]


def test_weights_are_not_stored() -> None:
    """The record of a large model is as small as that of a small one."""
    sizes = []
    for units in (300, 3000):
        proto = converted(
            head(FC, w=REAL[np.arange(units) % 600] + np.arange(units, dtype=np.float32)[:, None], b=(units,))
        )
        sizes.append(len(text_of(proto) or ""))
    assert sizes[1] < sizes[0] + 100 < 3000


def test_the_record_is_as_long_as_it_has_to_be() -> None:
    """Nodes that stay are named by where they are."""
    short, long = (
        len(
            text_of(converted(head("\n".join(relus(n)) + "\nf = Flatten (m)\ny = MatMul (f, w)", w=(FEATURES, 3))))
            or ""
        )
        for n in (1, 200)
    )
    assert long < short + 100


def relus(n: int) -> list[str]:
    names = ["map", *(f"r{i}" for i in range(n - 1)), "m"]
    return [f"{b} = Relu ({a})" for a, b in itertools.pairwise(names)]


def test_what_is_too_long_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = head(FC, w=(3, FEATURES), b=(3,))
    monkeypatch.setattr(records, "LARGEST", 100)
    proto = converted(model)
    assert text_of(proto) is None
    assert undo.restore(view(proto)) is None


def test_a_weight_that_is_nowhere_and_too_large_is_not_recorded() -> None:
    """Computed weights cannot be had back from what was computed, and are not written into the metadata."""
    large = np.random.default_rng(0).standard_normal((FEATURES, 30_000)).astype(np.float32)
    proto = converted(head("f = Flatten (map)\nv = Neg (w)\ny = MatMul (f, v)", w=large))
    assert text_of(proto) is None


def test_rows_say_what_came_back() -> None:
    model = head(
        "f = Flatten (map)\n[one] h = MatMul (f, w)\nr = Relu (h)\n[two] y = Gemm (r, v, b)",
        w=(12, 5),
        v=(5, 3),
        b=(3,),
    )
    rows = restored(converted(model)).rows
    assert [(r.node, r.replaced, r.weight, r.dims) for r in rows] == [
        ("MatMul 'one'", ("Conv 'one'",), "w", (12, 5)),
        ("Gemm 'two'", ("Conv 'two'",), "v", (5, 3)),
    ]


@pytest.mark.parametrize(
    ("options", "grid"), [({}, 2), ({"output": "rows"}, 0), ({"output": "max"}, 0), ({"static": True}, 0)], ids=str
)
def test_the_grid_axes_and_the_trained_size_are_known(options: dict[str, Any], grid: int) -> None:
    found = restored(converted(head(FC, w=(3, FEATURES), b=(3,)), **options))
    assert found.grids == {"y": grid}
    assert found.trained == {"x": (None, 1, 6, 4)}


def test_a_record_of_an_earlier_conversion_is_part_of_the_original() -> None:
    """Two conversions in a row are undone one by one."""
    first = head(FC, w=(3, FEATURES), b=(3,))
    second = converted(first, static=True)
    third = converted(second)
    assert [p.key for p in third.metadata_props].count(undo.METADATA_KEY) == 1
    assert restored(third).proto == second
    assert restored(restored(third).proto).proto == first


def test_external_data_stays_where_the_converted_model_has_it(tmp_path: Path) -> None:
    original = head(
        "f = Flatten (map)\n y = Gemm <transB = 1> (f, w)\nr = Relu (y)\nz = MatMul (r, v)", w=REAL, v=(600, 4)
    )
    path, target = tmp_path / "in.onnx", tmp_path / "there" / "out.onnx"
    target.parent.mkdir()
    onnx.save(original, path, save_as_external_data=True, location="in.data", size_threshold=0)
    fc2conv.convert(path, verify=False).save(target)
    found = undo.restore(view(target))
    assert found is not None
    assert found.identical
    assert len(found.notes) == 1
    assert "data file" in found.notes[0]
    onnx.load_external_data_for_model(found.proto, str(target.parent))
    given = onnx.load(path)
    assert [numpy_helper.to_array(t).tobytes() for t in found.proto.graph.initializer] == [
        numpy_helper.to_array(t).tobytes() for t in given.graph.initializer
    ]
    for model in (found.proto, given):
        for t in model.graph.initializer:
            t.ClearField("raw_data")
            t.ClearField("data_location")
    assert found.proto == given


def test_a_file_comes_back_through_the_disk(tmp_path: Path) -> None:
    original = head(FC, w=(3, FEATURES), b=(3,))
    fc2conv.convert(original, verify=False).save(tmp_path / "out.onnx")
    found = undo.restore(view(tmp_path / "out.onnx"))
    assert found is not None
    assert found.proto == original


def test_nothing_but_the_metadata_of_the_converted_model_is_written() -> None:
    """One entry, at the end; everything else is as it was without."""
    proto = converted(head(FC, w=(3, FEATURES), b=(3,)))
    assert [p.key for p in proto.metadata_props][-1] == undo.METADATA_KEY
    assert len(proto.metadata_props) == 2
    assert (text_of(proto) or "").isprintable()


# -- weights that were changed afterwards ------------------------------------------------------------------------------


def test_trained_weights_come_back_as_they_are_now() -> None:
    original = head("f = Flatten (map)\ny = Gemm (f, w, b)", w=REAL.T, b=REAL[:, 0])
    proto = converted(original)
    set_weight(proto, "w", lambda w: w * 2 + 1)
    found = restored(proto)
    expected = numpy_helper.to_array(next(t for t in original.graph.initializer if t.name == "w")) * 2 + 1
    assert np.array_equal(
        numpy_helper.to_array(next(t for t in found.proto.graph.initializer if t.name == "w")), expected
    )
    assert [row.how for row in found.rows] == ["the values that it has now"]
    assert not found.identical
    assert found.notes == ("changed after the conversion, so they come back as they are now: 'w'",)


INSIDE = """<domain: "l", opset_import: ["" : 17]> f (x) => (y) {
 w = Constant <value = float[12, 100] {WEIGHTS}> ()
 y = MatMul (x, w) }"""


@pytest.mark.parametrize("where", ["a Constant", "a function"])
def test_changed_weights_of_constants_are_not_called_identical(where: str) -> None:
    numbers = ", ".join(map(str, range(1200)))
    if where == "a function":
        text, functions = "f = Flatten (map)\n y = l.f (f)", [INSIDE.replace("WEIGHTS", numbers)]
        original = build(text, {}, functions, outputs={"y": ["N", 100]})
    else:
        original = MODELS["weights in a Constant"][0]()
    proto = converted(original)
    assert restored(proto).proto == original
    name = next(t.name for t in proto.graph.initializer if t.name != "backbone")
    set_weight(proto, name, lambda w: w + 1)
    found = restored(proto)
    assert [row.how for row in found.rows] == ["the values that it has now"]
    assert not found.identical
    assert len(found.notes) == 1


def test_one_changed_weight_of_a_million_is_not_always_noticed_but_always_there() -> None:
    original = head("f = Flatten (map)\ny = Gemm (f, w)", w=integers((FEATURES, 9000), 3))
    proto = converted(original)

    def change(w: np.ndarray) -> np.ndarray:
        w = w.copy()
        w.reshape(-1)[5000] += 1
        return w

    set_weight(proto, "w", change)
    found = restored(proto)
    after, before = (numpy_helper.to_array(p.graph.initializer[-1]) for p in (found.proto, original))
    assert (after != before).sum() == 1
    assert [row.how for row in found.rows] == [undo.restored.SAMPLED]


def test_a_factor_is_divided_out_of_changed_weights_too() -> None:
    proto = converted(head("f = Flatten (map)\ny = Gemm <alpha = 0.3> (f, w)", w=REAL.T))
    set_weight(proto, "w", lambda w: w * 2)
    found = restored(proto)
    values = numpy_helper.to_array(next(t for t in found.proto.graph.initializer if t.name == "w"))
    np.testing.assert_allclose(values, REAL.T * 2, rtol=1e-6)
    assert [row.how for row in found.rows] == ["divided by the factor 0.3 that was folded into it"]
    assert "not every bit could be had back of 'w'" in found.notes


def test_bits_that_there_is_no_room_for_are_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_fc2conv.undo.recipes.LARGEST_RESIDUAL", 10)
    found = restored(converted(head("f = Flatten (map)\ny = Gemm <alpha = 0.3> (f, w)", w=REAL.T)))
    values = numpy_helper.to_array(next(t for t in found.proto.graph.initializer if t.name == "w"))
    assert not np.array_equal(values, REAL.T)
    np.testing.assert_allclose(values, REAL.T, rtol=1e-6)
    assert not found.identical


def test_where_it_is_not_known_how_weights_moved_changed_ones_are_refused() -> None:
    proto = converted(head("f = Flatten (map)\ny = MatMul (f, w)", w=np.ones((FEATURES, FEATURES), np.float32)))
    set_weight(proto, "w", lambda w: w + np.arange(w.size).reshape(w.shape))
    with pytest.raises(undo.Edited, match="weight 'w' was changed after the conversion"):
        restored(proto)


def test_a_changed_tensor_that_the_original_has_no_place_for_is_refused() -> None:
    """The one-hot kernel that flattens windows for a node that needs the vector itself."""
    proto = converted(head("f = Flatten (map)\nn = LpNormalization <axis = 1> (f)\ny = MatMul (n, w)", w=(FEATURES, 3)))
    name = next(t.name for t in proto.graph.initializer if "flatten_kernel" in t.name)
    set_weight(proto, name, lambda w: w * 2)
    with pytest.raises(undo.Edited, match="flatten_kernel"):
        restored(proto)


def test_weights_computed_from_what_changed_are_refused() -> None:
    proto = converted(MODELS["computed weights"][0]())
    name = next(t.name for t in proto.graph.initializer if list(t.dims)[:1] == [3])
    set_weight(proto, name, lambda w: w + 1)
    with pytest.raises(undo.Edited):
        restored(proto)
