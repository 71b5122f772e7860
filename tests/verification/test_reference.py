"""Checks by onnx.reference: float64 and bfloat16 heads are converted and compared, and what is wrong is rejected.

Weights and images are small integers. So a float32 twin of each network, run by onnxruntime in the loop over windows,
says what the answers are; where no result is larger than a bfloat16 holds exactly, they are compared bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

import onnx_fc2conv as fc2conv
from onnx_fc2conv import dtypes, model_io, pipeline, verification
from onnx_fc2conv.settings import Settings
from onnx_fc2conv.verification import bounds
from onnx_fc2conv.verification.choice import runtime
from onnx_fc2conv.verification.precise import Doubled
from onnx_fc2conv.verification.session import Runtime, RuntimeRefusal
from tests.networks import Head, answers, assert_close, integers, network
from tests.test_images import CASES as IMAGES

from .test_sabotage import MLP, ROWS, SOFTMAX, Mutation, array_of, behind_output, change, head_conv

BF16 = np.dtype(ml_dtypes.bfloat16)
TYPES = {"float64": (np.dtype(np.float64), 17), "bfloat16": (BF16, 22)}
ADVICE = "use --runtime reference"

FLAT = "f = Flatten(map)\n"
STEEP = np.array([1, 2, 0.5, -1], np.float32)
HEADS: dict[str, tuple[Head, int, int]] = {
    # the head, and terms and nodes of ``dtypes.tolerance``; both 0: equal bits in any type
    "Gemm": (Head(f"{FLAT}y = Gemm<transB = 1>(f, w, b)", {"w": (4, 12), "b": (4,)}), 0, 0),
    "alpha and beta": (Head(f"{FLAT}y = Gemm<alpha = 0.5, beta = 2.0>(f, w, b)", {"w": (12, 4), "b": (4,)}), 0, 0),
    "MatMul and Add": (Head(f"{FLAT}g = MatMul(f, w)\ny = Add(g, b)", {"w": (12, 4), "b": (4,)}), 0, 0),
    "H, W, C order": (
        Head("t = Transpose<perm = [0, 2, 3, 1]>(map)\nf = Flatten(t)\ny = MatMul(f, w)", {"w": (12, 4)}),
        0,
        0,
    ),
    "scaled vector": (
        Head(f"{FLAT}s = Mul(f, c)\ny = MatMul(s, w)", {"c": np.resize(STEEP, 12), "w": (12, 4)}),
        0,
        0,
    ),
    "vector itself": (Head(f"{FLAT}g = MatMul(f, w)\ny = Concat<axis = 1>(f, g)", {"w": (12, 4)}), 0, 0),
    "max of the window": (Head("p = GlobalMaxPool(map)\nf = Flatten(p)\ny = MatMul(f, w)", {"w": (2, 4)}), 0, 0),
    "mean of the window": (
        Head("p = GlobalAveragePool(map)\nf = Flatten(p)\ny = MatMul(f, w)", {"w": (2, 4)}),
        2,
        3,
    ),
    "two and ReLU": (
        Head(
            f"{FLAT}g = Gemm(f, w, b)\nr = Relu(g)\ny = Gemm(r, v, c)",
            {"w": (12, 6), "b": (6,), "v": (6, 3), "c": (3,)},
        ),
        18,
        3,
    ),
    "softmax": (Head(f"{FLAT}g = MatMul(f, w)\ny = Softmax<axis = 1>(g)", {"w": (12, 4)}), 12, 3),
    "rows of positions": (
        Head("r = Reshape(map, s)\ny = MatMul(r, w)", {"s": np.array([0, 2, -1]), "w": (6, 4)}),
        0,
        0,
    ),
    "Einsum": (Head(f'{FLAT}y = Einsum<equation = "nf,kf->nk">(f, w)', {"w": (4, 12)}), 0, 0),
    "1-D": (Head(f"{FLAT}y = MatMul(f, w)", {"w": (10, 4)}, (5,)), 0, 0),
    "3-D": (Head(f"{FLAT}y = MatMul(f, w)", {"w": (12, 4)}, (2, 1, 3)), 0, 0),
}


def typed(head: Head, dtype: Any, opset: int) -> Head:
    """The same head, with the same numbers, in another type."""
    weights = {
        k: v if isinstance(v, tuple) or np.asarray(v).dtype.kind == "i" else np.asarray(v).astype(dtype)
        for k, v in head.weights.items()
    }
    return replace(head, dtype=dtype, opset=opset, weights=weights)


def float64() -> ModelProto:
    """A small network of float64."""
    return network(typed(HEADS["Gemm"][0], np.float64, 17))


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("kind", TYPES)
def test_a_head_is_converted_and_right(kind: str, name: str) -> None:
    (dtype, opset), (head, terms, nodes) = TYPES[kind], HEADS[name]
    result = fc2conv.convert(network(typed(head, dtype, opset)), runtime="reference")
    assert result.report.verified
    assert not [n.op_type for n in result.model.graph.node if n.op_type in ("Gemm", "MatMul")]
    image = integers((2, 1, *[2 * (w + g) for w, g in zip(head.window, (2, 3, 1), strict=False)]), seed=3)
    expected = answers(network(replace(head, opset=opset)), image, head.window)["y"]
    found = ReferenceEvaluator(result.model).run(["y"], {"x": image.astype(dtype)})[0]
    assert (found.dtype, found.shape) == (dtype, expected.shape)
    elem_type = TensorProto.BFLOAT16 if dtype == BF16 else TensorProto.FLOAT  # the twin is float32
    allowed = dtypes.tolerance(elem_type, terms, nodes) if nodes else 0.0
    assert_close(found.astype(np.float32), expected, allowed)


@pytest.mark.parametrize("kind", TYPES)
def test_a_pool_that_stays_global_is_the_original_at_any_size(kind: str) -> None:
    dtype, opset = TYPES[kind]
    head = Head("p = GlobalMaxPool(map)\nf = Flatten(p)\ny = MatMul(f, w)", {"w": (2, 4)})
    original = network(typed(head, dtype, opset))
    result = fc2conv.convert(original, runtime="reference", global_pool="keep")
    assert result.report.verified
    image = integers((2, 1, 12, 10), seed=3).astype(dtype)
    expected = ReferenceEvaluator(original).run(["y"], {"x": image})[0]
    found = ReferenceEvaluator(result.model).run(["y"], {"x": image})[0]
    assert found.shape == (2, 4, 1, 1)
    assert np.array_equal(found.reshape(expected.shape), expected)
    _, kernel = head_conv(result.model)
    change(result.model, kernel, array_of(result.model, kernel)[:, ::-1])
    with pytest.raises(fc2conv.VerificationFailed, match="same size"):
        fc2conv.verify(original, result.model, runtime="reference", global_pool="keep")


def test_several_images_are_checked_by_it_too() -> None:
    original = IMAGES["difference of features, unshared weights"].model
    result = fc2conv.convert(original, runtime="reference")
    assert result.report.runtime == f"onnx.reference {onnx.__version__}"
    assert [i.name for i in result.report.images] == ["a", "b"]
    kernel = [n.input[1] for n in result.model.graph.node if n.op_type == "Conv"][-1]
    change(result.model, kernel, -array_of(result.model, kernel))
    with pytest.raises(fc2conv.VerificationFailed, match="same size"):
        fc2conv.verify(original, result.model, runtime="reference")


@pytest.mark.parametrize(
    ("kind", "opset", "reason"),
    [
        ("float64", 17, "onnxruntime's CPU provider has no float64 Conv, so the converted model would not load"),
        ("bfloat16", 22, "onnxruntime's CPU provider has no bfloat16 Conv, so the converted model would not load"),
    ],
)
def test_without_the_option_it_is_refused_and_the_option_named(kind: str, opset: int, reason: str) -> None:
    model = network(typed(HEADS["Gemm"][0], TYPES[kind][0], opset))
    for attempt in (fc2conv.convert, fc2conv.inspect, lambda m: fc2conv.verify(m, m)):
        with pytest.raises(fc2conv.Unliftable) as caught:
            attempt(model)
        assert caught.value.node == "Gemm 'y'"
        assert caught.value.reason.startswith(reason)
        assert caught.value.reason.endswith(ADVICE)


@pytest.mark.parametrize("name", ["onnxruntime", "reference"])
def test_bfloat16_is_refused_where_the_standard_has_no_such_conv(name: str) -> None:
    with pytest.raises(fc2conv.Unliftable, match="Conv for bfloat16 from opset 22 on, and the model imports 21"):
        fc2conv.convert(network(typed(HEADS["Gemm"][0], BF16, 21)), runtime=name)


def test_an_original_that_onnxruntime_does_not_load_can_be_checked_all_the_same() -> None:
    """A float64 backbone in front of a float32 head: the head is no reason to refuse, the backbone does not run."""
    head = Head("c = Cast<to = 1>(map)\nf = Flatten(c)\ny = MatMul(f, w)", {"w": (12, 4)}, dtype=np.float64)
    model = network(replace(head, weights={"w": integers((12, 4), seed=11)}))
    with pytest.raises(fc2conv.UnreadableModel, match="does not load the original model") as caught:
        fc2conv.convert(model)
    assert str(caught.value).endswith(ADVICE)
    assert fc2conv.convert(model, runtime="reference").report.verdict == "exact"


def test_what_neither_runs_is_refused_in_one_line() -> None:
    model = network(HEADS["Gemm"][0])
    custom = helper.make_node("Unheard", ["x"], ["z"], domain="of.it")
    model.graph.node.append(custom)
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    model.opset_import.append(helper.make_opsetid("of.it", 1))
    with pytest.raises(fc2conv.Fc2ConvError) as caught:
        fc2conv.convert(model, runtime="reference")
    assert "Unheard" in str(caught.value)
    assert ADVICE not in str(caught.value)


# -- sabotage --------------------------------------------------------------------------------------------------------


def half_precision(model: ModelProto) -> None:
    behind_output(model, "y", ("Cast", {"to": 10}), ("Cast", {"to": 11}))


def single_precision(model: ModelProto) -> None:
    behind_output(model, "y", ("Cast", {"to": 1}), ("Cast", {"to": 11}))


#: mutations that are no larger than the rounding of a bfloat16, or no change of its numbers at all
ROUNDED_AWAY = {"one_weight_off", "backbone_weight_off", "half_precision"}
SABOTAGE = [("bfloat16", *row) for row in ROWS if row[1].__name__ not in ROUNDED_AWAY]
SABOTAGE += [("float64", h, half_precision if m.__name__ == "half_precision" else m, c) for h, m, c in ROWS]
SABOTAGE += [("float64", SOFTMAX, single_precision, "same size")]
#: the mutation uses what onnx.reference cannot run (a Pad that crops), so it is rejected before any number is compared
NOT_RUN = {"shifted_window", "map_with_more_rows"}


@pytest.mark.parametrize(
    ("kind", "head", "mutate", "check"), SABOTAGE, ids=[f"{kind}-{m.__name__}" for kind, _, m, _ in SABOTAGE]
)
def test_verify_rejects(kind: str, head: Head, mutate: Mutation, check: str) -> None:
    original = network(typed(head, *TYPES[kind]))
    converted = ModelProto()
    converted.CopyFrom(fc2conv.convert(original, verify=False, runtime="reference").model)
    fc2conv.verify(original, converted, runtime="reference")
    mutate(converted)
    said = (
        f"{check}|onnx.reference"
        if mutate.__name__ in NOT_RUN
        else check.replace("same size|", "same size|all digits|")
    )
    with pytest.raises(fc2conv.VerificationFailed, match=said):
        fc2conv.verify(original, converted, runtime="reference")


def test_float64_is_held_to_the_rounding_of_float64() -> None:
    """One weight off by a billionth of itself, which no float32 could show."""
    original = network(typed(MLP, np.float64, 17))
    converted = fc2conv.convert(original, runtime="reference").model
    _, kernel = head_conv(converted)
    values = array_of(converted, kernel)
    values[values != 0] *= 1 + 1e-9
    change(converted, kernel, values)
    with pytest.raises(fc2conv.VerificationFailed, match="same size"):
        fc2conv.verify(original, converted, runtime="reference")


# -- the file and the report -----------------------------------------------------------------------------------------


def test_the_report_names_what_checked() -> None:
    report = fc2conv.convert(float64(), runtime="reference").report
    assert report.runtime == report.to_dict()["runtime"] == f"onnx.reference {onnx.__version__}"
    assert report.headline().endswith(f"verified with onnx.reference {onnx.__version__} (onnxruntime was not used)")
    assert "loads in onnx.reference" in report.checks[0].note
    assert "default run" not in [c.name for c in report.checks]


def test_the_report_names_onnxruntime_where_it_checked() -> None:
    model = network(HEADS["Gemm"][0])
    report = fc2conv.convert(model).report
    assert report.runtime == f"onnxruntime {onnxruntime.__version__}"
    assert report.headline().endswith("converted and verified")
    assert fc2conv.inspect(model).runtime is None


def test_inspect_foretells_it() -> None:
    report = fc2conv.inspect(float64(), runtime="reference")
    assert (report.status, report.runtime) == ("would convert", None)
    assert [n.to for n in report.heads[0].nodes] == [[], ["Conv"]]


def in_two_files(folder: Path) -> Path:
    """A float64 network whose weights are external data."""
    path = folder / "in.onnx"
    onnx.save(float64(), path, save_as_external_data=True, location="in.data", size_threshold=0)
    assert onnx.load(path, load_external_data=False).graph.initializer[0].data_location == TensorProto.EXTERNAL
    return path


def test_external_data_is_used_and_stays_external(tmp_path: Path) -> None:
    path = in_two_files(tmp_path)
    fc2conv.convert(path, runtime="reference").save(tmp_path / "out.onnx")
    image = integers((1, 1, 10, 12), seed=3, dtype=np.float64)
    head = HEADS["Gemm"][0]
    expected = answers(network(head), image.astype(np.float32), head.window)["y"]
    found = ReferenceEvaluator(onnx.load(tmp_path / "out.onnx")).run(["y"], {"x": image})[0]
    np.testing.assert_array_equal(found, expected)
    written = onnx.load(tmp_path / "out.onnx", load_external_data=False)
    assert all(t.data_location == TensorProto.EXTERNAL for t in written.graph.initializer if t.dims == [4, 2, 3, 2])
    assert fc2conv.verify(path, tmp_path / "out.onnx", runtime="reference").verified


def test_a_damaged_file_is_not_taken_for_what_was_checked(tmp_path: Path) -> None:
    fc2conv.convert(in_two_files(tmp_path), runtime="reference").save(tmp_path / "out.onnx")
    verification.require_loads(str(tmp_path / "out.onnx"), "reference")
    (data,) = tmp_path.glob("out.onnx*.data")
    data.write_bytes(data.read_bytes()[:-8])
    with pytest.raises(fc2conv.VerificationFailed, match=r"onnx\.reference does not load the written file"):
        verification.require_loads(str(tmp_path / "out.onnx"), "reference")


def test_a_file_that_the_checker_rejects_is_not_written(tmp_path: Path) -> None:
    """The evaluator would run it: what it reads of a Conv is not all that the standard asks."""
    result = fc2conv.convert(float64(), runtime="reference")
    result.model.graph.node[0].attribute.append(helper.make_attribute("unheard", 1))
    with pytest.raises(fc2conv.VerificationFailed, match="unheard"):
        result.save(tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


# -- the runtime itself ----------------------------------------------------------------------------------------------


def single(op_type: str, elem_type: int, inputs: dict[str, np.ndarray], opset: int = 22, **attrs: Any) -> ModelProto:
    """A model of one node, whose first input is the graph's and whose others are initializers."""
    first, *others = inputs
    graph = helper.make_graph(
        [helper.make_node(op_type, list(inputs), ["y"], **attrs)],
        "g",
        [helper.make_tensor_value_info(first, elem_type, None)],
        [helper.make_tensor_value_info("y", elem_type, None)],
        [numpy_helper.from_array(inputs[name], name) for name in others],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


SUMS = [(name, elem_type) for name in ("onnxruntime", "reference") for elem_type in (1, 10)]
SUMS += [("reference", TensorProto.DOUBLE), ("reference", TensorProto.BFLOAT16)]


@pytest.mark.parametrize("op_type", ["Conv", "Gemm", "MatMul"])
@pytest.mark.parametrize(("name", "elem_type"), SUMS)
def test_products_are_summed_as_exactly_as_the_table_says(name: str, elem_type: int, op_type: str) -> None:
    """The rounding of one result and the error of its accumulator: what tolerances are made of."""
    terms, units = 4096, 16
    rng = np.random.default_rng(5)
    dtype = dtypes.numpy_type(elem_type)
    row, matrix = rng.standard_normal((8, terms)).astype(dtype), rng.standard_normal((terms, units)).astype(dtype)
    wide = np.longdouble if elem_type == TensorProto.DOUBLE else np.float64
    expected = row.astype(wide) @ matrix.astype(wide)
    if op_type == "Conv":
        row, matrix = row.reshape(8, terms // 16, 4, 4), np.ascontiguousarray(matrix.T).reshape(units, -1, 4, 4)
    model = single(op_type, elem_type, {"x": row, "w": matrix})
    found = runtime(name).load(model).run({"x": row})["y"].reshape(8, units)
    kind = dtypes._TABLE[elem_type]
    allowed = kind.eps / 2 + dtypes.SAFETY * kind.accumulator_eps * math.sqrt(terms)
    assert np.abs(found.astype(wide) - expected).max() <= allowed * np.abs(expected).max()
    assert found.dtype == dtype


def test_a_sum_that_rounds_after_each_product_would_be_seen() -> None:
    """What the test above looks for can be found: numpy does this to a sum of bfloat16 without products."""
    ones = np.ones(4096, BF16)
    kind = dtypes._TABLE[TensorProto.BFLOAT16]
    allowed = kind.eps / 2 + dtypes.SAFETY * kind.accumulator_eps * math.sqrt(4096)
    assert abs(float(ones.sum()) - 4096) > allowed * 4096


@pytest.mark.parametrize(
    "elem_type", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16]
)
def test_batch_normalization_is_that_of_inference(elem_type: int) -> None:
    """Before opset 14 onnx.reference itself normalises by the batch, as in training."""
    dtype = dtypes.numpy_type(elem_type)
    statistics = {k: np.ones(2, dtype) for k in ("s", "b", "m", "v")}
    x = np.arange(8).astype(dtype).reshape(1, 2, 2, 2)
    for opset in (13, 15):
        found = runtime("reference").load(single("BatchNormalization", elem_type, {"x": x, **statistics}, opset))
        np.testing.assert_allclose(found.run({"x": x})["y"].astype(float), x.astype(float), rtol=1e-2, atol=1e-4)


OLD = {
    "Softmax": "y = Softmax <axis = 1> (x)",
    "LogSoftmax": "y = LogSoftmax <axis = 1> (x)",
    "LRN": "y = LRN <size = 3, alpha = 0.5, beta = 0.7, bias = 2.0> (x)",
}


@pytest.mark.parametrize("text", OLD.values(), ids=OLD.keys())
def test_a_second_opinion_is_about_the_operator_that_is_there(text: str) -> None:
    """In double precision an operator means what it means in the model's opset, as onnxruntime has it."""
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 11]> g (float[2, 3, 4, 5] x) => (float y) {{{text}}}'
    )
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    expected = runtime("onnxruntime").load(model).run({"x": x})["y"]
    found = Doubled(model, "").run({"x": x}, ["y"])["y"]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_global_pool_is_over_all_spatial_axes(rank: int) -> None:
    """onnx.reference itself pools two, of one image with the others where there is one."""
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4, 3)[: 2 + rank]).astype(np.float32)
    model = single("GlobalMaxPool", 1, {"x": x})
    expected = runtime("onnxruntime").load(model).run({"x": x})["y"]
    np.testing.assert_array_equal(runtime("reference").load(model).run({"x": x})["y"], expected)


