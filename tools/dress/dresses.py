"""Dresses as outlines: half widths at heights, on a figure of 64 x 128 units (x to the right, y downwards)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Colour
from .fabrics import Weave, fabric

SHOULDER, WAIST, HIP = 29.0, 51.0, 64.0  #: heights


@dataclass(frozen=True)
class Dress:
    """One dress.

    Attributes:
        cut: its name.
        sides: height and half width, from the top to the hem.
        hem: height of the hem; ``round``: how far its middle hangs lower.
        neck: ``round``, ``deep``, ``square`` or ``strapless``; ``sleeve``: how much of the arm it covers, 0 to 1.
        belt: colour of a belt; ``trim``: of the hem; ``None`` without.
        folds: how many folds the skirt has.
    """

    cut: str
    sides: tuple[tuple[float, float], ...]
    hem: float
    round: float
    neck: str
    sleeve: float
    weave: Weave
    colour: Colour
    belt: Colour | None
    trim: Colour | None
    folds: int


#: cut -> hem (lowest, highest), half width at the hem, and half widths between hip and hem as (share of the way, width)
CUTS: dict[str, tuple[tuple[float, float], tuple[float, float], list[tuple[float, float]]]] = {
    "sheath": ((86, 100), (9.0, 11.5), [(0.5, 10.5)]),
    "shift": ((80, 92), (12.0, 15.0), [(0.5, 12.5)]),
    "A-line": ((84, 104), (17.0, 22.0), [(0.5, 14.5)]),
    "skater": ((78, 88), (17.0, 22.0), [(0.4, 14.5)]),
    "ball gown": ((114, 121), (24.0, 28.0), [(0.2, 16.0), (0.6, 23.0)]),
    "maxi": ((112, 120), (14.0, 21.0), [(0.5, 13.0)]),
    "mermaid": ((112, 120), (14.0, 19.0), [(0.3, 10.0), (0.6, 8.5)]),
    "empire": ((100, 118), (15.0, 20.0), [(0.5, 15.0)]),
}


def dress(rng: np.random.Generator, unit: float) -> Dress:
    """Any dress; ``unit`` is how many pixels one unit of the figure has."""
    cut = list(CUTS)[int(rng.integers(len(CUTS)))]
    (highest, lowest), widths, between = CUTS[cut]
    hem, at_hem = rng.uniform(highest, lowest), rng.uniform(*widths)
    waist = 11.0 if cut == "shift" else rng.uniform(6.2, 8.0)
    high_waist = cut == "empire"
    neck = ["round", "deep", "square", "strapless"][int(rng.choice(4, p=[0.4, 0.25, 0.15, 0.2]))]
    top = 34.0 if neck == "strapless" else SHOULDER - 1.5
    sides = [(top, rng.uniform(8.0, 9.5)), (38.0, rng.uniform(8.4, 9.8)), (45.0 if high_waist else WAIST, waist)]
    sides.append((HIP, max(rng.uniform(9.5, 11.0), 12.5 if cut in ("ball gown", "skater", "empire") else 0.0)))
    sides += [(HIP + share * (hem - HIP), width * rng.uniform(0.95, 1.08)) for share, width in between]
    sides.append((hem, at_hem))
    sleeve = 0.0 if neck == "strapless" else float(rng.choice([0.0, 0.3, 0.55, 1.0], p=[0.4, 0.3, 0.15, 0.15]))
    weave, colour, other = fabric(rng, unit)
    return Dress(
        cut,
        tuple(sides),
        hem,
        rng.uniform(1.0, 3.0),
        neck,
        sleeve,
        weave,
        colour,
        other if rng.random() < 0.4 and cut != "shift" else None,
        other if rng.random() < 0.3 else None,
        int(rng.integers(2, 7)) if at_hem > 12 else 0,
    )
