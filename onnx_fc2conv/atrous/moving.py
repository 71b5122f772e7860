"""What acts on single positions, moves the map as a whole, or looks at all of it."""

from __future__ import annotations

from typing import Any

from ..backbone import MOVES, cropping, linear, microsoft, pointwise, repeating, views
from ..emitter import TO_THE_LAST
from ..geometry import Axis
from ..ops import Op
from ..plan import FeatureMap
from .walk import RULES, Sizes, Walk, rule

#: the moves of operators that treat all positions alike
ALIKE = (
    pointwise.move_elementwise,
    pointwise.move_same,
    pointwise.move_normalise,
    pointwise.move_transpose,
    pointwise.move_concat,
    pointwise.move_pick,
    linear.move_product,
    microsoft.move_quantised,
    microsoft.move_quantised_concat,
    views.move_reshape,
    views.move_flatten,
    views.move_unit_axes,
    repeating.move_repeat,
)
LOOKING = (pointwise.move_reduce, pointwise.move_global_pool)  #: at the whole map, or at features only
FAR = cropping.FAR


def pass_on(walk: Walk, op: Op) -> Sizes:
    """What treats all positions alike stays; where maps meet, cells at the end that only some of them have go."""
    op.refuse_if(walk.looks_at_all(op), "looks at all positions of a map that --stride makes denser")
    maps = [walk.plan.maps.get(name) for name in op.inputs]
    met: dict[int, list[tuple[int, int]]] = {}
    for m in maps:
        for axis in _following(m):
            met.setdefault(axis.index, []).append((walk.cells(m.name)[axis.index], walk.k(axis)))  # type: ignore[union-attr]
    apart = any(len({k for _, k in rows}) > 1 for rows in met.values())
    op.refuse_if(apart, "combines maps of different strides where --stride makes them denser")
    sizes = {index: min(n for n, _ in rows) for index, rows in met.items()}
    cuts = [{i: walk.cells(m.name)[i] - n for i, n in sizes.items() if i in _indices(m)} if m else {} for m in maps]
    if any(any(cut.values()) for cut in cuts):
        walk.emitter.begin(op)
        inputs = [walk.cropped(m, name, cut) if m else name for m, name, cut in zip(maps, op.inputs, cuts, strict=True)]
        walk.again(op, inputs, "of the larger of its maps the last cells are left out")
    return sizes


def look(walk: Walk, op: Op) -> Sizes:
    """What pools or reduces whole axes looks at the original's own cells along them, so that it sees what it saw."""
    x = walk.plan.maps[op.inputs[0]]
    left = _indices(walk.plan.maps[op.outputs[0]])
    gone = [a for a in _following(x) if a.index not in left and walk.k(a) > 1]
    if gone:
        walk.emitter.begin(op)
        cells = walk.every(op, x, gone)
        walk.again(op, [cells, *op.inputs[1:]], f"looks at every {'x'.join(str(walk.k(a)) for a in gone)}-th cell")
    return {i: n for i, n in walk.cells(x.name).items() if i in left}


@rule("Pad")
def pad(walk: Walk, op: Op) -> Sizes:
    """Pads, and crops, grow with the cells."""
    x = walk.plan.maps[op.inputs[0]]
    constants = walk.plan.constants

    def ints(i: int) -> list[int]:
        array = constants.fixed(op.inputs[i])
        if array is None:
            raise op.refuse("its pads are computed at run time")
        return array.ints()

    pads = list(op.attr("pads") or ints(1))
    given = ints(3) if len(op.inputs) > 3 and op.inputs[3] else list(range(len(x.dims)))
    sizes, count = dict(walk.cells(x.name)), len(pads) // 2
    for i, place in enumerate(given):
        dim = x.dims[place % len(x.dims)]
        if not isinstance(dim, Axis) or not (pads[i] or pads[i + count]):
            continue
        copies = op.attr("mode", "constant") != "constant" and max(pads[i], pads[i + count]) > 0
        op.refuse_if(copies and walk.k(dim) > 1, f"pads with copies (mode {op.attr('mode')}), not with a constant")
        pads[i], pads[i + count] = pads[i] * walk.k(dim), pads[i + count] * walk.k(dim)
        sizes[dim.index] += pads[i] + pads[i + count]
    if op.attr("pads"):
        walk.alter(op, f"pads {pads}", pads=pads)
    elif pads != ints(1):
        walk.emitter.begin(op)
        name = walk.emitter.ints(pads, "pads")
        walk.again(op, [op.inputs[0], name, *op.inputs[2:]], f"pads {pads}")
    return sizes


@rule("Slice")
def crop(walk: Walk, op: Op) -> Sizes:
    """A crop, or every n-th position: a window of one cell that slides."""
    x, y = walk.plan.maps[op.inputs[0]], walk.plan.maps[op.outputs[0]]
    behind = {a.index: a for a in y.axes}
    starts, ends, axes, steps = _slice_of(walk, op, len(x.dims))
    sizes = dict(walk.cells(x.name))
    for i, place in enumerate(axes):
        dim = x.dims[place]
        if not isinstance(dim, Axis) or ((starts[i], steps[i]) == (0, 1) and ends[i] >= FAR):
            continue
        fixed = starts[i] < 0 or steps[i] < 1 or 0 <= ends[i] < FAR or dim.index not in behind
        op.refuse_if(fixed, "crops to positions of the trained size where --stride makes the map denser")
        k = walk.k(dim)
        starts[i], ends[i] = starts[i] * k, ends[i] * k if ends[i] < 0 else TO_THE_LAST
        steps[i] = steps[i] * k // walk.k(behind[dim.index])
        sizes[dim.index] = len(range(sizes[dim.index])[starts[i] : ends[i] : steps[i]])
    attrs: dict[str, Any] = {"starts": starts, "ends": ends, "axes": axes}
    said = f"starts {starts}, steps {steps}"
    if op.since < 10:
        walk.alter(op, said, **attrs)
        return sizes
    walk.emitter.begin(op)
    operands = [walk.emitter.ints(row, hint) for hint, row in (*attrs.items(), ("steps", steps))]
    walk.again(op, [op.inputs[0], *operands], said)
    return sizes


def _slice_of(walk: Walk, op: Op, rank: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """Starts, ends, axes (none negative) and steps of a Slice."""
    if op.since < 10:
        starts, ends, axes, steps = op.attr("starts"), op.attr("ends"), op.attr("axes"), None
    else:
        rows = []
        for name in (*op.inputs[1:], *[""] * 4):
            array = walk.plan.constants.fixed(name) if name else None
            op.refuse_if(name and array is None, "crops to the size of another map, where --stride makes both denser")
            rows.append(array.ints() if array is not None else None)
        starts, ends, axes, steps = rows[:4]
    assert starts is not None
    assert ends is not None
    places = [a % rank for a in axes] if axes else list(range(len(starts)))
    return list(starts), list(ends), places, list(steps or [1] * len(starts))


def _following(m: FeatureMap | None) -> list[Axis]:
    return [a for a in m.axes if not a.law.is_constant] if m else []


def _indices(m: FeatureMap | None) -> set[int]:
    return {a.index for a in _following(m)}


for _kind, _move in MOVES.items():
    if _move in ALIKE:
        RULES[_kind] = pass_on
    elif _move in LOOKING:
        RULES[_kind] = look
