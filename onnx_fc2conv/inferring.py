"""ONNX's shape inference and its checker, which a damaged model does not end the process by.

Both are C++, and in onnx 1.23 a rule that is given an attribute or a size that it does not expect fails an assertion
of the standard library: a ``Slice`` of a value whose dim is below 0, as a ``Conv`` makes it whose kernel is larger than
its map. So they run in a child. Dims that are declared to be below 0 are open ones here: some exporters write -1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx
from onnx import ModelProto, TypeProto, ValueInfoProto

from .errors import UnreadableModel
from .forked import Died, Raised, forked


def inferred(proto: ModelProto) -> ModelProto:
    """The model with what ONNX infers of its values' types and shapes, by propagating data too.

    Raises:
        UnreadableModel: the inference ends its process.
        ValueError: the model is not consistent.
        MemoryError: there is not enough.
    """
    known = _opened(proto)
    found: ModelProto = ModelProto.FromString(
        _survived(lambda: onnx.shape_inference.infer_shapes(known, data_prop=True).SerializeToString())
    )
    return found


def require_accepted(proto: ModelProto) -> None:
    """Hand the model to ONNX's checker, with full shape inference.

    Raises:
        UnreadableModel: the checker ends its process.
        ValueError: it does not accept the model.
        MemoryError: there is not enough.
    """
    known = _opened(proto)

    def check() -> bytes:
        onnx.checker.check_model(known, full_check=True)
        return b""

    _survived(check)


def has_negative(value: TypeProto) -> bool:
    """Whether a dim is below 0; then not every rule of ONNX's is safe to call."""
    return any(dim.dim_value < 0 for dim in value.tensor_type.shape.dim)


def _survived(work: Callable[[], bytes]) -> bytes:
    try:
        return forked(work)
    except Died as e:
        reason = f"ONNX's shape inference ends the process on it ({e}): an attribute or a size must be damaged"
        raise UnreadableModel(reason) from e
    except Raised as e:
        raise ValueError(str(e)) from e


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


def _declared(proto: ModelProto) -> Iterator[ValueInfoProto]:
    yield from (*proto.graph.input, *proto.graph.output, *proto.graph.value_info)
