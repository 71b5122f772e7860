"""The registry of how each operator of the backbone moves along the axes of its map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from onnx import NodeProto

from ..constants import Constants
from ..ops import Array, Op
from ..plan import Cause, Dims, FeatureMap, Kind
from ..shapes import Shapes
from .ties import Ties


@dataclass
class Trace:
    """What a move may look at, and where it notes causes.

    Attributes:
        constants, shapes: of the original.
        ties: which image inputs must have one size.
        causes: nodes because of which the maps are not those of image crops.
        shadows: values shaped like a map that are none, such as MaxPool's indices.
        unbaked: what takes the place of nodes that carry the trained size, by position in the file.
        keep_pools: whether a pool over the whole map stays one at every size.
    """

    constants: Constants
    shapes: Shapes
    ties: Ties
    causes: list[Cause] = field(default_factory=list)
    shadows: dict[str, Dims] = field(default_factory=dict)
    unbaked: dict[int, NodeProto] = field(default_factory=dict)
    keep_pools: bool = False

    def blame(self, op: Op, kind: Kind, detail: str) -> None:
        """Note a cause."""
        cause = Cause(str(op), kind, detail)
        if cause not in self.causes:
            self.causes.append(cause)

    def ints(self, op: Op, i: int, what: str) -> list[int]:
        """The i-th input as constant integers, refused where it is not a constant."""
        return [int(v) for v in self.array(op, i, what).values.ravel()]

    def array(self, op: Op, i: int, what: str) -> Array:
        """The i-th input as a constant, refused where it is not one for every size of the image."""
        array = self.constants.fixed(op.inputs[i])
        if array is None:
            measured = op.inputs[i] in self.constants.measured
            raise op.refuse(f"its {what} is computed {'from the size of its input' if measured else 'at run time'}")
        return array

    def depends_on_size(self, array: Array) -> bool:
        """True for a number that was computed from a ``Shape`` and is another one at another size."""
        return array.name in self.constants.measured and self.constants.fixed(array.name) is None


Operand = FeatureMap | Array | None
Moved = Dims | list[Dims | None]
Move = Callable[[Op, list[Operand], Trace], Moved]

MOVES: dict[str, Move] = {}

SHADOWING = frozenset(("MaxPool", "Dropout"))  #: operators whose second output is shaped like the first and no map


def moves(*op_types: str) -> Callable[[Move], Move]:
    """Register how these operators of the backbone move along the axes of their map, by ``Op.kind``."""

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
