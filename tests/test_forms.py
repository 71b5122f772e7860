"""``output="rows" | "mean" | "max"``, against the original run in a loop over windows and formed by hand.

A new case is a row of ``HEADS``, a new reason one of ``REFUSED``. The inputs are small integers and the grids have a
power of two of cells, so that linear heads are equal bit for bit in every form, the mean among them.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.dtypes import tolerance
from onnx_fc2conv.output_form import METADATA_KEY

from .lift.tables import head, table
from .lift.test_layouts import PLACES
from .networks import Head, answers_over, assert_close, feeds_of, integers, network, places_of, session
from .test_cli import EXACT, call
from .test_images import CASES as IMAGES
from .test_images import Case
from .test_images import answers as answers_of_images

FORMS = ("rows", "mean", "max")
GROWTHS = {1: [(7,), (0,), (4,)], 2: [(3, 1), (0, 0), (2, 4)], 3: [(1, 3, 0), (0, 0, 0), (1, 2, 3)]}
every_form = pytest.mark.parametrize("form", FORMS)


def by_hand(form: str, windows: np.ndarray, grid_rank: int) -> np.ndarray:
    """What the answers of all windows, ``[*front, *grid]``, give in a form: in loops, a mean in float64."""
    cells = list(itertools.product(*map(range, windows.shape[windows.ndim - grid_rank :])))
    if form == "rows":
        return np.stack([windows[(n, ..., *cell)] for n in range(len(windows)) for cell in cells])
    answers = [windows[(..., *cell)] for cell in cells]
    if form == "max":
        return functools.reduce(np.maximum, answers)
    total = functools.reduce(np.add, [a.astype(np.float64) for a in answers])
    return np.asarray(total / len(cells)).astype(windows.dtype)


def dims(value: onnx.ValueInfoProto) -> list[Any]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def declared(model: ModelProto) -> dict[str, list[Any]]:
    return {v.name: dims(v) for v in (*model.graph.input, *model.graph.value_info, *model.graph.output)}


def convert(model: ModelProto, form: str, **options: Any) -> fc2conv.Result:
    """Convert with all checks, and have ONNX accept the result with every shape that it declares."""
    result = fc2conv.convert(model, output=form, **options)
    onnx.checker.check_model(result.model, full_check=True)
    onnx.shape_inference.infer_shapes(result.model, check_type=True, strict_mode=True, data_prop=True)
    return result


@dataclass(frozen=True)
class Row:
    """A head, the forms that are tried, and what rounds: terms and nodes of ``dtypes.tolerance``, or equal bits."""

    head: Head
    forms: Sequence[str] = FORMS
    terms: int = 0
    nodes: int = 0


FC = "f = Flatten(map)\ny = Gemm(f, w, b)"
LINEAR = head(FC, w=(12, 3), b=(3,))
MLP = "f = Flatten(map)\ng = Gemm(f, w, b)\nr = Relu(g)\ny = Gemm(r, v)"

HEADS = table(
    {
        "linear": Row(LINEAR),
        "two FCs": Row(head(MLP, w=(12, 4), b=(4,), v=(4, 3))),
        "one class": Row(head(FC, w=(12, 1), b=(1,))),
        "1-D": Row(head(FC, window=(4,), w=(8, 3), b=(3,))),
        "3-D": Row(head(FC, window=(2, 3, 2), w=(24, 3), b=(3,))),
        "the flattened vector": Row(head("y = Flatten(map)\nz = Gemm(y, w)", outputs="y z", w=(12, 3))),
        "two feature axes": Row(head(f"{FC}\nz = Reshape(y, d)", outputs="z", w=(12, 6), b=(6,), d=[0, 2, 3])),
        "three feature axes": Row(head(f"{FC}\nz = Reshape(y, d)", outputs="z", w=(12, 6), b=(6,), d=[0, 3, 1, 2])),
        "no feature axis": Row(
            head(f"{FC}\nz = ReduceMax <axes = [1], keepdims = 0>(y)", 13, outputs="z", w=(12, 3), b=(3,))
        ),
        "an output that the head reads too": Row(
            head(f"{FC}\nr = Relu(y)\nz = Gemm(r, v)", outputs="z y", w=(12, 3), b=(3,), v=(3, 2))
        ),
        "two outputs of one node": Row(
            head(f"{FC}\nz, q = Split <axis = 1>(y, d)", outputs="q z", w=(12, 3), b=(3,), d=[1, 2])
        ),
        "a fixed batch": Row(head(FC, batch=3, w=(12, 3), b=(3,))),
        "softmax": Row(head(f"{FC}\nz = Softmax <axis = 1>(y)", outputs="z", w=(12, 3), b=(3,)), FORMS, 12, 4),
        "indices": Row(head(f"{FC}\nz = ArgMax <axis = 1>(y)", outputs="z", w=(12, 3), b=(3,)), ("rows", "max")),
        "flags": Row(head(f"{FC}\nz = Greater(y, o)", outputs="z", w=(12, 3), b=(3,), o=1.0), ("rows",)),
        "flags, opset 20": Row(
            head(f"{FC}\nz = Greater(y, o)", 20, outputs="z", w=(12, 3), b=(3,), o=1.0), ("rows", "max")
        ),
        "float16": Row(head(FC, dtype=np.float16, w=(12, 3), b=(3,))),
        "float16, opset 18": Row(head(FC, 18, dtype=np.float16, w=(12, 3), b=(3,))),
    },
    {f"opset {opset}": Row(head(FC, opset, w=(12, 3), b=(3,))) for opset in (7, 9, 11, 13, 18, 21, 26)},
    {
        f"{kind}, opset {opset}": Row(
            head(f"{FC}\nz = Cast <to = {to}>(y)", opset, outputs="z", w=(12, 3), b=(3,)), forms
        )
        for forms, *rest in (
            (FORMS, ("double", 11, 13), ("half", 10, 7)),
            (("rows", "max"), ("int32", 6, 7), ("int64", 7, 11), ("int8", 3, 12), ("uint8", 2, 18)),
        )
        for kind, to, opset in rest
    },
    {
        f"{list(place.shape)}, batch {where}": Row(
            place.head("y = Relu(r)", False), FORMS if where == "first" else ("mean", "max")
        )
        for where, place in PLACES.items()
    },
)
TRIED = [(name, form) for name, row in HEADS.items() for form in row.forms]


@pytest.mark.parametrize(("name", "form"), TRIED, ids=[f"{name}-{form}" for name, form in TRIED])
def test_every_window_formed_by_hand(name: str, form: str) -> None:
    row = HEADS[name]
    model, rank = network(row.head), len(row.head.window)
    result = convert(model, form)
    outputs = [o.name for o in model.graph.output]
    assert [o.name for o in result.model.graph.output] == outputs
    run = session(result.model)
    for grow, batch in itertools.product(GROWTHS[rank], (1, 2)):
        feeds = feeds_of(row.head, grow, batch)
        windows = answers_over(model, feeds, places_of(row.head, model))
        for output, found in zip(outputs, run.run(outputs, feeds), strict=True):
            expected = by_hand(form, windows[output], rank)
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            cells = math.prod(windows[output].shape[windows[output].ndim - rank :])
            rounds = row.terms or (form == "mean" and cells & (cells - 1))  # else exact
            terms, nodes = row.terms + cells, row.nodes + 1
            elem_type = helper.np_dtype_to_tensor_dtype(found.dtype)
            assert_close(found, expected, tolerance(elem_type, terms, nodes) if rounds else 0.0)


@pytest.mark.parametrize(("name", "form"), TRIED, ids=[f"{name}-{form}" for name, form in TRIED])
def test_at_the_trained_size_the_originals_own_output(name: str, form: str) -> None:
    row = HEADS[name]
    model = network(row.head)
    converted = fc2conv.convert(model, output=form, verify=False).model
    feeds = feeds_of(row.head, [0] * len(row.head.window))
    outputs = [o.name for o in model.graph.output]
    for found, expected in zip(*(session(m).run(outputs, feeds) for m in (converted, model)), strict=True):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        elem_type = helper.np_dtype_to_tensor_dtype(found.dtype)
        assert_close(found, expected, tolerance(elem_type, row.terms, row.nodes) if row.terms else 0.0)


def test_rows_are_what_the_original_gives_for_a_batch_of_all_crops() -> None:
    """Code that was written for batches of crops runs unchanged; this network pads nothing, so that bits are equal."""
    model = network(LINEAR)
    converted = convert(model, "rows").model
    images = integers((3, 1, 14, 10), seed=3)
    starts = [(2 * i, 2 * j) for i in range(5) for j in range(4)]
    crops = np.concatenate([image[None, :, y : y + 6, x : x + 4] for image in images for y, x in starts])
    (expected,) = session(model).run(None, {"x": crops})
    (found,) = session(converted).run(None, {"x": images})
    assert expected.shape == (60, 3)
    np.testing.assert_array_equal(found, expected)


TWO_SIZES = IMAGES["two heads, different sizes"]


@every_form
@pytest.mark.parametrize(
    "name", ["two heads, different sizes", "1-D and 2-D, two heads", "difference of features, unshared weights"]
)
def test_outputs_of_several_images(name: str, form: str) -> None:
    case: Case = IMAGES[name]
    result = convert(case.model, form)
    sizes = {n: [t + g for t, g in zip(case.trained(n), (6, 2), strict=False)] for n in case.inputs}
    feeds = case.images(sizes)
    found = dict(zip(case.outputs, session(result.model).run(list(case.outputs), feeds), strict=True))
    for output in case.outputs:
        windows = answers_of_images(case, feeds, output)
        rank = len(case.trained("a" if output == "y" else "b"))
        assert windows[0, 0].size in (4, 8)
        np.testing.assert_array_equal(found[output], by_hand(form, windows, rank))


@every_form
def test_outputs_on_different_grids_of_one_image(form: str) -> None:
    """The second head reads a map of half the resolution."""
    row = head(
        f"{FC}\ncoarse = MaxPool <kernel_shape = [2, 2], strides = [2, 2]>(map)\ne = Flatten(coarse)\nz = Gemm(e, v)",
        window=(4, 2),
        outputs="y z",
        w=(16, 3),
        b=(3,),
        v=(4, 5),
    )
    model = network(row)
    result = convert(model, form)
    feeds = feeds_of(row, (6, 2))
    one = (1, 1)
    expected = {
        "y": answers_over(model, feeds, {"map": ((4, 2), one)}, ["y"])["y"],
        "z": answers_over(model, feeds, {"coarse": ((2, 1), one)}, ["z"])["z"],
    }
    assert expected["y"].shape[-2:] == (7, 3)
    assert expected["z"].shape[-2:] == (4, 2)
    for name, found in zip(expected, session(result.model).run(list(expected), feeds), strict=True):
        hand = by_hand(form, expected[name], 2)
        assert_close(found, hand, tolerance(TensorProto.FLOAT, 21, 1) if form == "mean" else 0.0)
    shapes = declared(result.model)
    if form == "rows":
        assert [shapes["y"], shapes["z"]] == [["windows", 3], ["windows_2", 5]]


@every_form
def test_one_answer_for_the_whole_image(form: str) -> None:
    row = head("p = GlobalMaxPool(map)\nf = Flatten(p)\ny = Gemm(f, w, b)", w=(2, 3), b=(3,))
    model = network(row)
    result = convert(model, form, global_pool="keep")
    image = integers((2, 1, 14, 10), seed=3)
    loose = ModelProto.FromString(model.SerializeToString())
    for dim in loose.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.Clear()
    (expected,) = session(loose).run(None, {"x": image})
    (found,) = session(result.model).run(None, {"x": image})
    np.testing.assert_array_equal(found, expected)
    assert declared(result.model)["y"] == ["N", 3]


@every_form
def test_an_output_that_is_a_feature_map_stays_one(form: str) -> None:
    row = head("m = Relu(map)\nf = Flatten(m)\ny = Gemm(f, w)", outputs="m y", w=(12, 3))
    model = network(row)
    result = convert(model, form)
    feeds = feeds_of(row, (3, 1))
    (found,) = session(result.model).run(["m"], feeds)
    assert found.shape == (2, 2, 6, 3)
    np.testing.assert_array_equal(found, session(fc2conv.convert(model, verify=False).model).run(["m"], feeds)[0])
    assert [(o.name, o.form, o.map) for o in result.report.outputs] == [("y", form, "y_map")]


@pytest.mark.parametrize(("opset", "runtime"), [(22, "reference"), (17, "reference")], ids=["bfloat16", "float64"])
@every_form
def test_types_that_only_onnx_reference_runs(opset: int, runtime: str, form: str) -> None:
    import ml_dtypes

    dtype = np.dtype(ml_dtypes.bfloat16) if opset == 22 else np.dtype(np.float64)
    weights = {"w": integers((12, 3), 11).astype(dtype), "b": integers((3,), 12).astype(dtype)}
    result = convert(network(Head(FC, weights, opset=opset, dtype=dtype)), form, runtime=runtime)
    assert [c.name for c in result.report.checks].count("output form") == 6


def test_a_mean_of_half_precision_is_summed_in_single() -> None:
    """256 answers of some 1,000 each: their sum is none that float16 has."""
    row = head(FC, dtype=np.float16, w=(12, 1), b=np.array([1000], np.float16))
    model = convert(network(row), "mean").model
    inferred = onnx.shape_inference.infer_shapes(model)
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.graph.value_info, *inferred.graph.output)}
    (pool,) = [n for n in model.graph.node if n.op_type == "ReduceMean"]
    assert types[pool.input[0]] == TensorProto.FLOAT
    assert types["y"] == TensorProto.FLOAT16
    feeds = feeds_of(row, (15, 15))
    windows = answers_over(network(row), feeds, places_of(row, network(row)))["y"]
    assert windows.astype(np.float64).sum((2, 3)).min() > np.finfo(np.float16).max
    np.testing.assert_array_equal(session(model).run(None, feeds)[0], by_hand("mean", windows, 2))


@pytest.mark.parametrize("form", ["mean", "max"])
def test_answers_that_are_not_finite(form: str) -> None:
    """A logarithm of what may be negative or 0: NaN and -inf among the answers are no fault of the conversion."""
    row = head(f"{FC}\nz = Log(y)", outputs="z", w=(12, 3), b=(3,))
    result = convert(network(row), form)
    feeds = feeds_of(row, (3, 1))
    windows = answers_over(network(row), feeds, places_of(row, network(row)))["z"]
    assert np.isnan(windows).any()
    if form == "mean":
        (found,) = session(result.model).run(None, feeds)
        assert np.isnan(found[np.isnan(windows).any((2, 3))]).all()


# -- what cannot have a form -------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Head, str, str, str]] = table(
    {
        "mean of indices": (
            head(f"{FC}\nz = ArgMax <axis = 1>(y)", outputs="y z", w=(12, 3), b=(3,)),
            "mean",
            "ArgMax 'z'",
            "output 'z' cannot be pooled: a mean of int64 values is no int64; use --output map",
        ),
        "mean of flags": (
            head(f"{FC}\nz = Greater(y, o)", outputs="z", w=(12, 3), b=(3,), o=1.0),
            "mean",
            "Greater 'z'",
            "output 'z' cannot be pooled: a mean of bool values is no bool; use --output map",
        ),
        "max of flags": (
            head(f"{FC}\nz = Greater(y, o)", 18, outputs="z", w=(12, 3), b=(3,), o=1.0),
            "max",
            "Greater 'z'",
            "output 'z' cannot be pooled: ReduceMax of opset 18 does not take bool; use --output map",
        ),
        "max of int8 in an old opset": (
            head(f"{FC}\nz = Cast <to = 3>(y)", 11, outputs="z", w=(12, 3), b=(3,)),
            "max",
            "Cast 'z'",
            "output 'z' cannot be pooled: ReduceMax of opset 11 does not take int8; use --output map",
        ),
        "max of uint32": (
            head(f"{FC}\nz = Cast <to = 12>(y)", outputs="z", w=(12, 3), b=(3,)),
            "max",
            "Cast 'z'",
            "output 'z' cannot be pooled: onnxruntime's CPU provider has no ReduceMax of uint32; use --output map",
        ),
    },
    {
        f"rows of {list(place.shape)}, batch {where}": (
            place.head("y = Relu(r)", False),
            "rows",
            "Relu 'y'",
            "output 'y' does not begin with a batch axis, so its windows cannot be rows of a batch; use --output map",
        )
        for where, place in PLACES.items()
        if where != "first"
    },
)


@pytest.mark.parametrize(("row", "form", "node", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refuses(row: Head, form: str, node: str, reason: str) -> None:
    with pytest.raises(fc2conv.Unliftable, match=re.escape(reason)) as caught:
        fc2conv.convert(network(row), output=form, verify=False)
    assert (caught.value.node, caught.value.exit_code) == (node, 1)
    fc2conv.convert(network(row))  # as a map it converts


def test_max_of_what_only_onnx_reference_pools() -> None:
    row, *_ = REFUSED["max of uint32"]
    report = convert(network(row), "max", runtime="reference").report
    assert report.verified
    assert {o.form for o in report.outputs} == {"max"}


# -- names and declared shapes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "shape"), [("rows", ["windows", 3]), ("mean", ["N", 3]), ("max", ["N", 3])])
def test_declared_shapes(form: str, shape: list[Any]) -> None:
    plain = declared(fc2conv.convert(network(LINEAR), verify=False).model)
    shapes = declared(convert(network(LINEAR), form).model)
    assert shapes["y"] == shape
    assert shapes["y_map"] == plain["y"]
    assert shapes["x"] == plain["x"]


def test_outputs_over_one_grid_have_as_many_rows() -> None:
    row = head(f"{FC}\nz = Relu(y)", outputs="y z", w=(12, 3), b=(3,))
    shapes = declared(convert(network(row), "rows").model)
    assert shapes["y"] == shapes["z"] == ["windows", 3]


def test_outputs_over_unnamed_batches_share_no_name() -> None:
    model = network(head(f"{FC}\nz = Relu(y)", outputs="y z", w=(12, 3), b=(3,)))
    model.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    shapes = declared(convert(model, "rows").model)
    assert {shapes["y"][0], shapes["z"][0]} == {"windows", "windows_2"}


@every_form
def test_names_that_are_taken(form: str) -> None:
    """By a batch called like the rows, and by values called like the map and like what is made of it."""
    text = "y_map = Neg(map)\nf = Flatten(y_map)\nu = Gemm(f, y_shape, grid_axes)\ny = Relu(u)"
    row = head(text, 18, batch="windows", y_shape=(12, 3), grid_axes=(3,))
    model = network(row)
    result = convert(model, form)
    (output,) = result.report.outputs
    assert output.map == "y_map_2"
    names = [o for n in result.model.graph.node for o in n.output]
    assert len(names) == len(set(names))
    assert declared(result.model)["y"][0] == ("windows_2" if form == "rows" else "windows")
    feeds = feeds_of(row, (3, 1))
    windows = answers_over(model, feeds, places_of(row, model))["y"]
    np.testing.assert_array_equal(session(result.model).run(None, feeds)[0], by_hand(form, windows, 2))


def test_a_name_that_a_branch_uses_is_not_taken() -> None:
    """A subgraph sees the names around it, so that its own must be others."""
    model = network(LINEAR)
    scalar = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["y_map"], value_float=1.0)],
        "branch",
        [],
        [helper.make_tensor_value_info("y_map", TensorProto.FLOAT, [])],
    )
    model.graph.input.append(scalar)
    model.graph.node.append(helper.make_node("If", ["c"], ["chosen"], then_branch=branch, else_branch=branch))
    model.graph.output.append(helper.make_tensor_value_info("chosen", TensorProto.FLOAT, []))
    result = fc2conv.convert(model, output="rows", verify=False)
    assert [o.map for o in result.report.outputs] == ["y_map_2"]
    onnx.checker.check_model(result.model, full_check=True)


@every_form
def test_initializers_are_listed_as_inputs_in_ir_3(form: str) -> None:
    model = network(replace(LINEAR, opset=8))
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    result = convert(model, form)
    listed = {i.name for i in result.model.graph.input}
    assert {t.name for t in result.model.graph.initializer} < listed


def test_what_was_declared_of_the_output_inside_goes() -> None:
    model = network(LINEAR)
    model.graph.value_info.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3]))
    inner = [v.name for v in convert(model, "mean").model.graph.value_info]
    assert inner == ["y_map"]


# -- what is said of it ------------------------------------------------------------------------------------------------


def metadata(model: ModelProto) -> dict[str, str]:
    return {p.key: p.value for p in model.metadata_props}


@every_form
def test_the_geometry_is_that_of_the_map(form: str) -> None:
    plain = fc2conv.convert(network(LINEAR), verify=False)
    result = fc2conv.convert(network(LINEAR), output=form, verify=False)
    assert result.geometry == fc2conv.read_geometry(result.model) == plain.geometry
    said = json.loads(metadata(result.model)[METADATA_KEY])
    assert said == {"schema": 1, "outputs": {"y": {"form": form, "map": "y_map"}}}
    assert METADATA_KEY not in metadata(plain.model)


def test_what_a_model_said_before_is_replaced() -> None:
    model = network(LINEAR)
    helper.set_model_props(model, {"author": "somebody", METADATA_KEY: "{}", "version": "7"})
    for form in ("map", "max"):
        said = metadata(fc2conv.convert(model, output=form, verify=False).model)
        assert (said["author"], said["version"]) == ("somebody", "7")
        assert (METADATA_KEY in said) == (form == "max")
        assert said.get(METADATA_KEY) != "{}"


@every_form
def test_the_same_twice_and_no_second_time(form: str) -> None:
    model = network(LINEAR)
    before = model.SerializeToString()
    first, second = (fc2conv.convert(model, output=form, verify=False).model for _ in range(2))
    assert first == second
    assert model.SerializeToString() == before
    with pytest.raises(fc2conv.NothingToConvert):
        fc2conv.convert(first, output=form)


def test_nothing_else_changes() -> None:
    """All but the formed output and what stands behind the map is as without a form."""
    plain = fc2conv.convert(network(LINEAR), verify=False).model
    formed = fc2conv.convert(network(LINEAR), output="rows", verify=False).model
    for node in plain.graph.node:
        for i, name in enumerate(node.output):
            node.output[i] = "y_map" if name == "y" else name
    count = len(plain.graph.node)
    assert list(formed.graph.node[:count]) == list(plain.graph.node)
    assert [n.op_type for n in formed.graph.node[count:]] == ["Transpose", "Reshape"]
    assert list(formed.graph.initializer[:-1]) == list(plain.graph.initializer)
    assert formed.graph.input == plain.graph.input


WORDS = {
    "rows": "one for each window, images first, then the cells of the grid in row-major order",
    "mean": "the mean of the answers of all windows",
    "max": "the maximum of the answers of all windows",
}


@every_form
def test_the_command_line(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "out.onnx", tmp_path / "report.json"
    said = call(capsys, EXACT, out, "--output", form, "--report", report).words()
    assert WORDS[form] in said
    assert "inside: 'score_map'" in said
    (row,) = json.loads(report.read_text())["outputs"]
    shape = ["windows", "1"] if form == "rows" else ["N", "1"]
    assert (row["form"], row["map"], row["shape"]) == (form, "score_map", shape)
    assert "output form" in said
    (found,) = session(onnx.load(out)).run(None, {"input": integers((2, 3, 512, 1024))})
    assert found.shape == ((2 * 13 * 31, 1) if form == "rows" else (2, 1))


def test_markdown_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("map", "mean"):
        report = tmp_path / f"{form}.md"
        call(capsys, EXACT, "--output", form, "--report", report).clean()
        assert (WORDS["mean"] in report.read_text()) == (form == "mean")


def test_by_default_an_output_is_its_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = network(LINEAR)
    plain, asked = fc2conv.convert(model), fc2conv.convert(model, output="map")
    assert plain.model == asked.model
    assert [(o.form, o.map) for o in plain.report.outputs] == [("map", "y")]
    assert "output form" not in {c.name for c in plain.report.checks}
    assert plain.report.form_words() == ""


def test_inspect_says_what_would_be() -> None:
    report = fc2conv.inspect(network(LINEAR), output="rows")
    assert (report.status, report.outputs[0].shape) == ("would convert", ["windows", "3"])


@pytest.mark.parametrize("value", ["ROWS", "sum", "", None])
def test_other_forms_there_are_none(value: Mapping[str, Any] | None) -> None:
    with pytest.raises(fc2conv.UsageError, match="none of map, rows, mean, max"):
        fc2conv.convert(network(LINEAR), output=value)  # type: ignore[arg-type]


def test_a_file_name_is_no_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = call(capsys, EXACT, "--output", tmp_path / "out.onnx").one_line(2)
    assert "--output" in said
    assert not list(tmp_path.iterdir())
