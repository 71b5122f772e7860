"""What computes the flat values ``[N, features]``: each step is one node, planned first and written later.

While it is planned, a product still takes in what stands behind it, as long as nobody else reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from ... import dtypes
from ...emitter import Emitter
from ...ops import Array, Op
from ...tensors import bytes_for
from ..lowering import Product
from . import matrix
from .linear import FullyConnected, Linear
from .reading import Reading

GEMM_OPTIONAL_BIAS = 11  #: the opset from which a Gemm may have no C


@dataclass(eq=False)
class Step:
    """One flat value.

    Attributes:
        size: its features.
        elem_type: ``TensorProto.DataType``.
        tensor: its name, once it is written.
    """

    size: int
    elem_type: int
    tensor: str = field(default="", init=False)

    @property
    def computed(self) -> bool:
        """False for what is only another form of a value of the original."""
        return True

    @property
    def reads(self) -> list[Step]:
        """What it is computed from."""
        return []

    @property
    def roundings(self) -> int:
        """How often it is rounded more than the nodes that it takes the place of."""
        return 0

    @property
    def bytes(self) -> int:
        """Of its constants."""
        return 0

    def write(self, emitter: Emitter) -> None:
        """Emit its nodes."""
        raise NotImplementedError


@dataclass(eq=False)
class Flattened(Step):
    """A value of the original in its flat form."""

    value: str
    dims: tuple[int, ...]

    @property
    def computed(self) -> bool:
        """False: it is the original's."""
        return False

    def write(self, emitter: Emitter) -> None:
        """Emit a Flatten, or nothing for what is flat already."""
        self.tensor = self.value if len(self.dims) == 1 else emitter.emit("Flatten", self.value, axis=1)


@dataclass(eq=False)
class Multiplied(Step):
    """A linear operator as a Gemm.

    Attributes:
        op: the node.
        linear: what it computes.
        base, reading: what it reads, and how.
        result: what is done to its results.
        named: whether the Gemm gets the node's name.
        carried: bytes of the constants that are taken in.
    """

    op: Op
    linear: Linear
    base: Step
    reading: Reading
    result: Reading = field(default_factory=Reading)
    named: bool = True
    carried: int = 0

    @property
    def reads(self) -> list[Step]:
        """Its input."""
        return [self.base]

    @property
    def as_stored(self) -> bool:
        """True if its weights are the original's own."""
        one = isinstance(self.linear, FullyConnected) and self.linear.tokens == 1 and self.linear.alpha == 1
        return one and self.reading.plain and self.result.index is None and self.result.scale is None

    @property
    def untouched(self) -> bool:
        """True for a Gemm that stays what it is."""
        return self.op.op_type == "Gemm" and self.reading.plain and self.result.plain

    @property
    def roundings(self) -> int:
        """Its weights, where they are products with a scale or shares of a mean; or its bias, where it is a sum."""
        added = self.result.shift is not None and self.linear.offset is not None
        return int(self.reading.affine or self.result.scale is not None or added or self.linear.rounds)

    @property
    def has_bias(self) -> bool:
        """Whether the Gemm gets one."""
        shifted = self.reading.shift is not None or self.result.shift is not None
        return self.linear.offset is not None or shifted

    @property
    def bytes(self) -> int:
        """Of matrix and bias."""
        if self.untouched:
            return 0
        count = self.linear.columns * (self.base.size + self.has_bias)
        return bytes_for(self.elem_type, count) or 0

    def product(self) -> Product:
        """What it costs."""
        entries = self.base.size * self.linear.columns
        return Product(
            str(self.op),
            self.linear.what,
            ("Gemm",),
            1,
            self.base.size,
            self.linear.columns,
            self.linear.before,
            entries,
            self.linear.bytes_before + self.carried,
            self.bytes,
            zeros=1 - matrix.nonzeros(self.linear, self.reading) / entries,
        )

    def write(self, emitter: Emitter) -> None:
        """Emit the Gemm; the matrix is made here, and given away at once."""
        if self.untouched:
            self.tensor = emitter.again(self.op, [self.base.tensor, *self.op.inputs[1:]])
            return
        name = self.op.name or self.op.outputs[0]
        hint = self.op.inputs[1] if len(self.op.inputs) > 1 else f"{name}_matrix"
        dtype = dtypes.numpy_type(self.elem_type)
        if self.as_stored and isinstance(self.linear, FullyConnected):
            weight, transposed = self.linear.weight.name, self.linear.transposed
        else:
            weight, transposed = emitter.large(lambda: self._matrix(dtype), hint), True
        bias = matrix.bias_of(self.linear, self.reading, self.result, dtype)
        if bias is None and emitter.opset < GEMM_OPTIONAL_BIAS:
            bias = np.zeros(self.linear.columns, dtype)
        hint = (self.op.inputs[2] if len(self.op.inputs) > 2 else "") or f"{name}_bias"
        added = None if bias is None else emitter.constant(bias, hint)
        self.tensor = emitter.emit(
            "Gemm",
            self.base.tensor,
            weight,
            added,
            title=self.op.name if self.named else "",
            **({"transB": 1} if transposed else {}),
        )

    def _matrix(self, dtype: np.dtype) -> np.ndarray:
        return matrix.build(self.linear, self.reading, self.base.size, self.result, dtype)


