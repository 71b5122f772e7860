"""View operators inside the head: they move no value, so they change the listed order or the shape of the features."""

from __future__ import annotations

import numpy as np

from ..errors import BatchBaked
from ..flatten import apply_view, per_image
from ..rewrite import Windowed
from .registry import lifts
from .rewriter import Operand, Rewriter


@lifts("Flatten", "Reshape", "Squeeze", "Unsqueeze", family="view")
def lift_view(op: Rewriter, x: Windowed, _: Operand = None) -> Windowed:
    """A view that leaves every image its own row; judged by what it does to positions, not by its spelling."""
    positions = np.arange(op.batch * int(np.prod(x.features)), dtype=np.int64).reshape(op.batch, *x.features)
    try:
        order = per_image(positions, apply_view(op.op, positions, op.view_operand()))
    except ValueError as e:
        if x.unread is not None and op.batch > 1 and _fits_one_image(op, x):
            raise BatchBaked(str(e), str(op.op)) from e
        raise op.refuse(str(e)) from e
    if x.unread:
        return x.reordered(x.unread.order.ravel()[order])
    return op.reshape_features(x, order.shape)


def _fits_one_image(op: Rewriter, x: Windowed) -> bool:
    positions = np.arange(int(np.prod(x.features)), dtype=np.int64).reshape(1, *x.features)
    try:
        per_image(positions, apply_view(op.op, positions, op.view_operand()))
    except ValueError:
        return False
    return True


@lifts("Transpose", family="view")
def lift_transpose(op: Rewriter, x: Windowed) -> Windowed:
    """Permutes feature axes; the batch axis stays first."""
    perm = op.attr("perm") or list(reversed(range(x.rank)))
    op.refuse_if(perm[0] != 0, f"perm {perm} moves the batch axis")
    if x.unread:
        return x.reordered(x.unread.order.transpose([p - 1 for p in perm[1:]]))
    features = tuple(x.features[p - 1] for p in perm[1:])
    grid = range(x.rank, x.rank + x.grid_rank)
    return x.spent(op.emit("Transpose", x, perm=[*perm, *grid]), features)


@lifts("Expand", family="view")
def lift_expand(op: Rewriter, x: Windowed, _: Operand) -> Windowed:
    """Repeats features of size 1; the batch must stay as it is."""
    target = op.view_operand() or []
    op.refuse_if(len(target) > x.rank, "adds an axis in front of the batch")
    rows = target[0] if len(target) == x.rank else 1
    op.refuse_if(rows not in (1, op.batch), "repeats the images of the batch")
    x = op.read(x)
    features = tuple(
        int(d) for d in np.broadcast_shapes(x.features, tuple(target[max(len(target) - len(x.features), 0) :]))
    )
    shape = op.constant(np.array([1, *features, *[1] * x.grid_rank], np.int64), "shape")
    return x.spent(op.emit("Expand", x, shape), features)
