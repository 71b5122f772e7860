"""The taps of a kernel along one axis: one Slice each, side by side on the channels by one Concat.

A Slice needs no size: it ends so many cells before the end of the map, whatever that is. Long kernels are gathered in
two steps, of ``k`` taps in about ``2 * sqrt(k)`` Slices: first every run of ``m`` neighbouring taps is laid side by
side, then runs are, since tap ``t = i * m + j`` is the ``j``-th of the ``i``-th run. Where ``k`` is no multiple of
``m``, the last run ends at the last tap and gives only the taps that are still missing. Runs start at multiples of
``m * dilation``, so of the first step only every ``gcd``-th with the stride is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from .emitter import TO_THE_LAST, Emitter

MOST_SLICES = 24  #: of a kernel that is gathered in one step


@dataclass(frozen=True)
class Along:
    """A kernel along one axis: number and distance of its taps, and distance of the positions that it is put to."""

    taps: int
    dilation: int
    stride: int


def side_by_side(emitter: Emitter, x: str, axis: int, channels: int, along: Along, block: int) -> str:
    """What the taps see at every position.

    Args:
        emitter: takes up the nodes.
        x: the map.
        axis: that the kernel reaches along.
        channels: axis that the taps are laid side by side on, the first one first.
        along: the kernel.
        block: entries of ``x`` on that axis.
    """
    if along.taps == along.stride == 1:
        return x
    offsets = [tap * along.dilation for tap in range(along.taps)]
    if along.taps <= MOST_SLICES:
        return _concat(emitter, _slices(emitter, x, axis, offsets, along.stride), channels)
    length = _run(along)
    starts = [*range(0, along.taps - length, length), along.taps - length]
    step = _step(along, length)
    runs = _concat(emitter, _slices(emitter, x, axis, offsets[:length], step), channels)
    parts = _slices(emitter, runs, axis, [offsets[start] // step for start in starts], along.stride // step)
    seen = starts[-2] + length - starts[-1]
    if seen:
        parts[-1] = emitter.slice(parts[-1], channels, seen * block, TO_THE_LAST)
    return _concat(emitter, parts, channels)


def _slices(emitter: Emitter, x: str, axis: int, offsets: list[int], step: int) -> list[str]:
    """As many positions from each of the offsets on as there are from the last one."""
    return [emitter.slice(x, axis, at, at - offsets[-1] or TO_THE_LAST, step) for at in offsets]


def _concat(emitter: Emitter, parts: list[str], axis: int) -> str:
    return parts[0] if len(parts) == 1 else emitter.emit("Concat", *parts, axis=axis)


def _run(along: Along) -> int:
    """Length of a run such that there are few Slices, and of those with as few the one that gathers least."""
    k = along.taps
    return min(range(2, k), key=lambda m: (m + -(-k // m), m / _step(along, m)))


def _step(along: Along, length: int) -> int:
    """Distance of the runs that are wanted."""
    return gcd(along.stride, length * along.dilation, (along.taps - length) * along.dilation)
