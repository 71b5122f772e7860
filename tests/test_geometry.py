"""The size arithmetic: against step-by-step evaluation, against onnxruntime's output sizes, and to JSON and back."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnx_fc2conv.geometry import SCHEMA, Axis, Geometry, Grid, SizeLaw, Step, ceil_add, conv_add, same_add

from .networks import session

SIZES = range(1, 200)

properties = settings(derandomize=True, deadline=None, max_examples=300)
divisions = st.tuples(st.just(1), st.integers(-9, 9), st.integers(1, 4))
scalings = st.tuples(st.integers(1, 3), st.integers(-9, 9), st.just(1))
ratios = st.tuples(st.integers(1, 4), st.integers(-9, 9), st.integers(1, 4))
chains = st.lists(st.one_of(divisions, scalings, ratios), max_size=6)


def law_of(steps: list[Step]) -> SizeLaw:
    """The steps, put together one by one."""
    law = SizeLaw()
    for step in steps:
        law = law.then(*step)
    return law


def one_by_one(steps: list[Step], n: int) -> int:
    """The same without any normal form."""
    for mul, add, div in steps:
        n = (n * mul + add) // div
    return n


# -- SizeLaw -----------------------------------------------------------------------------------------------------------


@properties
@given(chains)
@example([(1, 0, 3), (2, 0, 1), (1, 0, 4)])
@example([(1, 1, 2), (3, 0, 1)])
def test_the_normal_form_gives_the_sizes_of_the_steps(steps: list[Step]) -> None:
    law = law_of(steps)
    assert [law(n) for n in SIZES] == [one_by_one(steps, n) for n in SIZES]


@properties
@given(st.lists(divisions, min_size=1, max_size=8))
def test_a_chain_without_upsampling_collapses_into_one_step(steps: list[Step]) -> None:
    assert len(law_of(steps).steps) <= 1


@properties
@given(st.lists(divisions, max_size=5), st.lists(divisions, max_size=5))
@example([(1, 0, 2), (1, 0, 3)], [(1, 0, 3), (1, 0, 2)])
@example([(1, 1, 2), (1, 1, 2)], [(1, 3, 4)])
@example([(1, 0, 2)], [(1, 1, 2)])
def test_laws_without_upsampling_are_equal_if_and_only_if_all_their_sizes_are(
    left: list[Step], right: list[Step]
) -> None:
    same = [one_by_one(left, n) for n in range(5000)] == [one_by_one(right, n) for n in range(5000)]
    assert (law_of(left) == law_of(right)) is same


UPSAMPLED = [
    pytest.param([(1, 0, 3), (2, 0, 1), (1, 0, 4)], [(1, 0, 6)], id="a third, twice, a quarter = a sixth"),
    pytest.param([(1, 0, 2), (4, 0, 1), (1, 0, 4)], [(1, 0, 2)], id="half, four times, a quarter = half"),
    pytest.param([(1, 1, 2), (2, 0, 1), (1, 0, 2)], [(1, 1, 2)], id="up and down again is nothing"),
    pytest.param([(1, 1, 2), (2, 0, 1), (1, 2, 4)], [(1, 3, 4)], id="with additions"),
    pytest.param([(3, 0, 1), (1, 0, 3)], [], id="the identity"),
    pytest.param([(1, 0, 5), (6, 0, 1), (1, 0, 4)], [(1, 0, 5), (3, 0, 2)], id="what cannot be collapsed"),
]


@pytest.mark.parametrize(("left", "right"), UPSAMPLED)
def test_equal_laws_with_upsampling_have_one_normal_form(left: list[Step], right: list[Step]) -> None:
    assert [one_by_one(left, n) for n in range(5000)] == [one_by_one(right, n) for n in range(5000)]
    assert law_of(left) == law_of(right)


@properties
@given(chains)
@example([(1, 1, 2), (3, 0, 1)])
@example([(1, 0, 2), (2, 0, 1)])
@example([(1, 0, 2), (3, 1, 1), (1, 0, 2)])
@example([(1, 0, 2), (0, 5, 1), (1, 2, 3)])
def test_the_expression_evaluates_to_the_size(steps: list[Step]) -> None:
    law = law_of(steps)
    text = law.expression("height")
    assert re.fullmatch(r"[a-z0-9 ()*/+-]+", text)
    code = compile(text, "dim_param", "eval")
    assert [eval(code, {"height": n}) for n in SIZES] == [law(n) for n in SIZES]


WRITTEN = [
    ([], "height"),
    ([(1, -96, 32)], "(height - 96)//32"),
    ([(1, 0, 2)], "height//2"),
    ([(1, 3, 1)], "height + 3"),
    ([(2, 0, 1)], "2*height"),
    ([(2, -3, 1)], "2*height - 3"),
    ([(2, -3, 5)], "(2*height - 3)//5"),
    ([(0, 7, 1)], "7"),
]


@pytest.mark.parametrize(("steps", "text"), WRITTEN, ids=[text for _, text in WRITTEN])
def test_simple_laws_read_as_one_would_write_them(steps: list[Step], text: str) -> None:
    assert law_of(steps).expression("height") == text


@properties
@given(chains, st.integers(0, 9), chains)
def test_a_constant_step_makes_the_law_constant(before: list[Step], size: int, after: list[Step]) -> None:
    assert not law_of(before).is_constant
    law = law_of([*before, (0, size, 1), *after])
    assert law.is_constant
    assert {law(n) for n in SIZES} == {one_by_one(after, size)}
    assert law == law_of([(0, one_by_one(after, size), 1)]), "what came before must not tell equal laws apart"


# -- window operators, against onnxruntime -----------------------------------------------------------------------------


def runtime_sizes(op_type: str, sizes: range, opset: int = 17, **attrs: object) -> list[int]:
    """Output sizes of a 1-D node, by onnxruntime, at many input sizes."""
    weights = []
    if op_type == "Conv":
        kernel = attrs["kernel_shape"][0]  # type: ignore[index]
        weights = [helper.make_tensor("w", TensorProto.FLOAT, [1, 1, kernel], [1.0] * kernel)]
    graph = helper.make_graph(
        [helper.make_node(op_type, ["x", "w"] if weights else ["x"], ["y"], **attrs)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "m"])],
        weights,
    )
    run = session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8))
    return [run.run(None, {"x": np.zeros((1, 1, n), np.float32)})[0].shape[2] for n in sizes]


SLIDES = [(k, s, p, q) for k in (1, 2, 3, 5) for s in (1, 2, 3, 4) for p in range(k) for q in range(k)]


def some(row: tuple[int, int, int, int]) -> str:
    return "k{}s{}p{}q{}".format(*row)


@pytest.mark.parametrize(("kernel", "stride", "before", "after"), SLIDES, ids=map(some, SLIDES))
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_ceil_mode_as_in_onnxruntime(op_type: str, kernel: int, stride: int, before: int, after: int) -> None:
    sizes = range(max(kernel - before - after, 1), 40)
    opset = 12 if op_type == "MaxPool" else 19
    found = runtime_sizes(
        op_type, sizes, opset, kernel_shape=[kernel], strides=[stride], pads=[before, after], ceil_mode=1
    )
    law = SizeLaw().then(1, ceil_add(kernel, stride, before, after), stride)
    assert [law(n) for n in sizes] == found


CONVS = [(k, s, p, d) for k in (1, 2, 3) for s in (1, 2, 3) for p in (0, 1, 2) for d in (1, 2)]


@pytest.mark.parametrize(("kernel", "stride", "pad", "dilation"), CONVS)
def test_floor_mode_as_in_onnxruntime(kernel: int, stride: int, pad: int, dilation: int) -> None:
    dilated = (kernel - 1) * dilation + 1
    sizes = range(dilated, 40)
    found = runtime_sizes("Conv", sizes, kernel_shape=[kernel], strides=[stride], pads=[pad, 1], dilations=[dilation])
    law = SizeLaw().then(1, conv_add(dilated, stride, pad + 1), stride)
    assert [law(n) for n in sizes] == found


# A MaxPool with gaps between its windows is left out: onnxruntime computes negative pads for it and does not run it.
SAME = [(op_type, k, s) for op_type in ("Conv", "MaxPool") for k in (1, 2, 3, 5) for s in (1, 2, 3, 4)]
SAME = [(op_type, k, s) for op_type, k, s in SAME if op_type == "Conv" or k >= s]


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("op_type", "kernel", "stride"), SAME)
def test_same_padding_as_in_onnxruntime(op_type: str, kernel: int, stride: int, auto_pad: str) -> None:
    sizes = range(1, 40)
    found = runtime_sizes(op_type, sizes, kernel_shape=[kernel], strides=[stride], auto_pad=auto_pad)
    law = SizeLaw().then(1, same_add(stride), stride)
    assert [law(n) for n in sizes] == found


# -- Axis --------------------------------------------------------------------------------------------------------------

windows = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2))  # kernel, stride, pad before


@properties
@given(st.lists(windows, min_size=1, max_size=4))
def test_stride_field_and_padding_against_the_cells_that_are_reached(rows: list[tuple[int, int, int]]) -> None:
    """Brute force: which pixels the cells 0 and 1 of a chain of windows reach."""
    axis = Axis("x", 0, 1000)
    for kernel, stride, pad in rows:
        axis = axis.window_op(kernel, stride, pad, conv_add(kernel, stride, 2 * pad))
    reached = []
    for cell in (0, 1):
        first = last = cell
        for kernel, stride, pad in reversed(rows):
            first, last = first * stride - pad, last * stride - pad + kernel - 1
        reached.append((first, last))
    assert axis.padding == -reached[0][0]
    assert axis.field == reached[0][1] - reached[0][0] + 1
    assert axis.stride == reached[1][0] - reached[0][0]


def test_upsampling_divides_the_stride() -> None:
    axis = Axis("x", 0, 32).window_op(4, 4, 0, 0).scaled(2)
    assert (axis.stride, axis.size) == (2, 16)
    assert axis.scaled(4).stride == Fraction(1, 2)
    assert axis.constant(1).size == 1
    assert axis.constant(1).law.is_constant


# -- Grid --------------------------------------------------------------------------------------------------------------


def grid_of(*axes: Axis) -> Grid:
    return Grid.over(tuple(axes))


REFERENCE = grid_of(
    Axis("image", 0, 128).window_op(32, 32, 0, 0),
    Axis("image", 1, 64).window_op(32, 32, 0, 0),
)


def test_the_reference_case_of_the_design() -> None:
    assert REFERENCE.window == (4, 2)
    assert REFERENCE.stride == (32, 32)
    assert REFERENCE.trained_size == (128, 64)
    assert REFERENCE.grid_size((128, 64)) == (1, 1)
    assert REFERENCE.grid_size((512, 1024)) == (13, 31)
    assert REFERENCE.box(0, 0) == (0, 0, 128, 64)
    assert REFERENCE.box(3, 7) == (96, 224, 224, 288)
    assert REFERENCE.box(12, 30) == (384, 960, 512, 1024)


@properties
@given(st.lists(windows, min_size=1, max_size=4), st.integers(40, 60), st.integers(0, 90))
def test_the_grid_counts_the_windows_that_fit_on_the_map(
    rows: list[tuple[int, int, int]], trained: int, more: int
) -> None:
    axis = Axis("x", 0, trained)
    sizes = {trained: trained, trained + more: trained + more}
    for kernel, stride, pad in rows:
        axis = axis.window_op(kernel, stride, pad, conv_add(kernel, stride, 2 * pad))
        sizes = {n: (m + 2 * pad - kernel) // stride + 1 for n, m in sizes.items()}
    assume(sizes[trained] >= 1)
    positions = [i for i in range(sizes[trained + more]) if i + sizes[trained] <= sizes[trained + more]]
    assert grid_of(axis).grid_size((trained + more,)) == (len(positions),)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((512,), "size (512,) has 1 axes, the model has 2"),
        ((512, 512, 3), "has 3 axes"),
        ((127, 64), "size (127, 64) is smaller than the trained size (128, 64)"),
        ((1024, 63), "smaller than the trained size"),
    ],
)
def test_grid_size_refuses(size: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        REFERENCE.grid_size(size)


@pytest.mark.parametrize("cell", [(), (1,), (1, 2, 3)])
def test_box_wants_one_index_per_axis(cell: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"cell {cell} has {len(cell)} indices, the grid has 2 axes")):
        REFERENCE.box(*cell)


@properties
@given(st.lists(divisions, min_size=1, max_size=3), st.lists(divisions, min_size=1, max_size=3), st.integers(60, 80))
@example([(1, 0, 2), (1, -1, 2)], [(1, -2, 4)], 64)
@example([(1, 0, 2)], [(1, 1, 2)], 64)
@example([(1, -2, 2)], [(1, 0, 2)], 64)
def test_grids_align_if_and_only_if_they_have_the_same_cells_at_every_size(
    left: list[Step], right: list[Step], trained: int
) -> None:
    grids, same = [], []
    for steps in (left, right):
        axis = Axis("x", 0, trained)
        for _, add, div in steps:
            axis = axis.window_op(1, div, 0, add)
        assume(axis.size >= 1)
        grids.append(grid_of(axis))
        first = one_by_one(steps, trained)
        stride = int(np.prod([div for _, _, div in steps]))
        same.append([(one_by_one(steps, n) - first + 1, stride) for n in range(trained, trained + 500)])
    assert grids[0].aligns_with(grids[1]) is (same[0] == same[1])
    assert grids[0].aligns_with(grids[0])


def test_grids_of_different_inputs_or_axes_do_not_align() -> None:
    height, width = Axis("x", 0, 32).window_op(2, 2, 0, 0), Axis("x", 1, 32).window_op(2, 2, 0, 0)
    other = [Axis("z", i, 32).window_op(2, 2, 0, 0) for i in (0, 1)]
    assert grid_of(height, width).aligns_with(grid_of(height, width))
    assert not grid_of(height, width).aligns_with(grid_of(*other))
    assert not grid_of(height, width).aligns_with(grid_of(height))


@properties
@given(chains, st.integers(1, 5), st.integers(1, 6))
def test_every_rth_cell_is_a_subsampling_of_the_cells(steps: list[Step], ratio: int, stride: int) -> None:
    grid = Grid("x", (1,), (1,), (stride,), (law_of(steps),), (1,), (0,), (0,), (1,))
    coarser = grid.every((ratio,))
    sizes = [n for n in SIZES if grid.grid_size((n,))[0] >= 0]
    assert [coarser.grid_size((n,)) for n in sizes] == [(len(range(grid.grid_size((n,))[0])[::ratio]),) for n in sizes]
    assert coarser.stride == (stride * ratio,)
    cells = [grid.box(i) for i in range(7)]
    assert [coarser.box(i) for i in range(len(cells[::ratio]))] == cells[::ratio]


@properties
@given(st.lists(windows, min_size=1, max_size=4), st.integers(1, 4), st.integers(1, 4), st.integers(60, 80))
def test_every_rth_of_every_qth_is_every_rqth(rows: list[tuple[int, int, int]], r: int, q: int, trained: int) -> None:
    axis = Axis("x", 0, trained)
    for kernel, stride, pad in rows:
        axis = axis.window_op(kernel, stride, pad, conv_add(kernel, stride, 2 * pad))
    assume(axis.size >= 1)
    grid = grid_of(axis)
    assert grid.every((q,)).every((r,)) == grid.every((r * q,))
    assert grid.every((r,)).grid_size((trained,)) == (1,)


@properties
@given(st.lists(windows, max_size=3), st.integers(1, 4), st.integers(1, 6), st.integers(60, 80))
def test_every_rth_window_is_where_a_pool_of_stride_r_puts_its_own(
    rows: list[tuple[int, int, int]], ratio: int, times: int, trained: int
) -> None:
    """A fine window of ``times`` coarse cells, on a map that the ratio divides at the trained size."""
    axis = Axis("x", 0, trained)
    for kernel, stride, pad in rows:
        axis = axis.window_op(kernel, stride, pad, conv_add(kernel, stride, 2 * pad))
    axis = axis.window_op(1, 1, 0, ratio * times - axis.size)
    coarse = axis.window_op(ratio, ratio, 0, conv_add(ratio, ratio, 0))
    assert grid_of(axis).every((ratio,)).aligns_with(grid_of(coarse))
    if ratio > 1:
        other = axis.window_op(1, 1, 0, 1)  # a cell more, which the pool leaves over
        between = other.window_op(ratio, ratio, 0, conv_add(ratio, ratio, 0))
        assert not grid_of(other).every((ratio,)).aligns_with(grid_of(between))


def test_every_rth_cell_per_axis() -> None:
    grid = REFERENCE.every((2, 3))
    assert (grid.stride, grid.grid_size((512, 1024))) == ((64, 96), (7, 11))
    assert grid.box(3, 2) == REFERENCE.box(6, 6)
    assert (grid.source, grid.window, grid.field, grid.padding, grid.trained_size) == (
        REFERENCE.source,
        REFERENCE.window,
        REFERENCE.field,
        REFERENCE.padding,
        REFERENCE.trained_size,
    )
    assert REFERENCE.every((1, 1)) == REFERENCE
    assert Geometry.from_json(Geometry({"y": grid}).to_json())["y"] == grid


# -- Geometry ----------------------------------------------------------------------------------------------------------

UPSAMPLING = grid_of(Axis("x", 0, 41).window_op(3, 4, 1, 3).scaled(2, 1), Axis("x", 1, 9))
GEOMETRIES = [
    pytest.param(Geometry({"y": REFERENCE}), id="one output"),
    pytest.param(Geometry({"y": REFERENCE, "": UPSAMPLING, 'naïve "name"': grid_of(Axis("x", 0, 7))}), id="three"),
    pytest.param(Geometry({}), id="none"),
]


def test_as_many_axes_as_a_file_may_have_are_read() -> None:
    def text(rank: int) -> str:
        ones = (1,) * rank
        return Geometry(
            {"y": Grid("x", ones, ones, ones, (SizeLaw(),) * rank, ones, (0,) * rank, (0,) * rank, ones)}
        ).to_json()

    assert len(Geometry.from_json(text(8)).window) == 8
    with pytest.raises(ValueError, match="no list of one number per axis"):
        Geometry.from_json(text(9))


def test_the_center_of_an_answer_for_the_whole_image_is_that_of_the_image() -> None:
    whole = Grid("x", (4, 4), (2, 2), (1, 1), (SizeLaw(((0, 1, 1),)),) * 2, (1, 1), (0, 0), (0, 0), (1, 1))
    assert Geometry({"y": whole}).center(0, 0, size=(12, 16)) == (6.0, 8.0)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_json_round_trip(geometry: Geometry) -> None:
    text = geometry.to_json()
    assert "\n" not in text
    assert Geometry.from_json(text) == geometry
    assert json.loads(text) == geometry.to_dict()
    assert json.loads(text)["schema"] == SCHEMA == 1, "files of this schema are in use"


@properties
@given(st.lists(windows, min_size=1, max_size=3), st.integers(1, 3), st.integers(50, 60))
def test_json_round_trip_of_any_grid(rows: list[tuple[int, int, int]], rank: int, trained: int) -> None:
    axes = [Axis("x", i, trained + i) for i in range(rank)]
    for kernel, stride, pad in rows:
        axes = [a.window_op(kernel, stride, pad, conv_add(kernel, stride, 2 * pad)) for a in axes]
    geometry = Geometry({"y": grid_of(*axes)})
    back = Geometry.from_json(geometry.to_json())
    assert back == geometry
    size = tuple(a.trained + 37 for a in axes)
    assert back.grid_size(size) == geometry.grid_size(size)


PER_AXIS = """trained_size window stride offset receptive_field window_receptive_field padding padding_after
size_step""".split()


def damaged(**changes: object) -> str:
    """The reference geometry with some fields of its one output replaced, or taken away where ``None``."""
    data = Geometry({"y": REFERENCE}).to_dict()
    row = data["outputs"]["y"]
    for key, value in changes.items():
        row[key] = value
        if value is None:
            del row[key]
    return json.dumps(data)


DAMAGED = [
    ("", "empty"),
    ("{", "truncated"),
    ("[]", "a list"),
    ("null", "null"),
    ("{}", "no schema"),
    ('{"schema": 99, "outputs": {}}', "a later schema"),
    ('{"schema": 1}', "no outputs"),
    ('{"schema": 1, "outputs": []}', "outputs are a list"),
    ('{"schema": 1, "outputs": {"y": 3}}', "an output is a number"),
    (damaged(stride=None), "no stride"),
    (damaged(input=None), "no input"),
    (damaged(stride=32), "stride is a number"),
    (damaged(window=["a", "b"]), "window is text"),
    (damaged(grid_law=[[[1, 2]]]), "a step of two numbers"),
    (damaged(grid_law=[[1, 2, 3]]), "a law is no list of steps"),
    ('{"schema": true, "outputs": {}}', "a schema that is no number"),
    ('{"schema": 1, "outputs": {"y": ' + "[" * 900 + "]" * 900 + "}}", "lists in lists"),
    ("[" * 100_000, "lists without an end"),
    (damaged(window="42"), "window is one text"),
    (damaged(window=[4, 2, 1]), "window has an axis more"),
    (damaged(trained_size=[128]), "the trained size has an axis less"),
    (damaged(trained_size=[]), "no axes"),
    (damaged(**{key: [1] * 9 for key in PER_AXIS}), "nine axes"),
    (damaged(stride=[0, 32]), "a stride of zero"),
    (damaged(stride=[-32, 32]), "a negative stride"),
    (damaged(stride=[32.0, 32]), "a stride with a point"),
    (damaged(stride=["32", 32]), "a stride in quotes"),
    (damaged(stride=[True, 32]), "a stride that is true"),
    (damaged(stride=[[32], 32]), "a stride that is a list"),
    (damaged(stride=[10**30, 32]), "a huge stride"),
    (damaged(size_step=[0, 1]), "a step of zero"),
    (damaged(window=[0, 2]), "an empty window"),
    (damaged(receptive_field=[0, 1]), "an empty field"),
    (damaged(offset=[1, 0]), "an offset"),
    (damaged(padding=[1, 0]), "a padding that the window's field contradicts"),
    (damaged(padding=[-200, 0], window_receptive_field=[-72, 64]), "paddings that leave nothing"),
    (damaged(window_receptive_field=None), "no field of the window"),
    (damaged(global_context=0), "global_context is a number"),
    (damaged(input=7), "the input is a number"),
    (damaged(grid_law=[[[1, -96, 0]], [[1, -32, 32]]]), "a division by zero"),
    (damaged(grid_law=[[[1, -95, 1]], [[1, -32, 32]]]), "a law that gives many cells at the trained size"),
    (damaged(grid_law=[[[-1, 129, 1]], [[1, -32, 32]]]), "a law that shrinks"),
    (damaged(grid_law=[[[1, 0, 1]] * 100, [[1, -32, 32]]]), "a law of many steps"),
    (damaged(grid_law=[[[1, -96, 32]]]), "a law for one axis of two"),
    (damaged(grid_law=[7, 7]), "laws are numbers"),
]


@pytest.mark.parametrize("text", [t for t, _ in DAMAGED], ids=[name for _, name in DAMAGED])
def test_damaged_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Geometry.from_json(text)


@properties
@given(st.data())
def test_no_number_of_the_stored_form_can_be_another(data: st.DataObject) -> None:
    """Whatever one number is replaced with: it is refused, or the grid that is read is stored in just that way."""
    written = Geometry({"y": REFERENCE}).to_dict()
    row = written["outputs"]["y"]
    key = data.draw(st.sampled_from([*PER_AXIS, "grid_law"]))
    place = row[key][0][0] if key == "grid_law" else row[key]
    odd = st.sampled_from([None, "", "1", 1.0, True, [], [1], {}, float("nan"), 10**13])
    place[data.draw(st.integers(0, len(place) - 1))] = data.draw(st.one_of(st.integers(-300, 300), odd))
    try:
        read = Geometry.from_json(json.dumps(written))
    except ValueError:
        return
    assert read.to_dict() == written
    assert read["y"].boxes(read["y"].trained_size).shape == (1, 1, 4)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ValueError, match=r"geometry is damaged: stride has 0, which is no whole number from 1 on"):
        Geometry.from_json(damaged(stride=[0, 32]))
    with pytest.raises(ValueError, match=r"window_receptive_field is \[128, 64\] where the rest says \[129, 64\]"):
        Geometry.from_json(damaged(padding=[1, 0]))
    with pytest.raises(ValueError, match=r"damaged: window has 3 numbers, trained_size 2"):
        Geometry.from_json(damaged(window=[4, 2, 1]))


def test_the_stored_form_says_everything_in_plain_numbers() -> None:
    grid = Geometry({"y": REFERENCE.every((1, 2))}).to_dict()["outputs"]["y"]
    assert grid == {
        "input": "image",
        "trained_size": [128, 64],
        "window": [4, 2],
        "stride": [32, 64],
        "offset": [0, 0],
        "grid_law": [[[1, -96, 32]], [[1, 0, 64]]],
        "receptive_field": [32, 32],
        "window_receptive_field": [128, 64],
        "padding": [0, 0],
        "padding_after": [0, 0],
        "size_step": [1, 1],
        "global_context": False,
    }


def test_the_undamaged_form_of_the_damaged_ones_reads() -> None:
    assert Geometry.from_json(damaged()) == Geometry({"y": REFERENCE})


def test_a_later_schema_is_named() -> None:
    with pytest.raises(ValueError, match=rf"schema 99, this version reads {SCHEMA}"):
        Geometry.from_json('{"schema": 99, "outputs": {}}')


def test_one_grid_of_all_outputs() -> None:
    geometry = Geometry({"a": REFERENCE, "b": REFERENCE})
    assert geometry.grid == REFERENCE
    assert geometry["b"] == REFERENCE
    assert geometry.grid_size((512, 1024)) == (13, 31)
    assert geometry.box(3, 7) == REFERENCE.box(3, 7)


def test_outputs_with_different_grids_must_be_asked_for_by_name() -> None:
    geometry = Geometry({"prob": REFERENCE, "box": UPSAMPLING})
    for ask in (lambda: geometry.grid, lambda: geometry.grid_size((512, 1024)), lambda: geometry.box(0, 0)):
        with pytest.raises(ValueError, match=r"outputs have different grids; choose one: prob, box"):
            ask()
    assert geometry["prob"] == REFERENCE
    assert geometry["box"] == UPSAMPLING
    with pytest.raises(KeyError):
        geometry["unknown"]
