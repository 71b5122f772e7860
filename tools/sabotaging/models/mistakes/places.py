"""Places: windows off by one, branches that do not fit together, grids turned around, pools left global.

Those that "show at larger sizes only" are equal to the right model at the trained size, where the grid is one cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from onnx import ModelProto, NodeProto, helper

from .edits import CONVS, constant, copied, edited, insert_before, insert_behind, rank_of, title, values
from .registry import Wrong, mistake

LAST = 2**62
JOINING = frozenset("Add Sub Mul Concat Div".split())


def _grids(model: ModelProto) -> Iterator[tuple[str, int]]:
    """Outputs that have a grid or are maps, and their ranks."""
    for output in model.graph.output:
        if output.type.tensor_type.elem_type in (1, 7) and rank_of(model, output.name) > 2:
            yield output.name, rank_of(model, output.name)


def _each_grid(name: str, nodes: Callable[[ModelProto, str, int], list[NodeProto]]) -> None:
    """Register nodes that are put behind one output after the other."""

    def sites(model: ModelProto) -> Iterator[Wrong]:
        for output, rank in _grids(model):
            copy = copied(model)
            insert_behind(copy, output, *nodes(copy, output, rank))
            yield f"output '{output}'", copy

    mistake(name, "places")(sites)


def _swapped(model: ModelProto, output: str, rank: int) -> list[NodeProto]:
    perm = [*range(rank - 2), rank - 1, rank - 2]
    return [helper.make_node("Transpose", [f"{output}_right"], [output], perm=perm)]


def _reversed(model: ModelProto, output: str, rank: int) -> list[NodeProto]:
    names = [constant(model, n, [v]) for n, v in (("start", -1), ("end", -LAST), ("axis", rank - 1), ("step", -1))]
    return [helper.make_node("Slice", [f"{output}_right", *names], [output])]


def _last_again(model: ModelProto, value: str, result: str, axis: int) -> list[NodeProto]:
    """Moved by one cell along an axis, with the last one repeated: one cell stays as it is."""
    names = {"one": 1, "minus": -1, "end": LAST, "axis": axis}
    one, minus, end, along = (constant(model, f"{result}_{n}", [v]) for n, v in names.items())
    rest, last = f"{result}_rest", f"{result}_last"
    return [
        helper.make_node("Slice", [value, one, end, along], [rest]),
        helper.make_node("Slice", [value, minus, end, along], [last]),
        helper.make_node("Concat", [rest, last], [result], axis=axis),
    ]


def _first_everywhere(model: ModelProto, output: str, rank: int) -> list[NodeProto]:
    """The first window's answer for every window."""
    zero, one = constant(model, "begin", [0, 0]), constant(model, "stop", [1, 1])
    axes = constant(model, "axes", [rank - 2, rank - 1])
    return [
        helper.make_node("Slice", [f"{output}_right", zero, one, axes], ["first"]),
        helper.make_node("Shape", [f"{output}_right"], ["dims"]),
        helper.make_node("Expand", ["first", "dims"], [output]),
    ]


def _averaged(model: ModelProto, output: str, rank: int) -> list[NodeProto]:
    """A pool left global: every window has the average of all."""
    return [
        helper.make_node("ReduceMax", [f"{output}_right"], ["one"], axes=[rank - 2, rank - 1]),
        helper.make_node("Shape", [f"{output}_right"], ["dims"]),
        helper.make_node("Expand", ["one", "dims"], [output]),
    ]


_each_grid("grid axes swapped", _swapped)
_each_grid("the last grid axis reversed", _reversed)
_each_grid("the first window's answer everywhere", _first_everywhere)
_each_grid("one answer for all windows", _averaged)
_each_grid("the grid moved by one cell", lambda m, output, rank: _last_again(m, f"{output}_right", output, rank - 1))
_each_grid("rows of the grid moved by one", lambda m, output, rank: _last_again(m, f"{output}_right", output, 2))


@mistake("a window off by one", "places")
def off_by_one(model: ModelProto) -> Iterator[Wrong]:
    """Every window of a Conv one cell further, with zeros behind the map."""
    for i, node in enumerate(model.graph.node):
        weight = values(model, node.input[1]) if node.op_type in CONVS and len(node.input) > 1 else None
        if weight is not None and node.op_type == "Conv":
            for axis in range(2, weight.ndim):
                copy = copied(model)
                amounts = np.zeros(2 * weight.ndim, np.int64)
                amounts[axis], amounts[axis + weight.ndim] = -1, 1
                pad = helper.make_node("Pad", [node.input[0], constant(copy, "amounts", amounts)], ["further"])
                if copy.opset_import[0].version < 11:
                    continue
                insert_before(copy, i, 0, pad)
                yield f"{title(node)}, axis {axis}", copy


@mistake("a branch misaligned", "places")
def misaligned(model: ModelProto) -> Iterator[Wrong]:
    """One operand of a node that joins two moved by one cell, with the last repeated."""
    ranks = _ranks(model)
    for i, node in enumerate(model.graph.node):
        if node.op_type not in JOINING or ranks.get(node.output[0], 0) < 3:
            continue
        for place, name in enumerate(node.input):
            if values(model, name) is None and len(node.input) > 1 and ranks.get(name, 0) > 2:
                copy = copied(model)
                insert_before(copy, i, place, *_last_again(copy, name, "misaligned", ranks[name] - 1))
                yield f"operand {place + 1} of {title(node)}", copy


@mistake("a pool left global", "places")
def left_global(model: ModelProto) -> Iterator[Wrong]:
    """A pool over the window pools the whole map, and gives that to every window."""
    for i, node in enumerate(model.graph.node):
        if node.op_type in ("AveragePool", "MaxPool"):
            kind = f"Global{node.op_type}"
            yield title(node), edited(model, _as_global(i, kind))


def _as_global(index: int, kind: str) -> Callable[[ModelProto], None]:
    def edit(model: ModelProto) -> None:
        node = model.graph.node[index]
        right, result = "pooled_right", node.output[0]
        node.output[0] = right
        shape = helper.make_node("Shape", [right], ["pooled_dims"])
        one = helper.make_node(kind, [node.input[0]], ["pooled_one"])
        model.graph.node.insert(index + 1, shape)
        model.graph.node.insert(index + 2, one)
        model.graph.node.insert(index + 3, helper.make_node("Expand", ["pooled_one", "pooled_dims"], [result]))

    return edit


def _ranks(model: ModelProto) -> dict[str, int]:
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    return {v.name: len(v.type.tensor_type.shape.dim) for v in (*graph.value_info, *graph.output)}
