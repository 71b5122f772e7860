"""Elementwise operators of several operands, with the multidirectional broadcasting of opset 7 and later.

The grid axes trail, so a constant of shape ``s`` becomes ``s + (1,) * grid_rank`` and every operand keeps its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import BROADCASTING, Array
from ..rewrite import Windowed
from .registry import lifts
from .rewriter import Operand, Rewriter

NOT_BROADCASTING_BEFORE_8 = frozenset("Max Mean Min Sum".split())


@lifts(*BROADCASTING, family="elementwise, broadcasting")
def lift_broadcasting(op: Rewriter, *operands: Operand) -> Windowed:
    """Lift an elementwise operator of any number of operands, constants among them."""
    return broadcast(op, op.op_type, list(operands), op.out_type(), **op.attrs)


def broadcast(op: Rewriter, op_type: str, operands: list[Operand], elem_type: int, **attrs: Any) -> Windowed:
    """Emit ``op_type`` on lifted values and constants.

    1. Values that are unread over the same map in the same order stay unread, if every constant is one per channel.
    2. Otherwise all windows are spent first.

    Raises:
        Unliftable: ranks differ (the batch axis would meet a feature axis), grids differ, or the batch changes.
    """
    lifted = [x for x in operands if isinstance(x, Windowed)]
    first = lifted[0]
    for x in lifted[1:]:
        require_same_grid(op, first, x)
        op.refuse_if(
            x.rank != first.rank, f"combines values of rank {first.rank} and {x.rank}: the batch would meet features"
        )
    constants = [c for c in operands if isinstance(c, Array)]
    features = _features(op, lifted, constants)
    if op_type in NOT_BROADCASTING_BEFORE_8 and op.since < 8:
        alike = not constants and all(x.features == features for x in lifted)
        op.refuse_if(not alike, "does not broadcast before opset 8, so it cannot take a value for each position")
    if all(_same_window(first, x) for x in lifted) and first.unread and features == first.features:
        placed = [_per_channel(op, first, c) if isinstance(c, Array) else c for c in operands]
        if not any(isinstance(old, Array) and new is None for old, new in zip(operands, placed, strict=True)):
            return first.on(op.emit(op_type, *_names(placed), **attrs), elem_type)
    read = [op.read(x) if isinstance(x, Windowed) else x for x in operands]
    ready = [_trailing(op, x, first.grid_rank) if isinstance(x, Array) else x for x in read]
    return first.spent(op.emit(op_type, *_names(ready), **attrs), features, elem_type)


def require_same_grid(op: Rewriter, x: Windowed, y: Windowed) -> None:
    """Refuse to combine values whose cells are not the same windows."""
    op.refuse_if(
        not x.grid.aligns_with(y.grid),
        f"combines heads on different grids (effective strides {x.grid.stride} and {y.grid.stride}, "
        f"windows {x.grid.window} and {y.grid.window})",
    )


def _features(op: Rewriter, lifted: list[Windowed], constants: list[Array]) -> tuple[int, ...]:
    rank = lifted[0].rank
    for c in constants:
        op.refuse_if(len(c.shape) > rank, f"its constant '{c.name}' has more axes than the value")
        rows = c.shape[0] if len(c.shape) == rank else 1
        op.refuse_if(rows not in (1, op.batch), f"its constant '{c.name}' has {rows} rows and would repeat the image")
    shapes = [x.features for x in lifted] + [c.shape[-(rank - 1) :] if rank > 1 else () for c in constants]
    try:
        return tuple(int(d) for d in np.broadcast_shapes(*shapes))
    except ValueError as e:
        raise op.refuse(f"its operands do not broadcast ({e})") from e


def _same_window(x: Windowed, y: Windowed) -> bool:
    return (
        x.unread is not None
        and y.unread is not None
        and (x.unread.channels, x.unread.window) == (y.unread.channels, y.unread.window)
        and x.features == y.features
        and np.array_equal(x.unread.order, y.unread.order)
    )


def _per_channel(op: Rewriter, x: Windowed, c: Array) -> str | None:
    """The constant's name as ``(C, 1, 1)`` for the map, or ``None`` if it differs between positions of a channel."""
    assert x.unread is not None
    if _size(c) == 1:
        return op.with_dims(c, ())
    order = x.unread.order.ravel()
    if len(c.shape) == x.rank and c.shape[0] != 1:
        return None
    if np.unique(order).size < x.unread.size or order.size > x.unread.size:
        return None
    values = np.empty(x.unread.size, c.values.dtype)
    values[order] = np.broadcast_to(c.values, (1, *x.features)).ravel()
    by_channel = values.reshape(x.unread.channels, -1)
    if not np.array_equal(by_channel, np.broadcast_to(by_channel[:, :1], by_channel.shape)):
        return None
    dims = (x.unread.channels, *[1] * len(x.unread.window))
    return op.constant(by_channel[:, :1].reshape(dims), c.name, "channel", dims, by_channel[:, 0].tobytes())


def _trailing(op: Rewriter, c: Array, grid_rank: int) -> str:
    return c.name if _size(c) == 1 else op.with_dims(c, c.shape + (1,) * grid_rank)


def _size(c: Array) -> int:
    return int(np.prod(c.shape))


def _names(operands: list[Any]) -> list[str | None]:
    return [None if x is None else x if isinstance(x, str) else x.tensor for x in operands]
