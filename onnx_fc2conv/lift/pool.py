"""Pools over the whole map become pools over the window, with stride 1: one answer per window position.

Whatever stride such a pool was written with, it had one window at the trained size, so its stride has no meaning there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from ..dilated import Pool, Pools
from ..dtypes import numpy_type
from ..flatten import covers_map
from ..rewrite import Windowed
from .decoder import per_window
from .pointwise import one_position
from .registry import lifts
from .rewriter import Rewriter

POOLED_BY = {
    "ReduceMean": "AveragePool",
    "ReduceMax": "MaxPool",
    "ReduceSum": "AveragePool",
    "GlobalAveragePool": "AveragePool",
    "GlobalMaxPool": "MaxPool",
    "AveragePool": "AveragePool",
    "MaxPool": "MaxPool",
    "QLinearGlobalAveragePool": "QLinearAveragePool",
    "GlobalLpPool": "LpPool",
    "LpPool": "LpPool",
}


def window_pool(
    op: Rewriter, x: Windowed, axes: list[int], kind: str, quantised: Sequence[str] = ()
) -> Windowed | None:
    """Pool an unread value over its whole window, channel by channel.

    Args:
        op: the node.
        x: the value.
        axes: the axes that are pooled; together they must be the window's positions.
        kind: the operator, a key of ``POOLED_BY``.
        quantised: names of the scales and zero points of a quantised pool.

    Returns:
        A spent value with one feature per channel, or ``None`` if the axes are something else than the window.
    """
    if x.unread is None or (op.fc_refusal(x.elem_type) and not quantised and not _in_integers(op, x, kind)):
        return None
    cells = int(np.prod(x.unread.window))
    kept = [i for i in range(len(x.features)) if i + 1 not in axes]
    if int(np.prod([x.features[a - 1] for a in axes])) != cells:
        return None
    rows = np.sort(x.unread.order.transpose([*kept, *(a - 1 for a in axes)]).reshape(-1, cells), axis=1)
    channels = rows[:, 0] // cells
    if not np.array_equal(rows, channels[:, None] * cells + np.arange(cells)):
        return None
    tensor = _pooled(op, x, kind, quantised)
    if kind == "ReduceSum":
        factor = op.constant(np.asarray(cells, numpy_type(x.elem_type)), "cells", cells, x.elem_type)
        tensor = op.emit("Mul", tensor, factor)
    pooled = x.spent(tensor, (x.unread.channels,))
    if not np.array_equal(channels, np.arange(x.unread.channels)):
        index = op.constant(channels.astype(np.int64), "channels")
        pooled = pooled.spent(op.emit("Gather", pooled, index, axis=1), (channels.size,))
    return pooled


def _pooled(op: Rewriter, x: Windowed, kind: str, quantised: Sequence[str]) -> str:
    """The pool of every window."""
    assert x.unread is not None
    if set(x.unread.steps) != {1}:
        return _dilated(op, x, kind, bool(quantised))
    attrs: dict[str, Any] = {"kernel_shape": list(x.unread.window), "strides": [1] * len(x.unread.window)}
    if POOLED_BY[kind] == "LpPool":
        attrs["p"] = op.attr("p", 2)
    if quantised:
        attrs["domain"] = "com.microsoft"
    return op.emit(POOLED_BY[kind], x, *quantised, **attrs)


def _dilated(op: Rewriter, x: Windowed, kind: str, quantised: bool) -> str:
    """The pool of every window of a map that was made denser."""
    assert x.unread is not None
    op.refuse_if(
        quantised, "would become a com.microsoft.QLinearAveragePool, which has no dilations, as --stride needs"
    )
    pool = Pool.over(POOLED_BY[kind], x.unread.window, x.unread.steps, op.attr("p", 2))
    try:
        return Pools(_Writer(op), op.since, op.runtime).write(x.tensor, pool, x.unread.channels, x.elem_type)
    except ValueError as e:
        raise op.refuse(str(e)) from e


@dataclass(frozen=True)
class _Writer:
    """Takes the nodes of dilated pools."""

    op: Rewriter

    def emit(self, op_type: str, *inputs: str, **attrs: Any) -> str:
        """Add a node."""
        return self.op.emit(op_type, *inputs, **attrs)

    def constant(self, values: np.ndarray, hint: str) -> str:
        """A constant; equal ones are shared."""
        return self.op.constant(values, hint, "dilated", values.dtype.str, values.shape, values.tobytes())


def _in_integers(op: Rewriter, x: Windowed, kind: str) -> bool:
    """A maximum of 8-bit integers is one operator since opset 12."""
    return POOLED_BY[kind] == "MaxPool" and x.elem_type in (TensorProto.INT8, TensorProto.UINT8) and op.since >= 12


@lifts("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", family="pool over the window")
def lift_global_pool(op: Rewriter, x: Windowed) -> Windowed:
    """A pool over the whole map."""
    if x.behind_fc:
        return per_window(op, x)
    return _over_window(op, x)


@lifts("AveragePool", "MaxPool", "LpPool", family="pool over the window")
def lift_covering_pool(op: Rewriter, x: Windowed) -> Windowed:
    """A pool whose kernel is the whole map."""
    if x.behind_fc:
        return per_window(op, x)
    op.refuse_if(not covers_map(op.op, list(x.features[1:])), "slides over positions that the head no longer has")
    op.refuse_if(any(op.op.outputs[1:]), "gives positions inside the trained map")
    return _over_window(op, x)


def _over_window(op: Rewriter, x: Windowed) -> Windowed:
    spatial = len(x.features) - 1
    if set(x.features[1:]) == {1} and POOLED_BY[op.op_type] != "LpPool" and x.layout.plain:
        return x  # a pool of one value
    pooled = window_pool(op, x, list(range(2, 2 + spatial)), op.op_type) if x.layout.plain else None
    if pooled is None:
        raise op.refuse("pools values that are no longer laid out as a feature map")
    return one_position(pooled, pooled.tensor, x.features[0], len(x.features))
