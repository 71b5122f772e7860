"""A convolution as the product of its patches and its kernel: ``y[n, p, k] = sum over j of x[n, p, j] * w[j, k]``."""

from __future__ import annotations

from ...constants import Constants
from ...emitter import Emitter
from ..convolution import Convolution
from . import layout
from .arrangement import right_operand
from .patches import gather
from .weights import Stored, dequantised, matrix


def patches_times_kernel(emitter: Emitter, constants: Constants, conv: Convolution, stored: Stored | None) -> str:
    """MatMul of a floating-point Conv, with its bias, ``[N, units, *output_size]``."""
    y = emitter.emit("MatMul", gather(emitter, conv), matrix(emitter, conv, stored, right_operand(conv)))
    y, last = layout.units_together(emitter, conv, y)
    if conv.bias is not None:
        y = emitter.emit("Add", y, for_each_unit(emitter, constants, conv, conv.bias, last))
    return layout.channels_first(emitter, conv, y, last)


def for_each_unit(emitter: Emitter, constants: Constants, conv: Convolution, name: str, last: bool) -> str:
    """A list with one entry for each unit, so that it broadcasts to where the units are."""
    if last:
        return name
    dims = [conv.units, *[1] * conv.rank]
    array = None if dequantised(emitter.model, name) else constants.get(name)
    return emitter.reshape(name, dims) if array is None else emitter.with_dims(array, dims)
