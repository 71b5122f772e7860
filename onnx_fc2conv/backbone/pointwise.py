"""Operators that keep every position of the map where it is: elementwise ones, normalisations, channel operators."""

from __future__ import annotations

import numpy as np
from onnx import helper, numpy_helper

from ..geometry import Axis
from ..ops import BROADCASTING, REDUCTIONS, UNARY, Array, Op
from ..plan import Dim, Dims, FeatureMap, Merged, Part, follows, parts_of
from .expressions import in_words
from .registry import Operand, Trace, moves, only_map
from .regroup import unmerged
from .unbaked import Replacement


@moves(*UNARY, *BROADCASTING, "CastLike", "QuantizeLinear", "DequantizeLinear", merged=True)
@moves("com.microsoft.QuantizeLinear", "com.microsoft.DequantizeLinear")
def move_elementwise(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Elementwise operators, with constants or between maps that align."""
    if op.op_type in ("QuantizeLinear", "DequantizeLinear", "CastLike"):
        return _quantised(op, operands, trace)
    maps = [x for x in operands if isinstance(x, FeatureMap)]
    rank = max(len(x.dims) for x in maps)
    dims: list[Dim] = [1] * rank
    for x in operands:
        if isinstance(x, FeatureMap):
            dims = meet(op, dims, [1] * (rank - len(x.dims)) + list(x.dims), trace)
    for x in operands:
        if isinstance(x, Array):
            reason = f"its input '{x.name}' is computed from the size of the image, so it fits the trained size only"
            op.refuse_if(trace.depends_on_size(x), reason)
            op.refuse_if(len(x.shape) > rank, f"its constant '{x.name}' has more axes than the map")
            dims = _meet_constant(op, dims, x, trace)
    return tuple(dims)


def _quantised(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Scales hold one value, or one per channel."""
    dims = only_map(op, operands).dims
    scale = trace.shapes.of(op.inputs[1]) if op.op_type != "CastLike" else ()
    if scale is None:
        raise op.refuse(f"the shape of its scale '{op.inputs[1]}' is not known")
    per_axis = max(scale, default=1) > 1
    op.refuse_if(
        per_axis and not isinstance(dims[op.attr("axis", 1) % len(dims)], int),
        "has one scale per position, so it fits the trained size only",
    )
    op.refuse_if(per_axis and op.attr("block_size", 0), "quantises in blocks")
    return dims


def meet(op: Op, left: list[Dim], right: list[Dim], trace: Trace) -> list[Dim]:
    """The axes of what reads two maps, axis by axis.

    Raises:
        Contradiction: they have different sizes at other sizes of the image.
    """
    met: list[Dim] = []
    for a, b in zip(left, right, strict=True):
        if a == 1 or a == b:
            met.append(b)
        elif b == 1 or _single(b):
            met.append(a)
        elif _single(a):
            met.append(b)
        elif isinstance(a, Axis) and isinstance(b, Axis):
            met.append(join(op, a, b, trace))
        elif isinstance(a, Merged) and isinstance(b, Merged) and len(a.parts) == len(b.parts):
            met.append(Merged(tuple(meet(op, list(a.parts), list(b.parts), trace))))  # type: ignore[arg-type]
        elif isinstance(ua := unmerged(a), Axis) and isinstance(ub := unmerged(b), Axis):
            met.append(join(op, ua, ub, trace))
        else:
            reason = f"combines values whose axes do not correspond, {in_words(a)} and {in_words(b)}"
            parts = any(isinstance(p, Part) for d in (a, b) for p in parts_of(d))
            op.refuse_if(parts, reason)  # parts that are put together again may have the size of the whole
            raise op.contradict(reason)
    return met


def _single(dim: Dim) -> bool:
    return isinstance(dim, Axis) and dim.law.is_constant and dim.size == 1


def join(op: Op, a: Axis, b: Axis, trace: Trace) -> Axis:
    """The axis of a node that reads two maps: refused unless they have the same cells. Two inputs are tied."""
    op.refuse_if(a.index != b.index, "combines maps with swapped spatial axes")
    trace.ties.tie(op, {a.source, b.source})
    op.contradict_if(
        a.stride != b.stride or a.size != b.size,
        f"combines maps with effective strides {a.stride} and {b.stride}, sizes {a.size} and {b.size}",
    )
    if a.law != b.law:
        trace.blame(op, "phase", "its two maps have the same size only at trained + n * stride")
    return a.joined(b)


def _meet_constant(op: Op, dims: list[Dim], constant: Array, trace: Trace) -> list[Dim]:
    met = list(dims)
    offset = len(dims) - len(constant.shape)
    for i, n in enumerate(constant.shape):
        dim = dims[offset + i]
        if n == 1:
            continue
        if isinstance(dim, (Axis, Merged)):
            values = f"its constant '{constant.name}' has one value per position ({list(constant.shape)})"
            whole = f"is position-dependent: {values}"
            op.contradict_if(any(isinstance(a, Part) for a in parts_of(dim)), whole)
            if constant.tensor is not None or not _is_uniform(constant, i):
                raise op.fits_one_size(f"{whole}, so it fits the trained size only")
            _repeat_instead(op, constant, i, trace)
        if isinstance(dim, int):
            op.contradict_if(dim not in (1, n), f"its constant '{constant.name}' does not fit the channels")
            met[offset + i] = n
    return met


def _is_uniform(constant: Array, axis: int) -> bool:
    """True if all values along an axis are the same, so that one of them does for any size.

    Of a computed constant (``ConstantOfShape``, ``Expand``) that is what it means. A stored one has a weight for each
    position, which nobody knows at others, whatever the values are.
    """
    return bool(np.all(constant.values == np.take(constant.values, [0], axis)))


def _repeat_instead(op: Op, constant: Array, axis: int, trace: Trace) -> None:
    """Let broadcasting repeat the one value that a constant has along an axis."""
    earlier = trace.unbaked.get(op.index)
    inputs = list(earlier.nodes[-1].input) if earlier else list(op.inputs)
    place = op.inputs.index(constant.name)
    tensors = {t.name: t for t in earlier.initializers} if earlier else {}
    sliced = numpy_helper.to_array(tensors[inputs[place]]) if inputs[place] in tensors else constant.values
    tensor = numpy_helper.from_array(np.take(sliced, [0], axis), trace.fresh(f"{constant.name}_once"))
    inputs[place] = tensor.name
    node = helper.make_node(op.op_type, inputs, op.outputs, name=op.name, domain=op.domain, **op.attrs)
    change = f"{op}: its constant '{constant.name}' {list(constant.shape)} -> one value for all positions"
    trace.unbaked[op.index] = Replacement([node], change, [*tensors.values(), tensor])


@moves("Dropout", "BatchNormalization", "LRN")
def move_same(op: Op, operands: list[Operand], trace: Trace) -> list[Dims | None]:
    """One output shaped like the input; further outputs (masks, statistics) are not maps."""
    x = only_map(op, operands)
    op.refuse_if(op.attr("training_mode", 0), "is in training mode, so its result depends on the whole batch")
    op.refuse_if(
        op.attr("spatial", 1) == 0, "spatial=0 keeps statistics per position, so it fits the trained size only"
    )
    if op.op_type == "Dropout" and len(op.inputs) > 2 and op.inputs[2]:
        op.refuse_if(trace.array(op, 2, "training_mode").values.any(), "is in training mode, so its result is random")
    if op.op_type == "Dropout":
        return [x.dims, x.dims]
    return [x.dims] + [None] * (len(op.outputs) - 1)


@moves("InstanceNormalization", "MeanVarianceNormalization", "GroupNormalization", merged=True)
def move_instance_norm(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Normalises with statistics of the whole map."""
    trace.blame(op, "global context", "normalises over the whole map")
    return only_map(op, operands).dims


@moves("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "LayerNormalization", merged=True)
def move_normalise(op: Op, operands: list[Operand], trace: Trace) -> list[Dims | None]:
    """Normalises over one axis, or over all axes from one on."""
    x = only_map(op, operands)
    from_on = op.op_type == "LayerNormalization" or (op.op_type != "LpNormalization" and op.since < 13)
    axis = op.attr("axis", 1 if from_on and op.op_type != "LayerNormalization" else -1) % len(x.dims)
    over = x.dims[axis:] if from_on else x.dims[axis : axis + 1]
    op.refuse_if(any(_has_batch(d) for d in over), "normalises over the batch")
    if any(isinstance(d, (Axis, Merged)) for d in over):
        for extra in operands[1:]:
            shape = extra.shape if isinstance(extra, Array) else ()
            positional = any(
                n > 1 and isinstance(d, (Axis, Merged)) for n, d in zip(reversed(shape), reversed(x.dims), strict=False)
            )
            if positional:
                raise op.fits_one_size(
                    "is position-dependent: scales every position on its own, so it fits the trained size only"
                )
        if any(follows(d) for d in over):
            trace.blame(op, "global context", "normalises over the whole map")
    return [x.dims] + [None] * (len(op.outputs) - 1)


@moves(*REDUCTIONS, "ArgMax", "ArgMin", merged=True)
def move_reduce(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Reduces over features, or over the whole map."""
    x = only_map(op, operands)
    axes = [op.attr("axis", 0)] if op.op_type.startswith("Arg") else op.attr("axes")
    if axes is None and len(op.inputs) > 1 and op.inputs[1]:
        axes = trace.ints(op, 1, "axes")
    if not axes:
        if op.attr("noop_with_empty_axes", 0):
            return x.dims
        axes = list(range(len(x.dims)))
    axes = [a % len(x.dims) for a in axes]
    dims: list[Dim] = []
    for i, dim in enumerate(x.dims):
        if i not in axes:
            dims.append(dim)
            continue
        op.refuse_if(_has_batch(dim), "reduces over the batch")
        if follows(dim):
            trace.blame(op, "global context", "reduces over the whole map")
        if op.attr("keepdims", 1):
            dims.append(dim.constant(1) if isinstance(dim, Axis) else 1)
    return tuple(dims)


@moves("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "com.microsoft.QLinearGlobalAveragePool")
def move_global_pool(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Pools the whole map to one cell, whatever its size."""
    x = only_map(op, operands)
    op.refuse_if(op.attr("channels_last", 0), "has its channels last")
    trace.blame(op, "global context", "pools the whole map")
    return x.dims[:2] + tuple(d.constant(1) if isinstance(d, Axis) else 1 for d in x.dims[2:])


def _has_batch(dim: Dim) -> bool:
    return dim == "batch" or (isinstance(dim, Merged) and "batch" in dim.parts)


@moves("Transpose", merged=True)
def move_transpose(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Permutes the axes; each keeps its meaning."""
    x = only_map(op, operands)
    perm = op.attr("perm") or list(reversed(range(len(x.dims))))
    return tuple(x.dims[p] for p in perm)


@moves("Concat", merged=True)
def move_concat(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Concatenates along a feature axis."""
    maps = [x for x in operands if isinstance(x, FeatureMap)]
    op.refuse_if(len(maps) < len(operands), "concatenates a map with a constant of fixed size")
    axis = op.attr("axis", 1) % len(maps[0].dims)
    dims = list(maps[0].dims)
    total = 0
    for x in maps:
        here = x.dims[axis]
        if not isinstance(here, int):
            raise op.refuse("concatenates along a spatial axis or the batch")
        total += here
        dims = meet(op, [*dims[:axis], 1, *dims[axis + 1 :]], [*x.dims[:axis], 1, *x.dims[axis + 1 :]], trace)
    dims[axis] = total
    return tuple(dims)


@moves("Split", "Gather", merged=True)
def move_pick(op: Op, operands: list[Operand], trace: Trace) -> list[Dims | None]:
    """Takes features along a feature axis; what is left of that axis is read from the inferred shapes."""
    x = only_map(op, operands)
    axis = op.attr("axis", 0) % len(x.dims)
    op.refuse_if(not isinstance(x.dims[axis], int), "picks along a spatial axis or the batch")
    if len(op.inputs) > 1 and op.inputs[1]:
        trace.array(op, 1, "choice")  # were it computed from the size, other features would be picked at another
    results: list[Dims | None] = []
    for name in op.outputs:
        shape = trace.shapes.of(name)
        if shape is None:
            raise op.refuse("the shape of its result is not known")
        middle: tuple[Dim, ...] = tuple(shape[axis : len(shape) - (len(x.dims) - axis - 1)])
        results.append(x.dims[:axis] + middle + x.dims[axis + 1 :])
    return results
