"""Elementwise operators of several operands, with the multidirectional broadcasting of opset 7 and later.

The grid axes trail, so a constant of shape ``s`` becomes ``s + (1,) * grid_rank`` and every operand keeps its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..flatten import Layout
from ..ops import BROADCASTING, Array
from ..rewrite import Windowed
from .affine import by_constant, can_wait
from .grids import aligned
from .joined import beside, materialised
from .registry import lifts
from .rewriter import Operand, Rewriter
from .shared import Repeated, Side

NOT_BROADCASTING_BEFORE_8 = frozenset("Max Mean Min Sum".split())


@lifts(*BROADCASTING, family="elementwise, broadcasting", beside=True, scaled=True)
def lift_broadcasting(op: Rewriter, *operands: Operand) -> Windowed:
    """Lift an elementwise operator of any number of operands, constants among them."""
    return broadcast(op, op.op_type, list(operands), op.out_type(), **op.attrs)


def broadcast(op: Rewriter, op_type: str, operands: list[Operand], elem_type: int, **attrs: Any) -> Windowed:
    """Emit ``op_type`` on lifted values and constants.

    1. Values that are unread over the same map in the same order stay unread, if every constant is one per channel.
    2. One that meets a constant of one value per feature waits for its FC, if that can take it in.
    3. Otherwise all windows are spent first.

    Raises:
        Unliftable: ranks differ (the batch axis would meet a feature axis), grids differ, or the batch changes.
    """
    one = next(x for x in operands if isinstance(x, Windowed))
    operands = [x.row if isinstance(x, Repeated) else x for x in operands]
    alone = [isinstance(x, Side) and x.shape in ((), (1,)) for x in operands]
    operands = [x if scalar else _value(op, x, one) for x, scalar in zip(operands, alone, strict=True)]
    lifted = _same_rank(op, [x for x in operands if isinstance(x, Windowed)])
    lifted = aligned(op, lifted)
    first = lifted[0]
    for x in lifted[1:]:
        require_same_layout(op, first, x)
    ready_values = iter(lifted)
    operands = [next(ready_values) if isinstance(x, Windowed) else x for x in operands]
    constants = [c for c in operands if isinstance(c, Array)]
    features = _features(op, lifted, constants)
    if op_type in NOT_BROADCASTING_BEFORE_8 and op.since < 8:
        alike = not constants and all(x.features == features for x in lifted)
        op.refuse_if(not alike, "does not broadcast before opset 8, so it cannot take a value for each position")
    waiting = _pending(op, op_type, first, operands, features)
    if waiting is not None:
        return waiting
    if all(_same_window(first, x) for x in lifted) and first.unread and features == first.features:
        placed = [_per_channel(op, first, c) if isinstance(c, Array) else c for c in operands]
        if not any(isinstance(old, Array) and new is None for old, new in zip(operands, placed, strict=True)):
            return first.on(op.emit(op_type, *_names(placed), **attrs), elem_type)
    read = [op.read(x) if isinstance(x, Windowed) else x for x in operands]
    ready = [_trailing(op, first, x) if isinstance(x, Array) else x for x in read]
    return first.spent(op.emit(op_type, *_names(ready), **attrs), features, elem_type)


def _pending(
    op: Rewriter, op_type: str, x: Windowed, operands: list[Operand], features: tuple[int, ...]
) -> Windowed | None:
    """The value with a scale or shift that waits for its FC, or ``None`` if there is nothing that could."""
    constants = [c for c in operands if isinstance(c, Array)]
    if len(operands) != 2 or len(constants) != 1 or not can_wait(x) or features != x.features:
        return None
    c = constants[0]
    if (x.affine is None and _per_channel(op, x, c) is not None) or _rows(x, c) != 1:
        return None  # it may as well act on the map, before the flattening
    row = Array.of(c.name, c.values.reshape(_feature_dims(op, x, c)))
    return by_constant(op_type, x, row, isinstance(operands[0], Array))


def _value(op: Rewriter, x: Operand, one: Windowed) -> Operand:
    return beside(op, x, one) if isinstance(x, Side) else materialised(op, x) if isinstance(x, Windowed) else x


def require_same_layout(op: Rewriter, x: Windowed, y: Windowed) -> None:
    """Refuse to combine values of which the original keeps the batch at different axes."""
    op.refuse_if(
        (x.rank, x.layout) != (y.rank, y.layout),
        f"combines values of shape {_words(x)} and {_words(y)}: the batch would meet features",
    )


def _words(x: Windowed) -> str:
    shape: list[object] = list(x.features)
    if x.layout.merged:
        shape[0] = f"N*{x.features[0]}"
    elif x.layout.before is not None:
        shape.insert(x.layout.before, "N")
    return f"[{', '.join(map(str, shape))}]"


def _same_rank(op: Rewriter, lifted: list[Windowed]) -> list[Windowed]:
    """Where one image's batch axis has been reshaped away, it counts as a feature; values of fewer axes get ones."""
    if all(x.layout.before is not None for x in lifted):
        return lifted
    shapes = [x.layout.shape(x.features, 1) for x in lifted]
    most = max(map(len, shapes))
    full = [(*[1] * (most - len(shape)), *shape) for shape in shapes]
    if all(x.layout.before is None and x.features == dims for x, dims in zip(lifted, full, strict=True)):
        return lifted
    plain = [x.layout.before is None or x.layout.plain for x in lifted]
    op.refuse_if(not all(plain), "combines values of which the batch axis is not the first")
    return [op.reshape_features(op.read(x), dims).placed(Layout(None)) for x, dims in zip(lifted, full, strict=True)]


