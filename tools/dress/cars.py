"""Cars from the side, and what else stands in a street."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from .canvas import Canvas, Point, smooth
from .colours import CARS, dye, pick, times

LENGTH, HEIGHT = 150.0, 52.0  #: of a car, in its own units


def draw_car(canvas: Canvas, rng: np.random.Generator, x: float, ground: float, unit: float) -> None:
    """A car, from its left edge; the wheels stand on the ground."""
    paint = pick(rng, CARS)
    mirrored, kind = rng.random() < 0.5, int(rng.integers(3))

    def at(cx: float, cy: float) -> Point:
        return x + (LENGTH - cx if mirrored else cx) * unit, ground - cy * unit

    shadow = [at(LENGTH / 2 + 78 * cos(a), 1 + 4 * sin(a)) for a in np.linspace(0, 2 * pi, 24)]
    canvas.veil(shadow, (16, 16, 20), 0.55, 1.2)
    roofs = {
        0: [(26, 30), (44, 48), (56, 52), (92, 52), (106, 47), (124, 31)],
        1: [(6, 31), (10, 50), (20, 54), (96, 54), (108, 49), (122, 32)],
        2: [(20, 30), (36, 46), (48, 51), (78, 51), (96, 44), (116, 31)],
    }
    roof = roofs[kind]
    body = [(2, 12), (3, 26), (8, 30), *roof, (142, 28), (148, 22), (149, 12)]
    canvas.polygon([at(*p) for p in smooth(body, 4)], paint)
    canvas.polygon([at(*p) for p in [(2, 12), (149, 12), (146, 8), (5, 8)]], times(paint, 0.5))
    middle = sum(p[0] for p in roof) / len(roof)
    inner = [(middle + (px - middle) * 0.9, 29 + (py - 29) * 0.84) for px, py in roof]
    canvas.polygon([at(*p) for p in inner], (52, 64, 76))
    canvas.polygon(
        [at(*p) for p in [(middle - 24, 32), (middle - 8, 46), (middle + 2, 46), (middle - 14, 32)]], (96, 112, 124)
    )
    canvas.polygon(
        [at(*p) for p in [(middle - 1.5, 29), (middle + 1.5, 29), (middle + 1.5, 53), (middle - 1.5, 53)]], paint
    )
    canvas.limb([at(middle, 29), at(middle, 12)], [0.8 * unit] * 2, times(paint, 0.6))
    canvas.limb([at(6, 21), at(144, 21)], [0.8 * unit] * 2, times(paint, 0.75))
    for wheel in (30, 119):
        for radius, colour in (
            (13.5, times(paint, 0.25)),
            (11.5, (26, 26, 28)),
            (6.5, (170, 172, 176)),
            (2.0, (60, 60, 64)),
        ):
            canvas.ellipse(*at(wheel, 11), radius * unit, radius * unit, colour)
    canvas.ellipse(*at(145, 22), 3 * unit, 2.4 * unit, (250, 244, 200))
    canvas.ellipse(*at(4.5, 24), 2 * unit, 2.6 * unit, (190, 30, 30))


def draw_lamp(canvas: Canvas, rng: np.random.Generator, x: float, ground: float, height: float) -> None:
    """A street lamp."""
    dark = (48, 52, 56)
    canvas.limb([(x, ground), (x, ground - height)], [2.6, 1.8], dark)
    canvas.limb(
        [(x, ground - height), (x + 10, ground - height - 4), (x + 18, ground - height - 2)], [1.8, 1.5, 1.5], dark
    )
    canvas.ellipse(x + 20, ground - height - 1, 4, 2.2, (244, 236, 200))


def draw_bin(canvas: Canvas, rng: np.random.Generator, x: float, ground: float, unit: float) -> None:
    """A litter bin, a cone, a parasol or a post box: small things, some of them wide at the bottom."""
    colour, kind = dye(rng), int(rng.integers(4))
    if kind == 0:
        canvas.polygon(
            [
                (x - 7 * unit, ground - 26 * unit),
                (x + 7 * unit, ground - 26 * unit),
                (x + 5.5 * unit, ground),
                (x - 5.5 * unit, ground),
            ],
            times(colour, 0.6),
        )
        canvas.rectangle(x - 8 * unit, ground - 29 * unit, x + 8 * unit, ground - 26 * unit, times(colour, 0.4))
    elif kind == 1:
        for low, high, shade in ((0, 12, (230, 100, 30)), (12, 20, (245, 245, 240)), (20, 32, (230, 100, 30))):
            a, b = 10 - low * 0.28, 10 - high * 0.28
            canvas.polygon(
                [
                    (x - a * unit, ground - low * unit),
                    (x + a * unit, ground - low * unit),
                    (x + b * unit, ground - high * unit),
                    (x - b * unit, ground - high * unit),
                ],
                shade,
            )
    elif kind == 2:
        canvas.limb([(x, ground), (x, ground - 96 * unit)], [2 * unit] * 2, (180, 176, 168))
        canvas.polygon(
            [(x - 38 * unit, ground - 76 * unit), (x + 38 * unit, ground - 76 * unit), (x, ground - 102 * unit)], colour
        )
        canvas.polygon(
            [(x - 13 * unit, ground - 76 * unit), (x + 13 * unit, ground - 76 * unit), (x, ground - 102 * unit)],
            times(colour, 0.8),
        )
    else:
        canvas.rectangle(x - 8 * unit, ground - 40 * unit, x + 8 * unit, ground, colour)
        canvas.ellipse(x, ground - 40 * unit, 8 * unit, 5 * unit, colour)
        canvas.rectangle(x - 5 * unit, ground - 36 * unit, x + 5 * unit, ground - 34 * unit, (20, 20, 20))
