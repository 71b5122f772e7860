"""From the cells of a grid to the pixels of a picture.

A cell is drawn around the middle of its box, one stride high and wide, so cells tile without gaps: cell i of an axis
covers ``(i * stride + (trained - stride) / 2, .. + stride)`` in pixels of what the model saw, which is the picture
times a factor. Where an edge falls inside of a pixel, the pixel is the mean of what covers it.
"""

from __future__ import annotations

import numpy as np

from ..geometry import Grid


def edges(grid: Grid, size: tuple[int, int], factors: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Where cells begin and end along both axes, in pixels of the picture: [GH + 1], [GW + 1].

    Args:
        grid: the output's.
        size: height and width of what the model saw.
        factors: by which that is larger than the picture, per axis.
    """
    middles = grid.centers(size)
    axes = (middles[:, 0, 0], middles[0, :, 1])
    ends = [np.append(m, m[-1] + s) - s / 2 for m, s in zip(axes, grid.stride, strict=True)]
    return ends[0] / factors[0], ends[1] / factors[1]


def spread(answers: np.ndarray, rows: np.ndarray, columns: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The answers at every pixel of a picture.

    Args:
        answers: [GH, GW].
        rows, columns: where the cells begin and end, in pixels.
        size: the picture's height and width.

    Returns:
        float32, [H, W]; NaN where no window has its middle, along the picture's edges, and at answers that are not
        finite.
    """
    down, across = _shares(rows, size[0]), _shares(columns, size[1])
    finite = np.isfinite(answers)
    covered = down @ finite.astype(np.float64) @ across.T
    total = down @ np.where(finite, answers, 0).astype(np.float64) @ across.T
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = np.where(covered >= 0.5, total / covered, np.nan).astype(np.float32)
    return found


def _shares(ends: np.ndarray, length: int) -> np.ndarray:
    """How much of each pixel each cell covers, along one axis: [length, cells], from 0 to 1."""
    pixels = np.arange(length)[:, None]
    shared = np.minimum(ends[None, 1:], pixels + 1) - np.maximum(ends[None, :-1], pixels)
    found: np.ndarray = np.clip(shared, 0, None)
    return found
