"""What the checks found: data only."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..settings import Size


@dataclass
class Check:
    """The outcome of one check at one size.

    Attributes:
        name: which check.
        size: input size in pixels, or ``None`` where it has none.
        passed: the verdict; ``None`` for a measurement that asserts nothing.
        cells: grid cells compared, and how many there are.
        error: largest error relative to the reference's scale, with the tolerance that it was held to.
        note: what else is worth saying.
    """

    name: str
    size: Size | None
    passed: bool | None
    cells: tuple[int, int] | None = None
    error: float | None = None
    tolerance: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Measured:
    """How far some answers are from the original's on image crops.

    Attributes:
        error: largest difference, relative to the largest of the original's answers at that size.
        agreement: share of the cells whose highest class is the same; ``None`` where an output has no class scores.
        cells: how many were compared.
    """

    error: float
    agreement: float | None
    cells: int

    def and_(self, other: Measured | None) -> Measured:
        """Both together."""
        if other is None:
            return self
        cells = self.cells + other.cells
        agreement = None
        if self.agreement is not None and other.agreement is not None:
            agreement = (self.agreement * self.cells + other.agreement * other.cells) / cells
        return Measured(max(self.error, other.error), agreement, cells)


@dataclass(frozen=True)
class Deviation:
    """The same of one output, over all sizes.

    Attributes:
        overall: all cells.
        interior: those whose box touches no border of the enlarged image; ``None`` if there are none.
        border: all others.
    """

    overall: Measured
    interior: Measured | None
    border: Measured | None

    def and_(self, other: Deviation | None) -> Deviation:
        """Both together."""
        if other is None:
            return self
        interior = self.interior.and_(other.interior) if self.interior else other.interior
        border = self.border.and_(other.border) if self.border else other.border
        return Deviation(self.overall.and_(other.overall), interior, border)


@dataclass(frozen=True)
class Speed:
    """What the answers of one grid cost in the checks, whose sessions do without graph optimisation.

    Attributes:
        size: of the image.
        answers: of the grid, and how many of them were timed.
        one_pass: seconds that the converted model takes for all of them.
        windows: seconds for one answer of the original's head, on its window of the feature map, which is there.
        crops: seconds for one answer of the original on its image crop.
    """

    size: Size
    answers: tuple[int, int]
    one_pass: float
    windows: float
    crops: float


@dataclass
class Outcome:
    """All checks, and what was measured; ``runtime`` is what ran them, with its version.

    Attributes:
        deviation: from image crops by output, for models that are not exact.
        speed: of one pass against the answers one by one, for each grid.
    """

    runtime: str
    checks: list[Check] = field(default_factory=list)
    deviation: dict[str, Deviation] = field(default_factory=dict)
    speed: list[Speed] = field(default_factory=list)
