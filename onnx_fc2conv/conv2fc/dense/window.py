"""Which input cell each tap of a window meets at each output cell, along one spatial axis.

The matrix of a convolution is a Toeplitz matrix along each axis, so that of two axes is doubly block Toeplitz; what is
known of the axes one by one gives its entries, and their number as a product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Sliding:
    """A window that slides along an axis: tap ``t`` at output ``p`` meets input ``p * stride + t * dilation - pad``.

    Attributes:
        size, outputs: cells before and after.
        window: taps.
        stride, dilation: in cells.
        pad, pad_after: cells of padding in front and behind.
    """

    size: int
    outputs: int
    window: int
    stride: int = 1
    dilation: int = 1
    pad: int = 0
    pad_after: int = 0

    @cached_property
    def met(self) -> np.ndarray:
        """``[outputs, window]``: the input cell, which may lie outside of the map."""
        first = np.arange(self.outputs) * self.stride - self.pad
        return np.asarray(first[:, None] + np.arange(self.window) * self.dilation)

    @cached_property
    def inside(self) -> np.ndarray:
        """``[outputs, window]``: whether that cell is one of the map."""
        return np.asarray((self.met >= 0) & (self.met < self.size))

    @property
    def pairs(self) -> int:
        """Number of pairs of an output and a tap that meet a cell of the map, tap by tap."""
        found = 0
        for tap in range(self.window):
            before = self.pad - tap * self.dilation  # cells of padding that are left to go when p is 0
            first, last = -(-before // self.stride), -(-(before + self.size) // self.stride)
            found += max(0, min(last, self.outputs) - max(first, 0))
        return found

    def at(self, tap: int) -> tuple[np.ndarray, np.ndarray]:
        """The outputs at which a tap meets the map, and the cells that it meets there."""
        outputs = np.flatnonzero(self.inside[:, tap])
        return outputs, self.met[outputs, tap]

    def counted(self, pads_too: bool) -> np.ndarray:
        """``[outputs]``: cells that a mean divides by; what ``ceil_mode`` adds behind the pads never counts."""
        within = (self.met < self.size + self.pad_after) if pads_too else self.inside
        return np.asarray(within.sum(axis=1))


def crossed(per_axis: list[np.ndarray], sizes: list[int]) -> np.ndarray:
    """Flat positions of all combinations of positions per axis, in row-major order."""
    flat = np.zeros(1, np.int64)
    for positions, size in zip(per_axis, sizes, strict=True):
        flat = (flat[:, None] * size + positions).ravel()
    return flat
