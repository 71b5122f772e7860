"""What comes back: a model with its fully connected nodes, and what is known of how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx import ModelProto

from ..errors import Unliftable
from .bits import BLOCK, SAMPLES

RECORDED = "recorded"
FOUND = "found in the graph"
IDENTICAL = "bit-identical"  #: how a weight came back of which every bit is the original's
#: the same of a large one, of which some values were compared with what was recorded; the others are what they are now
SAMPLED = f"bit-identical, if none but the {SAMPLES * BLOCK} values that were compared has changed"


class Edited(Unliftable):
    """The model was edited after its conversion, so what it says of its original does not hold any more."""


@dataclass(frozen=True)
class Row:
    """One FC that came back.

    Attributes:
        node: its title, such as ``Gemm 'fc1'``.
        replaced: the titles of the nodes of the converted model that stood for it; none where it was not recorded.
        weight: name of the value that it multiplies with; empty if that is no constant of the model.
        dims: its dims.
        how: ``IDENTICAL``, ``SAMPLED``, or in words where its bits come from.
    """

    node: str
    replaced: tuple[str, ...]
    weight: str
    dims: tuple[int, ...]
    how: str


@dataclass(frozen=True)
class Restored:
    """A model that came back.

    At the trained size every output of the converted model has the values of this one's, in the same order: it only has
    so many axes of size 1 more at its end, one for each axis of its grid.

    Attributes:
        proto: the model; external data stays where the converted model's is.
        source: ``RECORDED``, or ``FOUND`` where the converted model says nothing of its original.
        trained: dims of every input at the trained size; ``None`` where they are free, such as a symbolic batch.
        rows: one for every FC that came back.
        notes: sentences on what could not come back exactly as it was, or is not known.
        grids: for every output the number of grid axes that the converted model's has at its end.
    """

    proto: ModelProto
    source: str
    trained: dict[str, tuple[int | None, ...]]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    grids: dict[str, int] = field(default_factory=dict)

    @property
    def identical(self) -> bool:
        """Whether every FC has its original's weights bit for bit, as far as that is known."""
        return all(row.how in (IDENTICAL, SAMPLED) for row in self.rows)
