"""Operators that can never stand in front of a head, each with its reason. What is merely missing is not listed."""

from __future__ import annotations

from ..ops import Op
from .registry import Move, Moved, Operand, Trace, moves


def _refuses(*op_types: str, because: str) -> None:
    def refuse(op: Op, operands: list[Operand], trace: Trace) -> Moved:
        raise op.refuse(because)

    rule: Move = refuse
    moves(*op_types)(rule)


_refuses(
    "DynamicQuantizeLinear",
    because="its scale is computed over the whole tensor, so a larger image would change every answer",
)
_refuses(
    *("Compress", "NonMaxSuppression", "NonZero", "Unique", "ReverseSequence"),
    because="its output shape or order depends on the data, so sizes do not follow from the input's",
)
_refuses(
    *("GRU", "LSTM", "RNN", "Scan"),
    because="it carries a state along an axis of the map, so what it gives depends on everything before it",
)
_refuses(
    *("Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"),
    because="its result is random, so no answer could be checked",
)
