"""Fully connected nodes.

``y = x @ W`` on every window of a map is one Conv whose kernel is the window: ``y[m] = sum_k x[k] W[k, m]``, and the
k-th feature of the flattened window is the map's value at the (c, dy, dx) that the flattening put there, so
``kernel[m, c, dy, dx] = W[k, m]``. Behind it the map has one cell per window, and every further FC is a 1x1 Conv
(Sermanet et al., OverFeat, 2013; Long, Shelhamer, Darrell, Fully Convolutional Networks, 2015).
"""

from __future__ import annotations

import numpy as np

from ..dtypes import numpy_type
from ..ops import Array
from ..rewrite import Windowed
from .broadcast import broadcast
from .registry import lifts
from .rewriter import Operand, Rewriter, conv_attrs


@lifts("Gemm", family="linear")
def lift_gemm(op: Rewriter, x: Operand, weight: Operand, bias: Operand = None) -> Windowed:
    """Lift ``alpha * x @ W' + beta * C``.

    1. C of shape ``()``, ``(1,)``, ``(M,)``, ``(1, 1)`` or ``(1, M)`` is the Conv's bias.
    2. C with a row per image, or computed in the head, is added behind the Conv.
    """
    op.refuse_if(not isinstance(x, Windowed), "has its features on the right and the constant on the left")
    op.refuse_if(op.attr("transA", 0), "transA=1 would mix windows: the batch axis becomes the summed one")
    assert isinstance(x, Windowed)
    alpha, beta = float(op.attr("alpha", 1.0)), float(op.attr("beta", 1.0))
    weight = _weight(op, x, weight)
    units = weight.shape[0 if op.attr("transB", 0) else 1]
    if bias is None or beta == 0 or (isinstance(bias, Array) and (len(bias.shape) < 2 or bias.shape[0] == 1)):
        conv_bias = None if bias is None or beta == 0 else _bias(op, bias, units, beta)
        return _fc(op, x, weight, bool(op.attr("transB", 0)), alpha, conv_bias)
    product = _fc(op, x, weight, bool(op.attr("transB", 0)), alpha, None)
    return _add_scaled(op, product, bias, beta)


@lifts("MatMul", family="linear")
def lift_matmul(op: Rewriter, x: Operand, weight: Operand) -> Windowed:
    """Lift ``x @ W`` with a constant matrix on the right."""
    op.refuse_if(
        not isinstance(x, Windowed), "has its weight on the left: features would have to be summed over the batch"
    )
    assert isinstance(x, Windowed)
    return _fc(op, x, _weight(op, x, weight), False, 1.0, None)


def _weight(op: Rewriter, x: Windowed, weight: Operand) -> Array:
    op.refuse_if(isinstance(weight, Windowed), "multiplies two values that both depend on the image")
    if not isinstance(weight, Array):
        raise op.refuse("its weight is not a constant")
    op.refuse_if(
        len(weight.shape) != 2, f"its weight '{weight.name}' has shape {list(weight.shape)}; only matrices are lifted"
    )
    op.refuse_if(
        len(x.features) != 1, f"works on features of shape {list(x.features)}; only rows of one axis are lifted"
    )
    inputs = weight.shape[1 if op.attr("transB", 0) else 0]
    op.refuse_if(inputs != x.features[0], f"its weight takes {inputs} features, and it is fed {x.features[0]}")
    reason = op.fc_refusal(x.elem_type)
    op.refuse_if(reason, str(reason))
    return weight


def _fc(op: Rewriter, x: Windowed, weight: Array, transposed: bool, alpha: float, bias: str | None) -> Windowed:
    units = weight.shape[0 if transposed else 1]
    kernel_size = x.unread.window if x.unread else (1,) * x.grid_rank
    channels = x.unread.channels if x.unread else x.features[0]
    dims = (units, channels, *kernel_size)
    if transposed and alpha == 1 and (x.unread is None or x.unread.in_map_order):
        kernel = op.with_dims(weight, dims)
    else:
        order = None if x.unread is None else x.unread.order.tobytes()
        kernel = op.constant(_kernel(x, weight, transposed, alpha, dims), weight.name, transposed, alpha, dims, order)
    tensor = op.emit("Conv", x, kernel, *([bias] if bias else []), group=1, **conv_attrs(kernel_size))
    return x.spent(tensor, (units,))


def _kernel(x: Windowed, weight: Array, transposed: bool, alpha: float, dims: tuple[int, ...]) -> np.ndarray:
    matrix = weight.values if transposed else weight.values.T
    if alpha != 1:
        matrix = (matrix * np.asarray(alpha, matrix.dtype)).astype(matrix.dtype)
    if x.unread is None:
        return matrix.reshape(dims)
    kernel = np.zeros((dims[0], x.unread.size), matrix.dtype)
    order = x.unread.order.ravel()
    if np.unique(order).size == order.size:
        kernel[:, order] = matrix
    else:  # a feature that is listed twice is multiplied by the sum of its weights
        np.add.at(kernel.T, order, matrix.T)
    return kernel.reshape(dims)


def _bias(op: Rewriter, bias: Operand, units: int, beta: float) -> str:
    assert isinstance(bias, Array)
    op.refuse_if(bias.shape not in ((), (1,), (units,), (1, 1), (1, units)), f"its C has shape {list(bias.shape)}")
    if beta == 1 and bias.shape in ((units,), (1, units)):
        return op.with_dims(bias, (units,))
    values = bias.values if beta == 1 else (bias.values * np.asarray(beta, bias.values.dtype)).astype(bias.values.dtype)
    return op.constant(np.broadcast_to(values.ravel(), (units,)), bias.name, "bias", beta, units)


def _add_scaled(op: Rewriter, product: Windowed, bias: Operand, beta: float) -> Windowed:
    if beta != 1 and isinstance(bias, Array):
        values = (bias.values * np.asarray(beta, bias.values.dtype)).astype(bias.values.dtype)
        bias = Array.of(op.constant(values, bias.name, "scaled", beta), values)
    elif beta != 1 and isinstance(bias, Windowed):
        bias = op.read(bias)
        factor = op.constant(np.asarray(beta, numpy_type(bias.elem_type)), "beta", beta, bias.elem_type)
        bias = bias.on(op.emit("Mul", bias, factor))
    return broadcast(op, "Add", [product, bias], product.elem_type)
