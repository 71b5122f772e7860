"""Features of several values side by side, joined only when somebody needs them so.

An FC over joined features is the sum of the FCs over the parts: ``[x1, x2] @ W = x1 @ W1 + x2 @ W2``. So a Concat of
flattened maps needs no flattening, a part on a finer grid is strided by its own Conv, and a part that is the same for
all windows (a vector that is an input of its own) is multiplied once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..flatten import Layout
from ..ops import Array
from ..rewrite import Windowed
from .grids import common, every
from .rewriter import Rewriter
from .shared import Repeated, Side


def beside(op: Rewriter, side: Side | Array | Repeated, x: Windowed) -> Windowed:
    """A constant, or a value of another input than an image, as one that is the same for every window of ``x``.

    Raises:
        Unliftable: it has no row for each image.
    """
    repeated = isinstance(side, Repeated)
    side = side.row if isinstance(side, Repeated) else side
    op.refuse_if(
        not repeated and side.shape[:1] != (op.batch,),
        f"its input '{side.name}' of shape {list(side.shape)} has no row for each image",
    )
    axes = list(range(len(side.shape), len(side.shape) + x.grid_rank))
    if isinstance(side, Array):
        tensor = op.with_dims(side, (*side.shape, *[1] * x.grid_rank))
    elif op.since < 13:
        tensor = op.emit("Unsqueeze", side.name, axes=axes)
    else:
        tensor = op.emit("Unsqueeze", side.name, op.constant(np.array(axes, np.int64), "axes"))
    return Windowed(tensor, side.shape[1:], side.elem_type, x.grid, everywhere=True)


def joined(op: Rewriter, values: list[Windowed]) -> Windowed:
    """Rows of features side by side.

    Raises:
        Unliftable: the values' grids have no cells in common.
    """
    parts = [part for x in values for part in (x.parts or (x,))]
    grid = common(op, [x for x in parts if not x.everywhere])
    count = sum(x.features[0] for x in parts)
    return replace(parts[0].spent("", (count,)), grid=grid, parts=tuple(parts))


def can_wait(values: list[Windowed], axis: int) -> bool:
    """True for rows of features, one for each image, of which some would have to be computed to be joined."""
    rows = all(len(x.features) == 1 and x.layout in (Layout(), Layout(None)) for x in values)
    return rows and axis == 1 and any(x.unread or x.parts or x.everywhere for x in values)


def materialised(op: Rewriter, x: Windowed) -> Windowed:
    """The value itself, computed if it was not."""
    if not x.parts:
        return x
    return op.once(("joined", x.grid.stride, *map(_identity, x.parts)), lambda: _joined(op, x))


def _identity(part: Windowed) -> tuple[object, ...]:
    """What tells a part from any other."""
    order = part.unread.order.tobytes() if part.unread else None
    pending = (part.affine.scale.tobytes(), part.affine.shift.tobytes()) if part.affine else None
    return part.tensor, part.grid.stride, order, pending


def _joined(op: Rewriter, x: Windowed) -> Windowed:
    read = [every(op, op.read(part), x.grid) for part in x.parts]
    grid_of = next(part for part in read if not part.everywhere)
    return x.spent(op.emit("Concat", *(spread(op, part, grid_of) for part in read), axis=1), x.features)


def spread(op: Rewriter, x: Windowed, like: Windowed) -> str:
    """A value that is the same everywhere, repeated over the images and the grid of another."""
    if not x.everywhere:
        return x.tensor
    rank, g = 1 + len(like.features), like.grid_rank
    dims = op.emit("Shape", like)
    images = op.emit("Gather", dims, op.constant(np.zeros(1, np.int64), "batch_axis"), axis=0)
    grid = op.emit("Gather", dims, op.constant(np.arange(rank, rank + g, dtype=np.int64), "grid_axes"), axis=0)
    ones = op.constant(np.ones(len(x.features), np.int64), "ones")
    return op.emit("Expand", x, op.emit("Concat", images, ones, grid, axis=0))
