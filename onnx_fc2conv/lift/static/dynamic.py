"""DynamicQuantizeLinear where no size changes: its scale is that of the whole tensor, whatever shape that has."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ...rewrite import Windowed
from ..joined import materialised
from ..rewriter import Operand, Rewriter

DYNAMIC = "DynamicQuantizeLinear"


def quantised_dynamically(op: Rewriter, x: Operand) -> tuple[Windowed, ...]:
    """The same operator on a value of one cell; scale and zero point come out under their old names.

    Raises:
        Unliftable: the value holds other numbers than the tensor behind it, some of them twice or not at all.
    """
    if not isinstance(x, Windowed):
        raise op.refuse("quantises no cell")
    x = op.read(x) if x.affine else materialised(op, x)
    whole = x.unread is None or np.array_equal(np.sort(x.unread.order, None), np.arange(x.unread.size))
    op.refuse_if(not whole, "quantises a part of a value")
    tensor = op.emit(DYNAMIC, x, outputs=3)
    node, names = op.emitted[-1], [tensor, *op.op.outputs[1:]]
    del node.output[:]
    node.output.extend(names)
    return (x.on(tensor, TensorProto.UINT8),)
