"""What a head may read: a map whose windows slide, or, with pools kept global, one that was pooled whole."""

from __future__ import annotations

from math import prod

from ..backbone import SLIDING, Trace
from ..errors import Unliftable
from ..flatten import axes_of
from ..ops import FULLY_CONNECTED, REDUCTIONS, Model
from ..plan import FeatureMap
from .walk import POOLS_ALL, Walk


def require_window(cut: FeatureMap, image: FeatureMap, model: Model, trace: Trace) -> None:
    """Refuse a map that no window can slide over.

    Raises:
        Unliftable: it lost an axis, its size does not follow the input's, or its stride is not whole.
    """
    reader = model.consumers[cut.name][0]
    if trace.keep_pools and _pooled_whole(cut, image):
        return
    pooled = [c for c in trace.causes if c.kind == "global context"]
    whole = f"; the whole map was pooled by {pooled[-1].node}" if pooled else ""
    lost = len(cut.axes) < len(image.axes)
    for node, reason in trace.stops.items() if lost else ():
        raise Unliftable(reason, node)
    reader.refuse_if(lost, f"reads '{cut.name}', which has lost {len(image.axes) - len(cut.axes)} spatial axes{whole}")
    reader.refuse_if(
        any(a.law.is_constant for a in cut.axes), f"reads '{cut.name}', whose size does not follow the input's{whole}"
    )
    for axis in cut.axes:
        reader.refuse_if(
            axis.stride.denominator != 1, f"reads '{cut.name}', whose effective stride {axis.stride} is not whole"
        )


def _pooled_whole(cut: FeatureMap, image: FeatureMap) -> bool:
    """True for a map that has one size along all spatial axes, whatever the image's size is."""
    axes = (*cut.axes, *cut.pooled)
    return len(axes) == len(image.axes) and all(a.law.is_constant for a in axes)


def require_no_pool(walk: Walk) -> None:
    """Refuse to keep a pool global that stands behind a flattening: what it pools is one window, not the map.

    Such are a mean over flattened positions and a pool over a map that was flattened and unflattened.
    """
    shapes = walk.trace.shapes
    flattened = {name for name in walk.cuts if any(not a.law.is_constant for a in walk.maps[name].axes)}
    cells = {prod(a.size for a in walk.maps[name].axes) for name in flattened} - {1}
    for op in walk.head:
        if op.inputs[0] not in flattened or op.op_type in FULLY_CONNECTED:
            continue
        flattened |= set(op.outputs)
        dims = shapes.of(op.inputs[0]) or ()
        axes: list[int] = []
        if op.op_type in POOLS_ALL or op.op_type in SLIDING:
            axes = list(range(2, len(dims)))
        elif op.op_type in REDUCTIONS:
            operand = walk.trace.ints(op, 1, "axes") if len(op.inputs) > 1 and op.inputs[1] else None
            axes = axes_of(op, operand, len(dims)) or []
        reduced = prod(dims[a] for a in axes if a < len(dims))
        op.refuse_if(
            any(reduced == n or (len(dims) > 2 and reduced % n == 0) for n in cells) and axes,
            "pools the positions of a map that was flattened before, so it cannot stay global: its window is fixed; "
            "--global-pool window pools every window instead",
        )
