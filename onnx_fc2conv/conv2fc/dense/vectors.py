"""The flat values of a model while they are planned, and the nodes whose place their steps take.

Every value has its original form, under its own name; a flat one has ``[N, features]`` beside it. A value that only
reads another one differently is not computed: whoever needs it takes the reading into its matrix, and the node itself
stays for those that need the original form, and goes if there are none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from ...ops import Model, Op
from .linear import Sums
from .products import Known
from .reading import Reading
from .steps import Flattened, Multiplied, Scaled, Step


@dataclass(frozen=True, eq=False)
class Vector:
    """A value as features.

    Attributes:
        base: the flat value that it reads.
        dims: its own, without the first.
        reading: how.
        alone: whether nobody reads the base, or anything between it and this value, but what leads here.
        carried: bytes of the constants that the reading comes from.
    """

    base: Step
    dims: tuple[int, ...]
    reading: Reading = field(default_factory=Reading)
    alone: bool = False
    carried: int = 0

    @property
    def size(self) -> int:
        """Its features."""
        return prod(self.dims)

    @property
    def plain(self) -> bool:
        """True if the base is the value itself."""
        return self.reading.plain


@dataclass
class Slot:
    """What takes the place of a node.

    Attributes:
        steps: in order.
        result: the flat value of the node's result; ``None`` if nobody asks for its original form.
        dims: of that form, without the first.
        stays: whether the node itself stays behind them, for whoever needs the original form.
    """

    steps: list[Step] = field(default_factory=list)
    result: Step | None = None
    dims: tuple[int, ...] = ()
    stays: bool = False


class Vectors:
    """All flat values of a model."""

    def __init__(self, model: Model, known: Known, strict: bool) -> None:
        """Start with none.

        Args:
            model: the original.
            known: its shapes and constants.
            strict: whether what moves features has to be a product with a matrix too.
        """
        self.model, self.known, self.strict = model, known, strict
        self.slots: dict[int, Slot] = {}
        self._of: dict[str, Vector] = {}
        self._home: dict[Step, int] = {}

    # -- what there is -------------------------------------------------------------------------------------------------

    def of(self, name: str) -> Vector | None:
        """A value as features; ``None`` for a constant, and for what has no rows or no known size."""
        if name not in self._of:
            shape = self.known.shapes.of(name)
            elem_type = self.known.shapes.elem_types.get(name, 0)
            if name in self.known.constants.static or not shape or len(shape) < 2 or 0 in shape:
                return None
            self._of[name] = Vector(Flattened(prod(shape[1:]), elem_type, name, shape[1:]), shape[1:])
        return self._of[name]

    def rows(self, name: str) -> int | None:
        """Rows of a value: its first dim."""
        shape = self.known.shapes.of(name)
        return shape[0] if shape else None

    def alone(self, name: str) -> bool:
        """True if the only reader of a value is a node, and it only reads what nobody else reads."""
        return self._of[name].alone and self._read_once(name)

    def _read_once(self, name: str) -> bool:
        return len(self.model.consumers.get(name, ())) == 1 and name not in self.model.outputs

    # -- what is added -------------------------------------------------------------------------------------------------

    def place(self, op: Op, step: Step) -> None:
        """A step stands in the place of a node, unless it stands somewhere already."""
        if step not in self._home:
            self._home[step] = op.index
            self.slots.setdefault(op.index, Slot()).steps.append(step)

    def compute(self, op: Op, step: Step, dims: tuple[int, ...], reading: Reading | None = None) -> None:
        """A node's result is a step's, or read from it."""
        for read in step.reads:
            self.place(op, read)
        self.place(op, step)
        self.reads(op, op.outputs[0], Vector(step, dims, reading or Reading(), alone=True))
        self.slots[op.index].stays = not self._of[op.outputs[0]].plain

    def reads(self, op: Op, output: str, vector: Vector) -> None:
        """A node's output only reads a base differently; the node stays for whoever needs the original form.

        A scale and a shift are taken into the product in front where they can.
        """
        vector = replace(vector, reading=vector.reading.settled(vector.base.size))
        if vector.reading.affine and self._fold(vector):
            self._move(vector.base, op)
            vector = replace(vector, reading=Reading(), carried=0)
        self._of[output] = vector
        if vector.plain and vector.base.computed:
            slot = self.slots.setdefault(op.index, Slot())
            slot.result, slot.dims = vector.base, vector.dims

    def view(self, op: Op, dims: tuple[int, ...]) -> None:
        """A node's result has the same features under other dims."""
        vector, alone = self._of[op.inputs[0]], self.alone(op.inputs[0])
        if vector.plain and not vector.base.computed and len(dims) == 1:
            return  # it is flat as it stands
        if vector.plain and alone and len(dims) == 1:
            self._move(vector.base, op)
        self.reads(op, op.outputs[0], replace(vector, dims=dims, alone=alone))

    def close(self, op: Op, output: str) -> None:
        """A graph output has its original form in the end."""
        vector = self._of.get(output)
        if vector is None or vector.plain or not vector.base.computed:
            return
        if self._fold(vector):
            self._move(vector.base, op)
            vector = replace(vector, reading=Reading(), carried=0)
        elif self.strict or vector.reading.index is None:
            vector = self._written(op, output, vector)
        else:
            return
        self._of[output] = vector
        slot = self.slots[op.index]
        slot.result, slot.dims, slot.stays = vector.base, vector.dims, False

    def prune(self) -> None:
        """Steps that nobody reads in the end, because only the original form of their values is asked for, go."""
        used = {slot.result for slot in self.slots.values() if slot.result is not None}
        for op in reversed(self.model.ops):
            slot = self.slots.get(op.index, Slot())
            for step in reversed(list(slot.steps)):
                if step in used:
                    used.update(step.reads)
                else:
                    slot.steps.remove(step)
            if slot.stays and not slot.steps:
                del self.slots[op.index]

    # -- what is folded ------------------------------------------------------------------------------------------------

    def _fold(self, vector: Vector) -> bool:
        """Take a reading into the product in front, unless that is more than a scale, a shift and an order.

        Only what nobody else has read can still change.
        """
        step = vector.base
        if not (vector.alone and isinstance(step, Multiplied) and vector.reading.permutes(step.size)):
            return False
        step.result = step.result.then(vector.reading).settled(step.size)
        step.carried += vector.carried
        return True

    def _move(self, step: Step, op: Op) -> None:
        """A step that one node reads goes to the place of that node."""
        old = self.slots[self._home[step]]
        old.steps.remove(step)
        old.result = None
        self._home[step] = op.index
        self.slots.setdefault(op.index, Slot()).steps.append(step)

    # -- what is written out -------------------------------------------------------------------------------------------

    def flat(self, op: Op, name: str) -> Step:
        """The flat form of a value, for a node that reads it; written out in front of that node if need be."""
        vector = self._of[name]
        if not vector.plain:
            if self._read_once(name) and self._fold(vector):
                self.slots[self._home[vector.base]].result = None  # its only reader is gone
                vector = replace(vector, reading=Reading(), carried=0)
            else:
                vector = self._written(op, name, vector)
            self._of[name] = vector
        self.place(op, vector.base)
        return vector.base

    def _written(self, op: Op, name: str, vector: Vector) -> Vector:
        """A value that is read from a base, as one of its own."""
        if vector.base.computed and vector.reading.index is None:
            return self.scaled(op, name, vector)
        if self.strict and vector.reading.index is not None:
            return self.chosen(op, name, vector)
        step = Flattened(vector.size, vector.base.elem_type, name, vector.dims)
        return Vector(step, vector.dims)

    def chosen(self, op: Op, name: str, vector: Vector) -> Vector:
        """A choice of features as a product with a matrix of zeros and, where they are, what each is scaled by."""
        self.place(op, vector.base)
        size, elem_type, producer = vector.size, vector.base.elem_type, self.model.producer[name]
        step = Multiplied(size, elem_type, producer, _itself(size), vector.base, vector.reading, named=False)
        self.place(op, step)
        return Vector(step, vector.dims)

    def scaled(self, op: Op, name: str, vector: Vector) -> Vector:
        """A scale and a shift as nodes of their own; an order stays to be read."""
        reading, base = vector.reading, vector.base
        scale, shift = reading.scale, reading.shift
        if reading.index is not None:
            back = np.argsort(reading.index)
            scale, shift = (None if n is None else n[back] for n in (scale, shift))
        step = Scaled(base.size, base.elem_type, base, Reading(None, scale, shift), name)
        self.place(op, base)
        self.place(op, step)
        return Vector(step, vector.dims, Reading(reading.index))


def _itself(size: int) -> Sums:
    """The linear operator that changes nothing; what it reads is what it does."""
    return Sums(rows=size, columns=size, what="order", before=0, bytes_before=0, dims=(size,), kept=(size,))
