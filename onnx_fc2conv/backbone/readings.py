"""Numbers that can be read in more than one way, and which reading the rest of the model leaves.

A shape in a file says 28 and not why. Where it may be a size that follows the image's or a number that does not, one
reading is tried after the other, on the whole model. A reading is proven if the model contradicts every other: its
nodes could not run, or its weights would not fit. If more than one is left nothing is guessed: the node is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ..errors import Contradiction, Fc2ConvError, Unliftable
from ..ops import Op

Key = tuple[str, int]  #: a node, by its first output, and a place in its operand
Found = TypeVar("Found")

MAX_TRIES = 256  #: readings of a whole model; past that its numbers are too many to be told apart


@dataclass(frozen=True)
class Reading:
    """One number that can be read in several ways.

    Attributes:
        node: the node that carries it.
        options: how many ways.
        reason: what it may be, in words.
    """

    node: str
    options: int
    reason: str


@dataclass
class Readings:
    """How each number is read.

    Attributes:
        chosen: the option taken, 0 where nothing is said.
        fixed: those of them that are not to be changed.
        met: the numbers that were met, in order.
    """

    chosen: dict[Key, int] = field(default_factory=dict)
    fixed: frozenset[Key] = frozenset()
    met: dict[Key, Reading] = field(default_factory=dict)

    def choose(self, op: Op, place: int, options: int, reason: str) -> int:
        """Which of its options a number is read as."""
        key = (next(name for name in op.outputs if name), place)
        self.met.setdefault(key, Reading(str(op), options, reason))
        return self.chosen.get(key, 0)

    def next(self) -> Readings | None:
        """The readings to try after these were contradicted; ``None`` if there are none left."""
        keys = [key for key in self.met if key not in self.fixed]
        settled = {key: self.chosen[key] for key in self.fixed}
        while keys:
            key = keys.pop()
            option = self.chosen.get(key, 0) + 1
            if option < self.met[key].options:
                return Readings(settled | {k: self.chosen.get(k, 0) for k in keys} | {key: option}, self.fixed)
        return None


def resolved(attempt: Callable[[Readings], Found]) -> Found:
    """What an attempt finds under the only readings that the model does not contradict.

    Args:
        attempt: works on the model with these readings; raises ``Contradiction`` where they cannot be meant.

    Raises:
        Unliftable: a number has two readings, or none.
        Fc2ConvError: whatever the attempt raises.
    """
    try:
        found, readings = _searched(attempt, Readings())
    except Contradiction as e:
        raise Unliftable(e.reason, e.node) from e
    taken = {key: readings.chosen.get(key, 0) for key in readings.met}
    for key, reading in readings.met.items():
        for option in range(reading.options):
            if option != taken[key] and not _contradicted(attempt, taken | {key: option}):
                raise Unliftable(reading.reason, reading.node)
    return found


def _searched(attempt: Callable[[Readings], Found], readings: Readings) -> tuple[Found, Readings]:
    """The first readings that are not contradicted, and what the attempt finds under them.

    Raises:
        Contradiction: there are none; it is the first one that was met.
        Unliftable: too many are contradicted to try the rest.
    """
    first: Contradiction | None = None
    following: Readings | None = readings
    for _ in range(MAX_TRIES):
        assert following is not None
        readings = following
        try:
            return attempt(readings), readings
        except Contradiction as e:
            first, following = first or e, readings.next()
            if following is None:
                raise first
    assert first is not None
    raise Unliftable(f"{first.reason}; its shapes can be read in more than {MAX_TRIES} ways", first.node)


def _contradicted(attempt: Callable[[Readings], Found], chosen: dict[Key, int]) -> bool:
    """True if the model contradicts these readings, however the numbers are read that are met only under them."""
    try:
        _searched(attempt, Readings(chosen, frozenset(chosen)))
    except Contradiction:
        return True
    except Fc2ConvError:
        return False  # refused for another reason: it might be meant
    return False
