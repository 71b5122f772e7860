"""Declarations: shapes, types and metadata that say what is not so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from onnx import ModelProto, TensorProto, helper

from .edits import copied, edited
from .registry import Wrong, mistake

GEOMETRY = "onnx_fc2conv.geometry"


@mistake("an input's size left fixed", "declarations")
def input_fixed(model: ModelProto) -> Iterator[Wrong]:
    """Its spatial dim is a number again."""
    for k, image in enumerate(model.graph.input):
        for i, dim in enumerate(image.type.tensor_type.shape.dim):
            if i > 1 and not dim.dim_value:
                copy = copied(model)
                copy.graph.input[k].type.tensor_type.shape.dim[i].dim_value = 64
                yield f"dim {i} of '{image.name}'", copy


@mistake("two sizes with one name", "declarations")
def one_symbol(model: ModelProto) -> Iterator[Wrong]:
    """Height and width share a dim_param."""
    for k, image in enumerate(model.graph.input):
        dims = image.type.tensor_type.shape.dim
        if len(dims) > 3 and dims[2].dim_param and dims[3].dim_param:
            copy = copied(model)
            copy.graph.input[k].type.tensor_type.shape.dim[3].dim_param = dims[2].dim_param
            yield f"'{image.name}'", copy


@mistake("a stale shape of an output", "declarations")
def output_stale(model: ModelProto) -> Iterator[Wrong]:
    """A dim of the grid is declared as the one cell of the trained size, or as another number than the classes'."""
    for k, output in enumerate(model.graph.output):
        for i, dim in enumerate(output.type.tensor_type.shape.dim):
            if i == 0:
                continue
            copy = copied(model)
            copy.graph.output[k].type.tensor_type.shape.dim[i].dim_value = (dim.dim_value or 0) + 1
            yield f"dim {i} of '{output.name}'", copy


@mistake("a stale shape of a value", "declarations")
def value_stale(model: ModelProto) -> Iterator[Wrong]:
    """A value inside of the graph is declared with another number of channels, or of cells."""
    names = {v.name for v in (*model.graph.output, *model.graph.value_info)}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.output[0] not in names:
            copy = copied(model)
            copy.graph.value_info.append(helper.make_tensor_value_info(node.output[0], 1, ["N", 999, 1, 1]))
            yield f"'{node.output[0]}'", copy


@mistake("another element type", "declarations")
def other_type(model: ModelProto) -> Iterator[Wrong]:
    """An output is declared as doubles."""
    for k, output in enumerate(model.graph.output):
        copy = copied(model)
        copy.graph.output[k].type.tensor_type.elem_type = TensorProto.DOUBLE
        yield f"'{output.name}'", copy


@mistake("another opset", "declarations")
def other_opset(model: ModelProto) -> Iterator[Wrong]:
    """Operators mean what they meant before, or nothing at all."""
    for version in (9, 6):
        copy = copied(model)
        copy.opset_import[0].version = version
        yield f"opset {version}", copy


def _geometry(name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Register a change of one output's row in the geometry that the model carries."""

    def sites(model: ModelProto) -> Iterator[Wrong]:
        for prop in model.metadata_props:
            if prop.key != GEOMETRY:
                continue
            outputs = json.loads(prop.value)["outputs"]
            for output in outputs:
                data = json.loads(prop.value)
                change(data["outputs"][output])
                yield f"output '{output}'", edited(model, _with_geometry(json.dumps(data)))

    mistake(name, "declarations")(sites)


def _with_geometry(text: str) -> Callable[[ModelProto], None]:
    def edit(model: ModelProto) -> None:
        next(p for p in model.metadata_props if p.key == GEOMETRY).value = text

    return edit


def _other_stride(row: dict[str, Any]) -> None:
    row["stride"] = [n * 2 for n in row["stride"]]


def _other_window(row: dict[str, Any]) -> None:
    row["window"] = [n + 1 for n in row["window"]]


def _other_box(row: dict[str, Any]) -> None:
    row["trained_size"] = [n + 1 for n in row["trained_size"]]


def _other_offset(row: dict[str, Any]) -> None:
    row["padding"] = [n + 1 for n in row["padding"]]
    row["offset"] = [n + 1 for n in row["offset"]]


def _other_grid(row: dict[str, Any]) -> None:
    row["grid_law"] = [[*law, [1, 0, 1], [2, -1, 1]] for law in row["grid_law"]]


_geometry("another stride in the metadata", _other_stride)
_geometry("another window in the metadata", _other_window)
_geometry("another trained size in the metadata", _other_box)
_geometry("another offset in the metadata", _other_offset)
_geometry("another law of the grid in the metadata", _other_grid)


@mistake("an output missing in the metadata", "declarations")
def geometry_incomplete(model: ModelProto) -> Iterator[Wrong]:
    """The geometry is for fewer outputs than there are."""
    for prop in model.metadata_props:
        if prop.key == GEOMETRY:
            data = json.loads(prop.value)
            del data["outputs"][next(iter(data["outputs"]))]
            yield "the first", edited(model, _with_geometry(json.dumps(data)))
