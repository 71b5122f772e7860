"""A street with houses, trees, cars and people, some of them in dresses; and where the dresses are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .canvas import Canvas
from .cars import HEIGHT, LENGTH, draw_bin, draw_car, draw_lamp
from .colours import ASPHALT, PAVING, pick, times
from .houses import draw_house
from .light import lit
from .nature import draw_bush, draw_hills, draw_sky, draw_tree
from .people import FEET, SIZE, draw_man, draw_woman, place

Box = tuple[float, float, float, float]  #: y0, x0, y1, x1 in pixels

PAVEMENT, ROAD, KERB = 0.53, 0.655, 0.925  #: where these begin, as a share of the height
CROWDED = 0.12  #: the share of a dress's window that something in front of it may hide


@dataclass(frozen=True)
class Scene:
    """A street scene.

    Attributes:
        picture: RGB.
        dresses: the window of each dress: 64 x 128 units around the whole figure.
        others: the same of the people who wear none.
    """

    picture: Image.Image
    dresses: tuple[Box, ...]
    others: tuple[Box, ...]


@dataclass(frozen=True)
class Thing:
    """Something that stands in the street: its feet, what it covers, and how to draw it."""

    ground: float
    box: Box
    draw: Callable[[Canvas], None]
    dress: bool = False


def street(
    seed: int,
    size: tuple[int, int] = (1024, 512),
    dresses: int = 5,
    units: tuple[float, float] = (0.9, 1.1),
    crowd: float = 1.0,
) -> Scene:
    """A street scene.

    Args:
        seed: everything follows from it.
        size: width and height in pixels.
        dresses: how many, where there is room.
        units: pixels per unit of a figure, of the farthest and of the nearest; at 1 its window is 64 x 128.
        crowd: how much else there is.
    """
    rng = np.random.default_rng(seed)
    canvas = Canvas(size, (128, 128, 128))
    _background(canvas, rng)
    people = _figures(rng, size, dresses, units, crowd)
    things = people + _traffic(rng, size, [t for t in people if t.dress], crowd)
    for thing in sorted(things, key=lambda t: t.ground):
        thing.draw(canvas)
    worn, others = (tuple(sorted((t.box for t in people if t.dress == d), key=lambda b: b[1])) for d in (True, False))
    return Scene(lit(rng, canvas.finished()), worn, others)


def _background(canvas: Canvas, rng: np.random.Generator) -> None:
    width, height = canvas.size
    pavement, road, kerb = (share * height for share in (PAVEMENT, ROAD, KERB))
    draw_sky(canvas, rng, pavement)
    draw_hills(canvas, rng, pavement)
    x = rng.uniform(-60, 0)
    while x < width:
        wide = rng.uniform(80, 190)
        if rng.random() < 0.8:
            draw_house(canvas, rng, x, pavement + 6, wide, rng.uniform(0.24, 0.5) * height)
        else:
            for _ in range(int(rng.integers(2, 5))):
                draw_tree(canvas, rng, x + rng.uniform(0, wide), pavement + 4, rng.uniform(0.2, 0.42) * height)
        x += wide + rng.choice([0, 0, 0, 24])
    stone, tar = pick(rng, PAVING), pick(rng, ASPHALT)
    canvas.rectangle(0, pavement + 4, width, road, stone)
    for y in np.linspace(pavement + 4, road, 5)[1:-1]:
        canvas.rectangle(0, y, width, y + 0.8, times(stone, 0.88))
    for x in np.arange(rng.uniform(0, 30), width, 34):
        canvas.limb([(x, pavement + 4), (x - 14, road)], [0.8, 0.8], times(stone, 0.9))
    canvas.rectangle(0, road, width, road + 4, times(stone, 1.12))
    canvas.rectangle(0, road + 4, width, road + 6.5, times(stone, 0.6))
    canvas.rectangle(0, road + 6.5, width, kerb, tar)
    middle = (road + kerb) / 2
    for x in np.arange(rng.uniform(-40, 0), width, 76):
        canvas.polygon([(x, middle), (x + 40, middle), (x + 38, middle + 4), (x - 2, middle + 4)], (226, 224, 214))
    if rng.random() < 0.7:
        start = rng.uniform(0.1, 0.8) * width
        for i in range(7):
            a = start + i * 17
            canvas.polygon([(a, road + 10), (a + 9, road + 10), (a + 5, kerb - 4), (a - 5, kerb - 4)], (226, 224, 214))
    canvas.rectangle(0, kerb, width, kerb + 4, times(stone, 1.1))
    canvas.rectangle(0, kerb + 4, width, height, stone)


def _figures(
    rng: np.random.Generator, size: tuple[int, int], dresses: int, units: tuple[float, float], crowd: float
) -> list[Thing]:
    """People at free places: the dresses first, then everybody else."""
    others = int(rng.integers(2, 5) * crowd * size[0] / 1024 + 0.5)
    found: list[Thing] = []
    for i in range(dresses + others):
        for _ in range(60):
            thing = _figure(rng, size, units, i < dresses)
            if all(_shared(thing.box, t.box) < (0.04 if thing.dress or t.dress else 0.3) for t in found):
                found.append(thing)
                break
    return found


def _figure(rng: np.random.Generator, size: tuple[int, int], units: tuple[float, float], dress: bool) -> Thing:
    first, last = PAVEMENT * size[1] + 26, size[1] - 8
    share = rng.random()
    ground, unit = first + share * (last - first), units[0] + share * (units[1] - units[0])
    x = rng.uniform(2, size[0] - SIZE[0] * unit - 2)
    at = place(rng, x, ground - FEET * unit, unit)
    seed = int(rng.integers(2**31))
    paint = draw_woman if dress else draw_man
    return Thing(ground, at.box, lambda canvas: paint(canvas, np.random.default_rng(seed), at), dress)


def _traffic(rng: np.random.Generator, size: tuple[int, int], dresses: list[Thing], crowd: float) -> list[Thing]:
    """Cars, trees, lamps and small things, none of which hides much of a dress."""
    width, height = size
    found: list[Thing] = []

    def add(thing: Thing) -> None:
        hidden = any(t.ground < thing.ground and _hides(thing.box, t.box) > CROWDED for t in dresses)
        if not hidden and all(_shared(thing.box, t.box) < 0.25 for t in found):
            found.append(thing)

    for _ in range(int(14 * crowd * width / 1024 + 0.5)):
        seed, x, kind = int(rng.integers(2**31)), rng.uniform(-40, width - 20), rng.random()
        if kind < 0.45:
            lane = float(rng.choice([0.74, 0.87]))
            unit, ground = 0.55 + lane * 0.7, lane * height
            box = (ground - HEIGHT * unit, x, ground, x + LENGTH * unit)
            add(Thing(ground, box, lambda c, s=seed, a=x, g=ground, u=unit: draw_car(c, _own(s), a, g, u)))  # type: ignore[misc]
        elif kind < 0.6:
            ground, tall = PAVEMENT * height + 22, rng.uniform(110, 180)
            box = (ground - tall, x - tall * 0.25, ground, x + tall * 0.25)
            add(Thing(ground, box, lambda c, s=seed, a=x, g=ground, t=tall: draw_tree(c, _own(s), a, g, t)))  # type: ignore[misc]
        elif kind < 0.75:
            ground, tall = (PAVEMENT * height + 24 if rng.random() < 0.6 else height - 12), rng.uniform(120, 170)
            box = (ground - tall, x - 4, ground, x + 24)
            add(Thing(ground, box, lambda c, s=seed, a=x, g=ground, t=tall: draw_lamp(c, _own(s), a, g, t)))  # type: ignore[misc]
        elif kind < 0.9:
            ground = float(rng.choice([ROAD * height - 4, height - 6]))
            unit = 0.6 + ground / height * 0.5
            box = (ground - 30 * unit, x - 10 * unit, ground, x + 10 * unit)
            add(Thing(ground, box, lambda c, s=seed, a=x, g=ground, u=unit: draw_bin(c, _own(s), a, g, u)))  # type: ignore[misc]
        else:
            ground, wide = float(rng.choice([PAVEMENT * height + 14, height + 4])), rng.uniform(22, 44)
            box = (ground - wide, x - wide, ground, x + wide)
            add(Thing(ground, box, lambda c, s=seed, a=x, g=ground, w=wide: draw_bush(c, _own(s), a, g, w)))  # type: ignore[misc]
    return found


def _own(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _overlap(a: Box, b: Box) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def _area(a: Box) -> float:
    return (a[2] - a[0]) * (a[3] - a[1])


def _hides(front: Box, back: Box) -> float:
    return _overlap(front, back) / _area(back)


def _shared(a: Box, b: Box) -> float:
    return _overlap(a, b) / min(_area(a), _area(b))
