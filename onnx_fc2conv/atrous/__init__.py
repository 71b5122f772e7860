"""Denser maps without training: the last strides become 1, and whatever slides behind them is dilated in their place.

A node of stride s gives every s-th of the values that it would give with stride 1. Those between are what it gives for
the input shifted by 1 .. s - 1 cells. So with stride 1 its result is s maps in one, interleaved along each axis, and a
node behind it that is to act on each of them alone takes every s-th cell: it is dilated by s, and its pads are s times
as wide (the algorithme a trous; Sermanet et al., OverFeat, 2013; Long, Shelhamer, Darrell, 2015; Chen et al., DeepLab,
2015).

In general let a map of the original have the effective stride E, and let answers every S pixels be asked for. Then the
dense map has the effective stride D = gcd(E, S), and one cell of the original's map is worth k = E / D of its cells:

* a node with stride s, from (E, k) to (s E, k'), slides with stride s k / k' and dilation k;
* every k-th cell, from the first on, is the original's own map, whether nodes pad or not;
* the cells at i + n k are, where no node pads, the original's map of the image shifted by i D pixels.

What acts on single positions stays as it is. What looks at the whole map (a gate) looks at every k-th cell, so that it
sees what it saw. Where maps meet, cells at the end that only one of them has are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..backbone import Baked
from ..errors import NothingToConvert, Unliftable
from ..geometry import Axis
from ..ops import Model, view
from ..parts import cut
from ..plan import Cause, Dense, Dims, FeatureMap, Plan
from . import moving, refused, sliding
from .choice import per_axis
from .walk import Walk

__all__ = ["FAMILIES", "made_dense"]

FAMILIES = (moving, refused, sliding)  #: importing them fills the rules

Find = Callable[[Model], Plan]


def made_dense(plan: Plan, stride: tuple[int, ...], find: Find) -> Plan:
    """The plan with maps of this effective stride.

    Args:
        plan: what was found in the original.
        stride: in pixels, one for all spatial axes or one for each.
        find: finds the maps of the denser backbone, as it does those of any model.

    Raises:
        UsageError: the effective stride cannot become this one.
        Unliftable: a node of the backbone does not act alike on maps that are interleaved.
    """
    targets = [*plan.cuts, *(n for n in plan.model.outputs if n in plan.maps and n in plan.model.producer)]
    wanted = per_axis(plan, targets, stride)
    needed = _in_front(plan.model, targets)
    walk = Walk(plan, wanted)
    for op in plan.model.ops:
        if op.index in needed:
            walk.step(op)
    if not walk.rewrite.replaced:
        return plan
    _require_no_other_readers(plan, walk, needed)
    model = _backbone(plan, walk, targets, needed)
    try:
        found = find(model)
    except Baked as e:
        node = next((str(o) for o in model.ops if o.index in e.replacements), None)
        raise Unliftable("carries a size that is another one where the maps are denser (--stride)", node) from e
    except (Unliftable, NothingToConvert) as e:
        raise Unliftable(f"where the maps are denser (--stride), {e.reason}", e.node) from e
    maps = {name: _checked(m, plan.maps[name], walk, plan.model) for name, m in found.maps.items() if name in plan.maps}
    dense = Dense(
        stride if len(stride) == len(wanted) else stride * len(wanted),
        plan,
        model,
        dict(walk.rewrite.replaced),
        list(walk.rewrite.initializers),
        frozenset(walk.kept),
        tuple(walk.changes),
    )
    causes = [*plan.causes, *(c for c in (*walk.phases, *found.causes) if c.kind == "phase")]
    return replace(plan, maps=maps, shadows=_shadows(plan, maps), causes=_once(causes), dense=dense)


def _once(causes: list[Cause]) -> list[Cause]:
    return list(dict.fromkeys(causes))


def _in_front(model: Model, values: list[str]) -> set[int]:
    """Positions of all nodes that these values depend on."""
    found, waiting = set[int](), list(values)
    while waiting:
        op = model.producer.get(waiting.pop())
        if op is not None and op.index not in found:
            found.add(op.index)
            waiting += op.reads()
    return found


def _require_no_other_readers(plan: Plan, walk: Walk, needed: set[int]) -> None:
    """Refuse a node beside the backbone and the heads that reads a map which is another one now."""
    head, live = {op.index for op in plan.head}, _in_front(plan.model, plan.model.outputs)
    for op in plan.model.ops:
        if op.index in live - needed - head and op.op_type not in ("Shape", "Size"):
            for name in op.reads():
                op.refuse_if(
                    walk.spread(name), f"reads the map '{name}', which --stride makes denser, beside the heads"
                )


def _backbone(plan: Plan, walk: Walk, targets: list[str], needed: set[int]) -> Model:
    """The denser backbone alone."""
    images = {v.name: v for v in plan.model.inputs if v.name in plan.maps}
    part = cut(plan.model, images, [name for name in dict.fromkeys(targets) if name in plan.model.producer])
    stored, replaced = plan.model.proto.graph.node, walk.rewrite.replaced
    del part.graph.node[:]
    for op in plan.model.ops:
        if op.index in needed:
            part.graph.node.extend(replaced.get(op.index, [stored[op.index]]))
    part.graph.initializer.extend(walk.rewrite.initializers)
    return view(part, plan.model.folder)


def _checked(found: FeatureMap, original: FeatureMap, walk: Walk, model: Model) -> FeatureMap:
    """The dense map, of which every k-th cell is the original's.

    Raises:
        Unliftable: its strides, its fields or its sizes are not those of such a map.
    """
    axes = {a.index: a for a in found.axes}
    for own in original.axes:
        dense, k = axes.get(own.index), walk.k(own)
        if not own.law.is_constant and (dense is None or not _is_denser(dense, own, k)):
            op = model.producer.get(found.name)
            raise Unliftable("gives a map that --stride cannot make denser", str(op) if op else None)
    dims = tuple(
        replace(d, law=axes[d.index].law, stride=axes[d.index].stride)
        if isinstance(d, Axis) and d in original.axes and d.index in axes
        else d
        for d in original.dims
    )
    steps = tuple(walk.k(a) for a in original.axes)
    return replace(original, dims=dims, dilations=steps if set(steps) - {1} else ())


def _is_denser(dense: Axis, own: Axis, k: int) -> bool:
    """True if every k-th cell of an axis is one of the original's."""
    found = (dense.stride * k, dense.field, dense.padding, -(-dense.size // k))
    return found == (own.stride, own.field, own.padding, own.size)


def _shadows(plan: Plan, maps: dict[str, FeatureMap]) -> dict[str, Dims]:
    """What is shaped like a map has its dense shape."""
    found = {}
    for name, dims in plan.shadows.items():
        op = plan.model.producer.get(name)
        first = op.outputs[0] if op is not None else ""
        found[name] = maps[first].dims if first in maps else dims
    return found
