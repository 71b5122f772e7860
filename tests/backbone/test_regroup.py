"""What a Reshape does to the meaning of the axes: every split of features and merge of axes is told from the shapes."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_fc2conv.backbone.regroup import keeps_axes, merged, regroup, unmerged
from onnx_fc2conv.geometry import Axis
from onnx_fc2conv.plan import Dim, Merged, Part, parts_of, size

BATCH = 5
HEIGHT, WIDTH = Axis("x", 0, 8), Axis("x", 1, 6)
HALF = HEIGHT.window_op(2, 2, 0, 0)

ATOMS = st.lists(st.sampled_from([2, 3, 4, 6, HEIGHT, WIDTH, HALF]), min_size=1, max_size=4)


def at(dim: Dim, height: int, width: int, batch: int = BATCH) -> int:
    """Size of a dim in an image of this size."""
    if isinstance(dim, Merged):
        return prod(at(part, height, width, batch) for part in dim.parts)
    return dim.law((height, width)[dim.index]) if isinstance(dim, Axis) else size(dim, batch)


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[Dim, ...], tuple[Dim, ...]]:
    """Dims before and behind a Reshape, both products of one row of factors."""
    row: list[Dim] = ["batch"]
    for atom in draw(ATOMS):
        row += [2, atom // 2] if atom in (4, 6) and draw(st.booleans()) else [atom]

    def grouped() -> tuple[Dim, ...]:
        dims, i = [], 0
        while i < len(row):
            count = draw(st.integers(1, 3))
            dims.append(merged(row[i : i + count]))
            i += count
            if draw(st.integers(0, 9)) == 0:
                dims.append(1)
        return tuple(dims)

    return grouped(), grouped()


@given(reshapes())
@settings(max_examples=400, deadline=None)
def test_the_meaning_is_told_from_the_shapes(pair: tuple[tuple[Dim, ...], tuple[Dim, ...]]) -> None:
    before, after = pair
    assert regroup(before, [size(d, BATCH) for d in after], BATCH) == after


@given(reshapes())
@settings(max_examples=200, deadline=None)
def test_at_another_size_the_values_lie_where_it_says(pair: tuple[tuple[Dim, ...], tuple[Dim, ...]]) -> None:
    """Numbers that count an axis of the input are found along the same axis of the result."""
    before, after = pair
    told = regroup(before, [size(d, BATCH) for d in after], BATCH)
    assert told is not None
    shapes = [[at(d, 12, 10) for d in dims] for dims in (before, told)]
    for i, axis in enumerate(before):
        once = isinstance(axis, Axis) and [p for d in before for p in parts_of(d)].count(axis) == 1
        if once and axis in told:
            places = [k for k, d in enumerate(told) if d == axis]
            counted = np.broadcast_to(np.arange(shapes[0][i]).reshape(-1, *[1] * (len(before) - i - 1)), shapes[0])
            behind = counted.reshape(shapes[1])
            assert any(
                np.array_equal(
                    behind, np.broadcast_to(np.arange(shapes[1][k]).reshape(-1, *[1] * (len(told) - k - 1)), shapes[1])
                )
                for k in places
            )


ONE_IMAGE: list[tuple[tuple[Dim, ...], list[int], tuple[Dim, ...] | None]] = [
    (("batch", 6, HEIGHT), [1, 2, 3, 8], ("batch", 2, 3, HEIGHT)),
    (("batch", 6, HEIGHT), [6, 8], (Merged(("batch", 6)), HEIGHT)),
    ((Merged(("batch", 6)), HEIGHT), [1, 6, 8], ("batch", 6, HEIGHT)),
    (("batch", HEIGHT, WIDTH), [1, 1, 48], ("batch", 1, Merged((HEIGHT, WIDTH)))),
    (("batch", HEIGHT, WIDTH), [1, 6, 8], None),
    (("batch", HEIGHT, 6), [1, 16, 3], ("batch", Merged((HEIGHT, 2)), 3)),
    (("batch", HEIGHT, 6), [1, 12, 4], None),
    (("batch", 6, HEIGHT), [1, 6, 9], None),
]


@pytest.mark.parametrize(("before", "target", "after"), ONE_IMAGE)
def test_of_one_image(before: tuple[Dim, ...], target: list[int], after: tuple[Dim, ...] | None) -> None:
    assert regroup(before, target, 1) == after


def test_an_axis_is_split_as_it_is_read() -> None:
    def blocks(axis: Axis, outer: int, place: int) -> tuple[int | Axis, int | Axis]:
        assert (axis, outer, place) == (HEIGHT, 4, 2)
        return HALF, 2

    assert regroup(("batch", 3, HEIGHT), [1, 3, 4, 2], 1, blocks) == ("batch", 3, HALF, 2)
    assert regroup(("batch", 3, HEIGHT), [1, 3, 4, 2], 1) is None


def test_an_axis_of_one_cell_cannot_be_told_from_a_one() -> None:
    cell = HEIGHT.window_op(8, 8, 0, 0)
    assert cell.size == 1
    assert regroup(("batch", 3, cell), [1, 3], 1) is None
    assert regroup(("batch", 3, cell.constant(1)), [1, 3], 1) == ("batch", 3)


def test_several_cells_for_each_are_an_axis() -> None:
    assert unmerged(Merged((HALF, 2))) == HALF.scaled(2)
    part = Part("x", 0, 8)
    for stays in (Merged((2, HALF)), Merged((HALF, WIDTH)), Merged((part, 2)), HALF, 4, "batch"):
        assert unmerged(stays) == stays  # type: ignore[arg-type]


KEEPS = [
    (("batch", 6, HEIGHT, WIDTH), ("batch", 2, 3, HEIGHT, WIDTH), True),
    (("batch", 6, HEIGHT, WIDTH), ("batch", 3, Merged((HEIGHT, 2)), WIDTH), True),
    (("batch", 6, HEIGHT, WIDTH), ("batch", 6, Merged((HEIGHT, WIDTH))), False),
    (("batch", 6, HEIGHT, WIDTH), ("batch", Merged((6, HEIGHT)), WIDTH), False),
    (("batch", HEIGHT, WIDTH, 6), ("batch", HEIGHT, Merged((WIDTH, 6))), False),
    (("batch", 6, HEIGHT, WIDTH), None, False),
]


@pytest.mark.parametrize(("before", "after", "expected"), KEEPS)
def test_keeps_axes(before: tuple[Dim, ...], after: tuple[Dim, ...] | None, expected: bool) -> None:
    assert keeps_axes(before, after) is expected
