"""Operators that repeat values to a size, and what a number in a file may be that is one."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import helper

from ..geometry import Axis, SizeLaw
from ..ops import Array, Op
from ..plan import Dim, Dims, follows, size
from ..shapes import Shapes
from .expressions import Expressions, in_words
from .registry import Operand, Trace, moves, only_map
from .views import at, sizes_in


def sizes_like(n: int, place: int, rank: int, trace: Trace) -> list[Axis]:
    """The spatial axes of known maps that have this size and stand at this place, one for each law."""
    found: dict[tuple[str, int, SizeLaw], Axis] = {}
    for x in reversed(trace.maps.values()):
        dim = x.dims[place] if len(x.dims) == rank else 1
        if isinstance(dim, Axis) and follows(dim) and dim.size == n:
            found.setdefault((dim.source, dim.index, dim.law), dim)
    return list(found.values())


def read_size(
    op: Op, operand: str, place: int, n: int, candidates: Sequence[Axis], trace: Trace, entry: int | None = None
) -> Dim:
    """What a number in a shape stands for: a size that follows the image's, or a number that does not.

    1. One that is computed from a ``Shape`` is what it turns out to be at other sizes.
    2. A constant is tried as the size of each axis that has it, and as a number.

    Args:
        op: the node.
        operand: name of the input that holds it.
        place: which axis of the result it is for.
        n: the number at the trained size.
        candidates: axes of this size.
        trace: what is known.
        entry: where in the operand it is; default: at its place.

    Raises:
        Unliftable: it is computed from the image's size in another way.
    """
    entry = place if entry is None else entry
    candidates = [axis for axis in candidates if follows(axis)]
    if not is_baked(operand, entry, n, trace):
        for axis in candidates:
            if all(_is_at(axis, entry, trace, *known) for known in trace.constants.at_other_sizes(operand)):
                return axis
        raise op.refuse(f"computes {n} from the size of the image in a way that is not understood")
    if not candidates:
        return n
    by_stride: dict[tuple[object, ...], Axis] = {}
    for axis in candidates:  # axes of one stride have the same size wherever all nodes fit their input
        by_stride.setdefault((axis.source, axis.index, axis.stride), axis)
    candidates = list(by_stride.values())
    words = " or ".join(dict.fromkeys(in_words(axis) for axis in candidates))
    reason = f"its constant {n} may be {words} or a fixed number such as a channel count, and nothing tells which"
    options: list[Dim] = [*candidates, n]
    return options[trace.readings.choose(op, place, len(options), reason)]


def _is_at(axis: Axis, entry: int, trace: Trace, shapes: Shapes, value: Array | None) -> bool:
    """True if an entry of an operand is the size of this axis at some other size of the image."""
    known = value.ints() if value is not None else []
    return len(known) > entry and known[entry] == at(axis, sizes_in(shapes, (axis,), trace), trace)


def is_baked(operand: str, entry: int, n: int, trace: Trace) -> bool:
    """True if an entry of an operand is this number at every size of the image."""
    return all(known is not None and known.ints()[entry] == n for _, known in trace.constants.at_other_sizes(operand))


def is_baked_batch(operand: str, entry: int, trace: Trace) -> bool:
    """True if the batch may be any, and an entry of an operand is one number at every batch size."""
    known, other = trace.constants.at_trained_size(operand), trace.constants.at_other_batch(operand)
    return known is not None and other is not None and known.ints()[entry] == other[1].ints()[entry]


@moves("Expand", "Tile", merged=True)
def move_repeat(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Repeats axes of size 1, a pooled map's above all, and features; the batch and positions stay as they are."""
    x = only_map(op, operands)
    known = trace.constants.at_trained_size(op.inputs[1])
    if known is None:
        raise op.refuse("its target shape is computed in a way that is not understood")
    target = known.ints()
    rank = max(len(target), len(x.dims))
    before: list[Dim] = [*[1] * (rank - len(x.dims)), *x.dims]
    target = [1] * (rank - len(target)) + target
    offset = rank - len(known.ints())
    dims: list[Dim] = []
    entries: list[Dim] = []
    for place, (dim, n) in enumerate(zip(before, target, strict=True)):
        own = size(dim, trace.shapes.batch)
        if n == 1 or (op.op_type == "Expand" and n == own):
            dims.append(dim)
            entries.append(1)
            continue
        op.refuse_if(own != 1 and (follows(dim) or dim == "batch"), f"repeats axis {place} of the map")
        op.refuse_if(own != 1 and op.op_type == "Expand", f"its target {target} does not fit its input")
        new = (
            read_size(op, op.inputs[1], place, n, sizes_like(n, place, rank, trace), trace, place - offset)
            if own == 1
            else n
        )
        dims.append(own * n if isinstance(new, int) else new)
        entries.append(new)
    if _carries_size(op, before, target, dims, offset, trace):
        expressions = Expressions(op, x, trace)
        inputs = [x.name, expressions.vector(entries)]
        node = helper.make_node(op.op_type, inputs, op.outputs, name=op.name)
        expressions.replace(node, f"{op}: its {target} -> [{', '.join(in_words(d) for d in dims)}]")
    return tuple(dims)


def _carries_size(op: Op, before: list[Dim], target: list[int], dims: list[Dim], offset: int, trace: Trace) -> bool:
    """True if the operand does not follow the image's size and the result does."""
    for place, (b, n, d) in enumerate(zip(before, target, dims, strict=True)):
        repeated = follows(d) and not follows(b)
        copied = op.op_type == "Expand" and n != 1 and follows(b)
        if (repeated or copied) and is_baked(op.inputs[1], place - offset, n, trace):
            return True
    return False
