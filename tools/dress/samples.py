"""Windows of 64 x 128 pixels with the answer that the detector should give for each.

A window that a dress fills is a dress: within 16 pixels of its middle and about its size. From there on the answer
falls to 0 at 34 pixels, where the next window is nearer, so that what slides over a picture has its maximum at the
dress. Trees, houses, cars, people in trousers and dresses that are cut are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .canvas import Canvas, blob
from .cars import draw_bin, draw_car
from .colours import FOLIAGE, bounded, dye, pick
from .houses import draw_house
from .light import lit
from .nature import draw_bush, draw_sky, draw_tree
from .people import SIZE, draw_man, draw_woman, place
from .street import Box, Scene, street

WIDTH, HEIGHT = SIZE
CROPS = 140  #: windows of one street
SURE = 0.79  #: an answer from which on a window is a dress; those of 0 are none, and those between are neither
OFF = ((0.0, 16.0, 34.0), (1.0, 0.8, 0.0))  #: pixels from the middle -> answer
WRONG_SIZE = ((0.0, 0.28, 0.7), (1.0, 1.0, 0.0))  #: of the base 2 logarithm of the size -> answer


@dataclass(frozen=True)
class Windows:
    """A set of windows.

    Attributes:
        pictures: uint8, [count, 128, 64, 3].
        answers: float32, [count], from 0 to 1.
    """

    pictures: np.ndarray
    answers: np.ndarray

    @property
    def sure(self) -> np.ndarray:
        """Which of them are clearly a dress, or clearly none."""
        found: np.ndarray = (self.answers >= SURE) | (self.answers == 0)
        return found


def answer(window: tuple[float, float], dresses: tuple[Box, ...]) -> float:
    """What the detector should say of the window with this upper left corner (y, x)."""
    best = 0.0
    for y0, x0, y1, x1 in dresses:
        off = max(abs((y0 + y1 - HEIGHT) / 2 - window[0]), abs((x0 + x1 - WIDTH) / 2 - window[1]))
        wrong = abs(np.log2((y1 - y0) / HEIGHT))
        best = max(best, min(float(np.interp(off, *OFF)), float(np.interp(wrong, *WRONG_SIZE))))
    return best


def windows(seed: int, scenes: int, studio: int) -> Windows:
    """Windows of so many street scenes, and so many that were drawn one by one.

    Args:
        seed: everything follows from it.
        scenes: how many streets; ``CROPS`` windows of each.
        studio: how many others.
    """
    found: list[tuple[np.ndarray, float]] = []
    for i in range(scenes):
        found += _of_street(np.random.default_rng([seed, 0, i]))
    for i in range(studio):
        found.append(_drawn(np.random.default_rng([seed, 1, i])))
    pictures, answers = zip(*found, strict=True)
    return Windows(np.stack(pictures), np.array(answers, np.float32))


def mistakable(seed: int, scenes: int) -> Windows:
    """Windows of crowded streets, at people who wear dresses and at those who do not: ``CROPS`` of each street."""
    found: list[tuple[np.ndarray, float]] = []
    for i in range(scenes):
        rng = np.random.default_rng([seed, 2, i])
        small = rng.uniform(0.82, 1.0)
        units = (small, small * rng.uniform(1.0, 1.3))
        scene = street(int(rng.integers(2**31)), (1024, 512), int(rng.integers(4, 9)), units, rng.uniform(2.5, 4.5))
        found += _cut(scene, (_corner(rng, (*scene.dresses, *scene.others)) for _ in range(CROPS)))
    pictures, answers = zip(*found, strict=True)
    return Windows(np.stack(pictures), np.array(answers, np.float32))


def _corner(rng: np.random.Generator, people: tuple[Box, ...]) -> tuple[int, int]:
    """An upper left corner (y, x) about at somebody."""
    y0, x0, y1, x1 = people[int(rng.integers(len(people)))]
    y, x = (y0 + y1 - HEIGHT) / 2 + rng.uniform(-24, 24), (x0 + x1 - WIDTH) / 2 + rng.uniform(-24, 24)
    return int(y), int(x)


def _of_street(rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    small = rng.uniform(0.8, 1.0)
    units = (small, small * rng.uniform(1.0, 1.3)) if rng.random() < 0.9 else (0.55, 1.8)
    dresses, crowd = int(rng.integers(4, 15)), rng.uniform(0.6, 2.2)
    scene = street(int(rng.integers(2**31)), (1024, 512), dresses, units, crowd)
    return _cut(scene, _corners(rng, scene.dresses))


def _cut(scene: Scene, corners: Iterable[tuple[int, int]]) -> list[tuple[np.ndarray, float]]:
    """Windows of a street with their answers."""
    pixels = np.asarray(scene.picture)
    found = []
    for y, x in corners:
        y, x = min(max(y, 0), 512 - HEIGHT), min(max(x, 0), 1024 - WIDTH)
        found.append((pixels[y : y + HEIGHT, x : x + WIDTH].copy(), answer((y, x), scene.dresses)))
    return found


def _corners(rng: np.random.Generator, dresses: tuple[Box, ...]) -> Iterator[tuple[int, int]]:
    """Upper left corners (y, x): most of them at dresses or beside them."""
    for _ in range(CROPS):
        if dresses:
            y0, x0, y1, x1 = dresses[int(rng.integers(len(dresses)))]
            y, x = (y0 + y1 - HEIGHT) / 2, (x0 + x1 - WIDTH) / 2
        else:
            y, x = rng.uniform(0, 384), rng.uniform(0, 960)
        kind = rng.random()
        if kind < 0.43:
            y, x = y + rng.uniform(-18, 18), x + rng.uniform(-18, 18)
        elif kind < 0.72:
            y, x = y + rng.uniform(-100, 100), x + rng.uniform(-60, 60)
        else:
            y, x = rng.uniform(0, 384), rng.uniform(0, 960)
        yield int(y), int(x)


def _drawn(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """One window that is drawn by itself, on any ground, with anything in front."""
    canvas = Canvas(SIZE, dye(rng))
    _ground(canvas, rng)
    unit, right = rng.uniform(0.84, 1.18), 0.0
    kind = rng.random()
    if kind < 0.62:
        spread = 16 if kind < 0.4 else 64
        y, x = rng.uniform(-spread, spread), rng.uniform(-spread, spread)
        at = place(rng, x + WIDTH * (1 - unit) / 2, y + HEIGHT * (1 - unit) / 2, unit)
        draw_woman(canvas, rng, at)
        right = answer((0, 0), (at.box,))
    elif kind < 0.8:
        y, x = rng.uniform(-20, 20), rng.uniform(-20, 20)
        draw_man(canvas, rng, place(rng, x + WIDTH * (1 - unit) / 2, y + HEIGHT * (1 - unit) / 2, unit))
    elif kind < 0.9:
        _thing(canvas, rng)
    if rng.random() < 0.2:
        _occluder(canvas, rng)
    return np.asarray(lit(rng, canvas.finished(), rng.uniform(0.6, 1.5))), right


def _ground(canvas: Canvas, rng: np.random.Generator) -> None:
    """Sky, walls, leaves, grass or stripes behind whatever comes."""
    kind = int(rng.integers(6))
    horizon = rng.uniform(20, 128)
    if kind in (0, 1):
        draw_sky(canvas, rng, horizon)
    if kind == 1:
        draw_house(canvas, rng, rng.uniform(-80, 10), horizon + 4, rng.uniform(60, 150), rng.uniform(60, 150))
    if kind == 2:
        draw_house(canvas, rng, rng.uniform(-80, -10), rng.uniform(90, 200), 190, rng.uniform(130, 230))
    if kind == 3:
        for _ in range(24):
            x, y, r = rng.uniform(0, 64), rng.uniform(0, 128), rng.uniform(6, 24)
            canvas.polygon(blob(rng, x, y, r, r, 0.3), pick(rng, FOLIAGE, 30))
    if kind == 4:
        colour = dye(rng)
        for x in np.arange(0, 64, rng.uniform(6, 20)):
            canvas.rectangle(x, 0, x + 3, 128, colour)
    if kind == 5:
        for _ in range(6):
            x, y = rng.uniform(-10, 64), rng.uniform(-10, 128)
            canvas.rectangle(x, y, x + rng.uniform(3, 40), y + rng.uniform(3, 40), bounded(*rng.uniform(0, 255, 3)))


def _thing(canvas: Canvas, rng: np.random.Generator) -> None:
    """A tree, a car, a house, a bush or something small, whole or cut."""
    kind, x, y = int(rng.integers(5)), rng.uniform(5, 59), rng.uniform(90, 150)
    if kind == 0:
        draw_tree(canvas, rng, x, y, rng.uniform(90, 200))
    elif kind == 1:
        draw_car(canvas, rng, x - rng.uniform(0, 130), y, rng.uniform(0.5, 1.6))
    elif kind == 2:
        draw_house(canvas, rng, x - 60, y, rng.uniform(50, 160), rng.uniform(60, 160))
    elif kind == 3:
        draw_bush(canvas, rng, x, y, rng.uniform(30, 90))
    else:
        draw_bin(canvas, rng, x, y, rng.uniform(0.7, 2.2))


def _occluder(canvas: Canvas, rng: np.random.Generator) -> None:
    """Something in front that hides a part of the window: a post, a branch, a box, a car's roof."""
    kind = int(rng.integers(4))
    if kind == 0:
        x = rng.uniform(0, 64)
        canvas.rectangle(x, 0, x + rng.uniform(2, 6), 128, dye(rng))
    elif kind == 1:
        for _ in range(3):
            x, y, r = rng.uniform(0, 64), rng.choice([0, 128]) + rng.normal(0, 8), rng.uniform(6, 18)
            canvas.polygon(blob(rng, x, y, r, r, 0.3), pick(rng, FOLIAGE, 30))
    elif kind == 2:
        x, y = rng.choice([-10, 54]) + rng.normal(0, 5), rng.uniform(40, 128)
        canvas.rectangle(x, y, x + rng.uniform(10, 24), y + rng.uniform(20, 60), dye(rng))
    else:
        draw_car(canvas, rng, rng.uniform(-120, 20), rng.uniform(140, 156), rng.uniform(0.8, 1.1))


def as_images(windows: Windows) -> list[Image.Image]:
    """The windows as pictures, to look at."""
    return [Image.fromarray(p, "RGB") for p in windows.pictures]
