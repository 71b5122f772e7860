"""How much faster one pass is than its answers one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class SpeedRow:
    """How many times as long as one pass the answers of a grid take one by one, as measured by the checks.

    ``windows``: the original's head on each window of the feature map, once that is there; ``crops``: the original on
    each image crop. ``timed`` of the ``answers`` were run. The sessions of the checks do without graph optimisation.
    """

    size: list[int]
    answers: int
    timed: int
    windows: float
    crops: float


def words(rows: Sequence[SpeedRow]) -> str:
    """One sentence, on the largest grid; empty if nothing was timed."""
    if not rows:
        return ""
    row = max(rows, key=lambda s: s.answers)
    timed = "" if row.timed == row.answers else f" ({row.timed} of them timed)"
    return (
        f"Measured in the checks, without graph optimisation: the {row.answers} answers at "
        f"{'x'.join(map(str, row.size))}{timed} one by one take {row.crops:.3g} times as long as this one pass from "
        f"image crops, and {row.windows:.3g} times from windows of the feature map."
    )
