"""Channels behind the spatial axes, and back: a product sums over the last axis.

All channels together: ``[N, C, *spatial]`` -> ``[N, *spatial, C]``. With groups, each has rows of its own:
``[N, group, *spatial, C / group]``. A Reshape that keeps a dim by 0 needs no size, so what is dynamic stays so.
"""

from __future__ import annotations

from ...emitter import Emitter
from ..convolution import Convolution


def first_axis(conv: Convolution) -> int:
    """The first spatial axis of the rows."""
    return 1 if conv.group == 1 else 2


def rank(conv: Convolution) -> int:
    """Number of axes of the rows."""
    return first_axis(conv) + conv.rank + 1


def channels_last(emitter: Emitter, conv: Convolution, x: str, taps: int) -> str:
    """The map with its channels behind, each group's by themselves.

    Args:
        emitter: takes up the nodes.
        conv: the convolution.
        x: ``[N, taps * C, *spatial]``, each tap with all channels.
        taps: how many lie side by side.

    Returns:
        ``[N, *spatial, taps * C]``, or with groups ``[N, group, *spatial, taps * C / group]``.
    """
    r = conv.rank
    if conv.group > 1 and conv.block == 1 and taps == 1:
        return emitter.reshape(x, [0] * (r + 2) + [1])
    x = emitter.transpose(x, [0, *range(2, r + 2), 1])
    if conv.group == 1:
        return x
    if taps == 1:
        x = emitter.reshape(x, [0] * (r + 1) + [conv.group, conv.block])
        return emitter.transpose(x, [0, r + 1, *range(1, r + 1), r + 2])
    x = emitter.reshape(x, [0] * (r + 1) + [taps, conv.group, conv.block])
    x = emitter.transpose(x, [0, r + 2, *range(1, r + 1), r + 1, r + 3])
    return emitter.reshape(x, [0] * (r + 2) + [taps * conv.block])


def units_together(emitter: Emitter, conv: Convolution, y: str) -> tuple[str, bool]:
    """The result of a product with the units of all groups on one axis.

    Args:
        emitter: takes up the nodes.
        conv: the convolution.
        y: ``[N, *output_size, units]``, or with groups ``[N, group, *output_size, units / group]``.

    Returns:
        The value, and whether that axis is the last one; else it is axis 1.
    """
    r = conv.rank
    if conv.group == 1:
        return y, True
    if conv.columns == 1:
        return emitter.reshape(y, [0] * (r + 2)), False
    y = emitter.transpose(y, [0, *range(2, r + 2), 1, r + 2])
    return emitter.reshape(y, [0] * (r + 1) + [conv.units]), True


def channels_first(emitter: Emitter, conv: Convolution, y: str, last: bool) -> str:
    """``[N, units, *output_size]`` again."""
    return emitter.transpose(y, [0, conv.rank + 1, *range(1, conv.rank + 1)]) if last else y
