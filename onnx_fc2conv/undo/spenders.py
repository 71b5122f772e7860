"""Where a head begins in a converted model: the last nodes that look at more than one cell of a map.

A Conv whose kernel covers its map is an FC behind a flattening. Behind it everything stays inside of a cell. A pool
over the window, or over the whole map, begins a head of 1x1 Convs in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from ..ops import REDUCTIONS, VIEWS, Model, Op
from ..shapes import Shapes

SLIDING = frozenset("Conv ConvInteger QLinearConv FusedConv ConvTranspose DeformConv".split())
POOLS = frozenset("AveragePool MaxPool LpPool".split())
GLOBAL = frozenset("GlobalAveragePool GlobalMaxPool GlobalLpPool".split())
MIXING = frozenset(
    """Resize Upsample DepthToSpace SpaceToDepth GridSample InstanceNormalization GroupNormalization
    MeanVarianceNormalization Pad AffineGrid RoiAlign""".split()
)
KERNEL_AT = {"QLinearConv": 3}


@dataclass(frozen=True, eq=False)
class Spender:
    """A node behind which no other looks at more than one cell.

    Attributes:
        op: the node.
        kernel: its kernel's spatial size; empty for one that looks at the whole map, whatever its size.
        why_not: why it is no FC where its kernel covers its map; ``None`` if it is one.
        before_conv: whether a Conv stands behind it.
    """

    op: Op
    kernel: tuple[int, ...]
    why_not: str | None
    before_conv: bool

    @property
    def begins_head(self) -> bool:
        """Whether it is an FC, or has some behind it."""
        return self.why_not is None or self.before_conv


def kernel_dims(model: Model, op: Op) -> tuple[int, ...] | None:
    """Dims of a Conv's kernel, if its weight is an initializer, or what its attribute says of their spatial part."""
    at = KERNEL_AT.get(op.op_type, 1)
    array = model.constants.get(op.inputs[at]) if len(op.inputs) > at else None
    if array is not None:
        return array.shape
    shape = op.attr("kernel_shape")
    return None if shape is None else (0, 0, *(int(n) for n in shape))


def kernel_of(model: Model, op: Op) -> tuple[int, ...] | None:
    """The spatial size of what a sliding node looks at; ``None`` for other nodes, or where it is not known."""
    if op.op_type in POOLS:
        return tuple(int(n) for n in op.attr("kernel_shape", ()))
    dims = kernel_dims(model, op) if op.op_type in SLIDING else None
    return None if dims is None else dims[2:]


def spenders(model: Model) -> list[Spender]:
    """All of them, in topological order."""
    convs = {op.index for op in model.ops if op.op_type in SLIDING}
    in_front_of_conv = _upstream(model, convs)
    looks = {op.index: op for op in model.ops if _looks(model, op, op.index in in_front_of_conv)}
    inner = _upstream(model, looks)
    found = []
    for op in looks.values():
        if op.index not in inner:
            kernel = kernel_of(model, op) or ()
            found.append(Spender(op, kernel, _why_no_fc(model, op, kernel), op.index in in_front_of_conv))
    return found


def vectors(model: Model, shapes: Shapes) -> list[Spender]:
    """Views in heads that give a vector a grid of one cell, in front of Convs."""
    before_conv = _upstream(model, {op.index for op in model.ops if op.op_type in SLIDING})
    before_conv -= _upstream(model, {op.index for op in model.ops if _looks(model, op, op.index in before_conv)})
    return [
        Spender(op, (), "is a view", True)
        for op in model.ops
        if op.op_type in VIEWS and op.index in before_conv and vector_of(op, shapes) is not None
    ]


def vector_of(op: Op, shapes: Shapes) -> str | None:
    """The ``[N, K]`` that a view has made ``[N, K, 1, 1]`` of; ``None`` if it does something else."""
    if op.op_type not in VIEWS:
        return None
    before, after = shapes.of(op.inputs[0]), shapes.of(op.outputs[0])
    widened = before is not None and after is not None and len(before) == 2 < len(after)
    return op.inputs[0] if widened and after == (*(before or ()), *[1] * (len(after or ()) - 2)) else None


def _looks(model: Model, op: Op, in_front_of_conv: bool) -> bool:
    """Whether a node makes a cell of more than one; a reduction only where it is a pool in front of an FC."""
    kernel = kernel_of(model, op)
    if kernel is not None:
        return prod(kernel) > 1
    if op.op_type in REDUCTIONS:
        return in_front_of_conv and set(_axes(model, op) or ()) != {1}
    return op.op_type in SLIDING | GLOBAL | MIXING


def _axes(model: Model, op: Op) -> list[int] | None:
    """What a reduction is over; ``None`` if that is everything, or not known."""
    if len(op.inputs) > 1:
        array = model.constants.get(op.inputs[1])
        return array.ints() if array is not None else None
    axes: list[int] | None = op.attr("axes")
    return axes


def _upstream(model: Model, marked: Iterable[int]) -> set[int]:
    """The nodes that have one of these behind them."""
    marked = set(marked)
    found: set[int] = set()
    for op in reversed(model.ops):
        behind = {c.index for name in op.outputs for c in model.consumers.get(name, ())}
        if behind & (marked | found):
            found.add(op.index)
    return found


def _why_no_fc(model: Model, op: Op, kernel: tuple[int, ...]) -> str | None:
    """Why a node is no FC even where it covers its map."""
    if op.op_type != "Conv" or not op.standard:
        return "is no Conv of floating-point numbers"
    if not kernel:
        return "has a kernel of unknown size"
    if op.attr("group", 1) != 1:
        return f"has {op.attr('group')} groups"
    if any(op.attr("pads", ())) or op.attr("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "pads"
    if any(n != 1 for n in op.attr("dilations", ())):
        return "has a dilated kernel"
    return None
