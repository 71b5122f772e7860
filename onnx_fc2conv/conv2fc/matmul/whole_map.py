"""A kernel that covers the map, and so has one position, is an FC on the flattened map: its bytes stay as they are."""

from __future__ import annotations

import numpy as np

from ... import dtypes
from ...emitter import Emitter
from ..convolution import Convolution
from .arrangement import transposed_operand
from .weights import Stored, matrix

OPTIONAL_C = 11  #: the opset from which Gemm does without C


def covers_map(conv: Convolution) -> bool:
    """True if the kernel has one position, on every cell of the map, whose size is fixed."""
    return conv.group == 1 and conv.shape[2:] == conv.window and all(pads == (0, 0) for pads in conv.pads)


def fully_connected(emitter: Emitter, conv: Convolution, stored: Stored | None) -> str:
    """Flatten, Gemm with the kernel as it is stored, Reshape: ``[N, units, 1, 1]``."""
    weight, bias = matrix(emitter, conv, stored, transposed_operand(conv)), conv.bias
    if bias is None and emitter.opset < OPTIONAL_C:
        zero = np.zeros(1, dtypes.numpy_type(conv.elem_type))
        bias = emitter.constant(zero, "zero", ("zero", conv.elem_type))
    y = emitter.emit("Gemm", emitter.emit("Flatten", conv.x, axis=1), weight, bias, transB=1)
    return emitter.reshape(y, [0, conv.units, *[1] * conv.rank])
