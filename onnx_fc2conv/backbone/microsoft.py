"""Operators that onnxruntime's optimiser and quantiser write in place of standard ones."""

from __future__ import annotations

from ..ops import Op
from ..plan import FeatureMap
from .pointwise import move_concat, move_elementwise
from .registry import Moved, Operand, Trace, moves

ELEMENTWISE = ("QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "Gelu", "QuickGelu")


@moves(*(f"com.microsoft.{op_type}" for op_type in ELEMENTWISE))
def move_quantised(op: Op, operands: list[Operand], trace: Trace) -> Moved:
    """Elementwise; operands are ``a, scale, zero point, b, scale, zero point, ..``, so a and b are what counts."""
    values = [x for i, x in enumerate(operands) if i in (0, 3) or isinstance(x, FeatureMap)]
    return move_elementwise(op, values, trace)


@moves("com.microsoft.QLinearConcat")
def move_quantised_concat(op: Op, operands: list[Operand], trace: Trace) -> Moved:
    """Operands: scale and zero point of the result, then a map, its scale and its zero point, and so on."""
    return move_concat(op, operands[2::3], trace)
