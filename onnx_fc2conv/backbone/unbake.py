"""Shapes in the backbone that carry the trained size, written anew so that they follow the input's.

A Reshape that only moves axes of size 1 is a Transpose in disguise, but its target shape names height and width. The
Transpose computes the same at the trained size and the right thing at any other.
"""

from __future__ import annotations

import numpy as np
from onnx import helper

from ..flatten import apply_view, unit_move
from ..geometry import Axis
from ..ops import Op
from ..plan import Dims, FeatureMap, size
from .registry import Operand, Trace, moves, only_map


def reshape_in_disguise(op: Op, x: FeatureMap, trace: Trace) -> list[int] | None:
    """The ``perm`` of the Transpose that this Reshape is, or ``None`` if it is none."""
    target = trace.constants.at_trained_size(op.inputs[1]) if len(op.inputs) > 1 else None
    sizes = [size(d, trace.shapes.batch) for d in x.dims]
    if target is None or x.dims[0] != "batch" or any(isinstance(d, Axis) and d.size == 1 for d in x.dims):
        return None
    try:
        reshaped = apply_view(op, np.empty(sizes, np.bool_), target.ints())
    except ValueError:
        return None
    return unit_move(sizes, reshaped.shape)


@moves("Flatten")
def move_flatten(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """A map that was pooled to one cell, as a vector (the caller keeps the others away)."""
    return _one_cell(op, only_map(op, operands), trace)


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


@moves("Reshape")
def move_reshape(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """A Reshape that only moves axes of size 1 (the caller keeps the others away)."""
    x = only_map(op, operands)
    if all(a.law.is_constant for a in x.axes):
        return _one_cell(op, x, trace)
    perm = reshape_in_disguise(op, x, trace)
    if perm is None:
        raise op.refuse("reshapes the feature map in a way that is not understood")
    if trace.constants.fixed(op.inputs[1]) is not None:
        moved = perm != sorted(perm)
        node = helper.make_node("Transpose" if moved else "Identity", op.inputs[:1], op.outputs, name=op.name)
        if moved:
            node.attribute.append(helper.make_attribute("perm", perm))
        trace.unbaked[op.index] = node
    return tuple(x.dims[p] for p in perm)
