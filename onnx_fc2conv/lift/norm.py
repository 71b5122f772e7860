"""Normalisations over features.

BatchNormalization works per channel, which is what a lifted feature is. Softmax and its kin normalise over one axis
since opset 13; before, they flatten everything from ``axis`` on, which on a lifted value would reach into the grid
and mix windows without any error. There the grid is moved to the front for the time being.
"""

from __future__ import annotations

import numpy as np

from ..ops import Array
from ..rewrite import Windowed
from .affine import can_wait, scaled
from .registry import lifts
from .rewriter import Operand, Rewriter

CANCELS = 64  #: ratio of mean and deviation up to which their difference may be taken behind the sum


@lifts("BatchNormalization", family="per channel", scaled=True)
def lift_batch_norm(op: Rewriter, x: Windowed, *statistics: Operand) -> Windowed:
    """Inference-mode BatchNormalization: axis 1 of the original is axis 1 of the lifted value."""
    op.refuse_if(op.attr("training_mode", 0) or any(op.op.outputs[1:]), "is in training mode, so it mixes the batch")
    op.refuse_if(
        not all(isinstance(s, Array) for s in statistics), "its scale, bias, mean or variance is not a constant"
    )
    op.refuse_if(x.rank < 2, "has no channel axis")
    channel = op.feature_axis(1, x)
    op.refuse_if(op.attr("spatial", 1) == 0 and len(x.features) > 1, "spatial=0 keeps statistics per position")
    waiting = _waiting(op, x, channel - 1, [s for s in statistics if isinstance(s, Array)]) if can_wait(x) else None
    if waiting is not None:
        return waiting
    there = [channel - 1, *(f for f in range(len(x.features)) if f != channel - 1)]
    back = [there.index(f) for f in range(len(there))]
    names = [s.name for s in statistics if isinstance(s, Array)]
    front = op.permute(op.read(x), there)
    return op.permute(front.on(op.again(front, *names, spatial=None)), back)


def _waiting(op: Rewriter, x: Windowed, feature: int, statistics: list[Array]) -> Windowed | None:
    """``(x - mean) / sqrt(var + epsilon) * scale + bias``, waiting for the FC.

    ``None`` where the mean is so much larger than the deviation that it has to be subtracted before anything is summed.
    """
    dims = [-1 if f == feature else 1 for f in range(len(x.features))]
    scale, bias, mean, var = (s.values.astype(np.float64).reshape(dims) for s in statistics)
    deviation = np.sqrt(var + op.attr("epsilon", 1e-5))
    if np.any(np.abs(mean) > CANCELS * deviation):
        return None
    factor = scale / deviation
    return scaled(x, factor, bias - mean * factor)


@lifts("Softmax", "LogSoftmax", "Hardmax", family="normalise over features")
def lift_softmax(op: Rewriter, x: Windowed) -> Windowed:
    """One axis since opset 13; all axes from ``axis`` on before."""
    since_13 = op.since >= 13
    axis = op.feature_axis(op.attr("axis", -1 if since_13 else 1), x)
    op.refuse_if(not since_13 and _batch_behind(x, axis), "normalises over the batch")
    x = op.read(x)
    if since_13:
        return x.on(op.again(x, axis=axis))
    behind_grid = op.emit(op.op_type, op.grid_first(x), axis=axis + x.grid_rank)
    return x.on(op.grid_last(behind_grid, x))


@lifts("LpNormalization", family="normalise over features")
def lift_lp_norm(op: Rewriter, x: Windowed) -> Windowed:
    """Divides by the norm along one feature axis."""
    axis = op.feature_axis(op.attr("axis", -1), x)
    x = op.read(x)
    return x.on(op.again(x, axis=axis))


@lifts("LayerNormalization", family="normalise over features")
def lift_layer_norm(op: Rewriter, x: Windowed, scale: Operand, bias: Operand = None) -> Windowed:
    """Normalises over all axes from ``axis`` on, so the grid is moved to the front for the time being."""
    op.refuse_if(any(op.op.outputs[1:]), "gives its statistics too")
    op.refuse_if(not isinstance(scale, Array) or isinstance(bias, Windowed), "its scale or bias is not a constant")
    axis = op.feature_axis(op.attr("axis", -1), x)
    op.refuse_if(_batch_behind(x, axis), "normalises over the batch")
    x = op.read(x)
    constants = [c.name if isinstance(c, Array) else None for c in (scale, bias)]
    attrs = op.attrs | {"axis": axis + x.grid_rank}
    return x.on(op.grid_last(op.emit(op.op_type, op.grid_first(x), *constants, **attrs), x))


def _batch_behind(x: Windowed, axis: int) -> bool:
    """True if the original keeps its batch behind this (lifted) axis."""
    return x.layout.before is not None and x.layout.before >= axis
