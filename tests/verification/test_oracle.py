"""The parts that the checks are made of: comparison, sampling, images, bounds, and the runtime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, defs, helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import dtypes, model_io, pipeline
from onnx_fc2conv.geometry import Grid
from onnx_fc2conv.verification import bounds, runtime
from onnx_fc2conv.verification.choice import runtime as runtime_of
from onnx_fc2conv.verification.compare import error
from onnx_fc2conv.verification.inputs import LEVELS, Images
from onnx_fc2conv.verification.oracle import Oracle, image_crops, sample_cells
from tests.networks import Head, answers_over, feeds_of, integers, network, places_of

NAN, INF = float("nan"), float("inf")

SIMPLE = Head("f = Flatten(map)\n y = Gemm<transB = 1>(f, w)", {"w": (4, 12)})


@pytest.mark.parametrize(
    ("found", "expected", "result"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 3.0], [1.0, 2.0], 0.5),
        ([0.0], [0.0], 0.0),
        ([1e-30], [0.0], INF),
        ([NAN, 1.0], [NAN, 1.0], 0.0),
        ([NAN, 1.0], [1.0, 1.0], INF),
        ([1.0, 1.0], [NAN, 1.0], INF),
        ([INF, 1.0], [INF, 1.0], 0.0),
        ([-INF, 1.0], [INF, 1.0], INF),
        ([INF, 1.0], [1.0, 1.0], INF),
        ([NAN], [NAN], 0.0),
        ([], [], 0.0),
        ([1.0, 2.0], [[1.0, 2.0]], INF),
    ],
)
def test_error(found: list[float], expected: list[float], result: float) -> None:
    assert error(np.array(found, np.float32), np.array(expected, np.float32)) == pytest.approx(result)


def test_error_of_integers_is_the_fraction_that_differs() -> None:
    assert error(np.array([1, 2, 3, 4]), np.array([1, 2, 0, 4])) == 0.25


def test_error_of_another_type_is_infinite() -> None:
    assert error(np.zeros(2, np.float32), np.zeros(2, np.float64)) == INF


@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(9, 80))
def test_samples_are_distinct_cells_with_the_corners_among_them(grid: list[int], limit: int) -> None:
    cells = sample_cells(tuple(grid), max(limit, 3 ** len(grid)), 1)
    total = int(np.prod(grid))
    assert len(set(cells)) == len(cells) == min(total, max(limit, 3 ** len(grid)))
    assert all(0 <= i < n for cell in cells for i, n in zip(cell, grid, strict=True))
    assert {(0,) * len(grid), tuple(n - 1 for n in grid)} <= set(cells)


TWO_MAPS = Head(
    "coarse = MaxPool <kernel_shape = [2, 3], strides = [2, 3]> (map)\na = Flatten(map)\nb = Flatten(coarse)\n"
    "c = Concat <axis = 1> (a, s, b)\ny = Gemm(c, w)\nz = Gemm(a, v)\nu = Gemm(b, t)",
    {"w": (29, 4), "v": (24, 3), "t": (4, 3)},
    window=(4, 3),
    outputs=("y", "z", "u"),
    ratios={"map": (2, 3), "coarse": (1, 1)},
    sides={"s": ("N", 1)},
)


def two_maps() -> tuple[Oracle, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """An oracle, the values of all inputs at an enlarged size, and the maps there."""
    oracle = Oracle(pipeline.prepare(*model_io.load(network(TWO_MAPS))).plan, runtime_of("onnxruntime"))
    feeds = feeds_of(TWO_MAPS, (4, 6))
    return oracle, feeds, oracle.maps(feeds)


@pytest.mark.parametrize(
    ("output", "stride", "ratios"),
    [
        ("y", (4, 6), {"map": (2, 3), "coarse": (1, 1)}),
        ("z", (2, 2), {"map": (1, 1)}),
        ("u", (4, 6), {"coarse": (1, 1)}),
    ],
)
def test_every_map_is_cut_at_its_own_multiple_of_the_cell(
    output: str, stride: tuple[int, int], ratios: dict[str, tuple[int, int]]
) -> None:
    oracle, feeds, maps = two_maps()
    model = network(TWO_MAPS)
    places = {name: (places_of(TWO_MAPS, model)[name][0], ratio) for name, ratio in ratios.items()}
    expected = answers_over(model, feeds, places, [output])[output]
    assert expected.shape[-2:] == ((3, 3) if stride == (4, 6) else (5, 7))
    for cell in np.ndindex(*expected.shape[-2:]):
        found = oracle.answer((output,), maps, cell, stride, feeds)[output]
        np.testing.assert_array_equal(found, expected[(..., *cell)])


def test_a_cell_of_another_stride_is_another_window() -> None:
    """The same cell means another window of the fine map, and the same one of the coarse map."""
    oracle, feeds, maps = two_maps()
    fine, coarse = (oracle.answer(("z",), maps, (1, 2), stride, feeds)["z"] for stride in ((2, 2), (4, 6)))
    assert not np.array_equal(fine, coarse)
    np.testing.assert_array_equal(coarse, oracle.answer(("z",), maps, (2, 6), (2, 2), feeds)["z"])


def test_an_image_crop_starts_at_the_cell_times_the_stride() -> None:
    plan = pipeline.prepare(*model_io.load(network(TWO_MAPS))).plan
    image = integers((2, 1, 16, 18))
    grid = replace(Grid.over(plan.maps["map"].axes), stride=(4, 6))
    height, width = grid.trained_size
    crops = image_crops(plan, {"x": image}, grid, (1, 2))
    assert list(crops) == ["x"]
    np.testing.assert_array_equal(crops["x"], image[:, :, 4 : 4 + height, 12 : 12 + width])


def test_images_are_seeded_and_exact_for_integer_weights() -> None:
    plan = pipeline.prepare(*model_io.load(network(SIMPLE))).plan
    first, second = Images(plan).draw({"x": (8, 10)}), Images(plan).draw({"x": (8, 10)})
    assert first["x"].shape == (1, 1, 8, 10)
    np.testing.assert_array_equal(first["x"], second["x"])
    assert np.array_equal(first["x"] * LEVELS, np.round(first["x"] * LEVELS))
    assert Images(plan).draw(batch=3)["x"].shape[0] == 3


def test_a_model_that_sleeps_on_unit_inputs_gets_larger_ones() -> None:
    """A dead ReLU would let two wrong models agree on zeros."""
    head = Head(
        "s = Sub(map, high)\n r = Relu(s)\n f = Flatten(r)\n y = Gemm<transB = 1>(f, w)",
        {"high": np.float32(50), "w": np.ones((4, 12), np.float32)},
    )
    report = fc2conv.convert(network(head)).report
    assert not any("proves little" in c.note for c in report.checks)


def test_an_output_that_never_depends_on_the_input_is_told() -> None:
    head = Head("f = Flatten(map)\n y = Gemm<transB = 1>(f, w, b)", {"w": np.zeros((4, 12), np.float32), "b": (4,)})
    report = fc2conv.convert(network(head)).report
    assert any("proves little" in c.note for c in report.checks)


def test_an_output_that_is_nan_for_every_image_is_told() -> None:
    """NaN equals NaN in every check, so two wrong models would agree on it."""
    head = Head(
        "f = Flatten(map)\n g = MatMul(f, w)\n a = Abs(g)\n n = Neg(a)\n m = Sub(n, one)\n y = Log(m)",
        {"w": (12, 4), "one": np.float32(1)},
    )
    report = fc2conv.convert(network(head)).report
    assert any("proves little" in c.note for c in report.checks)


def test_an_index_that_stays_the_same_is_no_reason_to_doubt() -> None:
    """Two images of one class say nothing of the scores behind it, which do differ."""
    head = Head(
        "f = Flatten(map)\n g = Gemm<transB = 1>(f, w, b)\n i = ArgMax<axis = 1>(g)",
        {"w": (2, 12), "b": np.array([0, 500], np.float32)},
        outputs=("g", "i"),
    )
    report = fc2conv.convert(network(head)).report
    assert not any("proves little" in c.note for c in report.checks)


def test_bounds_count_the_sums_of_the_head_and_of_the_backbone() -> None:
    found = bounds.Bounds(pipeline.prepare(*model_io.load(network(SIMPLE))))
    assert (found.head_terms, found.head_nodes) == (12, 2)
    assert (found.all_terms, found.all_nodes) == (12 + 4, 3)
    assert found.window_cells() == bounds.MAX_CELLS


def test_heavy_models_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bounds.BUDGETS, "onnxruntime", bounds.Budget(work=1, min_cells=9))
    report = fc2conv.convert(network(SIMPLE), sizes=[(20, 20)]).report
    windows = next(c for c in report.checks if c.name == "windows")
    assert (windows.cells, windows.cells_total) == (9, 72)


def test_tolerance_grows_with_terms_and_nodes_and_is_zero_for_integers() -> None:
    one = dtypes.tolerance(TensorProto.FLOAT, 1, 1)
    assert 0 < one < dtypes.tolerance(TensorProto.FLOAT, 100, 1) < dtypes.tolerance(TensorProto.FLOAT16, 100, 1)
    assert one < dtypes.tolerance(TensorProto.FLOAT, 1, 9)
    assert dtypes.tolerance(TensorProto.INT64, 100, 10) == 0


def test_newest_opset_is_one_that_onnx_knows() -> None:
    assert 20 <= runtime.newest_opset() <= defs.onnx_opset_version()


def _single(op_type: str, opset: int) -> object:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node(op_type, ["x"], ["y"])], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_a_newer_opset_runs_where_its_operators_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "newest_opset", lambda: 20)
    session = runtime.Session(_single("Neg", 21))  # type: ignore[arg-type]
    assert session.run({"x": np.ones(1, np.float32)})["y"] == -1


def test_a_newer_operator_is_not_passed_off_as_an_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "newest_opset", lambda: 20)
    with pytest.raises(runtime.RuntimeRefusal, match="HardSwish of opset 22 is newer"):
        runtime.Session(_single("HardSwish", 22))  # type: ignore[arg-type]
