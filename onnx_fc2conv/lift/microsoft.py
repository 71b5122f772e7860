"""Operators that onnxruntime's optimiser and quantiser write in place of standard ones."""

from __future__ import annotations

import numpy as np

from ..ops import Array
from ..rewrite import Windowed
from .broadcast import broadcast
from .pool import window_pool
from .registry import lifts
from .rewriter import Operand, Rewriter

MICROSOFT = "com.microsoft"


@lifts("com.microsoft.Gelu", "com.microsoft.QuickGelu", family="elementwise")
def lift_gelu(op: Rewriter, x: Windowed) -> Windowed:
    """The same activation on all windows at once."""
    return x.on(op.again(x))


@lifts("com.microsoft.BiasGelu", "com.microsoft.FastGelu", family="elementwise")
def lift_bias_gelu(op: Rewriter, x: Windowed, bias: Operand = None) -> Windowed:
    """The bias is added first, the activation comes behind it."""
    if bias is not None:
        x = broadcast(op, "Add", [x, bias], x.elem_type)
    x = op.read(x) if x.affine else x
    return x.on(op.emit("Gelu" if op.op_type == "BiasGelu" else "FastGelu", x, domain=MICROSOFT))


@lifts("com.microsoft.QLinearSigmoid", "com.microsoft.QLinearLeakyRelu", family="quantised elementwise")
def lift_qlinear_unary(op: Rewriter, x: Windowed, *parameters: Operand) -> Windowed:
    """An activation on quantised values: scale and zero point of operand and result are constants."""
    return x.on(op.again(x, *_constants(op, parameters)), _result_type(parameters, x))


@lifts("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul", family="quantised elementwise")
def lift_qlinear_binary(op: Rewriter, *operands: Operand) -> Windowed:
    """A sum or product of quantised values, with the broadcasting of Add."""
    _constants(op, (*operands[1:3], *operands[4:]))
    lifted = next(x for x in operands if isinstance(x, Windowed))
    return broadcast(op, op.op_type, list(operands), _result_type(operands[6:], lifted), domain=MICROSOFT)


@lifts("com.microsoft.QLinearSoftmax", family="quantised elementwise")
def lift_qlinear_softmax(op: Rewriter, x: Windowed, *parameters: Operand) -> Windowed:
    """Normalises over the last feature axis, with the grid moved to the front for the time being."""
    axis = op.feature_axis(op.attr("axis", -1), x)
    op.refuse_if(axis != len(x.features), "normalises over another axis than the last")
    x = op.read(x)
    names = _constants(op, parameters)
    attrs = {**op.attrs, "axis": -1}
    tensor = op.emit("QLinearSoftmax", op.grid_first(x), *names, domain=MICROSOFT, **attrs)
    return x.on(op.grid_last(tensor, x), _result_type(parameters, x))


@lifts("com.microsoft.QLinearGlobalAveragePool", family="pool over the window")
def lift_qlinear_pool(op: Rewriter, x: Windowed, *parameters: Operand) -> Windowed:
    """A mean of quantised values over the whole map becomes one over the window."""
    op.refuse_if(op.attr("channels_last", 0), "has its channels last")
    names = [n for n in _constants(op, parameters) if n is not None]
    spatial = len(x.features) - 1
    pooled = window_pool(op, x, list(range(2, 2 + spatial)), op.op_type, names) if x.layout.plain else None
    if pooled is None:
        raise op.refuse("pools values that are no longer laid out as a feature map")
    return op.reshape_features(pooled, (x.features[0], *[1] * spatial))


def _constants(op: Rewriter, parameters: tuple[Operand, ...]) -> list[str | None]:
    """Names of scales and zero points, which must be constants of one value."""
    for p in parameters:
        single = p is None or (isinstance(p, Array) and int(np.prod(p.shape)) == 1)
        op.refuse_if(not single, "its scales and zero points are not all constants of one value")
    return [p.name if isinstance(p, Array) else None for p in parameters]


def _result_type(parameters: tuple[Operand, ...], x: Windowed) -> int:
    """A quantised result has the type of its zero point, the last parameter."""
    last = parameters[-1] if parameters else None
    return last.elem_type if isinstance(last, Array) else x.elem_type
