"""How far the answers of a model that is not exact are from the original's on image crops.

In the interior the original sees the crop end on all sides where the enlarged map goes on; at the border the map ends
where the crop does. The two differ by different amounts, so they are measured apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry import Grid
from ..rewrite import Windowed
from ..settings import Size
from .compare import FLOATS, error, scale_of
from .outcome import Deviation, Measured


def interior(grid: Grid, cells: Sequence[tuple[int, ...]], size: Size) -> np.ndarray:
    """Which cells have a box that touches no border of an image of this size: one bool per cell."""
    rank = len(size)
    boxes = [grid.box(*cell) for cell in cells]
    inside = [min(box[:rank]) > 0 and all(end < n for end, n in zip(box[rank:], size, strict=True)) for box in boxes]
    return np.array(inside, np.bool_)


def measure(found: np.ndarray, expected: np.ndarray, inside: np.ndarray, value: Windowed | None) -> Deviation:
    """The deviation of one output at one size.

    Args:
        found, expected: answers of the converted model, and the original's on image crops; the cells are last.
        inside: which of the cells are in the interior.
        value: the output; ``None`` for a feature map.
    """
    scores = value is not None and value.layout.plain and len(value.features) == 1 and value.features[0] > 1
    labels = scores and expected.dtype.kind in FLOATS
    scale = scale_of(expected)

    def of(which: np.ndarray) -> Measured:
        a, b = found[..., which], expected[..., which]
        agreement = float(np.mean(a.argmax(1) == b.argmax(1))) if labels else None
        return Measured(error(a, b, scale=scale), agreement, int(which.sum()))

    parts = [of(which) if which.any() else None for which in (inside, ~inside)]
    return Deviation(of(np.ones_like(inside)), *parts)
