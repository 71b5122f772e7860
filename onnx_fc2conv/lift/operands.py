"""From a name in the original to what a rule holds in its hands: a lifted value, a constant, or neither."""

from __future__ import annotations

from math import prod

import numpy as np

from ..geometry import Grid
from ..plan import FeatureMap, Plan
from ..rewrite import Unread, Windowed
from .rewriter import Operand, Rewriter
from .shared import RunTime, Shared, Side

MOST_VALUES = 2**31  #: of one image in a map that is flattened


def resolve(rewriter: Rewriter, name: str, plan: Plan, shared: Shared) -> Operand:
    """What a node of a head reads under this name.

    Raises:
        Unliftable: a feature map that no flattening stands behind, or a value of unknown shape.
    """
    if not name:
        return None
    if name in shared.rewrite.values:
        return shared.rewrite.values[name]
    if name in plan.maps:
        rewriter.refuse_if(name not in plan.cuts, f"combines the head with the feature map '{name}'")
        return _window_over(rewriter, plan.maps[name], plan)
    array = plan.constants.get(name)
    if array is not None and name in plan.constants.measured:
        return rewriter.frozen(array)
    if array is not None:
        return array
    if name in plan.constants.static:
        return RunTime(name)
    shape = plan.shapes.of(name)
    if shape is None or name not in plan.shapes.elem_types:
        raise rewriter.refuse(f"the shape of its input '{name}' is not known")
    return Side(name, shape, plan.shapes.elem_types[name])


def _window_over(rewriter: Rewriter, cut: FeatureMap, plan: Plan) -> Windowed:
    """The map that is flattened, as an unread value: its window is its own trained size."""
    if cut.pooled:
        return _vector(rewriter, cut, plan)
    features = plan.sparse.maps[cut.name].shape(rewriter.batch)[1:]
    rewriter.refuse_if(cut.dims[0] != "batch", f"flattens '{cut.name}', whose first axis is not the batch")
    channel_axes = [i for i in range(1, len(cut.dims)) if i not in cut.spatial]
    wide = [i for i in channel_axes if cut.dims[i] != 1] or channel_axes[:1]
    rewriter.refuse_if(len(wide) != 1, f"flattens '{cut.name}', which has {len(wide)} feature axes instead of one")
    count = prod(features)
    rewriter.refuse_if(count > MOST_VALUES, f"flattens '{cut.name}', which would hold {count} numbers per image")
    channels = features[wide[0] - 1]
    window = cut.window
    positions = np.arange(channels * int(np.prod(window)), dtype=np.int64).reshape(channels, *window)
    order = positions.transpose(np.argsort([*wide, *cut.spatial])).reshape(features)
    unread = Unread(channels, window, order, cut.dilations)
    grid, elem_type = Grid.over(cut.covered, window), plan.shapes.elem_types[cut.name]
    if not any(cut.spare):
        return Windowed(_canonical(rewriter, cut, plan, wide), features, elem_type, grid, unread)

    def covered() -> Windowed:
        tensor = _without_ends(rewriter, cut, _canonical(rewriter, cut, plan, wide))
        return Windowed(tensor, features, elem_type, grid, unread)

    return rewriter.once(("covered", cut.name), covered)


def _without_ends(rewriter: Rewriter, cut: FeatureMap, tensor: str) -> str:
    """Of a map that was made denser, what windows of the trained size cover; it is laid out as ``[N, C, *spatial]``."""
    axes, ends = zip(*((i, -n) for i, n in enumerate(cut.spare, 2) if n), strict=True)
    return rewriter.sliced(tensor, list(axes), [0] * len(axes), list(ends))


def _vector(rewriter: Rewriter, cut: FeatureMap, plan: Plan) -> Windowed:
    """A map that was pooled to a vector: it has one cell, whose grid axes are appended."""
    axes = sorted((*cut.axes, *cut.pooled), key=lambda a: a.index)
    features = cut.shape(rewriter.batch)[1:]
    rewriter.refuse_if(cut.dims[0] != "batch", f"reads '{cut.name}', whose first axis is not the batch")
    last = list(range(len(cut.dims), len(cut.dims) + len(axes)))
    if plan.model.opset < 13:
        tensor = rewriter.emit("Unsqueeze", cut.name, axes=last)
    else:
        tensor = rewriter.emit("Unsqueeze", cut.name, rewriter.constant(np.array(last, np.int64), "grid_axes"))
    return Windowed(tensor, features, plan.shapes.elem_types[cut.name], Grid.over(tuple(axes)))


def _canonical(rewriter: Rewriter, cut: FeatureMap, plan: Plan, wide: list[int]) -> str:
    """The map laid out as ``[N, C, *spatial]``, as Conv wants it; the Transpose in front of it is looked through."""
    wanted = [0, *wide, *cut.spatial]
    producer = plan.model.producer.get(cut.name)
    if wanted == list(range(len(cut.dims))):
        return cut.name
    if producer is not None and producer.op_type == "Transpose" and len(wanted) == len(cut.dims):
        perm = producer.attr("perm") or list(reversed(range(len(cut.dims))))
        if [perm[w] for w in wanted] == list(range(len(perm))):
            return producer.inputs[0]
    tensor = cut.name
    dropped = [i for i in range(1, len(cut.dims)) if i not in wanted]
    if dropped:
        if plan.model.opset < 13:
            tensor = rewriter.emit("Squeeze", tensor, axes=dropped)
        else:
            tensor = rewriter.emit("Squeeze", tensor, rewriter.constant(np.array(dropped, np.int64), "axes"))
        wanted = [w - sum(d < w for d in dropped) for w in wanted]
    if wanted != list(range(len(wanted))):
        tensor = rewriter.emit("Transpose", tensor, perm=wanted)
    return tensor
