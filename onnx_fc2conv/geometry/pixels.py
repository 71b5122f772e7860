"""From boxes of a picture to the cells of a grid, along one axis at a time."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, isfinite
from typing import Literal

import numpy as np

Size = Sequence[int]
Numbers = Sequence[float]
Mode = Literal["overlapping", "inside"]


def sides(box: Numbers, rank: int) -> tuple[Numbers, Numbers]:
    """The starts and the ends of a box.

    Raises:
        ValueError: it has another number of axes, is empty, or not finite.
    """
    if len(box) != 2 * rank:
        raise ValueError(f"box {tuple(box)} has {len(box)} numbers, the grid has {rank} starts and {rank} ends")
    starts, ends = box[:rank], box[rank:]
    if not all(map(isfinite, box)) or any(a >= b for a, b in zip(starts, ends, strict=True)):
        raise ValueError(f"box {tuple(box)} is empty; it has all starts first, then all ends")
    return starts, ends


def cells(start: float, end: float, length: int, stride: int, mode: Mode) -> tuple[int, int]:
    """The first cell, and the one behind the last, of those whose box belongs to a part of the axis.

    Args:
        start, end: the part, in pixels.
        length, stride: cell i has the box from ``i * stride`` to ``i * stride + length``.
        mode: whether it overlaps the part or lies inside.

    Raises:
        ValueError: the mode is unknown.
    """
    if mode == "overlapping":  # i * stride + length > start and i * stride < end
        return floor((start - length) / stride) + 1, ceil(end / stride)
    if mode == "inside":  # i * stride >= start and i * stride + length <= end
        return ceil(start / stride), floor((end - length) / stride) + 1
    raise ValueError(f"mode {mode!r} is neither 'overlapping' nor 'inside'")


def clipped(first: int, behind: int, count: int | None) -> slice:
    """The cells from the first to the one behind the last as a slice: none are negative, nor beyond the count."""
    first, behind = max(first, 0), max(behind, 0)
    if count is not None:
        first, behind = min(first, count), min(behind, count)
    return slice(first, max(first, behind))


def positions(cells: tuple[int, ...]) -> np.ndarray:
    """The indices of all cells of a grid: int64, [*grid, axes]."""
    return np.moveaxis(np.indices(cells, np.int64), 0, -1)
