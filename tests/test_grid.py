"""Cells and pixels: boxes, the cells of a box, whole grids, and the sizes that fit; against counting by hand."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnx_fc2conv.geometry import Axis, Geometry, Grid, conv_add

properties = settings(derandomize=True, deadline=None, max_examples=300)


def grid_of(*axes: Axis) -> Grid:
    return Grid.over(tuple(axes))


REFERENCE = grid_of(Axis("x", 0, 128).window_op(32, 32, 0, 0), Axis("x", 1, 64).window_op(32, 32, 0, 0))
WHOLE = grid_of(*(Axis("x", i, n).window_op(2, 2, 0, 0).constant(1) for i, n in enumerate((6, 4))))
LEFT_OVER = grid_of(Axis("x", 0, 11).window_op(4, 4, 0, conv_add(4, 4, 0)))  # 2 cells, which leave 3 pixels over
PADDED = grid_of(Axis("x", 0, 16).window_op(5, 2, 1, conv_add(5, 2, 1)))  # 7 cells; the last ends with pixel 15
PHASED = replace(REFERENCE, step=(32, 16))


@st.composite
def axes(draw: st.DrawFn, index: int = 0) -> Axis:
    axis = Axis("x", index, draw(st.integers(20, 50)))
    for _ in range(draw(st.integers(1, 3))):
        kernel, stride, before, after = (draw(st.integers(*ends)) for ends in ((1, 4), (1, 3), (-2, 3), (-2, 3)))
        axis = axis.window_op(kernel, stride, before, conv_add(kernel, stride, before + after))
        assume(axis.size >= 1)
    return axis


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    rank = draw(st.integers(1, 3))
    grid = grid_of(*(draw(axes(i)) for i in range(rank)))
    return grid.every(tuple(draw(st.integers(1, 3)) for _ in range(rank)))


def sizes_of(draw: st.DrawFn, grid: Grid, most: int = 40) -> tuple[int, ...]:
    return tuple(t + draw(st.integers(0, most)) for t in grid.trained_size)


def all_cells(grid: Grid, size: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, grid.grid_size(size))))


# -- the cells of a box ------------------------------------------------------------------------------------------------


def inside(inner: tuple[float, ...], outer: tuple[float, ...]) -> bool:
    n = len(inner) // 2
    return all(inner[k] >= outer[k] and inner[n + k] <= outer[n + k] for k in range(n))


def overlapping(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    n = len(one) // 2
    return all(one[k] < other[n + k] and other[k] < one[n + k] for k in range(n))


@properties
@given(st.data(), grids(), st.booleans())
def test_cells_are_those_that_one_finds_by_looking_at_every_box(data: st.DataObject, grid: Grid, whole: bool) -> None:
    size = sizes_of(data.draw, grid)
    number = st.integers(-30, 90) if whole else st.floats(-30, 90, allow_nan=False)
    pairs = [sorted(data.draw(st.tuples(number, number))) for _ in size]
    assume(all(a < b for a, b in pairs))
    box = (*(a for a, _ in pairs), *(b for _, b in pairs))
    cells = all_cells(grid, size)
    index = np.array(cells).reshape(*grid.grid_size(size), len(size))
    for mode, belongs in (("inside", inside), ("overlapping", overlapping)):
        expected = [cell for cell in cells if belongs(grid.box(*cell), box)]
        for given_size in (size, None):
            found = index[grid.cells(box, mode, given_size)]  # type: ignore[arg-type]
            assert [tuple(c) for c in found.reshape(-1, len(size))] == expected


@properties
@given(st.data(), grids())
def test_the_cells_inside_of_a_cells_box_are_that_cell(data: st.DataObject, grid: Grid) -> None:
    size = sizes_of(data.draw, grid)
    cell = data.draw(st.sampled_from(all_cells(grid, size)))
    assert grid.cells(grid.box(*cell), "inside", size) == tuple(slice(i, i + 1) for i in cell)
    over = grid.cells(grid.box(*cell), "overlapping", size)
    assert all(s.start <= i < s.stop for s, i in zip(over, cell, strict=True))


def test_cells_index_an_output_and_the_boxes_alike() -> None:
    size, output = (512, 1024), np.arange(2 * 3 * 13 * 31).reshape(2, 3, 13, 31)
    cells = REFERENCE.cells((100, 200, 300, 290), "inside", size)
    assert cells == (slice(4, 6), slice(7, 8))
    assert output[(..., *cells)].shape == (2, 3, 2, 1)
    assert REFERENCE.boxes(size)[cells].tolist() == [[[128, 224, 256, 288]], [[160, 224, 288, 288]]]


BOXES = [  # box, mode, first and behind the last cell along the height (boxes of 128 every 32 pixels)
    ((0, 128), "inside", (0, 1)),
    ((0, 127), "inside", (0, 0)),
    ((1, 129), "inside", (1, 1)),
    ((-500, 160), "inside", (0, 2)),
    ((0, 1), "overlapping", (0, 1)),
    ((0, 32), "overlapping", (0, 1)),
    ((0, 33), "overlapping", (0, 2)),
    ((127, 128), "overlapping", (0, 4)),
    ((128, 129), "overlapping", (1, 5)),
    ((127.5, 127.6), "overlapping", (0, 4)),
    ((-9, -1), "overlapping", (0, 0)),
    ((511, 512), "overlapping", (12, 13)),
    ((512, 600), "overlapping", (13, 13)),
    ((10_000, 10_001), "inside", (13, 13)),
]


@pytest.mark.parametrize(("rows", "mode", "expected"), BOXES)
def test_cells_at_the_edges(rows: tuple[float, float], mode: Any, expected: tuple[int, int]) -> None:
    cells = REFERENCE.cells((rows[0], 0, rows[1], 64), mode, (512, 1024))
    assert (cells[0].start, cells[0].stop) == expected


def test_without_a_size_cells_are_not_clipped_at_the_end() -> None:
    assert REFERENCE.cells((-100, 0, 10_000, 64), "inside") == (slice(0, 309), slice(0, 1))


BAD_BOXES = [
    ((0, 0, 10), "overlapping", "box (0, 0, 10) has 3 numbers, the grid has 2 starts and 2 ends"),
    ((0, 0, 10, 10, 10, 10), "overlapping", "has 6 numbers"),
    ((0, 0, 0, 10), "overlapping", "box (0, 0, 0, 10) is empty; it has all starts first, then all ends"),
    ((0, 10, 20, 5), "inside", "is empty"),
    ((0, 0, float("nan"), 10), "inside", "is empty"),
    ((0, 0, float("inf"), 10), "inside", "is empty"),
    ((0, 0, 10, 10), "touching", "mode 'touching' is neither 'overlapping' nor 'inside'"),
]


@pytest.mark.parametrize(("box", "mode", "message"), BAD_BOXES)
def test_cells_refuses(box: tuple[float, ...], mode: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        REFERENCE.cells(box, mode)


# -- boxes, centers, whole grids ---------------------------------------------------------------------------------------


@properties
@given(st.data(), grids())
def test_whole_grids_are_their_cells(data: st.DataObject, grid: Grid) -> None:
    size = sizes_of(data.draw, grid, 20)
    boxes, centers = grid.boxes(size), grid.centers(size)
    rank = len(size)
    assert (boxes.dtype, centers.dtype) == (np.int64, np.float64)
    assert boxes.shape == (*grid.grid_size(size), 2 * rank)
    assert centers.shape == (*grid.grid_size(size), rank)
    for cell in all_cells(grid, size):
        assert tuple(boxes[cell]) == grid.box(*cell) == grid.box(*cell, size=size)
        assert tuple(centers[cell]) == grid.center(*cell)
        assert grid.box(*cell)[rank:] == tuple(a + t for a, t in zip(grid.box(*cell), grid.trained_size, strict=False))


def test_the_reference_grid() -> None:
    assert REFERENCE.boxes((512, 1024)).shape == (13, 31, 4)
    assert REFERENCE.boxes((512, 1024))[3, 7].tolist() == [96, 224, 224, 288]
    assert REFERENCE.center(3, 7) == (160.0, 256.0)
    assert REFERENCE.centers((512, 1024))[3, 7].tolist() == [160, 256]
    assert (REFERENCE.offset, REFERENCE.smallest_size) == ((0, 0), (128, 64))
    assert REFERENCE.receptive_box(3, 7) == REFERENCE.box(3, 7)
    assert REFERENCE.window_field == (128, 64)


def test_cells_may_be_counted_in_numpy_integers() -> None:
    i, j = np.unravel_index(100, (13, 31))
    box = REFERENCE.box(i, j)
    assert box == REFERENCE.box(3, 7)
    assert [type(n) for n in box] == [int] * 4


@pytest.mark.parametrize("method", ["grid_size", "loses", "fitting"])
def test_sizes_may_be_shapes_of_numpy(method: str) -> None:
    found = getattr(REFERENCE, method)(np.array([513, 1030]))
    assert found == getattr(REFERENCE, method)((513, 1030))
    assert [type(n) for n in found] == [int] * 2


@pytest.mark.parametrize("method", ["grid_size", "is_valid", "loses", "fitting", "boxes", "centers"])
def test_sizes_have_all_axes_and_whole_pixels(method: str) -> None:
    with pytest.raises(ValueError, match=re.escape("size (512,) has 1 axes, the model has 2")):
        getattr(REFERENCE, method)((512,))
    with pytest.raises(TypeError, match="integer"):
        getattr(REFERENCE, method)((512.0, 1024))


def test_the_field_and_the_padding_of_a_padded_map() -> None:
    """Cells read pixels -1 to 3, 1 to 5, .., 11 to 15: one in front of the picture, none behind."""
    assert (PADDED.window, PADDED.field, PADDED.padding, PADDED.padding_after) == ((7,), (5,), (1,), (0,))
    assert (PADDED.window_field, PADDED.receptive_box(0), PADDED.receptive_box(3)) == ((17,), (-1, 16), (5, 22))
    assert (PADDED.box(0), PADDED.box(3)) == ((0, 16), (6, 22))


def test_pixels_at_the_end_that_no_cell_reads_are_negative_padding() -> None:
    assert (LEFT_OVER.window, LEFT_OVER.padding, LEFT_OVER.padding_after) == ((2,), (0,), (-3,))
    assert (LEFT_OVER.box(0), LEFT_OVER.receptive_box(0)) == ((0, 11), (0, 8))


BAD_CELLS = [
    ((1,), None, "cell (1,) has 1 indices, the grid has 2 axes"),
    ((-1, 0), None, "cell (-1, 0) has a negative index; cells are counted from 0"),
    ((0, 31), (512, 1024), "cell (0, 31) is beyond the grid (13, 31) of an input of (512, 1024)"),
    ((0, 0), (512,), "has 1 axes, the model has 2"),
    ((0, 0), (5, 5), "smaller than the trained size"),
]


@pytest.mark.parametrize("method", ["box", "receptive_box", "center"])
@pytest.mark.parametrize(("cell", "size", "message"), BAD_CELLS)
def test_a_cell_that_is_none_is_refused(method: str, cell: Any, size: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(REFERENCE, method)(*cell, size=size)


@pytest.mark.parametrize("method", ["box", "receptive_box", "center"])
def test_half_a_cell_is_refused(method: str) -> None:
    with pytest.raises(TypeError, match="integer"):
        getattr(REFERENCE, method)(0.5, 0)


# -- one answer for the whole image ------------------------------------------------------------------------------------


def test_one_answer_for_the_whole_image() -> None:
    size = (12, 10)
    assert WHOLE.box(0, 0, size=size) == WHOLE.receptive_box(0, 0, size=size) == (0, 0, 12, 10)
    assert WHOLE.boxes(size).tolist() == [[[0, 0, 12, 10]]]
    assert WHOLE.centers(size).tolist() == [[[6, 5]]]
    assert WHOLE.center(0, 0, size=size) == (6, 5)
    assert WHOLE.cells((1, 1, 2, 2), size=size) == (slice(0, 1), slice(0, 1))
    assert WHOLE.cells((0, 0, 12, 10), "inside", size) == (slice(0, 1), slice(0, 1))
    assert WHOLE.cells((0, 1, 12, 10), "inside", size) == (slice(0, 1), slice(1, 1))
    assert WHOLE.loses(size) == (0, 0)
    assert WHOLE.fitting((7, 3)) == (7, 4)
    assert replace(WHOLE, step=(4, 4)).fitting((7, 3)) == (10, 4)


ASKING: list[tuple[Callable[[Grid], object], str]] = [
    (lambda g: g.box(0, 0), "box(0, 0, size=(height, width))"),
    (lambda g: g.center(0, 0), "box(0, 0, size=(height, width))"),
    (lambda g: g.receptive_box(0, 0), "receptive_box(0, 0, size=(height, width))"),
    (lambda g: g.cells((0, 0, 2, 2)), "cells((0, 0, 2, 2), size=(height, width))"),
]


@pytest.mark.parametrize(("ask", "advice"), ASKING)
def test_the_whole_image_needs_its_size(ask: Callable[[Grid], object], advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"give its size: {advice}")):
        ask(WHOLE)


def test_the_advice_fits_the_number_of_axes() -> None:
    with pytest.raises(ValueError, match=re.escape("box(0, size=(length,))")):
        grid_of(Axis("x", 0, 9).constant(1)).box(0)


# -- sizes -------------------------------------------------------------------------------------------------------------


def ends(grid: Grid, n: int) -> int:
    """Where the last box ends, of a grid of one axis."""
    (count,) = grid.grid_size((n,))
    return grid.box(count - 1)[1]


@properties
@given(axes(), st.integers(1, 3), st.integers(0, 40), st.sampled_from([1, 2, 6]))
def test_what_a_size_loses_and_what_fits(axis: Axis, ratio: int, more: int, step: int) -> None:
    plain = grid_of(axis).every((ratio,))
    grid = replace(plain, step=(step,))
    n = axis.trained + more
    assert grid.is_valid((n,)) is (more % step == 0)
    if grid.is_valid((n,)):
        assert grid.loses((n,)) == (max(n - ends(plain, n), 0),)
    (found,) = grid.fitting((n,))
    fits = (m for m in range(n, n + 1000) if (m - axis.trained) % step == 0 and ends(plain, m) == m)
    assert found == next(fits)
    assert (grid.loses((found,)), grid.fitting((found,))) == ((0,), (found,))


def test_the_sizes_of_the_reference() -> None:
    assert REFERENCE.loses((512, 1024)) == (0, 0)
    assert REFERENCE.loses((511, 1030)) == (31, 6)
    assert REFERENCE.fitting((500, 1000)) == (512, 1024)
    assert REFERENCE.fitting((1, 65)) == (128, 96)
    assert (REFERENCE.is_valid((128, 64)), REFERENCE.is_valid((127, 64))) == (True, False)


def test_a_last_box_beyond_the_picture_loses_nothing_and_does_not_fit() -> None:
    """At 13 pixels there are 3 cells and so 2 windows; the second box would end at 15."""
    assert (LEFT_OVER.grid_size((13,)), LEFT_OVER.box(1), LEFT_OVER.loses((13,))) == ((2,), (4, 15), (0,))
    assert LEFT_OVER.fitting((13,)) == (15,)


def test_sizes_that_are_not_valid_are_refused_with_the_next_that_is() -> None:
    assert PHASED.grid_size((160, 80)) == (2, 1)
    message = "size (160, 81) is not of the form 128 + n*32 x 64 + n*16; the next that is: (160, 96)"
    for ask in (PHASED.grid_size, PHASED.loses, PHASED.boxes, PHASED.centers):
        with pytest.raises(ValueError, match=re.escape(message)):
            ask((160, 81))
    assert PHASED.fitting((160, 81)) == (160, 96)


# -- the same of a geometry --------------------------------------------------------------------------------------------

SIZE = (512, 1024)
DELEGATED: list[Callable[[Any], object]] = [
    lambda g: (g.window, g.stride, g.offset, g.smallest_size),
    lambda g: g.is_valid(SIZE),
    lambda g: g.grid_size(SIZE),
    lambda g: g.loses((513, 1030)),
    lambda g: g.fitting((500, 500)),
    lambda g: g.box(3, 7, size=SIZE),
    lambda g: g.receptive_box(3, 7),
    lambda g: g.center(3, 7),
    lambda g: g.cells((0, 0, 500, 500), "inside", SIZE),
    lambda g: g.boxes(SIZE).tolist(),
    lambda g: g.centers(SIZE).tolist(),
]


@pytest.mark.parametrize("ask", DELEGATED)
def test_a_geometry_answers_for_the_grid_that_its_outputs_share(ask: Callable[[Any], object]) -> None:
    assert ask(Geometry({"a": REFERENCE, "b": REFERENCE})) == ask(REFERENCE)
    with pytest.raises(ValueError, match="outputs have different grids; choose one: a, b"):
        ask(Geometry({"a": REFERENCE, "b": PHASED}))
    with pytest.raises(ValueError, match="no output has a grid"):
        ask(Geometry({}))


def test_every_method_of_a_grid_is_asked_of_a_geometry() -> None:
    names = {name for name, what in vars(Grid).items() if not name.startswith("_") and callable(what)}
    assert names - set(vars(Geometry)) == {"aligns_with", "every"}


def test_an_unknown_output_is_told_with_those_that_are_there() -> None:
    with pytest.raises(KeyError, match="no output 'c'; there are: a"):
        Geometry({"a": REFERENCE})["c"]
