"""Views in front of the head: channel shuffles, blocks, tokens, windows. Those that carry the trained size follow it.

1. A Reshape that only moves axes of size 1 is a Transpose in disguise (tf2onnx writes one for images of one channel).
2. Any other says in its target which sizes its result has. Where these follow the image's, and the target does not, it
   is written anew: 0 where an axis is copied, -1 for one that is left, the running sizes for others.
"""

from __future__ import annotations

from math import ceil, prod

from onnx import helper

from ..flatten import axes_of, target_of, unit_move
from ..geometry import Axis
from ..ops import Array, Op
from ..plan import Dim, Dims, FeatureMap, Merged, Part, follows, parts_of, size
from ..shapes import Shapes
from .expressions import Expressions, in_words
from .registry import Operand, Trace, moves, only_map
from .regroup import merged, regroup, unmerged
from .unbaked import Replacement

Sizes = dict[tuple[str, int], int]  #: image sizes in pixels, by input and spatial axis


def reshape_in_disguise(op: Op, x: FeatureMap, trace: Trace) -> list[int] | None:
    """The ``perm`` of the Transpose that this Reshape is, or ``None`` if it is none."""
    target = trace.constants.at_trained_size(op.inputs[1]) if len(op.inputs) > 1 else None
    sizes = [size(d, trace.shapes.batch) for d in x.dims]
    if target is None or x.dims[0] != "batch" or any(isinstance(d, Axis) and d.size == 1 for d in x.dims):
        return None
    try:
        reshaped = target_of(op, sizes, target.ints())
    except ValueError:
        return None
    return unit_move(sizes, reshaped)


def reshaped(op: Op, x: FeatureMap, trace: Trace, splits: bool = True) -> Dims | None:
    """The dims behind a Flatten or Reshape; ``None`` where that is not understood.

    Args:
        op: the node.
        x: its input.
        trace: what is known.
        splits: whether a spatial axis may be split, which notes how its numbers are read.
    """
    batch = trace.shapes.batch
    sizes = [size(d, batch) for d in x.dims]
    target = trace.constants.at_trained_size(op.inputs[1]) if len(op.inputs) > 1 else None
    try:
        shape = target_of(op, sizes, target.ints() if target else None)
    except ValueError:
        return None

    def split(axis: Axis, outer: int, place: int) -> tuple[int | Axis, int | Axis]:
        inner = axis.size // outer
        size_, number = in_words(axis.window_op(inner, inner, 0, 0)), f"{axis.size} as {outer} x {inner}"
        reason = f"splits {number}: its constant {outer} may be {size_} or a fixed number, and nothing tells which"
        left_over = target is not None and target.ints()[place] == -1
        runs = target is not None and (left_over or _varies(op.inputs[1], place, outer, trace))
        if runs or trace.readings.choose(op, place, 2, reason) == 0:
            trace.blame(op, "phase", f"its input must be a multiple of {inner}")
            return axis.window_op(inner, inner, 0, 0), inner
        trace.blame(op, "global context", f"cuts the map into {outer} parts")
        return outer, Part(**{**vars(axis), "law": axis.law.then(1, 0, outer)})

    return regroup(x.dims, shape, batch, split if splits else None)


def _varies(operand: str, place: int, number: int, trace: Trace) -> bool:
    """True if an entry of an operand is computed, and another one at another size of the image."""
    known = [value.ints() for _, value in trace.constants.at_other_sizes(operand) if value is not None]
    return any(len(entries) > place and entries[place] not in (number, -1) for entries in known)


