"""ONNX's shape inference and its checker, kept from what ends the process.

Both are C++, and in onnx 1.23 the rule of ``Slice`` fails an assertion of the standard library where a dim is below 0,
which nothing can catch. So a dim that is declared to be (some exporters write open ones as -1) is an open one here; and
where a model slices, it is first looked for what comes out below 0 whatever the slices give, as of a ``Conv`` whose
kernel is larger than its map.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import ModelProto, NodeProto, TypeProto, ValueInfoProto, helper

from .errors import UnreadableModel
from .nodes import everywhere

STAND_IN = "onnx_fc2conv.unknown"  #: a domain without operators, so that nothing is inferred


def inferred(proto: ModelProto) -> ModelProto:
    """The model with what ONNX infers of its values' types and shapes, by propagating data too.

    Raises:
        UnreadableModel: a value would have a negative size.
        Exception: one of several types; the model is not consistent.
    """
    return onnx.shape_inference.infer_shapes(_tame(proto), data_prop=True)


def require_accepted(proto: ModelProto) -> None:
    """Hand the model to ONNX's checker, with full shape inference.

    Raises:
        UnreadableModel: a value would have a negative size.
        Exception: one of several types; the checker does not accept it.
    """
    onnx.checker.check_model(_tame(proto), full_check=True)


def _tame(proto: ModelProto) -> ModelProto:
    open_ = _opened(proto)
    if any(node.op_type == "Slice" for node in _nodes(open_)):
        _require_positive(open_)
    return open_


def _opened(proto: ModelProto) -> ModelProto:
    """The model, or if dims of its values are declared to be below 0, a copy in which they are open."""
    if not any(has_negative(value.type) for value in _declared(proto)):
        return proto
    found = ModelProto()
    found.CopyFrom(proto)
    for value in _declared(found):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.Clear()
    return found


def _require_positive(proto: ModelProto) -> None:
    """Refuse a model that makes values of negative size, whatever its slices give."""
    probe = ModelProto()
    probe.CopyFrom(proto)
    for node in _nodes(probe):
        if node.op_type == "Slice":
            node.domain = STAND_IN
    probe.opset_import.append(helper.make_opsetid(STAND_IN, 1))
    try:
        known = onnx.shape_inference.infer_shapes(probe, data_prop=True)
    except Exception:  # the model itself is going to be rejected for the same
        return
    for value in (*known.graph.value_info, *known.graph.output):
        if has_negative(value.type):
            dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
            raise UnreadableModel(f"value '{value.name}' would have the size {dims}: what slides over a map is larger")


def has_negative(value: TypeProto) -> bool:
    """Whether a dim is below 0; then no rule of ONNX's is safe to call."""
    return any(dim.dim_value < 0 for dim in value.tensor_type.shape.dim)


def _declared(proto: ModelProto) -> Iterator[ValueInfoProto]:
    yield from (*proto.graph.input, *proto.graph.output, *proto.graph.value_info)


def _nodes(proto: ModelProto) -> Iterator[NodeProto]:
    """All nodes, those of branches and of functions too."""
    yield from everywhere(proto.graph.node)
    for function in proto.functions:
        yield from everywhere(function.node)
