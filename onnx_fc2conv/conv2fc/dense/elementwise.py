"""Nodes that compute each feature by itself, on flat values: what is "extended to the non-linear case".

They do so in any order of the features, so an order that still has to be read goes past them to the next matrix.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from ...ops import BROADCASTING, UNARY, Array, Op
from .reading import Reading
from .steps import Elementwise, Step
from .vectors import Vector, Vectors

QUANTISING = frozenset(("QuantizeLinear", "DequantizeLinear"))
ELEMENTWISE = (UNARY | BROADCASTING | QUANTISING) - {"Identity"}


def on_flat(vectors: Vectors, op: Op) -> bool:
    """Put a node on flat values, if one of its operands is flat already; False if it stays as it is."""
    output = vectors.known.shapes.of(op.outputs[0])
    values = {name: v for name in op.inputs if name and (v := vectors.of(name)) is not None}
    constants = {n: vectors.known.constants.get(n) for n in op.inputs if n and n not in values}
    if not output or not any(v.base.computed for v in values.values()):
        return False
    dims = output[1:]
    fits = [vectors.rows(n) == output[0] and len(v.dims) == len(dims) for n, v in values.items()]
    expands = any(v.dims != dims for v in values.values())
    per_axis = op.op_type in QUANTISING and any(c is not None and prod(c.shape) > 1 for c in constants.values())
    if not all(fits) or (expands and not vectors.strict) or per_axis:
        return False
    numbers: dict[str, str | Array] = {}
    for name, constant in constants.items():
        spelled = None if constant is None else _constant(constant, dims)
        if spelled is None:
            return False
        numbers[name] = spelled
    _write(vectors, op, dims, values, numbers)
    return True


def _write(
    vectors: Vectors, op: Op, dims: tuple[int, ...], values: dict[str, Vector], constants: dict[str, str | Array]
) -> None:
    spelled = any(isinstance(c, Array) and c.shape != (1,) for c in constants.values())
    bases, order = _in_one_order(vectors, op, dims, values, spelled)
    back = None if order is None or not spelled else np.argsort(order)
    operands: list[Step | str | Array] = []
    for name in op.inputs:
        constant = constants.get(name)
        if name in bases:
            operands.append(bases[name])
        elif isinstance(constant, Array) and constant.shape != (1,):
            numbers = constant.values if back is None else constant.values[back]
            operands.append(Array.of(constant.name, numbers[None]))
        else:
            operands.append(constant or "")
    size = next(iter(bases.values())).size
    step = Elementwise(size, vectors.known.shapes.elem_types[op.outputs[0]], op, operands)
    vectors.compute(op, step, dims, Reading(order))


def _in_one_order(
    vectors: Vectors, op: Op, dims: tuple[int, ...], values: dict[str, Vector], spelled: bool
) -> tuple[dict[str, Step], np.ndarray | None]:
    """Flat values of the operands, and the order in which all of them are read; their own, if they do not agree.

    Args:
        vectors: all flat values.
        op: the node.
        dims: of its result, without the first.
        values: its operands.
        spelled: whether there are numbers for each feature, which then must all be read.
    """
    if any(v.dims != dims for v in values.values()):
        return {name: _expanded(vectors, op, name, dims) for name in values}, None
    first = next(iter(values.values())).reading.index
    if all(_is_ordered(v, spelled) and _same(v.reading.index, first) for v in values.values()):
        affine = {name: vectors.scaled(op, name, v) if v.reading.affine else v for name, v in values.items()}
        return {name: v.base for name, v in affine.items()}, first
    return {name: vectors.flat(op, name) for name in values}, None


def _is_ordered(vector: Vector, spelled: bool) -> bool:
    """True if a node may as well be applied to all that is there before it is read."""
    reading = vector.reading
    if not vector.base.computed:
        return False
    if spelled or reading.affine:
        return reading.permutes(vector.base.size)
    return not (reading.fills or reading.repeats)


def _expanded(vectors: Vectors, op: Op, name: str, dims: tuple[int, ...]) -> Step:
    vector = vectors.of(name)
    assert vector is not None
    if vector.dims == dims:
        return vectors.flat(op, name)
    places = spread(vector.dims, dims)
    return vectors.chosen(op, name, replace(vector, dims=dims, reading=vector.reading.moved(places))).base


def spread(before: tuple[int, ...], after: tuple[int, ...]) -> np.ndarray:
    """Where each feature comes from when a value is broadcast."""
    return np.broadcast_to(np.arange(prod(before)).reshape(before), after).ravel()


def _constant(constant: Array, dims: tuple[int, ...]) -> str | Array | None:
    """A constant for flat values.

    Returns:
        Its name, if it fits as it is; else one number, or one for each feature; ``None`` if it has rows.
    """
    if not constant.shape or constant.shape == (1,):
        return constant.name
    rank = len(dims) + 1
    if len(constant.shape) > rank or (len(constant.shape) == rank and constant.shape[0] != 1):
        return None
    if prod(constant.shape) == 1:
        return Array.of(constant.name, constant.values.reshape(1))
    if any(a not in (1, b) for a, b in zip(constant.shape[::-1], (1, *dims)[::-1], strict=False)):
        return None
    return Array.of(constant.name, np.broadcast_to(constant.values, (1, *dims)).ravel())


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))
