"""Fully connected nodes: MatMul and Gemm, with a constant on either side, or between values of the head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..dtypes import numpy_type
from ..ops import Array
from ..rewrite import Windowed
from .broadcast import broadcast
from .grids import aligned
from .joined import beside, materialised
from .product import Weight, times
from .registry import lifts
from .rewriter import Operand, Rewriter
from .shared import Repeated, Side
from .views import transpose

#: activations that onnxruntime fuses, and their attributes in the order in which it lists them
ACTIVATIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign"), ()),
    **dict.fromkeys(("LeakyRelu", "Elu", "ThresholdedRelu"), ("alpha",)),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
}


@lifts("MatMul", family="linear", beside=True, scaled=True)
def lift_matmul(op: Rewriter, a: Operand, b: Operand) -> Windowed:
    """Lift ``a @ b``; one of them may be a constant."""
    return matmul(op, a, b)


@lifts("Gemm", family="linear", beside=True, scaled=True)
def lift_gemm(op: Rewriter, a: Operand, b: Operand, c: Operand = None) -> Windowed:
    """Lift ``alpha * a' @ b' + beta * C``."""
    return gemm(op, a, b, c)


@lifts("com.microsoft.FusedMatMul", family="linear", beside=True, scaled=True)
def lift_fused_matmul(op: Rewriter, a: Operand, b: Operand) -> Windowed:
    """Lift ``alpha * a' @ b'``, into which onnxruntime fuses Transpose and Mul."""
    swap_a, swap_b = bool(op.attr("transA", 0)), bool(op.attr("transB", 0))
    if op.attr("transBatchA", 0) or op.attr("transBatchB", 0):
        ranks = {x.rank if isinstance(x, Windowed) else len(x.shape) if isinstance(x, Array) else 0 for x in (a, b)}
        op.refuse_if(len(ranks) > 1 or max(ranks) < 3, "transposes stacks of matrices, and its operands are none")
        a, b = (_batch_swapped(op, x, side) for x, side in ((a, "A"), (b, "B")))
    return matmul(op, a, b, float(op.attr("alpha", 1.0)), swap_a, swap_b)


@lifts("com.microsoft.FusedGemm", family="linear", beside=True, scaled=True)
def lift_fused_gemm(op: Rewriter, a: Operand, b: Operand, c: Operand = None) -> Windowed:
    """Lift a Gemm with its activation: the Conv, and the activation behind it."""
    values = {name: op.attr(f"activation_{name}") for name in ("alpha", "beta", "gamma")}
    return activated(op, gemm(op, a, b, c), values)


def activated(op: Rewriter, x: Windowed, values: Mapping[str, float | None]) -> Windowed:
    """The activation that onnxruntime has fused into a node, as a node of its own.

    Args:
        op: the node.
        x: its result in front of the activation.
        values: the activation's attributes by name.
    """
    activation = op.attr("activation", "")
    if not activation:
        return x
    op.refuse_if(activation not in ACTIVATIONS, f"its activation '{activation}' is not known")
    attrs: dict[str, Any] = {name: values[name] for name in ACTIVATIONS[activation] if values.get(name) is not None}
    return x.on(op.emit(activation, x, **attrs))


def matmul(
    op: Rewriter, a: Operand, b: Operand, alpha: float = 1.0, swap_a: bool = False, swap_b: bool = False
) -> Windowed:
    """``alpha * a @ b``, with the last two axes of either swapped first where asked for.

    1. A constant on the right is a product along the features.
    2. A constant on the left is one along the axis before the last: ``W @ x`` is ``(x' @ W')'``.
    3. Two values of the head are multiplied window by window.

    Raises:
        Unliftable: the product would sum over, or repeat, the batch.
    """
    a, b = (_computed(op, x) if isinstance(x, Windowed) and swap else x for x, swap in ((a, swap_a), (b, True)))
    if isinstance(a, Windowed) and isinstance(b, Windowed):
        a, b = (swapped(op, x) if swap else x for x, swap in ((a, swap_a), (b, swap_b)))
        return _between(op, a, b, alpha)
    if isinstance(a, Windowed):
        op.refuse_if(not isinstance(b, Array), "its weight is not a constant")
        assert isinstance(b, Array)
        return _on_the_right(op, swapped(op, a) if swap_a else a, b, swap_b, alpha)
    op.refuse_if(not isinstance(a, Array) or not isinstance(b, Windowed), "its weight is not a constant")
    assert isinstance(a, Array)
    assert isinstance(b, Windowed)
    op.refuse_if(len(a.shape) == 1, "has a vector as its weight on the left")
    if b.rank == 1:
        return _on_the_right(op, b, a, not swap_a, alpha)
    return swapped(op, _on_the_right(op, b if swap_b else swapped(op, b), a, not swap_a, alpha))


def _batch_swapped(op: Rewriter, x: Operand, side: str) -> Operand:
    """``transBatch``: the first axis of a stack of matrices stands in front of the last one; ``trans`` comes behind."""
    if not op.attr(f"transBatch{side}", 0):
        return x
    if not isinstance(x, Windowed):
        raise op.refuse("transposes a stack of constant matrices")
    return transpose(op, _computed(op, x), [*range(1, x.rank - 1), 0, x.rank - 1])


def _computed(op: Rewriter, x: Windowed) -> Windowed:
    """The value with nothing left to be joined, scaled or shifted."""
    return op.read(x) if x.affine else materialised(op, x)


def swapped(op: Rewriter, x: Windowed) -> Windowed:
    """The last two axes of the original swapped."""
    op.refuse_if(x.rank < 2, "needs two axes")
    return transpose(op, x, [*range(x.rank - 2), x.rank - 1, x.rank - 2])


def _on_the_right(op: Rewriter, x: Windowed, weight: Array, transposed: bool, alpha: float) -> Windowed:
    if len(weight.shape) == 1:
        column = Array.of(weight.name, weight.values[:, None])
        product = times(op, x, Weight(column, alpha=alpha))
        return op.reshape_features(op.read(product), product.features[:-1])
    front = weight.shape[:-2]
    if not front:
        return times(op, x, Weight(weight, transposed, alpha))
    op.refuse_if(
        len(weight.shape) > x.rank, f"its weight '{weight.name}' has more axes ({list(weight.shape)}) than the value"
    )
    if all(n == 1 for n in front):
        dims = weight.shape[-2:]
        matrix = Array(weight.name, dims, weight.elem_type, lambda: weight.values.reshape(dims), weight.tensor)
        return times(op, x, Weight(matrix, transposed, alpha))
    which = np.arange(int(np.prod(front))).reshape(*front, 1)
    images = x.layout.before
    per_row = (*x.layout.shape(x.features, 1)[:-1],)
    fits = not x.layout.merged and np.broadcast_shapes(which.shape, per_row) == per_row
    op.refuse_if(not fits, f"its weight '{weight.name}' has a matrix for each image, or repeats rows of the value")
    which = np.broadcast_to(which, per_row)
    which = (which if images is None else which.squeeze(images)).ravel()
    stack = Array.of(weight.name, weight.values.reshape(-1, *weight.shape[-2:]))
    return times(op, x, Weight(stack, transposed, alpha, which))


def _between(op: Rewriter, a: Windowed, b: Windowed, alpha: float) -> Windowed:
    """Two values of the head: a product for every image and window."""
    a, b = aligned(op, [_computed(op, a), _computed(op, b)])
    alike = a.layout == b.layout and len(a.features) == len(b.features) and not a.layout.merged
    op.refuse_if(
        not alike or a.layout.before not in (None, 0) or len(a.features) < 2,
        "multiplies two values that both depend on the image, over the batch",
    )
    a, b = op.read(a), op.read(b)
    product = op.emit("MatMul", op.grid_first(a), op.grid_first(b))
    features = (*np.broadcast_shapes(a.features[:-2], b.features[:-2]), a.features[-2], b.features[-1])
    result = a.spent("", tuple(int(n) for n in features))
    result = result.on(op.grid_last(product, result))
    return result if alpha == 1 else _scaled(op, result, alpha)


def gemm(op: Rewriter, a: Operand, b: Operand, c: Operand) -> Windowed:
    """``alpha * a' @ b' + beta * C``.

    1. C of shape ``()``, ``(1,)``, ``(M,)``, ``(1, 1)`` or ``(1, M)`` is the Conv's bias where the weight is on the
       right.
    2. Any other C is added behind the Conv.
    """
    alpha, beta = float(op.attr("alpha", 1.0)), float(op.attr("beta", 1.0))
    swap_a, swap_b = bool(op.attr("transA", 0)), bool(op.attr("transB", 0))
    c = None if beta == 0 else c.row if isinstance(c, Repeated) else c
    if isinstance(a, Windowed) and isinstance(b, Array) and isinstance(c, Array):
        units = b.shape[0 if swap_b else 1]
        if c.shape in ((), (1,), (units,), (1, 1), (1, units)):
            bias = c if beta == 1 else _constant_times(op, c, beta)
            return times(op, swapped(op, _computed(op, a)) if swap_a else a, Weight(b, swap_b, alpha), bias)
    product = matmul(op, a, b, alpha, swap_a, swap_b)
    if c is None:
        return product
    if isinstance(c, Array):
        op.refuse_if(len(c.shape) > 2, f"its C has shape {list(c.shape)}")
        c = c if beta == 1 else _constant_times(op, c, beta)
    elif isinstance(c, Side):
        c = beside(op, c, product)
    if isinstance(c, Windowed) and beta != 1:
        c = _scaled(op, op.read(_computed(op, c)), beta)
    return broadcast(op, "Add", [product, c], product.elem_type)


def _constant_times(op: Rewriter, c: Array, factor: float) -> Array:
    values = (c.values * np.asarray(factor, c.values.dtype)).astype(c.values.dtype)
    return Array.of(op.constant(values, c.name, "scaled", factor), values)


def _scaled(op: Rewriter, x: Windowed, factor: float) -> Windowed:
    constant = op.constant(np.asarray(factor, numpy_type(x.elem_type)), "factor", factor, x.elem_type)
    return x.on(op.emit("Mul", x, constant))
