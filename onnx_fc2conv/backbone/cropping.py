"""Slices: of features, of a border, every second position, and crops to the size of another map.

An end that is a number of the trained size is counted from the end of the axis instead, where that is what it means.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto, helper

from ..geometry import Axis
from ..ops import Op
from ..plan import Dim, Dims, FeatureMap
from .expressions import Expressions, in_words
from .registry import Operand, Trace, moves, only_map
from .repeating import read_size, sizes_like

TO_THE_END = 2**63 - 1
FAR = 2**31 - 1  #: exporters write "to the end" as this or more


@moves("Slice", merged=True)
def move_slice(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Slices features, or crops a border of fixed width."""
    x = only_map(op, operands)
    if op.since < 10:
        starts, ends, axes, steps = op.attr("starts"), op.attr("ends"), op.attr("axes"), None
    else:
        starts, ends = trace.ints(op, 1, "starts"), _ends(op, trace)
        axes = trace.ints(op, 3, "axes") if len(op.inputs) > 3 and op.inputs[3] else None
        steps = trace.ints(op, 4, "steps") if len(op.inputs) > 4 and op.inputs[4] else None
    axes = [a % len(x.dims) for a in axes] if axes else list(range(len(starts)))
    dims, new_ends = list(x.dims), list(ends)
    for i, (start, end, axis, step) in enumerate(zip(starts, ends, axes, steps or [1] * len(starts), strict=True)):
        dim = dims[axis]
        if isinstance(dim, int):
            dims[axis] = len(range(dim)[start:end:step])
        elif (start, step) == (0, 1) and end >= FAR:
            continue
        elif op.since >= 10 and trace.constants.fixed(op.inputs[2]) is None:
            dims[axis] = _computed_end(op, i, end, axis, x, (start, step) == (0, 1), trace)
        elif isinstance(dim, Axis):
            if step < 1 or start < 0 or 0 <= end < FAR:
                crop = f"crops to fixed positions [{start}:{end}:{step}] of the trained size"
                if op.index not in trace.gates or step < 1 or start < 0:
                    raise op.fits_one_size(crop)
                if _is_number(op, axis, end, dim, trace):
                    dims[axis] = len(range(dim.size)[start:end:step])
                    continue
                new_ends[i] = end = TO_THE_END if end >= dim.size else end - dim.size
            cut = 0 if end >= FAR else end
            dims[axis] = dim.window_op(1, step, -start, -start + cut + step - 1)
        else:
            raise op.refuse("slices the batch, or an axis that is several in one")
    if new_ends != list(ends):
        _unbake_ends(op, x, new_ends, trace)
    return tuple(dims)


def _ends(op: Op, trace: Trace) -> list[int]:
    """The ends at the trained size; they may be computed from the image's."""
    known = trace.constants.at_trained_size(op.inputs[2])
    if known is None:
        raise op.refuse("its ends are computed in a way that is not understood")
    return known.ints()


def _computed_end(op: Op, entry: int, end: int, axis: int, x: FeatureMap, whole: bool, trace: Trace) -> Dim:
    """The axis of a crop to the size of another map."""
    dim = x.dims[axis]
    if not whole or not isinstance(dim, Axis):
        raise op.refuse("its ends is computed from the size of its input")
    candidates = [dim] if dim.size == end else []
    candidates += [replace(dim, law=a.law) for a in sizes_like(end, axis, len(x.dims), trace) if a.stride == dim.stride]
    return read_size(op, op.inputs[2], axis, end, candidates, trace, entry)


def _is_number(op: Op, axis: int, end: int, dim: Axis, trace: Trace) -> bool:
    """True if the end of a slice is read as a number, false if it is counted from the end of the axis."""
    left = dim.size - end
    word = in_words(dim) if left <= 0 else f"{in_words(dim)} - {left}"
    reason = f"its constant {end} may be {word} or a fixed number, and nothing tells which"
    return trace.readings.choose(op, axis, 2, reason) == 1


def _unbake_ends(op: Op, x: FeatureMap, ends: list[int], trace: Trace) -> None:
    expressions = Expressions(op, x, trace)
    if op.since < 10:
        node = helper.make_node("Slice", op.inputs, op.outputs, name=op.name, **op.attrs | {"ends": ends})
    else:
        inputs = [*op.inputs[:2], expressions.constant(np.array(ends, np.int64)), *op.inputs[3:]]
        starts = trace.array(op, 1, "starts")
        if starts.elem_type != TensorProto.INT64:  # all of its operands have one type
            inputs[1:] = [
                i and expressions.constant(np.array(ends if k == 1 else trace.ints(op, k + 1, "operand"), np.int64))
                for k, i in enumerate(inputs[1:])
            ]
        node = helper.make_node("Slice", inputs, op.outputs, name=op.name)
    expressions.replace(node, f"{op}: its ends -> {[e if e < FAR else 'end' for e in ends]}")
