"""The deviation of models that are not exact, in the interior and at the border: against a loop over image crops."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv.geometry import Axis, Grid
from onnx_fc2conv.report import markdown
from onnx_fc2conv.verification import Deviation, Measured
from onnx_fc2conv.verification.deviation import interior
from onnx_fc2conv.verification.inputs import Images

from ..networks import Head, network, session

CLASSES = Head(
    """m = Conv<pads = [1, 1, 1, 1]>(map, k)
    f = Flatten(m)
    y = Gemm<transB = 1>(f, w, b)
    r = ReduceMax<axes = [1]>(y)""",
    {"k": (2, 2, 3, 3), "w": (4, 12), "b": (4,)},
    outputs=("y", "r"),
)
SIZES = [(16, 12), (12, 14)]


def by_hand(model: ModelProto, sizes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The report's deviation, and the same found by looking at each crop of the images that the checks drew."""
    drawn: list[dict[str, np.ndarray]] = []
    draw = Images.draw

    def noted(self: Images, *args: Any, **kwargs: Any) -> Any:
        drawn.append(draw(self, *args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(Images, "draw", noted)
    result = fc2conv.convert(model, sizes=sizes)
    original, converted, (height, width) = session(model), session(result.model), result.geometry["y"].trained_size
    found: dict[str, dict[str, list[Any]]] = {}
    for size in sizes:
        image = next(d["x"] for d in drawn if d["x"].shape[2:] == size)
        answers = dict(zip(("y", "r"), converted.run(["y", "r"], {"x": image}), strict=True))
        rows: dict[str, list[Any]] = {"y": [], "r": []}
        for i, j in itertools.product(*map(range, answers["y"].shape[2:])):
            y, x = 2 * i, 2 * j
            crop = np.ascontiguousarray(image[:, :, y : y + height, x : x + width])
            inner = y > 0 and x > 0 and y + height < size[0] and x + width < size[1]
            for name, expected in zip(("y", "r"), original.run(["y", "r"], {"x": crop}), strict=True):
                rows[name].append((inner, answers[name][..., i, j], expected))
        for name, cells in rows.items():
            scale = max(float(np.abs(expected).max()) for _, _, expected in cells)
            for inner, ours, expected in cells:
                error = float(np.abs(ours - expected).max()) / scale
                entry = (error, bool((ours.argmax(1) == expected.argmax(1)).all()))
                for part in ("overall", "interior" if inner else "border"):
                    found.setdefault(name, {}).setdefault(part, []).append(entry)
    return result.report, found


@pytest.mark.parametrize("sizes", [SIZES, SIZES[:1]], ids=["two sizes", "one size"])
def test_interior_and_border_are_measured_apart(sizes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    report, found = by_hand(network(CLASSES), sizes, monkeypatch)
    assert report.verdict == "padded"
    for name, parts in found.items():
        said = report.deviation[name]
        assert set(said) == {"error", "agreement", "cells", "interior", "border"}
        for part, entries in parts.items():
            row = said if part == "overall" else said[part]
            assert row["cells"] == len(entries)
            assert row["error"] == pytest.approx(max(e for e, _ in entries), rel=1e-9)
            if name == "y":
                assert row["agreement"] == pytest.approx(np.mean([same for _, same in entries]), rel=1e-9)
            else:
                assert row["agreement"] is None
    y = report.deviation["y"]
    assert y["cells"] == y["interior"]["cells"] + y["border"]["cells"]
    assert y["error"] == max(y["interior"]["error"], y["border"]["error"]) > 0.01
    assert y["interior"]["error"] != y["border"]["error"]


def test_without_interior_cells_there_is_no_interior() -> None:
    """A grid of two cells along an axis has none."""
    report = fc2conv.convert(network(CLASSES), sizes=[(8, 20)]).report
    assert "interior" not in report.deviation["y"]
    assert report.deviation["y"]["border"] == {k: report.deviation["y"][k] for k in ("error", "agreement", "cells")}
    assert "interior" not in report.verdict_words()
    assert json.loads(report.to_json())["deviation"] == report.deviation


def test_both_are_said_in_one_sentence() -> None:
    report = fc2conv.convert(network(CLASSES), sizes=SIZES).report
    y = report.deviation["y"]
    inner, border = y["interior"], y["border"]
    sentence = (
        f"Measured on {y['cells']} image crops: output 'y' deviates by up to {y['error']:.2g} of its scale "
        f"(interior {inner['error']:.2g} on {inner['cells']}, border {border['error']:.2g} on {border['cells']}), "
        f"same argmax in {y['agreement']:.1%} of cells "
        f"(interior {inner['agreement']:.1%}, border {border['agreement']:.1%})."
    )
    assert sentence in report.verdict_words()
    assert sentence in markdown(report)
    assert f"output 'r' deviates by up to {report.deviation['r']['error']:.2g} of its scale (interior" in markdown(
        report
    )


def test_an_exact_model_has_no_deviation() -> None:
    exact = Head("f = Flatten(map)\n y = Gemm(f, w)", {"w": (12, 3)})
    assert fc2conv.convert(network(exact), sizes=SIZES).report.deviation == {}


GRID = Grid.over((Axis("x", 0, 6).window_op(2, 2, 0, 0), Axis("x", 1, 4).window_op(2, 2, 0, 0)))
INTERIOR = [  # size, the cells whose box touches no border
    ((6, 4), []),
    ((10, 8), [(1, 1)]),
    ((11, 8), [(1, 1), (2, 1)]),  # a pixel is left over, so the last row of boxes does not touch the border
    ((8, 40), []),
    ((12, 8), [(1, 1), (2, 1)]),
]


@pytest.mark.parametrize(("size", "expected"), INTERIOR)
def test_which_boxes_touch_no_border(size: tuple[int, ...], expected: list[tuple[int, ...]]) -> None:
    cells = list(itertools.product(*map(range, GRID.grid_size(size))))
    found = interior(GRID, cells, size)
    assert [cell for cell, inside in zip(cells, found, strict=True) if inside] == expected


def test_measurements_of_several_sizes_are_put_together() -> None:
    first, second = Measured(0.5, 1.0, 3), Measured(0.75, 0.5, 1)
    assert first.and_(second) == second.and_(first) == Measured(0.75, 0.875, 4)
    assert first.and_(None) == first
    assert first.and_(Measured(0.1, None, 2)) == Measured(0.5, None, 5)
    border = Deviation(first, None, first)
    both = Deviation(second, second, None)
    assert border.and_(both) == both.and_(border) == Deviation(Measured(0.75, 0.875, 4), second, first)
    assert border.and_(None) == border


def test_a_deviation_that_is_mixed_up_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the interior taken for the border, the loop over crops would show it."""
    swapped = lambda grid, cells, size: ~interior(grid, cells, size)  # noqa: E731
    monkeypatch.setattr("onnx_fc2conv.verification.enlarged.interior", swapped)
    report, found = by_hand(network(CLASSES), SIZES, monkeypatch)
    assert report.deviation["y"]["interior"]["cells"] == len(found["y"]["border"]) != len(found["y"]["interior"])
