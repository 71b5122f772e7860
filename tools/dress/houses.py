"""Buildings with windows, doors, shops and roofs."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Colour
from .colours import WALLS, between, dye, pick, times


def draw_house(canvas: Canvas, rng: np.random.Generator, x: float, ground: float, wide: float, height: float) -> None:
    """One house, from its left edge."""
    wall = pick(rng, WALLS)
    top = ground - height
    canvas.rectangle(x, top, x + wide, ground, wall)
    if rng.random() < 0.5:
        canvas.polygon(
            [(x - 2, top), (x + wide + 2, top), (x + wide * 0.8, top - 16), (x + wide * 0.2, top - 16)],
            pick(rng, [(120, 70, 56), (84, 84, 92), (100, 60, 50)]),
        )
    else:
        canvas.rectangle(x - 1, top - 3, x + wide + 1, top + 3, times(wall, 0.8))
    if rng.random() < 0.3:
        _bricks(canvas, rng, x, top, wide, height, wall)
    shop = 46 if rng.random() < 0.6 else 0
    storey = rng.uniform(34, 46)
    _windows(canvas, rng, (x, top + 8, x + wide, ground - max(shop, 8)), storey, wall)
    if shop:
        _shop(canvas, rng, x, ground, wide)
    else:
        door = x + rng.uniform(0.2, 0.7) * wide
        canvas.rectangle(door, ground - 40, door + 18, ground, times(dye(rng), 0.7))
        canvas.rectangle(door + 3, ground - 36, door + 15, ground - 24, (120, 140, 150))
    canvas.rectangle(x + wide - 1.2, top, x + wide, ground, times(wall, 0.6))


def _bricks(
    canvas: Canvas, rng: np.random.Generator, x: float, top: float, wide: float, height: float, wall: Colour
) -> None:
    for y in np.arange(top + 4, top + height, 5):
        canvas.rectangle(x, y, x + wide, y + 0.7, times(wall, 0.88))


def _windows(
    canvas: Canvas, rng: np.random.Generator, area: tuple[float, float, float, float], storey: float, wall: Colour
) -> None:
    x0, y0, x1, y1 = area
    glass = pick(rng, [(84, 104, 124), (120, 146, 164), (60, 70, 84), (170, 180, 180)])
    frame = pick(rng, [(240, 238, 230), (90, 70, 56), (60, 64, 70)])
    step, w, h = rng.uniform(24, 36), rng.uniform(12, 18), rng.uniform(18, 28)
    count = max(int((x1 - x0 - 6) / step), 1)
    shutters = dye(rng) if rng.random() < 0.3 else None
    for j in range(int((y1 - y0) / storey)):
        for i in range(count):
            x = x0 + (x1 - x0) * (i + 0.5) / count - w / 2
            y = y0 + j * storey
            canvas.rectangle(x - 1.5, y - 1.5, x + w + 1.5, y + h + 1.5, frame)
            canvas.rectangle(x, y, x + w, y + h, between(glass, (250, 230, 170), 0.8 * float(rng.random() < 0.1)))
            canvas.rectangle(x + w / 2 - 0.5, y, x + w / 2 + 0.5, y + h, frame)
            canvas.rectangle(x - 2.5, y + h + 1.5, x + w + 2.5, y + h + 3.5, times(wall, 0.75))
            if shutters is not None:
                canvas.rectangle(x - 6, y, x - 2, y + h, shutters)
                canvas.rectangle(x + w + 2, y, x + w + 6, y + h, shutters)


def _shop(canvas: Canvas, rng: np.random.Generator, x: float, ground: float, wide: float) -> None:
    """A shop front with a striped awning and a sign."""
    base, glass = times(dye(rng), 0.6), (72, 86, 96)
    canvas.rectangle(x, ground - 46, x + wide, ground, base)
    canvas.rectangle(x + 5, ground - 32, x + wide * 0.62, ground - 7, glass)
    canvas.rectangle(x + wide * 0.7, ground - 34, x + wide * 0.88, ground, times(base, 0.7))
    canvas.rectangle(x + wide * 0.73, ground - 31, x + wide * 0.85, ground - 12, glass)
    canvas.polygon(
        [(x + 7, ground - 9), (x + 17, ground - 30), (x + 22, ground - 30), (x + 12, ground - 9)], (96, 110, 120)
    )
    canvas.rectangle(x + 4, ground - 45, x + wide - 4, ground - 39, dye(rng))
    if rng.random() < 0.6:
        colour, stripes = dye(rng), max(int(wide / 8), 2)
        for i in range(stripes):
            a, b = x + 3 + (wide - 6) * i / stripes, x + 3 + (wide - 6) * (i + 1) / stripes
            shade = colour if i % 2 else (240, 236, 228)
            canvas.polygon([(a, ground - 38), (b, ground - 38), (b + 1, ground - 28), (a + 1, ground - 28)], shade)
