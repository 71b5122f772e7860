"""A kernel as a matrix: the axes in another order, and some of them taken together."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from ..convolution import Convolution


@dataclass(frozen=True)
class Arrangement:
    """How a kernel ``[units, channels / group, *window]`` is laid out.

    Attributes:
        split: dims that the kernel is read with.
        perm: the order that those are put into.
        dims: that they are taken together to.
        places: for some axes of the kernel, the axis of the result that its entries lie along, each of them together.
        runs: the axes of the kernel whose neighbours are neighbours in the result, and the axis of it that they are on.
        wraps: of those, the axes that the result's axis goes through several times.
    """

    split: tuple[int, ...]
    perm: tuple[int, ...]
    dims: tuple[int, ...]
    places: dict[int, int]
    runs: dict[int, int]
    wraps: frozenset[int] = frozenset()

    @property
    def same_bytes(self) -> bool:
        """True if nothing moves: what changes its place has one entry."""
        moved = [axis for axis in self.perm if self.split[axis] != 1]
        return moved == sorted(moved)

    def applied(self, values: np.ndarray) -> np.ndarray:
        """The kernel's values, laid out."""
        return np.ascontiguousarray(values.reshape(self.split).transpose(self.perm).reshape(self.dims))

    def keeps_blocks(self, axis: int, block: int, dims: tuple[int, ...]) -> bool:
        """True if blocks of so many neighbours along an axis of the kernel, whose dims these are, stay whole."""
        return axis in self.runs and (axis not in self.wraps or dims[axis] % block == 0)

    def of_blocks(self, scale: np.ndarray) -> np.ndarray:
        """The same for what has one entry for a block of the kernel's along some axis."""
        assert len(self.split) == scale.ndim
        moved = scale.transpose(self.perm)
        return np.ascontiguousarray(moved.reshape([-1, scale.shape[0]] if self.perm[-1] == 0 else [scale.shape[0], -1]))


def right_operand(conv: Convolution) -> Arrangement:
    """``[rows, units]`` with rows in the order of taps and, of each tap, channels; with groups one matrix for each.

    Those have axes of one entry where the rows of a product have its spatial axes but the last.
    """
    r = conv.rank
    if conv.group == 1:
        split, perm = (conv.units, conv.block, *conv.window), (*range(2, r + 2), 1, 0)
        wraps = frozenset((1,)) if conv.taps > 1 else frozenset[int]()
        return Arrangement(split, perm, (conv.rows, conv.units), {0: 1}, {0: 1, 1: 0}, wraps)
    split = (conv.group, conv.columns, conv.block, *conv.window)
    dims = (conv.group, *[1] * (r - 1), conv.rows, conv.columns)
    return Arrangement(split, (0, *range(3, r + 3), 2, 1), dims, {0: 0} if conv.columns == 1 else {}, {})


def transposed_operand(conv: Convolution) -> Arrangement:
    """``[units, rows]`` as the kernel is stored, for a kernel that covers the map."""
    split = (conv.units, conv.block, *conv.window)
    runs = {0: 0, 1: 1} if prod(conv.window) == 1 else {0: 0}
    return Arrangement(split, tuple(range(len(split))), (conv.units, conv.rows), {0: 0}, runs)
