"""Quantised heads: what is quantised stays quantised, the integer products become integer convolutions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from ..ops import Array
from ..rewrite import Windowed
from .product import at_positions, rows_at_positions
from .registry import lifts
from .rewriter import Operand, Rewriter
from .windows import conv_attrs


@lifts("QuantizeLinear", "DequantizeLinear", family="quantise")
@lifts("com.microsoft.QuantizeLinear", "com.microsoft.DequantizeLinear", family="quantise")
def lift_quantise(op: Rewriter, x: Windowed, scale: Operand, zero_point: Operand = None) -> Windowed:
    """One scale for all values, or one for each entry of a feature axis."""
    op.refuse_if(op.attr("block_size", 0), "quantises in blocks")
    op.refuse_if(not isinstance(scale, Array) or isinstance(zero_point, Windowed), "its scale is not a constant")
    assert isinstance(scale, Array)
    parameters = [c.name for c in (scale, zero_point) if isinstance(c, Array)]
    elem_type = _quantised_type(op, scale, zero_point)
    if int(np.prod(scale.shape)) == 1:
        return x.on(op.again(x, *parameters, axis=None), elem_type)
    axis = op.feature_axis(op.attr("axis", 1), x)
    x = op.read(x)
    return x.on(op.again(x, *parameters, axis=axis), elem_type)


def _quantised_type(op: Rewriter, scale: Array, zero_point: Operand) -> int:
    """What onnxruntime's own operators give, which ONNX's inference does not know."""
    if op.op.standard:
        return op.out_type()
    if op.op_type == "DequantizeLinear":
        return scale.elem_type
    return zero_point.elem_type if isinstance(zero_point, Array) else int(TensorProto.UINT8)


@lifts("QLinearMatMul", family="quantised linear")
def lift_qlinear_matmul(op: Rewriter, *operands: Operand) -> Windowed:
    """``QLinearMatMul`` with a constant matrix on the right is a QLinearConv over the window."""
    return _qlinear(op, operands[:3], operands[3:6], False, operands[6:8], None)


@lifts("com.microsoft.QGemm", family="quantised linear")
def lift_qgemm(op: Rewriter, *operands: Operand) -> Windowed:
    """onnxruntime's quantised Gemm; its int32 C is scaled like a QLinearConv's bias, by both operands' scales."""
    given = (*operands, *[None] * (9 - len(operands)))
    op.refuse_if(op.attr("transA", 0), "transA=1 would sum over the batch axis")
    op.refuse_if(op.attr("alpha", 1.0) != 1.0, "has an alpha, which a QLinearConv has not")
    op.refuse_if(given[7] is None, "gives floating-point results, which a QLinearConv does not")
    return _qlinear(op, given[:3], given[3:6], bool(op.attr("transB", 0)), given[7:], given[6])


@lifts("MatMulInteger", family="quantised linear")
def lift_matmul_integer(
    op: Rewriter, a: Operand, b: Operand, a_zero: Operand = None, b_zero: Operand = None
) -> Windowed:
    """``MatMulInteger`` with a constant matrix on the right is a ConvInteger over the window."""
    x, window, kernel, positions = _operands(op, a, b, False)
    op.refuse_if(any(z is not None and not isinstance(z, Array) for z in (a_zero, b_zero)), "its zero points vary")
    several = isinstance(b_zero, Array) and int(np.prod(b_zero.shape)) > 1
    op.refuse_if(several, "has a zero point for each unit, and onnxruntime's ConvInteger takes one for all")
    zeros = [z.name if isinstance(z, Array) else None for z in (a_zero, b_zero)]
    tensor = op.emit("ConvInteger", x, kernel, *_trimmed(zeros), group=1, **conv_attrs(window, _dilations(x)))
    return _product(x, tensor, _units(b, False), op.out_type(), positions)


