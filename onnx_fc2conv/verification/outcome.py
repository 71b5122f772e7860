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


@dataclass
class Deviation:
    """How far answers are from the original on image crops, for a model that is not exact."""

    error: float
    agreement: float | None
    cells: int


@dataclass
class Outcome:
    """All checks, and the measured deviation where there is one; ``runtime`` is what ran them, with its version."""

    runtime: str
    checks: list[Check] = field(default_factory=list)
    deviation: dict[str, Deviation] = field(default_factory=dict)
