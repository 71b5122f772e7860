"""A value of the backbone, and the registry of how each operator moves along its axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ..constants import Constants
from ..geometry import Axis
from ..ops import Array, Op
from ..shapes import Shapes

Dim = Literal["batch"] | int | Axis  #: the batch, a fixed number of features, or a spatial axis
Dims = tuple[Dim, ...]
Kind = Literal["padding", "global context", "phase"]


@dataclass(frozen=True)
class FeatureMap:
    """A value that still has its spatial axes.

    Attributes:
        name: value name in the model.
        dims: one entry per axis of the tensor.
    """

    name: str
    dims: Dims

    @property
    def spatial(self) -> list[int]:
        """Positions of the spatial axes, in the order of the input's."""
        found = [(d.index, i) for i, d in enumerate(self.dims) if isinstance(d, Axis)]
        return [i for _, i in sorted(found)]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The spatial axes, in the order of the input's."""
        return tuple(d for i in self.spatial if isinstance(d := self.dims[i], Axis))

    def shape(self, batch: int) -> tuple[int, ...]:
        """Static shape at the trained size."""
        return tuple(size(d, batch) for d in self.dims)


def size(dim: Dim, batch: int) -> int:
    """Number of elements along a dim at the trained size."""
    return batch if dim == "batch" else dim.size if isinstance(dim, Axis) else dim


@dataclass(frozen=True)
class Cause:
    """A node because of which the map is not what the original computes on an image crop.

    ``padding``: it pads the borders. ``global context``: it looks beyond its window. ``phase``: harmless at
    sizes of the form trained + n * stride, not in between.
    """

    node: str
    kind: Kind
    detail: str


@dataclass
class Trace:
    """What a move may look at, and where it notes causes."""

    constants: Constants
    shapes: Shapes
    causes: list[Cause] = field(default_factory=list)

    def blame(self, op: Op, kind: Kind, detail: str) -> None:
        """Note a cause."""
        cause = Cause(str(op), kind, detail)
        if cause not in self.causes:
            self.causes.append(cause)

    def ints(self, op: Op, i: int, what: str) -> list[int]:
        """The i-th input as constant integers, refused where it is not a constant."""
        return [int(v) for v in self.array(op, i, what).values.ravel()]

    def array(self, op: Op, i: int, what: str) -> Array:
        """The i-th input as a constant, refused where it is not one."""
        array = self.constants.get(op.inputs[i])
        if array is None:
            raise op.refuse(f"its {what} is computed at run time")
        return array


Operand = FeatureMap | Array | None
Moved = Dims | list[Dims | None]
Move = Callable[[Op, list[Operand], Trace], Moved]

MOVES: dict[str, Move] = {}


def moves(*op_types: str) -> Callable[[Move], Move]:
    """Register how these operators of the backbone move along the axes of their map."""

    def register(move: Move) -> Move:
        for op_type in op_types:
            MOVES[op_type] = move
        return move

    return register


def only_map(op: Op, operands: list[Operand]) -> FeatureMap:
    """The node's first input, which must be the map."""
    if not isinstance(operands[0], FeatureMap):
        raise op.refuse("reads the feature map as something other than its data input")
    return operands[0]