@moves("Flatten", merged=True)
def move_flatten(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """A map as a vector of features for each image, or for each row of it."""
    x = only_map(op, operands)
    if not any(follows(d) for d in x.dims):
        return _one_cell(op, x, trace)
    axis = op.attr("axis", 1) % len(x.dims)
    return merged(x.dims[:axis]), merged(x.dims[axis:])


def _one_cell(op: Op, x: FeatureMap, trace: Trace) -> Dims:
    """A view of a map that was pooled to one cell; there is no size in its shape, whatever the image's is."""
    target = op.inputs[1] if len(op.inputs) > 1 else None
    op.refuse_if(
        target is not None and not trace.constants.same_at_every_size(target),
        "its target shape is computed from the size of the image",
    )
    shape = trace.shapes.of(op.outputs[0])
    op.refuse_if(shape is None or shape[:1] != (trace.shapes.batch,), "moves or merges the batch axis of a pooled map")
    return ("batch", *(shape or ())[1:])


@moves("Reshape", merged=True)
def move_reshape(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """A Reshape that keeps, splits or merges axes; rewritten if its target carries the trained size."""
    x = only_map(op, operands)
    if not any(follows(d) for d in x.dims):
        pooled = _one_cell(op, x, trace)
        if _is_for_one_batch(op, x, pooled, trace):
            _unbake(op, x, pooled, trace)
        return pooled
    perm = reshape_in_disguise(op, x, trace)
    if perm is not None:
        moved = tuple(x.dims[p] for p in perm)
        if not _target_follows(op, x, moved, trace):
            _transpose_instead(op, perm, trace)
        return moved
    dims = reshaped(op, x, trace)
    if dims is None:
        raise op.refuse("reshapes the feature map in a way that is not understood")
    if any(isinstance(unmerged(d), Axis) for d in dims if isinstance(d, Merged)):
        trace.blame(op, "global context", "one cell of its input becomes several cells of its output")
    if not _target_follows(op, x, dims, trace):
        _unbake(op, x, dims, trace)
    return dims


def _transpose_instead(op: Op, perm: list[int], trace: Trace) -> None:
    moved = perm != sorted(perm)
    node = helper.make_node("Transpose" if moved else "Identity", op.inputs[:1], op.outputs, name=op.name)
    if moved:
        node.attribute.append(helper.make_attribute("perm", perm))
    trace.unbaked[op.index] = Replacement([node], f"{op} -> {node.op_type}")


def _target_follows(op: Op, x: FeatureMap, dims: Dims, trace: Trace) -> bool:
    """True if the target gives these dims at other sizes of the image too."""
    target = trace.constants.fixed(op.inputs[1])
    if _is_for_one_batch(op, x, dims, trace):
        return False
    if target is None:
        known = trace.constants.at_other_sizes(op.inputs[1])
        same = [_same_at(op, x, dims, trace, shapes, value) for shapes, value in known]
        return True in same and False not in same
    for times in (1, 2):
        sizes = {
            (a.source, a.index): a.trained + ceil(a.size * a.stride * times * a.stride.denominator)
            for d in x.dims
            for a in parts_of(d)
        }
        try:
            shape = target_of(op, [at(d, sizes, trace) for d in x.dims], target.ints())
        except ValueError:
            return False
        if shape != [at(d, sizes, trace) for d in dims]:
            return False
    return True


def _is_for_one_batch(op: Op, x: FeatureMap, dims: Dims, trace: Trace) -> bool:
    """True if the batch may be any, and the target gives these dims for so many images only as it was read for."""
    known = trace.constants.at_other_batch(op.inputs[1])
    if known is None:
        return False
    batch, target = known
    try:
        return target_of(op, [size(d, batch) for d in x.dims], target.ints()) != [size(d, batch) for d in dims]
    except ValueError:
        return True


def at(dim: Dim, sizes: Sizes, trace: Trace) -> int:
    """Size of a dim where the images have these sizes, by input and axis."""
    if isinstance(dim, Axis):
        return dim.law(sizes[dim.source, dim.index])
    parts = getattr(dim, "parts", None)
    return prod(at(p, sizes, trace) for p in parts) if parts else size(dim, trace.shapes.batch)


def sizes_in(shapes: Shapes, dims: Dims, trace: Trace) -> Sizes:
    """The sizes of the images that these dims depend on, in shapes inferred for some sizes of them."""
    found = {}
    for axis in (a for d in dims for a in parts_of(d)):
        image = trace.maps[axis.source]
        known = shapes.of(axis.source)
        assert known is not None
        found[axis.source, axis.index] = known[image.spatial[axis.index]]
    return found


def _same_at(op: Op, x: FeatureMap, dims: Dims, trace: Trace, shapes: Shapes, target: Array | None) -> bool | None:
    """Whether the target gives these dims at some other size; ``None`` at one that cannot be split like this."""
    sizes = sizes_in(shapes, x.dims, trace)
    given, wanted = ([at(d, sizes, trace) for d in ds] for ds in (x.dims, dims))
    if target is None or prod(given) != prod(wanted):
        return None if target is not None else False
    try:
        return target_of(op, given, target.ints()) == wanted
    except ValueError:
        return False


def _unbake(op: Op, x: FeatureMap, dims: Dims, trace: Trace) -> None:
    """A target that follows: 0 copies an axis from where it was, -1 is the last one that is left."""
    entries: list[Dim] = [0 if i < len(x.dims) and d == x.dims[i] and d != 1 else d for i, d in enumerate(dims)]
    left = [i for i, entry in enumerate(entries) if not isinstance(entry, int)]
    if left:
        entries[left[-1]] = -1
    expressions = Expressions(op, x, trace)
    node = helper.make_node("Reshape", [x.name, expressions.vector(entries)], op.outputs, name=op.name)
    baked = trace.constants.at_trained_size(op.inputs[1])
    old = baked.ints() if baked else "?"
    expressions.replace(node, f"{op}: its target {old} -> [{', '.join(in_words(d) for d in dims)}]")


@moves("Unsqueeze", "Squeeze", merged=True)
def move_unit_axes(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Inserts or removes axes of size 1 that are not spatial (the caller keeps the others away)."""
    x = only_map(op, operands)
    operand = trace.ints(op, 1, "axes") if len(op.inputs) > 1 and op.inputs[1] else None
    inserted = len(operand if operand is not None else op.attr("axes") or ())
    dims: list[Dim] = list(x.dims)
    if op.op_type == "Unsqueeze":
        for axis in axes_of(op, operand, len(dims) + inserted) or ():
            dims.insert(axis, 1)
        return tuple(dims)
    axes = axes_of(op, operand, len(dims))
    return tuple(d for i, d in enumerate(dims) if (d != 1 if axes is None else i not in axes))
