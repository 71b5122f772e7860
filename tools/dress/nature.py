"""Sky, clouds, hills, trees, bushes, grass."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Colour, blob
from .colours import BARK, FOLIAGE, between, bounded, pick, times

SKIES: list[tuple[Colour, Colour]] = [
    ((96, 154, 220), (206, 226, 240)),
    ((120, 140, 170), (206, 206, 206)),
    ((70, 120, 200), (250, 214, 170)),
    ((150, 160, 176), (220, 220, 224)),
    ((60, 70, 120), (240, 160, 110)),
]


def draw_sky(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """A sky down to the horizon, with clouds."""
    top, low = SKIES[int(rng.integers(len(SKIES)))]
    bands = 48
    for i in range(bands):
        canvas.rectangle(
            0, horizon * i / bands, canvas.size[0], horizon * (i + 1) / bands + 1, between(top, low, i / (bands - 1))
        )
    for _ in range(int(rng.integers(0, 6))):
        x, y = rng.uniform(0, canvas.size[0]), rng.uniform(0, horizon * 0.6)
        size = rng.uniform(14, 40)
        for _ in range(5):
            puff = blob(
                rng, x + size * rng.uniform(-1.3, 1.3), y + size * rng.uniform(-0.2, 0.2), size, size * 0.35, 0.1
            )
            canvas.veil(puff, (250, 250, 252), 0.5, 4)


def draw_hills(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """What stands behind everything."""
    colour = between(pick(rng, FOLIAGE), (170, 190, 210), 0.5)
    width = canvas.size[0]
    for _ in range(int(rng.integers(2, 6))):
        x, rx, ry = rng.uniform(0, width), rng.uniform(80, 260), rng.uniform(15, 60)
        canvas.polygon(blob(rng, x, horizon, rx, ry, 0.08), colour)


def draw_tree(canvas: Canvas, rng: np.random.Generator, x: float, ground: float, height: float) -> None:
    """A tree with a round, a tall or a conical crown."""
    bark, leaf = pick(rng, BARK), pick(rng, FOLIAGE)
    trunk = height * rng.uniform(0.035, 0.06)
    kind = rng.random()
    canvas.veil(blob(rng, x + height * 0.05, ground, height * 0.2, height * 0.025, 0.1), (20, 24, 20), 0.4, 1)
    canvas.polygon(
        [
            (x - trunk, ground),
            (x + trunk, ground),
            (x + trunk * 0.6, ground - height * 0.6),
            (x - trunk * 0.6, ground - height * 0.6),
        ],
        bark,
    )
    if kind < 0.25:  # a conifer: its tiers are the outline that is nearest to a skirt's
        for k in range(4):
            y0, half = ground - height * (0.12 + 0.2 * k), height * (0.2 - 0.04 * k)
            tier = [(x - half, y0), (x + half, y0), (x, y0 - height * 0.34)]
            canvas.polygon(tier, times(leaf, 0.75 + 0.08 * k))
        return
    wide, tall = (0.3, 0.34) if kind < 0.75 else (0.17, 0.38)
    cx, cy = x, ground - height * (1 - tall)
    canvas.polygon(blob(rng, cx, cy, height * wide, height * tall, 0.12), times(leaf, 0.8))
    for _ in range(16):
        px, py = cx + height * wide * rng.uniform(-0.7, 0.7), cy + height * tall * rng.uniform(-0.7, 0.7)
        size = height * rng.uniform(0.05, 0.11)
        light = times(leaf, 0.75 + 0.45 * min(max((cy - py) / (height * tall) + 0.5, 0), 1))
        canvas.polygon(blob(rng, px, py, size, size * 0.8, 0.25), light)


def draw_bush(canvas: Canvas, rng: np.random.Generator, x: float, ground: float, size: float) -> None:
    """A bush, perhaps with flowers, or one clipped into a cone."""
    leaf = pick(rng, FOLIAGE)
    if rng.random() < 0.3:
        canvas.polygon([(x - size * 0.4, ground), (x + size * 0.4, ground), (x, ground - size * 1.6)], leaf)
        return
    canvas.polygon(blob(rng, x, ground - size * 0.4, size * 0.7, size * 0.5, 0.2), leaf)
    for _ in range(8):
        px, py = x + rng.normal(0, size * 0.3), ground - size * 0.4 + rng.normal(0, size * 0.2)
        canvas.polygon(blob(rng, px, py, size * 0.15, size * 0.12, 0.3), times(leaf, rng.uniform(0.8, 1.25)))
    if rng.random() < 0.4:
        flower = bounded(*rng.uniform(120, 255, 3))
        for _ in range(10):
            px, py = x + rng.normal(0, size * 0.3), ground - size * 0.45 + rng.normal(0, size * 0.2)
            canvas.ellipse(px, py, 1.3, 1.3, flower)
