"""The registry of how each operator of the backbone moves along the axes of its map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..constants import Constants
from ..ops import Array, Op
from ..plan import Cause, Dims, FeatureMap, Kind
from ..shapes import Shapes
from .readings import Readings
from .ties import Ties
from .unbaked import Replacement


@dataclass
class Trace:
    """What a move may look at, and where it notes causes.

    Attributes:
        constants, shapes: of the original.
        ties: which image inputs must have one size.
        maps: the feature maps that are known so far, by name.
        readings: how numbers are read that may follow the image's size or not.
        causes: nodes because of which the maps are not those of image crops.
        shadows: values shaped like a map that are none, such as MaxPool's indices.
        unbaked: what takes the place of nodes that carry the trained size, by position in the file; not done yet.
        keep_pools: whether a pool over the whole map stays one at every size.
        gates: nodes, by position in the file, that look like the start of a head and are none.
        stops: nodes whose result has one size at every size of the image, each with the reason.
        names: all names that are taken.
        made: those of them that were given here, in order.
    """

    constants: Constants
    shapes: Shapes
    ties: Ties
    maps: dict[str, FeatureMap]
    readings: Readings
    causes: dict[Cause, None] = field(default_factory=dict)
    shadows: dict[str, Dims] = field(default_factory=dict)
    unbaked: dict[int, Replacement] = field(default_factory=dict)
    keep_pools: bool = False
    gates: set[int] = field(default_factory=set)
    stops: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    made: list[str] = field(default_factory=list)

    def copy(self) -> Trace:
        """What was noted up to now; later notes go into one of the two only, but for ``names``."""
        return replace(
            self,
            ties=self.ties.copy(),
            maps=dict(self.maps),
            causes=dict(self.causes),
            shadows=dict(self.shadows),
            unbaked=dict(self.unbaked),
            gates=set(self.gates),
            stops=dict(self.stops),
            made=list(self.made),
        )

    def fresh(self, wish: str) -> str:
        """A name that nothing has."""
        name, n = wish, 1
        while name in self.names:
            n += 1
            name = f"{wish}_{n}"
        self.names.add(name)
        self.made.append(name)
        return name

    def blame(self, op: Op, kind: Kind, detail: str) -> None:
        """Note a cause."""
        self.causes[Cause(str(op), kind, detail)] = None

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
MERGED: set[str] = set()  #: kinds of operators that take values of which an axis is several dims in one

SHADOWING = frozenset(("MaxPool", "Dropout"))  #: operators whose second output is shaped like the first and no map


def moves(*op_types: str, merged: bool = False) -> Callable[[Move], Move]:
    """Register how these operators of the backbone move along the axes of their map, by ``Op.kind``.

    Args:
        op_types: the operators.
        merged: they take values of which an axis is several dims in one.
    """

    def register(move: Move) -> Move:
        for op_type in op_types:
            MOVES[op_type] = move
        MERGED.update(op_types if merged else ())
        return move

    return register


def only_map(op: Op, operands: list[Operand]) -> FeatureMap:
    """The node's first input, which must be the map."""
    if not isinstance(operands[0], FeatureMap):
        raise op.refuse("reads the feature map as something other than its data input")
    return operands[0]
