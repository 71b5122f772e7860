"""Operators that onnxruntime's optimiser and quantiser write in place of standard ones."""

from __future__ import annotations

from onnx import TensorProto

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


def result_type(op: Op, trace: Trace) -> int:
    """Element type of a node that ONNX's inference does not know: what quantises gives its zero point's, if it has one.

    What dequantises gives its scale's; any other operator gives its first operand's.
    """
    types = trace.shapes.elem_types
    if op.op_type == "DequantizeLinear":
        return types.get(op.inputs[1], 0)
    if op.op_type == "QuantizeLinear":
        return types.get(op.inputs[2], 0) if len(op.inputs) > 2 and op.inputs[2] else int(TensorProto.UINT8)
    return types.get(op.inputs[0], 0)
