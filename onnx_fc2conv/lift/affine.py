"""A scale and a shift for each feature of an unread value, kept until the FC behind takes them in.

``W (s * x + t) + b == (W * s) x + (W t + b)``: so a BatchNormalization or a constant added on flattened features costs
nothing, where the vector itself would cost one channel for each feature. Whatever else reads the value gets it scaled
and shifted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from ..ops import Array
from ..rewrite import Affine, Windowed

#: the types whose products with a scale lose nothing that their sums do not lose too; half precision overflows
FLOATS = frozenset((TensorProto.FLOAT, TensorProto.DOUBLE))


def can_wait(x: Windowed) -> bool:
    """True if features of this value may be scaled later."""
    return x.unread is not None and x.elem_type in FLOATS and bool(x.features)


def scaled(x: Windowed, scale: np.ndarray | float, shift: np.ndarray | float) -> Windowed:
    """The unread value with its features scaled and shifted; both broadcast to the features."""
    before = x.affine or Affine(np.ones(x.features), np.zeros(x.features))
    return replace(x, affine=before.then(scale, shift))


def by_constant(op_type: str, x: Windowed, c: Array, on_the_left: bool) -> Windowed | None:
    """``x + c``, ``x - c``, ``c - x``, ``x * c`` or ``x / c``, pending; ``None`` if it is nothing of the kind.

    Args:
        op_type: the operator.
        x: the value.
        c: a constant that broadcasts to one row of the value.
        on_the_left: the constant is the first operand.
    """
    values = c.values.astype(np.float64)
    if not np.isfinite(values).all() or (op_type == "Div" and (on_the_left or not values.all())):
        return None
    if op_type == "Add":
        return scaled(x, 1.0, values)
    if op_type == "Sub":
        return scaled(x, -1.0, values) if on_the_left else scaled(x, 1.0, -values)
    if op_type == "Mul":
        return scaled(x, values, 0.0)
    return scaled(x, 1 / values, 0.0) if op_type == "Div" else None