def test_nodes_that_are_not_sorted_are_refused() -> None:
    """The standard forbids them; onnxruntime sorts."""
    model = network(HEADS["two and ReLU"][0])
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    with pytest.raises(RuntimeRefusal, match="node that makes 'y' reads 'r' before it is computed"):
        runtime("reference").load(model)


def test_a_result_of_another_type_than_declared_is_refused() -> None:
    model = single("Identity", TensorProto.DOUBLE, {"x": np.ones(1)})
    with pytest.raises(RuntimeRefusal, match="'y' comes out as float32, and is declared float64"):
        runtime("reference").load(model).run({"x": np.ones(1, np.float32)})


def test_a_result_that_is_no_tensor_is_refused() -> None:
    model = single("SequenceConstruct", 1, {"x": np.ones(1, np.float32)})
    with pytest.raises(RuntimeRefusal, match="'y' is no tensor"):
        runtime("reference").load(model).run({"x": np.ones(1, np.float32)})


def test_an_overflow_is_a_result_and_no_warning() -> None:
    model = single("Exp", 1, {"x": np.ones(1, np.float32)})
    found = runtime("reference").load(model).run({"x": np.full(1, 1e9, np.float32)})["y"]
    assert np.isinf(found).all()


@pytest.mark.parametrize("name", ["onnxruntime", "reference"])
def test_a_session_knows_its_inputs_and_leaves_other_feeds_out(name: str) -> None:
    """An initializer that is also a graph input (IR 3) is a constant."""
    checker: Runtime = runtime(name)
    model = single("Add", 1, {"x": np.ones(1, np.float32), "c": np.ones(1, np.float32)})
    model.graph.input.append(helper.make_tensor_value_info("c", 1, [1]))
    session = checker.load(model)
    assert (session.inputs, session.outputs) == (["x"], ["y"])
    assert session.run({"x": np.ones(1, np.float32), "other": np.ones(1, np.float32)})["y"] == 2
    with pytest.raises(RuntimeRefusal) as caught:
        session.run({"other": np.ones(1, np.float32)})
    assert "\n" not in str(caught.value)


# -- how much of it --------------------------------------------------------------------------------------------------


def test_fewer_windows_are_compared_where_they_cost_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bounds.BUDGETS, "reference", bounds.Budget(work=1, min_cells=9))
    report = fc2conv.convert(float64(), sizes=[(20, 20)], runtime="reference").report
    windows = next(c for c in report.checks if c.name == "windows")
    assert (windows.cells, windows.cells_total) == (9, 72)


def test_a_pool_is_dear_in_onnx_reference_only() -> None:
    """It is a Python loop there; as multiplications it counts for nothing."""
    pooled = Head(
        "m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(map)\nf = Flatten(m)\ny = MatMul(f, w)",
        {"w": (8 * 8 * 8, 4)},
        (16, 16),
        channels=8,
    )
    cells = {}
    for name in ("onnxruntime", "reference"):
        found = bounds.Bounds(pipeline.prepare(*model_io.load(network(pooled)), Settings(runtime=name)))
        cells[name] = (found.window_cells(), found.crop_cells())
    assert cells["onnxruntime"] == (bounds.MAX_CELLS, bounds.MAX_CELLS)
    assert bounds.BUDGETS["reference"].min_cells < cells["reference"][1] < cells["reference"][0] == bounds.MAX_CELLS
