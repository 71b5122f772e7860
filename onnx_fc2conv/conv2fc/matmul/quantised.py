"""Convolutions of integers as products of integers.

``ConvInteger`` sums in int32, and so does ``MatMulInteger``: the same numbers in any order. ``QLinearConv`` adds its
bias to that sum and scales it by ``x_scale * w_scale / y_scale``, in float32 as onnxruntime does; what rounds to the
nearest, adds the zero point and saturates is a QuantizeLinear with a scale of 1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from ...constants import Constants
from ...emitter import Emitter
from ...ops import Array
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
    of_map, of_kernel = (conv.op.inputs[i] if len(conv.op.inputs) > i else "" for i in ZERO_POINTS[conv.op.op_type])
    zero = _scalar(emitter, constants, of_map) if of_map else None
    x = gather(emitter, conv, zero)
    zeros = constants.get(of_kernel) if of_kernel else None
    if stored is not None and saturates(conv, stored) and (zeros is not None or not of_kernel):
        stored, zeros = _unsigned(stored, zeros)
    weight = matrix(emitter, conv, stored, right_operand(conv))
    kernel_zero = of_kernel if zeros is None else _zero_points(emitter, conv, zeros)
    conv.op.refuse_if(zeros is None and of_kernel and conv.group > 1, "its kernel's zero points are not constants")
    return layout.units_together(emitter, conv, emitter.emit("MatMulInteger", x, weight, zero, kernel_zero))


def saturates(conv: Convolution, stored: Stored) -> bool:
    """True if the sums may be wrong where the convolution's are right.

    Without instructions for it (VNNI), onnxruntime's product of uint8 and int8 adds two products in 16 bits, which
    saturate; of uint8 and uint8 it does not. Its ConvInteger never does. Its QLinearConv is such a product itself.
    """
    types = (conv.elem_type, stored.array.elem_type)
    return conv.op.op_type == "ConvInteger" and not stored.steps and types == (TensorProto.UINT8, TensorProto.INT8)


def _unsigned(stored: Stored, zeros: Array | None) -> tuple[Stored, Array]:
    """Numbers and zero points that are 128 larger: the same differences."""
    signed = (stored.array.values, np.zeros((), np.int8) if zeros is None else zeros.values)
    kernel, zero = (Array.of(stored.array.name, (a.astype(np.int16) + 128).astype(np.uint8)) for a in signed)
    return replace(stored, array=kernel, made=True), zero


def _scalar(emitter: Emitter, constants: Constants, name: str) -> str:
    """A value of one entry, without dims."""
    array = constants.get(name)
    return emitter.reshape(name, []) if array is None else emitter.with_dims(array, ())


def _zero_points(emitter: Emitter, conv: Convolution, zeros: Array) -> str:
    """Zero points of the units; one for all, if they are the same."""
    values: np.ndarray = zeros.values.reshape(-1)
    if len(np.unique(values)) == 1:
        values = values[:1].reshape(())
    elif conv.group > 1:
        values = values.reshape([conv.group, *[1] * conv.rank, conv.columns])
    key = ("zero points", values.dtype.name, values.shape, values.tobytes())
    return emitter.constant(values, f"{zeros.name}_zero_point", key)


def _scale(emitter: Emitter, constants: Constants, conv: Convolution, last: bool) -> str:
    """``x_scale * w_scale / y_scale``, a number or one for each unit."""
    scales = [array.values.reshape(-1) for i in (1, 4, 6) if (array := constants.get(conv.op.inputs[i])) is not None]
    conv.op.refuse_if(len(scales) < 3, "its scales are computed at run time")
    scale = scales[0] * scales[1] / scales[2]
    dims = [-1] if last else [-1, *[1] * conv.rank]
    hint = f"{conv.op.name or conv.op.outputs[0]}_scale"
    return emitter.constant(scale.reshape(() if scale.size == 1 else dims), hint)
