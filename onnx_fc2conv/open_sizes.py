"""Sizes that a model leaves open: which axes of its inputs have none, and the model with one fixed size."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto, TensorShapeProto, ValueInfoProto

from .ops import Model, view
from .settings import Size


def declared_size(dim: TensorShapeProto.Dimension) -> int:
    """The number that a dim is declared as; 0 for an open one, which some exporters write as -1."""
    return max(int(dim.dim_value), 0)


def open_axes(model: Model) -> dict[str, list[int]]:
    """For each input the axes behind the first whose size is no fixed number; inputs without any are left out.

    An axis of channels is none: its size follows from the kernel that reads it.
    """
    found = {}
    for value in model.inputs:
        dims = value.type.tensor_type.shape.dim
        axes = [i for i, d in enumerate(dims) if i and not declared_size(d)]
        if 1 in axes and channels(model, value) is not None:
            axes.remove(1)
        if axes:
            found[value.name] = axes
    return found


def channels(model: Model, value: ValueInfoProto) -> int | None:
    """The channels of an input that a Conv with a constant kernel reads."""
    for op in model.consumers.get(value.name, ()):
        kernel = model.constants.get(op.inputs[1]) if op.op_type in ("Conv", "FusedConv") else None
        if kernel is not None and len(kernel.shape) > 1 and op.inputs[0] == value.name:
            return int(kernel.shape[1] * op.attr("group", 1))
    return None


def at_size(model: Model, sizes: Mapping[str, Size]) -> Model:
    """The model with these sizes of its open axes as fixed numbers; what it declares of other values goes.

    Args:
        model: never changed.
        sizes: for each input one number per open axis.
    """
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for value in proto.graph.input:
        axes, dims = open_axes(model).get(value.name, []), value.type.tensor_type.shape.dim
        count = channels(model, value)
        if count is not None and len(dims) > 1:
            dims[1].dim_value = count
        for axis, n in zip(axes, sizes.get(value.name, ()), strict=False):
            dims[axis].dim_value = n
    del proto.graph.value_info[:]
    return view(proto, model.folder)
