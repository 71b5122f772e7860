"""From node to node: which step takes its place, or why it stays on the original form of its values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

import numpy as np

from ... import dtypes
from ...errors import Unliftable
from ...ops import BROADCASTING, UNARY, Array, Model, Op
from ..convolution import CONVS
from ..selection import Selection
from . import moves, products
from .products import Known
from .reading import Reading
from .refused import reason_of
from .steps import Elementwise, Joined, Multiplied, Step
from .vectors import Vector, Vectors

QUANTISING = frozenset(("QuantizeLinear", "DequantizeLinear"))
ELEMENTWISE = (UNARY | BROADCASTING | QUANTISING) - {"Identity"}
GEMM_TYPES = frozenset(("float16", "float32", "float64", "bfloat16"))


class Walk:
    """All nodes of a model, in order.

    Attributes:
        vectors: the flat values.
        left: convolutions that stay, by title, and why.
    """

    def __init__(self, model: Model, known: Known, selection: Selection, strict: bool) -> None:
        self.model, self.known, self.selection, self.strict = model, known, selection, strict
        self.vectors = Vectors(model, known, strict)
        self.left: dict[str, str] = {}
        self._reasons: dict[str, str] = {}

    def run(self) -> None:
        """Visit every node that an output depends on, and that depends on an input.

        Raises:
            Unliftable: the size of a map is not known, or with ``strict``, a node is no product and not elementwise.
        """
        for op in self._needed():
            if not all(name in self.known.constants.static for name in op.outputs if name):
                if not (op.standard and not op.captured and self._visit(op)):
                    self._stay(op)
                for name in set(op.outputs) & set(self.model.outputs):
                    self.vectors.close(op, name)

    def _needed(self) -> Iterable[Op]:
        needed, found = set(self.model.outputs), []
        for op in reversed(self.model.ops):
            if needed.intersection(op.outputs):
                needed.update(op.reads())
                found.append(op)
        return found[::-1]

    def _visit(self, op: Op) -> bool:
        """Give a node a step, or a reading; False if it stays."""
        if op.op_type in products.RULES:
            return self._product(op)
        if op.op_type in moves.VIEWS:
            dims = moves.view_of(op, self.known)
            if dims is None or self.vectors.of(op.inputs[0]) is None:
                return False
            self.vectors.view(op, dims)
            return True
        if op.op_type in moves.MOVES or op.op_type == "Pad":
            return self._moved(op)
        if op.op_type == "Concat":
            return self._joined(op)
        return self._scaled(op) or (op.op_type in ELEMENTWISE and self._elementwise(op))

    def _stay(self, op: Op) -> None:
        """A node stays; with ``strict``, only one that computes each feature by itself may."""
        if self.strict and not (op.standard and op.op_type in ELEMENTWISE | moves.VIEWS | moves.MOVES):
            raise op.refuse(self._reasons.get(str(op)) or reason_of(op))

    # -- products ------------------------------------------------------------------------------------------------------

    def _product(self, op: Op) -> bool:
        reason = self.selection.reason_to_leave(op, False) or self._reason_to_leave(op)
        if reason is None:
            try:
                linear = products.RULES[op.op_type](op, self.known)
            except Unliftable as e:
                reason = e.reason
        if reason is not None:
            self._reasons[str(op)] = reason
            self.left |= {str(op): reason} if op.op_type in CONVS else {}
            return False
        name, dims = op.inputs[0], self.known.dims(op.outputs[0])
        vector = self.vectors.of(name)
        assert vector is not None
        if linear.tokens > 1 and not self.strict:
            return False
        if vector.reading.repeats or _is_integer(vector.base.elem_type):
            self.vectors.flat(op, name)
            vector = self.vectors.of(name)
            assert vector is not None
        elem_type = self.known.shapes.elem_types[name]
        self.vectors.compute(op, Multiplied(linear.columns, elem_type, op, linear, vector.base, vector.reading), dims)
        return True

    def _reason_to_leave(self, op: Op) -> str | None:
        """Why a product cannot be one with an explicit matrix, apart from what its own rule says.

        Raises:
            Unliftable: the size of its map is not known.
        """
        name = op.inputs[0]
        if self.known.shapes.of(name) is None or self.known.shapes.of(op.outputs[0]) is None:
            if op.op_type in CONVS:
                raise op.refuse("the size of its map is not known, and its matrix is for one size; give it with --size")
            return "the size of its input is not known"
        elem_type = dtypes.name_of(self.known.shapes.elem_types.get(name, 0))
        if elem_type not in GEMM_TYPES:
            return f"computes with {elem_type}"
        if self.vectors.of(name) is None:
            return "reads a constant"
        return None

    # -- values that are only read differently -------------------------------------------------------------------------

    def _moved(self, op: Op) -> bool:
        vector = self.vectors.of(op.inputs[0])
        try:
            found = None if vector is None else moves.places_of(op, self.model, self.known)
        except Unliftable:
            return False
        if vector is None or found is None:
            return False
        alone = self.vectors.alone(op.inputs[0]) and len(found) == 1
        for output, (places, dims, fill) in zip(op.outputs, found, strict=False):
            if output:
                self.vectors.reads(op, output, Vector(vector.base, dims, vector.reading.moved(places, fill), alone))
        return True

    def _scaled(self, op: Op) -> bool:
        shape = self.known.shapes.of(op.outputs[0])
        if not shape or dtypes.name_of(self._types.get(op.outputs[0], 0)) not in GEMM_TYPES:
            return False
        dims = shape[1:]
        found = moves.affine_of(op, self.known, dims)
        vector = self.vectors.of(found[0]) if found else None
        if found is None or vector is None or len(vector.dims) != len(dims):
            return False
        name, scale, shift = found
        reading = vector.reading
        if vector.dims != dims:
            reading = reading.moved(_spread(vector.dims, dims))
        self.vectors.reads(
            op, op.outputs[0], Vector(vector.base, dims, reading.scaled(scale, shift), self.vectors.alone(name))
        )
        return True

    # -- nodes on flat values ------------------------------------------------------------------------------------------

    @property
    def _types(self) -> dict[str, int]:
        return self.known.shapes.elem_types

    def _elementwise(self, op: Op) -> bool:
        """A node that computes each feature by itself, on flat values, where one of its operands is flat already."""
        output = self.known.shapes.of(op.outputs[0])
        vectors = {name: self.vectors.of(name) for name in op.inputs if name}
        constants = {n: self.known.constants.get(n) for n, v in vectors.items() if v is None}
        values = {n: v for n, v in vectors.items() if v is not None}
        if not output or len([o for o in op.outputs if o]) > 1 or any(c is None for c in constants.values()):
            return False
        if not any(v.base.computed for v in values.values()):
            return False
        dims = output[1:]
        fits = [self.vectors.rows(n) == output[0] and len(v.dims) == len(dims) for n, v in values.items()]
        expands = any(v.dims != dims for v in values.values())
        spread = {n: _constant(c, dims) for n, c in constants.items() if c is not None}
        if not all(fits) or (expands and not self.strict) or any(s is None for s in spread.values()):
            return False
        if op.op_type in QUANTISING and any(c is not None and prod(c.shape) > 1 for c in constants.values()):
            return False
        self._on_flat(op, dims, values, {n: s for n, s in spread.items() if s is not None})
        return True

    def _on_flat(
        self, op: Op, dims: tuple[int, ...], values: dict[str, Vector], constants: dict[str, str | Array]
    ) -> None:
        bases, order = self._in_one_order(op, dims, list(values))
        operands: list[Step | str | Array] = []
        back = None if order is None else np.argsort(order)
        for name in op.inputs:
            constant = constants.get(name)
            if name in bases:
                operands.append(bases[name])
            elif isinstance(constant, Array):
                numbers = constant.values if back is None else constant.values[back]
                operands.append(Array.of(constant.name, numbers[None]))
            else:
                operands.append(constant or "")
        size = next(iter(bases.values())).size
        step = Elementwise(size, self._types[op.outputs[0]], op, operands)
        self.vectors.compute(op, step, dims, Reading(order))

    def _in_one_order(
        self, op: Op, dims: tuple[int, ...], names: list[str]
    ) -> tuple[dict[str, Step], np.ndarray | None]:
        """Flat values of the operands, and the order in which all of them are read; their own, if they do not agree."""
        found: dict[str, Vector] = {}
        for name in names:
            vector = self.vectors.of(name)
            assert vector is not None
            if vector.dims != dims:
                return {n: self._expanded(op, n, dims) for n in names}, None
            ordered = vector.base.computed and vector.reading.permutes(vector.base.size)
            if ordered and vector.reading.affine:
                vector = self.vectors.scaled(op, name, vector)
            found[name] = vector if ordered else Vector(self.vectors.flat(op, name), dims)
        orders = [v.reading.index for v in found.values()]
        if all(_same(order, orders[0]) for order in orders):
            return {name: vector.base for name, vector in found.items()}, orders[0]
        return {name: self.vectors.flat(op, name) for name in names}, None

    def _expanded(self, op: Op, name: str, dims: tuple[int, ...]) -> Step:
        vector = self.vectors.of(name)
        assert vector is not None
        if vector.dims == dims:
            return self.vectors.flat(op, name)
        places = _spread(vector.dims, dims)
        return self.vectors.chosen(op, name, replace(vector, dims=dims, reading=vector.reading.moved(places))).base

    def _joined(self, op: Op) -> bool:
        """A Concat of features: the bases side by side, whatever is read from each of them."""
        output = self.known.shapes.of(op.outputs[0])
        vectors = [self.vectors.of(name) for name in op.inputs]
        parts = [v for v in vectors if v is not None]
        axis = op.attr("axis") % len(output) if output else 0
        if len(parts) < len(vectors) or not axis or not output or not any(v.base.computed for v in parts):
            return False
        bases = list(dict.fromkeys(v.base for v in parts))
        starts = dict(zip(bases, np.cumsum([0, *(b.size for b in bases)]), strict=False))
        offsets = np.cumsum([0, *(v.size for v in parts)])
        places = [np.arange(v.size).reshape(v.dims) + n for v, n in zip(parts, offsets, strict=False)]
        order = np.concatenate(places, axis - 1)
        reading = _side_by_side([(v, int(starts[v.base])) for v in parts]).moved(order.ravel())
        if len(bases) == 1:
            self.vectors.reads(op, op.outputs[0], Vector(bases[0], order.shape, reading))
            return True
        step = Joined(sum(b.size for b in bases), bases[0].elem_type, bases, op.name)
        self.vectors.compute(op, step, order.shape, reading)
        return True


def _side_by_side(parts: list[tuple[Vector, int]]) -> Reading:
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
        np.concatenate(index),
        np.concatenate(scales) if scaled else None,
        np.concatenate(shifts) if shifted else None,
    )


def _spread(before: tuple[int, ...], after: tuple[int, ...]) -> np.ndarray:
    """Where each feature comes from when a value is broadcast."""
    return np.broadcast_to(np.arange(prod(before)).reshape(before), after).ravel()


def _constant(constant: Array, dims: tuple[int, ...]) -> str | Array | None:
    """A constant for flat values: its name if it is one number, or one for each feature; ``None`` if it has rows."""
    if not constant.shape or constant.shape == (1,):
        return constant.name
    rank = len(dims) + 1
    if len(constant.shape) > rank or (len(constant.shape) == rank and constant.shape[0] != 1):
        return None
    if prod(constant.shape) == 1:
        return Array.of(constant.name, constant.values.reshape(1))
    return Array.of(constant.name, np.broadcast_to(constant.values, (1, *dims)).ravel())


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def _is_integer(elem_type: int) -> bool:
    return dtypes.name_of(elem_type) not in GEMM_TYPES
