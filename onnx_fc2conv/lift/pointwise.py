"""Conv on a value that has one position left: what classifiers put between a pool over the whole map and their FC.

Where every spatial axis has size 1, a 1x1 Conv is an FC node, spelled otherwise. It is lifted like one, but its groups
are kept. The result has one position too: a map of its own with a window of 1x1, so that what follows acts on it
without a change of shape.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from ..ops import Array
from ..rewrite import Unread, Windowed
from .decoder import per_window
from .linear import ACTIVATIONS, activated
from .registry import lifts
from .rewriter import Operand, Rewriter
from .windows import conv_attrs


@lifts("Conv", family="linear")
def lift_conv(op: Rewriter, x: Operand, weight: Operand, bias: Operand = None) -> Windowed:
    """Lift a Conv on a value with features ``(C, 1, .., 1)``.

    1. The first reader of a window in map order takes it as its kernel, as an FC does.
    2. Otherwise the window is spent first, and the kernel stays 1x1.
    3. On several positions that an FC has made it is a Conv on every window.
    """
    if not isinstance(x, Windowed) or not isinstance(weight, Array) or isinstance(bias, Windowed):
        raise op.refuse("its weight or bias depends on the image")
    single = x.layout.plain and all(d == 1 for d in x.features[1:])
    pointwise = all(d == 1 for d in weight.shape[2:]) and not any(op.attr("pads") or ())
    if not single or not pointwise:
        return per_window(op, x, weight, bias)
    reason = op.fc_refusal(x.elem_type)
    op.refuse_if(reason, str(reason))
    group = op.attr("group", 1)
    if x.unread is None or not x.unread.in_map_order or (group != 1 and prod(x.unread.window) != 1):
        flat = op.reshape_features(op.read(x), x.features[:1])
        x = one_position(flat, flat.tensor, x.features[0], len(x.features))
    assert x.unread is not None
    window = x.unread.window
    kernel = op.with_dims(weight, (weight.shape[0], x.unread.channels // group, *window))
    extras = [bias.name] if isinstance(bias, Array) else []
    tensor = op.emit("Conv", x, kernel, *extras, group=group, **conv_attrs(window, x.unread.dilations))
    return replace(one_position(x, tensor, weight.shape[0], len(x.features)), behind_fc=True)


@lifts("com.microsoft.FusedConv", family="linear")
def lift_fused_conv(op: Rewriter, x: Operand, weight: Operand, bias: Operand = None, added: Operand = None) -> Windowed:
    """Lift a Conv with its activation."""
    op.refuse_if(added is not None, "adds another value")
    wide = isinstance(weight, Array) and prod(weight.shape[2:]) != 1
    op.refuse_if(wide, "its kernel reaches beyond the position")
    names = ACTIVATIONS.get(op.attr("activation", ""), ())
    return activated(
        op, lift_conv(op, x, weight, bias), dict(zip(names, op.attr("activation_params", ()), strict=False))
    )


def one_position(x: Windowed, tensor: str, channels: int, axes: int) -> Windowed:
    """A value with features ``(channels, 1, .., 1)`` on ``axes`` axes, held by a tensor ``[N, channels, *grid]``."""
    order = np.arange(channels, dtype=np.int64).reshape(channels, *[1] * (axes - 1))
    return replace(x, tensor=tensor, features=order.shape, unread=Unread(channels, (1,) * x.grid_rank, order))