def _features(op: Rewriter, lifted: list[Windowed], constants: list[Array]) -> tuple[int, ...]:
    shapes = [x.features for x in lifted] + [_feature_dims(op, lifted[0], c) for c in constants]
    try:
        return tuple(int(d) for d in np.broadcast_shapes(*shapes))
    except ValueError as e:
        raise op.refuse(f"its operands do not broadcast ({e})") from e


def _feature_dims(op: Rewriter, x: Windowed, c: Array) -> tuple[int, ...]:
    """The constant's dims along the feature axes; along the batch it may have one row, or one for each image."""
    op.refuse_if(len(c.shape) > x.rank, f"its constant '{c.name}' has more axes than the value")
    dims = (*[1] * (x.rank - len(c.shape)), *c.shape)
    if x.layout.before is None:
        return dims
    batch = x.layout.before
    rows = op.batch * (x.features[0] if x.layout.merged else 1)
    op.refuse_if(
        dims[batch] not in (1, rows), f"its constant '{c.name}' has {dims[batch]} rows and would repeat the image"
    )
    op.refuse_if(
        dims[batch] > 1 and (not x.layout.plain or op.any_batch),
        f"its constant '{c.name}' has a row for each of several images",
    )
    return (*([1] if x.layout.merged else []), *dims[:batch], *dims[batch + 1 :])


def _same_window(x: Windowed, y: Windowed) -> bool:
    return (
        x.unread is not None
        and y.unread is not None
        and x.affine is None
        and y.affine is None
        and (x.unread.channels, x.unread.window) == (y.unread.channels, y.unread.window)
        and x.unread.steps == y.unread.steps
        and x.features == y.features
        and x.layout == y.layout
        and np.array_equal(x.unread.order, y.unread.order)
    )


def _per_channel(op: Rewriter, x: Windowed, c: Array) -> str | None:
    """The constant's name as ``(C, 1, 1)`` for the map, or ``None`` if it differs between positions of a channel."""
    assert x.unread is not None
    if _size(c) == 1:
        return op.with_dims(c, ())
    order = x.unread.order.ravel()
    if _rows(x, c) != 1 or np.unique(order).size < x.unread.size or order.size > x.unread.size:
        return None
    values = np.empty(x.unread.size, c.values.dtype)
    values[order] = np.broadcast_to(c.values.reshape(_feature_dims(op, x, c)), x.features).ravel()
    by_channel = values.reshape(x.unread.channels, -1)
    if not np.array_equal(by_channel, np.broadcast_to(by_channel[:, :1], by_channel.shape)):
        return None
    dims = (x.unread.channels, *[1] * len(x.unread.window))
    return op.constant(by_channel[:, :1].reshape(dims), c.name, "channel", dims, by_channel[:, 0].tobytes())


def _trailing(op: Rewriter, x: Windowed, c: Array) -> str:
    if _size(c) == 1:
        return c.name
    dims = (1, *_feature_dims(op, x, c)) if x.layout.before or x.layout.merged else c.shape
    return op.with_dims(c, (*dims, *[1] * x.grid_rank))


def _rows(x: Windowed, c: Array) -> int:
    """How many images the constant has a row for."""
    return c.shape[0] if x.layout.plain and len(c.shape) == x.rank else 1


def _size(c: Array) -> int:
    return int(np.prod(c.shape))


def _names(operands: list[Any]) -> list[str | None]:
    return [
        None if x is None else x if isinstance(x, str) else x.name if isinstance(x, Side) else x.tensor
        for x in operands
    ]
