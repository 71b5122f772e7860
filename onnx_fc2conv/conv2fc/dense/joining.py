"""Values side by side: the flat values that they are read from are joined, and the order is read later."""

from __future__ import annotations

import numpy as np

from ...ops import Op
from .reading import Reading
from .steps import Joined
from .vectors import Vector, Vectors


def side_by_side(vectors: Vectors, op: Op) -> bool:
    """Join the operands of a Concat, if one of them is flat already; False if it stays as it is."""
    output = vectors.known.shapes.of(op.outputs[0])
    found = [vectors.of(name) for name in op.inputs]
    parts = [v for v in found if v is not None]
    if len(parts) < len(found) or not output or not any(v.base.computed for v in parts):
        return False
    axis = op.attr("axis") % len(output)
    if not axis:
        return False
    bases = list(dict.fromkeys(v.base for v in parts))
    offsets = np.cumsum([0, *(v.size for v in parts)])
    places = [np.arange(v.size).reshape(v.dims) + n for v, n in zip(parts, offsets, strict=False)]
    order = np.concatenate(places, axis - 1)
    starts = dict(zip(bases, np.cumsum([0, *(b.size for b in bases)]), strict=False))
    reading = _joined([(v, int(starts[v.base])) for v in parts]).moved(order.ravel())
    if len(bases) == 1:
        vectors.reads(op, op.outputs[0], Vector(bases[0], order.shape, reading))
    else:
        step = Joined(sum(b.size for b in bases), bases[0].elem_type, bases, op.name)
        vectors.compute(op, step, order.shape, reading)
    return True


def _joined(parts: list[tuple[Vector, int]]) -> Reading:
    """How several values are read from bases that stand side by side, each from its place on."""
    index, scales, shifts = [], [], []
    for vector, start in parts:
        reading = vector.reading
        own = np.arange(vector.size) if reading.index is None else reading.index
        index.append(np.where(own >= 0, own + start, own))
        scales.append(np.ones(vector.size) if reading.scale is None else reading.scale)
        shifts.append(np.zeros(vector.size) if reading.shift is None else reading.shift)
    scaled = any(v.reading.scale is not None for v, _ in parts)
    shifted = any(v.reading.shift is not None for v, _ in parts)
    return Reading(
        np.concatenate(index), np.concatenate(scales) if scaled else None, np.concatenate(shifts) if shifted else None
    )
