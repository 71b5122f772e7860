"""Values on different grids, brought to one: of the finer grid every second (third, ..) cell is taken.

Two maps of one image may have different effective strides. A window of the coarser one starts every S pixels, so the
windows of the finer one that belong to it are those that start there too.
"""

from __future__ import annotations

import numpy as np

from ..geometry import Grid
from ..rewrite import Windowed
from .rewriter import Rewriter
from .windows import FAR

TRIED = 16  #: grid sizes at which two laws that are not the same must agree


def aligned(op: Rewriter, values: list[Windowed]) -> list[Windowed]:
    """The values on a grid that they share.

    Raises:
        Unliftable: their strides do not divide each other, or their grids have other sizes.
    """
    grid = common(op, values)
    return [every(op, x, grid) for x in values]


def common(op: Rewriter, values: list[Windowed]) -> Grid:
    """The grid that these values share, without bringing them to it.

    Raises:
        Unliftable: their strides do not divide each other, or their grids have other sizes.
    """
    first = values[0].grid
    if all(x.grid.aligns_with(first) for x in values):
        return first
    strides = tuple(max(s) for s in zip(*(x.grid.stride for x in values), strict=True))
    for x in values:
        divides = all(t % s == 0 for t, s in zip(strides, x.grid.stride, strict=True))
        op.refuse_if(x.grid.source != first.source or not divides, _differ(values))
    taken = [x.grid.every(tuple(t // s for t, s in zip(strides, x.grid.stride, strict=True))) for x in values]
    for grid in taken:
        if grid.laws != taken[0].laws:
            op.refuse_if(not _agree(grid, taken[0]), _differ(values))
            op.blame_phase("its values come from maps whose grids are equal only at trained + n * stride")
    return taken[0]


def ratio(x: Windowed, grid: Grid) -> tuple[int, ...]:
    """How many cells of the value's grid one cell of a coarser one is worth, per axis."""
    if x.grid.whole_image:
        return (1,) * x.grid_rank
    return tuple(t // s for t, s in zip(grid.stride, x.grid.stride, strict=True))


def _differ(values: list[Windowed]) -> str:
    grids = dict.fromkeys(f"effective stride {x.grid.stride}, window {x.grid.window}" for x in values)
    return f"combines heads on different grids ({'; '.join(grids)})"


def _agree(a: Grid, b: Grid) -> bool:
    for k in range(TRIED):
        size = tuple(t + k * s for t, s in zip(a.trained_size, a.stride, strict=True))
        if a.grid_size(size) != b.grid_size(size):
            return False
    return True


def every(op: Rewriter, x: Windowed, grid: Grid) -> Windowed:
    """The value on a coarser grid that it shares: the cells in between are left out."""
    if x.everywhere or all(r == 1 for r in ratio(x, grid)):
        return x.on_grid(grid)
    x = op.read(x)
    steps = list(ratio(x, grid))
    axes = list(range(1 + len(x.features), 1 + len(x.features) + x.grid_rank))
    if op.since >= 10:
        operands = {"starts": [0] * len(axes), "ends": [FAR] * len(axes), "axes": axes, "steps": steps}
        names = [op.constant(np.array(v, np.int64), k) for k, v in operands.items()]
        return x.on(op.emit("Slice", x, *names)).on_grid(grid)
    reason = op.fc_refusal(x.elem_type)
    op.refuse_if(reason, "combines values on different grids, which before opset 10 only floating-point types can")
    flat = op.reshape_features(x, (int(np.prod(x.features)),))  # Slice has no steps yet
    picked = op.emit("MaxPool", flat, kernel_shape=[1] * len(steps), strides=steps)
    return op.reshape_features(flat.on(picked).on_grid(grid), x.features)
