"""``com.microsoft.FusedConv``: a Conv with a summand and an activation, which become nodes of their own."""

from __future__ import annotations

import numpy as np

from ... import dtypes
from ...emitter import Emitter
from ..convolution import Convolution

BOUNDS_AS_OPERANDS = 11  #: the opset from which Clip takes its bounds as inputs
PARAMETERS = {"": (), "Relu": (), "Tanh": (), "Sigmoid": (), "LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta")}


def summand(conv: Convolution) -> str | None:
    """The value that is added to the convolution, or ``None``."""
    return conv.op.inputs[3] if conv.op.op_type == "FusedConv" and len(conv.op.inputs) > 3 else None


def activated(emitter: Emitter, conv: Convolution, y: str) -> str:
    """What a FusedConv makes of its convolution; of another, that itself.

    Raises:
        Unliftable: the activation is not known.
    """
    if conv.op.op_type != "FusedConv":
        return y
    if added := summand(conv):
        y = emitter.emit("Add", y, added)
    kind, numbers = conv.op.attr("activation", ""), list(conv.op.attr("activation_params") or [])
    kind = kind.decode() if isinstance(kind, bytes) else kind
    if kind == "Clip":
        return _clipped(emitter, conv, y, numbers)
    names = PARAMETERS.get(kind)
    conv.op.refuse_if(names is None, f"its activation '{kind}' is not known")
    return emitter.emit(kind, y, **dict(zip(names or (), numbers, strict=False))) if kind else y


def _clipped(emitter: Emitter, conv: Convolution, y: str, bounds: list[float]) -> str:
    conv.op.refuse_if(len(bounds) != 2, "its activation 'Clip' does not have two bounds")
    low, high = bounds
    if emitter.opset < BOUNDS_AS_OPERANDS:
        return emitter.emit("Clip", y, min=low, max=high)
    dtype = dtypes.numpy_type(conv.elem_type)
    operands = [emitter.constant(np.array(n, dtype), "bound", ("bound", conv.elem_type, n)) for n in bounds]
    return emitter.emit("Clip", y, *operands)
