"""What each output can depend on, and at which sizes of the input its boxes lie where they should.

A head may read several maps: a window of each, over the same box. An answer depends on all that any of them reaches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import ceil, floor, lcm

from .geometry import Axis, Geometry, Grid
from .ops import Model
from .plan import FeatureMap, Plan
from .rewrite import Rewrite
from .settings import Size


def geometry(plan: Plan, rewrite: Rewrite) -> Geometry:
    """The grid of every lifted output, with what its cells reach, and the step of the sizes that are valid for it."""
    steps = step(plan) if any(c.kind == "phase" for c in plan.causes) else {}
    found = {}
    for name in plan.model.outputs:
        if name in rewrite.values:
            grid = _reaching(rewrite.values[name].grid, name, plan)
            found[name] = replace(grid, step=steps.get(grid.source, grid.step))
    return Geometry(found)


def step(plan: Plan) -> dict[str, Size]:
    """For each image input the pixels by which it can grow, whatever depends on its size.

    Where maps were made denser and a node depends on the size, it does so as it did in the original.
    """
    return strides(plan.sparse if any(c.kind == "phase" for c in plan.causes) else plan)


def strides(plan: Plan) -> dict[str, Size]:
    """For each image input the pixels per axis that are a whole number of strides of every map in front of a head.

    An input that grew by so many pixels has all cells of the trained one at their places, on each map.
    """
    names, _ = _in_front(plan.model, plan.cuts or plan.model.outputs)
    maps = [plan.maps[name] for name in plan.maps if name in names]
    found = {}
    for source, images in plan.tied.items():
        axes = [_axes(m) for m in maps if m.axes and m.axes[0].source == source]
        axes = [row for row in (*axes, images[0].axes) if len(row) == len(images[0].axes)]
        found[source] = tuple(lcm(*(a.stride.numerator for a in column)) for column in zip(*axes, strict=True))
    return found


def _reaching(grid: Grid, output: str, plan: Plan) -> Grid:
    names, nodes = _in_front(plan.model, [output])
    windows = [_axes(plan.maps[name], True) for name in plan.cuts if name in names]
    windows = [axes for axes in windows if len(axes) == len(grid.stride) and axes[0].source == grid.source]
    starts = [floor(min(a.reach[0] for a in column)) for column in zip(*windows, strict=True)]
    ends = [ceil(max(a.reach[1] for a in column)) for column in zip(*windows, strict=True)]
    return replace(
        grid,
        padding=tuple(-start for start in starts),
        padding_after=tuple(end - n for end, n in zip(ends, grid.trained_size, strict=True)),
        global_context=any(c.kind == "global context" and c.node in nodes for c in plan.causes),
    )


def _axes(m: FeatureMap, covered: bool = False) -> tuple[Axis, ...]:
    """The spatial axes, those that were pooled whole among them; as far as windows cover them, if asked."""
    return tuple(sorted((*(m.covered if covered else m.axes), *m.pooled), key=lambda a: a.index))


def _in_front(model: Model, values: Iterable[str]) -> tuple[set[str], set[str]]:
    """Names of all values that these depend on, and of the nodes that make them."""
    needed, names, nodes = list(values), set[str](), set[str]()
    while needed:
        name = needed.pop()
        op = model.producer.get(name)
        if op is not None and name not in names:
            nodes.add(str(op))
            needed += op.reads()
        names.add(name)
    return names, nodes
