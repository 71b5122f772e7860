"""How each operator moves along the axes of its map: against onnxruntime, and against image crops.

Every case is a few nodes from the image ``x`` to the feature map ``map`` in front of a Flatten and a Gemm. The traced
size law must give the sizes that come out of onnxruntime, and the verdict must be the truth: where it is *exact*, every
window of an enlarged map is the map of the image crop; where it is not, some window differs and the named node is why.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv.backbone import FAMILIES
from onnx_fc2conv.backbone.registry import MOVES
from onnx_fc2conv.dtypes import tolerance

from ..networks import MAP, assert_close
from .cases import CASES, GROWTHS, Case, backbone, classifier, every_case, free_session, prepared


@every_case
def test_the_size_law_gives_the_sizes_of_onnxruntime(case: Case) -> None:
    traced = prepared(case).plan.maps[MAP]
    run = free_session(case)
    assert len(GROWTHS) == len(set(GROWTHS)) == 12
    for growth in GROWTHS:
        steps = (1,) * len(case.spatial) if case.any_size else case.stride
        size = [t + g * s for t, g, s in zip(case.trained, growth, steps, strict=False)]
        (found,) = run.run(None, {"x": case.pixels(size)})
        assert [axis.law(n) for axis, n in zip(traced.axes, size, strict=True)] == [
            found.shape[a] for a in case.window_axes
        ], size
        assert tuple(traced.spatial) == case.window_axes


@every_case
def test_the_effective_stride_and_the_verdict(case: Case) -> None:
    conversion = prepared(case)
    assert conversion.geometry.grid.stride == case.stride
    assert conversion.trained == {"x": case.trained}
    assert conversion.verdict == case.verdict
    assert sorted({c.node for c in conversion.inexact}) == sorted(case.nodes)
    assert sorted({c.node for c in conversion.phases}) == sorted(case.phase)


EFFECTIVE = [  # receptive field and effective padding, in pixels
    ("Conv", (3, 3), (0, 0)),
    ("Conv dilations", (5, 7), (0, 0)),
    ("Conv pads", (3, 3), (1, 1)),
    ("Conv pads before", (3, 3), (1, 0)),
    ("Conv pads after", (3, 3), (0, 0)),
    ("Conv SAME_UPPER", (3, 3), (1, 1)),
    ("Conv SAME even kernel", (2, 2), (1, 1)),
    ("Conv SAME stride 2", (3, 3), (0, 0)),
    ("Conv chain", (5, 4), (0, 0)),
    ("Conv chain, the second pads", (6, 6), (2, 2)),
    ("MaxPool overlapping", (3, 2), (0, 0)),
    ("Pad", (1, 1), (1, 0)),
    ("Slice crops the border", (1, 1), (-1, -2)),
    ("Residual with pads", (3, 3), (1, 1)),
    ("SpaceToDepth", (2, 2), (0, 0)),
    ("NHWC image", (3, 3), (0, 0)),
]


@pytest.mark.parametrize(("name", "receptive_field", "padding"), EFFECTIVE, ids=[row[0] for row in EFFECTIVE])
def test_receptive_field_and_padding(name: str, receptive_field: tuple[int, ...], padding: tuple[int, ...]) -> None:
    grid = prepared(CASES[name]).geometry.grid
    assert (grid.field, grid.padding) == (receptive_field, padding)


def crops(case: Case, steps: int, more: Sequence[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Windows of an enlarged map, and the map of the image crop in the box of each window.

    Args:
        case: the backbone.
        steps: strides added to the trained size on every axis; that many windows and one are compared along it.
        more: pixels added to that, which the windows with a whole box in the image leave over.
    """
    run = free_session(case)
    image = case.pixels([t + steps * s + m for t, s, m in zip(case.trained, case.stride, more, strict=True)])
    (big,) = run.run(None, {"x": image})
    windows, maps = [], []
    for cell in itertools.product(range(steps + 1), repeat=len(case.spatial)):
        box = [slice(None)] * image.ndim
        for axis, i, s, t in zip(case.spatial, cell, case.stride, case.trained, strict=True):
            box[axis] = slice(i * s, i * s + t)
        (small,) = run.run(None, {"x": np.ascontiguousarray(image[tuple(box)])})
        here = [slice(None)] * big.ndim
        for axis, i in zip(case.window_axes, cell, strict=True):
            here[axis] = slice(i, i + small.shape[axis])
            assert (
                big.shape[axis] - small.shape[axis] == steps
                if not any(more)
                else big.shape[axis] >= small.shape[axis] + steps
            )
        windows.append(big[tuple(here)])
        maps.append(small)
    assert len(windows) == (steps + 1) ** len(case.spatial)
    assert np.ptp(np.concatenate([m.ravel() for m in maps])) > 0
    return windows, maps


def bound(case: Case) -> float:
    """0 where integers stay integers, else what rounding may do."""
    return tolerance(TensorProto.FLOAT, case.terms, len(case.text.splitlines())) if case.terms else 0.0


@every_case
def test_the_verdict_is_the_truth(case: Case) -> None:
    windows, maps = crops(case, 4, (0,) * len(case.spatial))
    if case.verdict == "exact" or case.alike:
        for window, small in zip(windows, maps, strict=True):
            assert_close(window, small, bound(case))
    else:
        scale = max(float(np.abs(small).max()) for small in maps)
        worst = max(float(np.abs(window - small).max()) for window, small in zip(windows, maps, strict=True))
        assert worst > bound(case) * scale


STRIDED = {n: c for n, c in CASES.items() if c.verdict == "exact" and not c.phase and max(c.stride) > 1}


@pytest.mark.parametrize("case", STRIDED.values(), ids=STRIDED.keys())
def test_exact_windows_at_sizes_that_leave_pixels_over(case: Case) -> None:
    """Where any size is valid and the verdict is exact, windows are those of the crops at any size."""
    for window, small in zip(*crops(case, 2, [s - 1 for s in case.stride]), strict=True):
        assert_close(window, small, bound(case))


@every_case
def test_the_converted_model_runs_and_checks(case: Case) -> None:
    """The whole pipeline accepts every case, its own checks included."""
    result = fc2conv.convert(classifier(case), verify=True)
    onnx.checker.check_model(result.model, full_check=True)
    assert result.report.verified


@pytest.mark.parametrize("case", STRIDED.values(), ids=STRIDED.keys())
def test_the_checks_accept_sizes_that_leave_pixels_over(case: Case) -> None:
    size = [t + 2 * s + s - 1 for t, s in zip(case.trained, case.stride, strict=True)]
    assert fc2conv.convert(classifier(case), sizes=[size], verify=True).report.verified


def test_every_operator_with_a_move_has_a_case() -> None:
    """Elementwise operators share one move: some of them stand for all. The rest has a case each."""
    used = {
        f"{node.domain}.{node.op_type}".lstrip(".") for case in CASES.values() for node in backbone(case).graph.node
    }
    shared_or_refused = ("move_elementwise", "move_reduce", "refuse")
    own_move = {op_type for op_type, move in MOVES.items() if move.__name__ not in shared_or_refused}
    covered_elsewhere = {"Einsum", "Expand", "GlobalLpPool", "GroupNormalization", "Hardmax", "Tile"}
    assert FAMILIES
    assert own_move - used == covered_elsewhere
