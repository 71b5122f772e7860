"""The form in which an output gives its grid: as it is, a row for each window, or pooled to one answer.

The lifted output ``[N, *features, *grid]`` stays in the model as an inner value under a new name, the map. A few nodes
behind it give the graph output under its old name:

rows  ``[N * prod(grid), *features]``: images first, then the cells in row-major order. Transpose, Reshape.
mean  ``[N, *features]``: ReduceMean over the grid axes, in float32 for types of fewer bits (a float16 sum overflows).
max   ``[N, *features]``: ReduceMax over them.

At the trained size there is one window, and each is the original's output. Pooling is VGG's dense evaluation
(Simonyan and Zisserman, "Very Deep Convolutional Networks", 2014, section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, TensorShapeProto, ValueInfoProto, helper, numpy_helper

from .dtypes import pooling_refusal
from .errors import Unliftable
from .nodes import subgraphs
from .output_form import OutputForm, store
from .plan import Plan
from .rewrite import Rewrite, Windowed

AXES_ARE_AN_INPUT = 18  #: first opset in which ReduceMean and ReduceMax take their axes so
INITIALIZERS_ARE_INPUTS = 3  #: up to this IR version every initializer must be listed as a graph input
ROWS = "windows"  #: dim_param of the rows
WIDENED = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def apply(proto: ModelProto, plan: Plan, rewrite: Rewrite, form: str) -> dict[str, OutputForm]:
    """Give every lifted output of a converted model this form, in place; its shapes are declared already.

    Args:
        proto: the converted model, with the maps as outputs.
        plan: what was understood of the original.
        rewrite: the lifted heads.
        form: ``map``, ``rows``, ``mean`` or ``max``.

    Returns:
        The form of each output, empty for ``map``.

    Raises:
        Unliftable: an output cannot have the form.
    """
    lifted = {name: rewrite.values[name] for name in plan.model.outputs if name in rewrite.values}
    forms: dict[str, OutputForm] = {}
    if form != "map":
        for name, value in lifted.items():
            _require(form, name, value, plan)
        builder = _Builder(proto, plan.model.opset)
        forms = {name: OutputForm(form, builder.give(form, name, value)) for name, value in lifted.items()}
    store(proto, forms)
    return forms


def _require(form: str, name: str, value: Windowed, plan: Plan) -> None:
    """Refuse an output that cannot have the form.

    Raises:
        Unliftable: rows do not begin with the batch, or values of its type cannot be pooled.
    """
    node = str(plan.model.producer[name])
    if form == "rows":
        if not value.layout.plain:
            reason = f"output '{name}' does not begin with a batch axis, so its windows cannot be rows of a batch"
            raise Unliftable(f"{reason}; use --output map", node)
        return
    refusal = pooling_refusal(form, value.elem_type, plan.model.opset, plan.runtime)
    if refusal is not None:
        raise Unliftable(f"output '{name}' cannot be pooled: {refusal}; use --output map", node)


class _Builder:
    """Adds the nodes behind the maps of one model."""

    def __init__(self, proto: ModelProto, opset: int) -> None:
        self._proto, self._graph, self._opset = proto, proto.graph, opset
        self._taken = set(_names(proto.graph))
        self._dim_params = {
            d.dim_param
            for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info)
            for d in value.type.tensor_type.shape.dim
        }
        self._counts: dict[tuple[str, ...], str] = {}

    def give(self, form: str, name: str, value: Windowed) -> str:
        """Give an output its form; the name of the map is returned."""
        inner = self._fresh(f"{name}_map")
        _rename(self._graph, name, inner)
        rank = value.rank
        grid = list(range(rank, rank + value.grid_rank))
        if form == "rows":
            tensor = self._emit("Transpose", inner, perm=[0, *grid, *range(1, rank)]) if rank > 1 else inner
            shape = self._constant(f"{name}_shape", [-1, *value.features])
            self._emit("Reshape", tensor, shape, result=name)
        elif form == "mean" and value.elem_type in WIDENED:
            wide = self._emit("Cast", inner, to=TensorProto.FLOAT)
            self._emit("Cast", self._pool("ReduceMean", wide, grid), to=value.elem_type, result=name)
        else:
            self._pool("ReduceMean" if form == "mean" else "ReduceMax", inner, grid, name)
        self._declare(form, name, inner, value)
        return inner

    def _pool(self, op_type: str, tensor: str, axes: list[int], result: str = "") -> str:
        if self._opset < AXES_ARE_AN_INPUT:
            return self._emit(op_type, tensor, result=result, axes=axes, keepdims=0)
        return self._emit(op_type, tensor, self._constant("grid_axes", axes), result=result, keepdims=0)

    def _emit(self, op_type: str, tensor: str, *others: str, result: str = "", **attributes: Any) -> str:
        """Add a node; its result has the given name, or one that is made from its operand's."""
        output = result or self._fresh(f"{tensor}_{op_type}")
        name = self._fresh(f"{output}/{op_type}")
        self._graph.node.append(helper.make_node(op_type, [tensor, *others], [output], name=name, **attributes))
        return output

    def _constant(self, name: str, values: list[int]) -> str:
        tensor = numpy_helper.from_array(np.array(values, np.int64), self._fresh(name))
        self._graph.initializer.append(tensor)
        if self._proto.ir_version <= INITIALIZERS_ARE_INPUTS:
            listed = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            self._graph.input.append(listed)
        return tensor.name

    def _fresh(self, wanted: str) -> str:
        return _free(wanted, self._taken)

    def _declare(self, form: str, name: str, inner: str, value: Windowed) -> None:
        """The output's declared shape becomes the map's, and the output gets that of its form."""
        output = next(o for o in self._graph.output if o.name == name)
        kept = [v for v in self._graph.value_info if v.name != name]
        kept.append(ValueInfoProto(name=inner, type=output.type))
        rest = GraphProto(value_info=kept)
        del self._graph.value_info[:]
        self._graph.value_info.extend(rest.value_info)
        dims = output.type.tensor_type.shape.dim
        grid = list(dims)[value.rank :]
        if form == "rows":
            rows = self._rows([dims[0], *grid])
            del dims[value.rank :]
            dims[0].CopyFrom(rows)
        else:
            del dims[value.rank :]

    def _rows(self, dims: list[TensorShapeProto.Dimension]) -> TensorShapeProto.Dimension:
        """How many rows there are: one for each image where it has one cell, else a name that equal dims share."""
        images, *grid = dims
        if all(d.dim_value == 1 for d in grid):
            same = TensorShapeProto.Dimension()
            same.CopyFrom(images)
            return same
        key = tuple(d.dim_param or str(d.dim_value or "") for d in dims)
        if "" in key or key not in self._counts:
            self._counts[key] = _free(ROWS, self._dim_params)
        return TensorShapeProto.Dimension(dim_param=self._counts[key])


def _rename(graph: GraphProto, old: str, new: str) -> None:
    """Rename a value wherever nodes write or read it; that no subgraph reads a lifted value is the lift's to see to."""
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new


def _free(wanted: str, taken: set[str]) -> str:
    """The wanted name, or the first of ``wanted_2`` and so on that is not taken; it is from now on."""
    name, n = wanted, 1
    while name in taken:
        n += 1
        name = f"{wanted}_{n}"
    taken.add(name)
    return name


def _names(graph: GraphProto) -> Iterator[str]:
    """Every name of a value or a node, at any depth: a subgraph sees the names around it."""
    waiting = [graph]
    while waiting:
        graph = waiting.pop()
        yield from (v.name for part in (graph.input, graph.output, graph.value_info) for v in part)
        yield from (t.name for t in graph.initializer)
        yield from (t.values.name for t in graph.sparse_initializer)
        for node in graph.node:
            yield from (node.name, *node.input, *node.output)
            waiting += subgraphs(node)