@dataclass(eq=False)
class Scaled(Step):
    """Each feature times a number and plus another: where no matrix beside it can take them in.

    Two elementwise nodes, not a Gemm with a diagonal matrix: that would hold ``features ** 2`` numbers for what
    ``2 * features`` say, and whoever takes ReLU and a sum takes these.
    """

    base: Step
    reading: Reading
    name: str

    @property
    def reads(self) -> list[Step]:
        """Its input."""
        return [self.base]

    @property
    def roundings(self) -> int:
        """Two nodes, of constants that are rounded."""
        return 2

    @property
    def bytes(self) -> int:
        """Of both lists of numbers."""
        lists = (self.reading.scale is not None) + (self.reading.shift is not None)
        return bytes_for(self.elem_type, self.size * lists) or 0

    def write(self, emitter: Emitter) -> None:
        """Emit Mul and Add, as far as they are needed."""
        self.tensor = self.base.tensor
        for op_type, numbers in (("Mul", self.reading.scale), ("Add", self.reading.shift)):
            if numbers is not None:
                values = numbers.astype(dtypes.numpy_type(self.elem_type))[None]
                constant = emitter.constant(values, f"{self.name}_{op_type.lower()}")
                self.tensor = emitter.emit(op_type, self.tensor, constant)


@dataclass(eq=False)
class Elementwise(Step):
    """A node of the original on flat values.

    Attributes:
        op: the node.
        operands: steps, names of constants that fit as they are, constants ``[1, features]``, and ``""``.
    """

    op: Op
    operands: list[Step | str | Array]

    @property
    def reads(self) -> list[Step]:
        """Its flat inputs."""
        return [o for o in self.operands if isinstance(o, Step)]

    @property
    def bytes(self) -> int:
        """Of the constants that are spelled out for each feature."""
        return sum(bytes_for(o.elem_type, prod(o.shape)) or 0 for o in self.operands if isinstance(o, Array))

    def write(self, emitter: Emitter) -> None:
        """Emit the node."""
        names = []
        for operand in self.operands:
            if isinstance(operand, Array):
                names.append(emitter.constant(operand.values, operand.name))
            else:
                names.append(operand.tensor if isinstance(operand, Step) else operand)
        self.tensor = emitter.again(self.op, names)


@dataclass(eq=False)
class Activated(Step):
    """What a node of another domain does to the result of its product, as a node of its own.

    Attributes:
        base: the product's result.
        kind, attributes: the node.
    """

    base: Step
    kind: str
    attributes: dict[str, Any]

    @property
    def reads(self) -> list[Step]:
        """Its input."""
        return [self.base]

    def write(self, emitter: Emitter) -> None:
        """Emit the node."""
        self.tensor = emitter.emit(self.kind, self.base.tensor, **self.attributes)


@dataclass(eq=False)
class Joined(Step):
    """Flat values side by side."""

    parts: list[Step]
    name: str

    @property
    def reads(self) -> list[Step]:
        """The parts."""
        return self.parts

    def write(self, emitter: Emitter) -> None:
        """Emit a Concat."""
        self.tensor = emitter.emit("Concat", *(part.tensor for part in self.parts), title=self.name, axis=1)


def roundings(steps: list[Step]) -> int:
    """The most roundings on any path through steps that stand in order."""
    found: dict[Step, int] = {}
    for step in steps:
        found[step] = step.roundings + reduce(max, (found.get(part, 0) for part in step.reads), 0)
    return max(found.values(), default=0)
