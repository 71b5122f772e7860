"""Quantisation: scales and zero points."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onnx import ModelProto

from .edits import Array, constant, copied, title, values
from .registry import Wrong, mistake

PLACES = {  #: of scales and of zero points among the inputs
    "QuantizeLinear": ((1,), (2,)),
    "DequantizeLinear": ((1,), (2,)),
    "QLinearConv": ((1, 4, 6), (2, 5, 7)),
    "QLinearMatMul": ((1, 4, 6), (2, 5, 7)),
    "ConvInteger": ((), (2, 3)),
    "MatMulInteger": ((), (2, 3)),
}


def _constants(model: ModelProto, which: int) -> Iterator[tuple[int, int, Array]]:
    """Index of a node, number of its operand, and values of that."""
    for i, node in enumerate(model.graph.node):
        for place in PLACES.get(node.op_type, ((), ()))[which]:
            found = values(model, node.input[place]) if place < len(node.input) else None
            if found is not None:
                yield i, place, found


def _own(name: str, which: int, change: Callable[[Array], Array | None]) -> None:
    """Register a change of one node's scale or zero point; other nodes that share the constant keep it."""

    def sites(model: ModelProto) -> Iterator[Wrong]:
        for i, place, found in _constants(model, which):
            new = change(found)
            if new is not None:
                copy = copied(model)
                copy.graph.node[i].input[place] = constant(copy, "sabotaged", new.astype(found.dtype), found.dtype)
                yield f"operand {place + 1} of {title(model.graph.node[i])}", copy

    mistake(name, "quantisation")(sites)


def _reversed(found: Array) -> Array | None:
    return found.reshape(-1)[::-1].reshape(found.shape) if found.size > 1 else None


_own("a scale doubled", 0, lambda found: found * 2)
_own("a scale off by 1 %", 0, lambda found: found * 1.01)
_own("scales of other units", 0, _reversed)
_own("a zero point off by one", 1, lambda found: found + 1)
