"""The part of the model that stays as it is: which values are feature maps, and how their axes follow the input's.

One function per operator says how it moves along the axes; nothing is converted here. An operator without such a
function is refused by name, because neither its size at another input size nor its exactness would be known.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NoReturn

from ..geometry import Axis
from ..ops import Array, Model, Op
from ..plan import Dims, FeatureMap, Merged, Part, follows, parts_of
from . import cropping, linear, microsoft, pointwise, refused, repeating, resizing, sliding, views
from .expressions import in_words
from .layout import SLIDING, image_inputs, input_map, is_free, spatial_axes
from .readings import Readings, resolved
from .registry import MERGED, MOVES, SHADOWING, Operand, Trace
from .regroup import keeps_axes, unmerged
from .ties import Ties
from .unbaked import Baked, without
from .views import reshape_in_disguise, reshaped

__all__ = [
    "MOVES",
    "SLIDING",
    "Baked",
    "Readings",
    "Ties",
    "Trace",
    "image_inputs",
    "input_map",
    "is_free",
    "keeps_axes",
    "move",
    "reshape_in_disguise",
    "reshaped",
    "resolved",
    "settled_axes",
    "spatial_axes",
    "without",
]

FAMILIES = (
    cropping,
    linear,
    microsoft,
    pointwise,
    refused,
    repeating,
    resizing,
    sliding,
    views,
)  #: importing them fills MOVES

#: operators that have a weight for each channel
WEIGHTED = frozenset("BatchNormalization Conv ConvInteger ConvTranspose QLinearConv com.microsoft.FusedConv".split())


def move(op: Op, model: Model, maps: dict[str, FeatureMap], trace: Trace) -> list[FeatureMap]:
    """The feature maps that a node of the backbone makes.

    Raises:
        Unliftable: the operator is unknown, bakes the trained size, or mixes what must stay apart.
    """
    rule = MOVES.get(op.kind)
    if rule is None:
        raise op.refuse("this operator is not known on a feature map in front of the head")
    op.refuse_if(op.captured, "contains a subgraph")
    operands = [_operand(op, i, name, maps, trace) for i, name in enumerate(op.inputs)]
    if op.kind not in MERGED:
        operands = [_with_axes(op, x) if isinstance(x, FeatureMap) else x for x in operands]
    try:
        moved = rule(op, operands, trace)
    except (TypeError, ValueError, IndexError, ZeroDivisionError) as e:
        raise op.refuse(f"its attributes do not fit its input ({e})") from e
    outputs: list[Dims | None] = moved if isinstance(moved, list) else [moved]
    if op.op_type in SHADOWING:
        trace.shadows |= {n: d for n, d in zip(op.outputs[1:], outputs[1:], strict=False) if n and d is not None}
        outputs = outputs[:1]
    made = [
        FeatureMap(name, dims, _pooled(operands, dims))
        for name, dims in zip(op.outputs, outputs, strict=False)
        if name and dims is not None
    ]
    for value in made:
        known = trace.shapes.of(value.name)
        computed = value.shape(trace.shapes.batch)
        op.refuse_if(
            known is not None and known != computed, f"its result is {known} by ONNX and {computed} by its size law"
        )
        op.refuse_if(min(computed, default=1) < 1, f"its result {computed} is empty")
        if known is None:  # behind an operator that ONNX does not know, inference stops; the size law goes on
            trace.shapes.dims[value.name] = computed
            if not trace.shapes.elem_types.get(value.name):
                trace.shapes.elem_types[value.name] = microsoft.result_type(op, trace)
    return made


def settled_axes(x: FeatureMap) -> FeatureMap:
    """The map with every axis that is r cells for each cell of another as a spatial axis of its own."""
    return replace(x, dims=tuple(unmerged(d) for d in x.dims))


def _with_axes(op: Op, x: FeatureMap) -> FeatureMap:
    """The map for an operator that knows features and spatial axes only."""
    if len(x.dims) > 1 and isinstance(x.dims[1], (Merged, Part)) and follows(x.dims[1]):
        reason = f"its channels are {in_words(x.dims[1])}, which are others at another size"
        op.contradict_if(op.kind in WEIGHTED, reason)  # the others could run
        raise op.refuse(reason)
    x = settled_axes(x)
    for place, dim in enumerate(x.dims):
        reason = f"its axis {place} is {in_words(dim)} in one, which this operator is not known on"
        op.refuse_if(isinstance(dim, Merged), reason)
    return x


def _pooled(operands: list[Operand], dims: Dims) -> tuple[Axis, ...]:
    """The spatial axes that the operands have, or had, and their result has not."""
    maps = [x for x in operands if isinstance(x, FeatureMap)]
    had = {a.index: a for x in maps for a in (*(a for d in x.dims for a in parts_of(d)), *x.pooled)}
    present = {a.index for d in dims for a in parts_of(d)}
    return tuple(had[i].constant(1) for i in sorted(had.keys() - present))


def _operand(op: Op, i: int, name: str, maps: dict[str, FeatureMap], trace: Trace) -> Operand:
    if not name:
        return None
    if name in maps:
        return maps[name]
    array = trace.constants.fixed(name)
    if array is not None:
        return array
    op.refuse_if(name not in trace.constants.static, f"its input '{name}' is neither a constant nor a feature map")
    shape = trace.shapes.of(name)
    op.refuse_if(shape is None and i == 0, f"the shape of its input '{name}' is not known")
    if shape is None:
        return None
    return Array(name, shape, trace.shapes.elem_types.get(name, 0), partial(_at_run_time, op, name))


def _at_run_time(op: Op, name: str) -> NoReturn:
    raise op.refuse(f"its input '{name}' is computed at run time")
