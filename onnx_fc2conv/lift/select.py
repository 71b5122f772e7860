"""Operators that pick, join or divide features. On an unread value they only change which features are listed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ops import Array
from ..rewrite import Windowed
from .broadcast import require_same_layout
from .grids import aligned
from .joined import beside, can_wait, joined, materialised, spread
from .registry import lifts
from .rewriter import Operand, Rewriter
from .shared import Repeated, Side


@lifts("Concat", family="select features", beside=True, scaled=True)
def lift_concat(op: Rewriter, *operands: Operand) -> Windowed:
    """Features of several lifted values side by side, among them values that are the same for every window."""
    one = next(x for x in operands if isinstance(x, Windowed))
    op.refuse_if(not one.layout.plain, "joins values of which the batch axis is not the first")
    lifted = [beside(op, x, one) if isinstance(x, Side | Array | Repeated) else x for x in operands]
    values = [x for x in lifted if isinstance(x, Windowed)]
    first = values[0]
    axis = op.feature_axis(op.attr("axis", 1), first)
    for x in values[1:]:
        require_same_layout(op, first, x)
    if all(x.unread and not x.affine and x.tensor == first.tensor for x in values):
        return first.reordered(np.concatenate([x.unread.order for x in values if x.unread], axis - 1))
    if can_wait(values, axis):
        return joined(op, values)
    read = aligned(op, [op.read(materialised(op, x)) for x in values])
    features = list(first.features)
    features[axis - 1] = sum(x.features[axis - 1] for x in read)
    like = next(x for x in read if not x.everywhere)
    return like.spent(op.emit("Concat", *(spread(op, x, like) for x in read), axis=axis), tuple(features))


@lifts("Split", family="select features")
def lift_split(op: Rewriter, x: Windowed, sizes_operand: Operand = None) -> tuple[Windowed, ...]:
    """Features in consecutive parts."""
    axis = op.feature_axis(op.attr("axis", 0), x)
    count, whole = len(op.op.outputs), x.features[axis - 1]
    sizes = list(op.attr("split") or op.ints(1, "sizes") or [])
    if not sizes:
        part = -(-whole // count)
        sizes = [min(part, whole - i * part) for i in range(count)]
    op.refuse_if(sum(sizes) != whole or min(sizes) < 1, f"splits {whole} features into parts of {sizes}")
    if x.unread:
        parts = np.split(x.unread.order, np.cumsum(sizes)[:-1], axis - 1)
        return tuple(x.reordered(part) for part in parts)
    operand = [sizes_operand.name] if isinstance(sizes_operand, Array) else []
    op.again(x, *operand, outputs=len(sizes), axis=axis)
    features = [(*x.features[: axis - 1], n, *x.features[axis:]) for n in sizes]
    return tuple(x.spent(name, f) for name, f in zip(op.emitted[-1].output, features, strict=True))


@lifts("Slice", family="select features")
def lift_slice(op: Rewriter, x: Windowed, *_: Operand) -> Windowed:
    """Features from a start to an end, with a step. A full slice of the batch axis is left out."""
    starts, ends, axes, steps = _slice_operands(op)
    picks: list[tuple[int, int, int, int]] = []
    index: list[slice] = [slice(None)] * len(x.features)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        feature = x.layout.feature(axis % x.rank)
        if feature is None:
            op.refuse_if(start != 0 or step != 1 or end < max(op.batch, 2**31 - 1), "slices the batch axis")
            continue
        stop = None if step < 0 and end < -x.features[feature] else end
        index[feature] = slice(start, stop, step)
        picks.append((start, end, feature + 1, step))
    order = np.empty(x.features, np.bool_)[tuple(index)]
    op.refuse_if(order.size == 0, "keeps no feature")
    if not picks:
        return x
    if x.unread:
        return x.reordered(x.unread.order[tuple(index)])
    s, e, a, t = ([p[i] for p in picks] for i in range(4))
    if op.since < 10:
        return x.spent(op.emit("Slice", x, starts=s, ends=e, axes=a), order.shape)
    operands = [
        op.constant(np.array(v, np.int64), name) for v, name in ((s, "starts"), (e, "ends"), (a, "axes"), (t, "steps"))
    ]
    return x.spent(op.emit("Slice", x, *operands), order.shape)


def _slice_operands(op: Rewriter) -> tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]]:
    if op.since < 10:
        starts, ends, axes, steps = op.attr("starts"), op.attr("ends"), op.attr("axes"), None
    else:
        starts, ends = op.ints(1, "starts") or [], op.ints(2, "ends") or []
        axes, steps = op.ints(3, "axes"), op.ints(4, "steps")
    return starts, ends, axes or list(range(len(starts))), steps or [1] * len(starts)


@lifts("Gather", family="select features")
def lift_gather(op: Rewriter, x: Operand, indices: Operand) -> Windowed:
    """Features by constant indices; a scalar index drops the axis."""
    op.refuse_if(not isinstance(x, Windowed) or not isinstance(indices, Array), "its indices depend on the image")
    assert isinstance(x, Windowed)
    assert isinstance(indices, Array)
    axis = op.feature_axis(op.attr("axis", 0), x)
    picked = np.take(np.arange(x.features[axis - 1]), indices.values)
    features = (*x.features[: axis - 1], *picked.shape, *x.features[axis:])
    layout = x.layout.without([axis - 1]) if not picked.shape else x.layout
    op.refuse_if(picked.ndim > 1 and not x.layout.plain, "adds axes in front of the batch axis")
    if x.unread:
        return x.reordered(np.take(x.unread.order, picked, axis - 1)).placed(layout)
    return x.spent(op.again(x, indices.name, axis=axis), features).placed(layout)