def _qlinear(
    op: Rewriter,
    a: tuple[Operand, ...],
    b: tuple[Operand, ...],
    transposed: bool,
    y: tuple[Operand, ...],
    bias: Operand,
) -> Windowed:
    x, window, kernel, positions = _operands(op, a[0], b[0], transposed)
    units = _units(b[0], transposed)
    parameters = (*a[1:], *b[1:], *y)
    op.refuse_if(not all(isinstance(p, Array) for p in parameters), "its scales and zero points are not all constants")
    scales = [p for p in parameters if isinstance(p, Array)]
    names = [op.with_dims(p, (units,)) if int(np.prod(p.shape)) == units > 1 else p.name for p in scales]
    if bias is not None:
        fits = isinstance(bias, Array) and bias.shape in ((units,), (1, units))
        op.refuse_if(not fits, "its C is not a constant with one value per unit")
    extra = [op.with_dims(bias, (units,))] if isinstance(bias, Array) else []
    operands = (names[0], names[1], kernel, names[2], names[3], names[4], names[5], *extra)
    tensor = op.emit("QLinearConv", x, *operands, group=1, **conv_attrs(window, _dilations(x)))
    return _product(x, tensor, units, scales[-1].elem_type, positions)


def _product(x: Windowed, tensor: str, units: int, elem_type: int, positions: np.ndarray | None) -> Windowed:
    if positions is not None:
        return replace(at_positions(x, positions, tensor, units), elem_type=elem_type)
    return replace(x.spent(tensor, (units,), elem_type), behind_fc=True)


def _operands(
    op: Rewriter, x: Operand, weight: Operand, transposed: bool
) -> tuple[Windowed, tuple[int, ...], str, np.ndarray | None]:
    """The value, the window, the constant as a kernel, and, for rows that are positions of the map, which they are."""
    op.refuse_if(not isinstance(x, Windowed), "has its weight on the left")
    op.refuse_if(not isinstance(weight, Array) or len(weight.shape) != 2, "its weight is not a constant matrix")
    assert isinstance(x, Windowed)
    assert isinstance(weight, Array)
    op.refuse_if(not x.features, "sums over the batch axis, so it mixes the windows of different images")
    inputs = weight.shape[1 if transposed else 0]
    op.refuse_if(inputs != x.features[-1], f"its weight takes {inputs} features, and it is fed {x.features[-1]}")
    in_last = x.layout.before is None or x.layout.before < len(x.features)
    found = rows_at_positions(x) if len(x.features) > 1 and in_last else None
    if found is not None and x.unread is not None:
        ones = (1,) * len(x.unread.window)
        return x, ones, _kernel(op, weight, transposed, (inputs, *ones), found[0]), found[1]
    plain = x.layout.plain or (x.layout.before is None)
    op.refuse_if(not plain or len(x.features) != 1, "works on more than one row for each image")
    if x.unread is not None and not np.array_equal(np.sort(x.unread.order, None), np.arange(x.unread.size)):
        x = op.read(x)
    window = x.unread.window if x.unread else (1,) * x.grid_rank
    channels = x.unread.channels if x.unread else inputs
    order = x.unread.order.ravel() if x.unread else np.arange(inputs)
    return x, window, _kernel(op, weight, transposed, (channels, *window), order), None


def _kernel(op: Rewriter, weight: Array, transposed: bool, dims: tuple[int, ...], order: np.ndarray) -> str:
    """The constant as a kernel of these dims behind its units; ``order`` says where in them each feature goes."""
    dims = (_units(weight, transposed), *dims)
    if transposed and np.array_equal(order, np.arange(order.size)):
        return op.with_dims(weight, dims)
    matrix = weight.values if transposed else weight.values.T
    kernel = np.empty_like(matrix)
    kernel[:, order] = matrix
    return op.constant(kernel.reshape(dims), weight.name, transposed, dims, order.tobytes())


def _dilations(x: Windowed) -> tuple[int, ...]:
    return x.unread.dilations if x.unread else ()


def _units(weight: Operand, transposed: bool) -> int:
    return weight.shape[0 if transposed else 1] if isinstance(weight, Array) else 0


def _trimmed(names: list[str | None]) -> list[str | None]:
    return names[:1] if names[1] is None and names[0] is not None else [] if names == [None, None] else names
