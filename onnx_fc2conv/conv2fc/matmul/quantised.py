"""Convolutions of integers as products of integers.

``ConvInteger`` sums in int32, and so does ``MatMulInteger``: the same numbers in any order. ``QLinearConv`` adds its
bias to that sum and scales it by ``x_scale * w_scale / y_scale``, in float32 as onnxruntime does; what rounds to the
nearest, adds the zero point and saturates is a QuantizeLinear with a scale of 1.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ...constants import Constants
from ...emitter import Emitter
from ..convolution import Convolution
from . import layout
from .arrangement import right_operand
from .patches import gather
from .product import for_each_unit
from .weights import Stored, matrix

ZERO_POINTS = {"QLinearConv": (2, 5), "ConvInteger": (2, 3)}  #: where those of the map and the kernel are


def conv_integer(emitter: Emitter, constants: Constants, conv: Convolution, stored: Stored | None) -> str:
    """A ConvInteger, ``[N, units, *output_size]`` of int32."""
    return layout.channels_first(emitter, conv, *_sums(emitter, constants, conv, stored))


def qlinear_conv(emitter: Emitter, constants: Constants, conv: Convolution, stored: Stored | None) -> str:
    """A QLinearConv, ``[N, units, *output_size]`` of its result's type."""
    y, last = _sums(emitter, constants, conv, stored)
    if conv.bias is not None:
        y = emitter.emit("Add", y, for_each_unit(emitter, constants, conv, conv.bias, last))
    y = emitter.emit("Cast", y, to=TensorProto.FLOAT)
    y = emitter.emit("Mul", y, _scale(emitter, constants, conv, last))
    one = emitter.constant(np.array(1, np.float32), "one", ("one",))
    zero_point = _scalar(emitter, constants, conv.op.inputs[7])
    return layout.channels_first(emitter, conv, emitter.emit("QuantizeLinear", y, one, zero_point), last)


def _sums(emitter: Emitter, constants: Constants, conv: Convolution, stored: Stored | None) -> tuple[str, bool]:
    """The products without zero points, summed, and whether the units are on the last axis."""
    names = [conv.op.inputs[i] if len(conv.op.inputs) > i else "" for i in ZERO_POINTS[conv.op.op_type]]
    zero = _scalar(emitter, constants, names[0]) if names[0] else None
    x = gather(emitter, conv, zero)
    weight = matrix(emitter, conv, stored, right_operand(conv))
    w_zero = _kernel_zero(emitter, constants, conv, names[1]) if names[1] else None
    return layout.units_together(emitter, conv, emitter.emit("MatMulInteger", x, weight, zero, w_zero))


def _scalar(emitter: Emitter, constants: Constants, name: str) -> str:
    """A value of one entry, without dims."""
    array = constants.get(name)
    return emitter.reshape(name, []) if array is None else emitter.with_dims(array, ())


def _kernel_zero(emitter: Emitter, constants: Constants, conv: Convolution, name: str) -> str:
    """Zero points of the units; one for all, if they are the same."""
    array = constants.get(name)
    if array is None:
        conv.op.refuse_if(conv.group > 1, "the zero points of its kernel are computed at run time")
        return name
    if len(np.unique(array.values)) == 1:
        first = array.values.reshape(-1)[:1].reshape(())
        return emitter.constant(first, name, ("zero point", first.dtype.name, int(first)))
    return name if conv.group == 1 else emitter.with_dims(array, [conv.group, *[1] * conv.rank, conv.columns])


def _scale(emitter: Emitter, constants: Constants, conv: Convolution, last: bool) -> str:
    """``x_scale * w_scale / y_scale``, a number or one for each unit."""
    scales = [array.values.reshape(-1) for i in (1, 4, 6) if (array := constants.get(conv.op.inputs[i])) is not None]
    conv.op.refuse_if(len(scales) < 3, "its scales are computed at run time")
    scale = scales[0] * scales[1] / scales[2]
    dims = [-1] if last else [-1, *[1] * conv.rank]
    hint = f"{conv.op.name or conv.op.outputs[0]}_scale"
    return emitter.constant(scale.reshape(() if scale.size == 1 else dims), hint)
