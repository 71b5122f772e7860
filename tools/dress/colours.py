"""Colours: those that things have, and what light makes of them."""

from __future__ import annotations

import colorsys

import numpy as np

from .canvas import Colour

SKINS = [(255, 224, 196), (240, 200, 168), (224, 178, 140), (192, 138, 100), (150, 100, 70), (104, 68, 48)]
HAIRS = [(40, 28, 22), (70, 44, 28), (110, 70, 38), (160, 110, 60), (220, 190, 120), (30, 30, 34), (150, 60, 36)]
FOLIAGE = [(64, 110, 48), (84, 130, 56), (52, 92, 52), (110, 140, 60), (140, 130, 50), (170, 110, 50)]
BARK = [(92, 70, 52), (74, 58, 46), (110, 92, 76)]
WALLS = [
    (196, 176, 150),
    (180, 120, 96),
    (150, 92, 76),
    (210, 200, 184),
    (168, 168, 172),
    (220, 200, 150),
    (140, 150, 160),
]
ASPHALT = [(92, 92, 96), (108, 106, 104), (80, 82, 88)]
PAVING = [(176, 170, 160), (160, 156, 150), (188, 178, 164), (150, 146, 146)]
CARS = [(180, 30, 34), (36, 66, 140), (230, 230, 232), (40, 42, 46), (130, 134, 140), (30, 100, 80), (220, 180, 60)]


def pick(rng: np.random.Generator, colours: list[Colour], spread: int = 12) -> Colour:
    """One of the colours, a little off."""
    base = colours[int(rng.integers(len(colours)))]
    return bounded(*(c + int(rng.integers(-spread, spread + 1)) for c in base))


def bounded(*channels: float) -> Colour:
    """The nearest colour that there is."""
    r, g, b = (int(min(max(round(c), 0), 255)) for c in channels)
    return r, g, b


def times(colour: Colour, factor: float) -> Colour:
    """Lighter (above 1) or darker."""
    return bounded(*(c * factor for c in colour))


def between(a: Colour, b: Colour, share: float) -> Colour:
    """A mixture with this share of the second."""
    return bounded(*(p + (q - p) * share for p, q in zip(a, b, strict=True)))


def dye(rng: np.random.Generator) -> Colour:
    """What clothes are dyed in: any hue, from white to black."""
    kind = rng.random()
    if kind < 0.12:
        return pick(rng, [(245, 243, 238), (250, 250, 250), (235, 225, 210)])
    if kind < 0.22:
        return pick(rng, [(26, 26, 30), (40, 36, 44), (20, 24, 40)])
    hue, saturation, value = rng.random(), rng.uniform(0.35, 1.0), rng.uniform(0.4, 1.0)
    return bounded(*(255 * c for c in colorsys.hsv_to_rgb(hue, saturation, value)))


def contrast(rng: np.random.Generator, colour: Colour) -> Colour:
    """A second colour that is seen beside the first."""
    for _ in range(8):
        other = dye(rng)
        if sum(abs(a - b) for a, b in zip(colour, other, strict=True)) > 160:
            return other
    return (250, 250, 245) if sum(colour) < 380 else (30, 30, 40)
