"""Quantisation: scales and zero points."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import ModelProto

from .edits import title, values, with_values
from .registry import Wrong, mistake

PLACES = {  #: of scales and of zero points among the inputs
    "QuantizeLinear": ((1,), (2,)),
    "DequantizeLinear": ((1,), (2,)),
    "QLinearConv": ((1, 4, 6), (2, 5, 7)),
    "QLinearMatMul": ((1, 4, 6), (2, 5, 7)),
    "ConvInteger": ((), (2, 3)),
    "MatMulInteger": ((), (2, 3)),
}


def _constants(model: ModelProto, which: int) -> Iterator[tuple[str, str]]:
    seen = set()
    for node in model.graph.node:
        for place in PLACES.get(node.op_type, ((), ()))[which]:
            if place < len(node.input) and node.input[place] and node.input[place] not in seen:
                seen.add(node.input[place])
                if values(model, node.input[place]) is not None:
                    yield title(node), node.input[place]


@mistake("a scale doubled", "quantisation")
def scale_doubled(model: ModelProto) -> Iterator[Wrong]:
    """Values are quantised or read in steps of twice the size."""
    for node, name in _constants(model, 0):
        found = values(model, name)
        assert found is not None
        yield node, with_values(model, name, (found * 2).astype(found.dtype))


@mistake("a scale off by 1 %", "quantisation")
def scale_off(model: ModelProto) -> Iterator[Wrong]:
    """A step is a little larger."""
    for node, name in _constants(model, 0):
        found = values(model, name)
        assert found is not None
        yield node, with_values(model, name, (found * 1.01).astype(found.dtype))


@mistake("scales of other units", "quantisation")
def scales_reversed(model: ModelProto) -> Iterator[Wrong]:
    """Those of single units are in the reverse order."""
    for node, name in _constants(model, 0):
        found = values(model, name)
        if found is not None and found.size > 1:
            yield node, with_values(model, name, found.reshape(-1)[::-1].reshape(found.shape))


@mistake("a zero point off by one", "quantisation")
def zero_point_off(model: ModelProto) -> Iterator[Wrong]:
    """All integers mean one step more or less."""
    for node, name in _constants(model, 1):
        found = values(model, name)
        assert found is not None
        yield node, with_values(model, name, found + found.dtype.type(1))
