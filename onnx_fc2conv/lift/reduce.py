"""Operators that reduce, rank or accumulate over feature axes."""

from __future__ import annotations

import numpy as np

from ..ops import REDUCTIONS, Array
from ..rewrite import Windowed
from .pool import POOLED_BY, window_pool
from .registry import lifts
from .rewriter import Operand, Rewriter


@lifts(*REDUCTIONS, family="reduce over features")
def lift_reduce(op: Rewriter, x: Windowed, axes_operand: Operand = None) -> Windowed:
    """ReduceX over feature axes. No axes means all axes, the batch among them, so that is refused."""
    axes: list[int] = (op.ints(1, "axes") if axes_operand is not None else op.attr("axes")) or []
    if not axes and op.attr("noop_with_empty_axes", 0):  # nothing is reduced; what it does to each value remains
        return x.on(op.again(x, *([axes_operand.name] if isinstance(axes_operand, Array) else [])), op.out_type())
    if not axes and x.layout.before is None:
        axes = list(range(x.rank))
    op.refuse_if(not axes, "reduces over all axes, so it mixes the images of a batch")
    axes = sorted(op.feature_axis(a, x) for a in axes)
    keep = bool(op.attr("keepdims", 1))
    pooled = window_pool(op, x, axes, op.op_type) if op.op_type in POOLED_BY else None
    layout = x.layout if keep else x.layout.without([a - 1 for a in axes])
    if pooled is not None:
        return op.reshape_features(pooled, _reduced(x.features, axes, keep)).placed(layout)
    x = op.read(x).placed(layout)
    if axes_operand is None and op.since < (13 if op.op_type == "ReduceSum" else 18):
        tensor = op.again(x, axes=axes)
    else:
        tensor = op.again(x, op.constant(np.array(axes, np.int64), "axes"))
    return x.spent(tensor, _reduced(x.features, axes, keep), op.out_type())


@lifts("ArgMax", "ArgMin", family="reduce over features")
def lift_arg(op: Rewriter, x: Windowed) -> Windowed:
    """The index of the largest or smallest feature. The default axis 0 is the batch."""
    axis = op.feature_axis(op.attr("axis", 0), x)
    keep = bool(op.attr("keepdims", 1))
    layout = x.layout if keep else x.layout.without([axis - 1])
    x = op.read(x)
    return x.spent(op.again(x, axis=axis), _reduced(x.features, [axis], keep), op.out_type()).placed(layout)


@lifts("TopK", family="reduce over features")
def lift_topk(op: Rewriter, x: Windowed, k: Operand = None) -> tuple[Windowed, Windowed]:
    """Values and indices of the k largest features."""
    axis = op.feature_axis(op.attr("axis", -1), x)
    sizes = op.ints(1, "k") or [op.attr("k", 1)]
    x = op.read(x)
    tensor = op.again(x, *([k.name] if isinstance(k, Array) else []), outputs=2, axis=axis)
    features = (*x.features[: axis - 1], sizes[0], *x.features[axis:])
    return x.spent(tensor, features), x.spent(op.emitted[-1].output[1], features, op.out_type(1))


@lifts("CumSum", family="reduce over features")
def lift_cumsum(op: Rewriter, x: Windowed, axis_operand: Operand) -> Windowed:
    """Running sums along one feature axis."""
    (axis,) = op.ints(1, "axis") or [0]
    axis = op.feature_axis(axis, x)
    x = op.read(x)
    return x.on(op.again(x, op.constant(np.array(axis, np.int64), "axis")))


def _reduced(features: tuple[int, ...], axes: list[int], keep: bool) -> tuple[int, ...]:
    if keep:
        return tuple(1 if i + 1 in axes else d for i, d in enumerate(features))
    return tuple(d for i, d in enumerate(features) if i + 1 not in axes)
