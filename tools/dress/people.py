"""Figures of 64 x 128 units: somebody in a dress, or in shirt and trousers."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from .canvas import Canvas, Colour, Point, smooth
from .colours import HAIRS, SKINS, between, dye, pick, times
from .dresses import SHOULDER, WAIST, Dress, dress

SIZE = (64, 128)  #: width and height of a figure's window, in units
FEET = 122.0


@dataclass(frozen=True)
class Place:
    """Where a figure stands: the upper left corner of its window, pixels per unit, its lean, and mirrored or not."""

    x: float
    y: float
    unit: float
    lean: float = 0.0
    mirrored: bool = False

    def __call__(self, x: float, y: float) -> Point:
        """From units, x counted from the figure's middle, to pixels."""
        x = -x if self.mirrored else x
        across = x - (y - FEET) * sin(self.lean)
        return self.x + (32 + across) * self.unit, self.y + (FEET + (y - FEET) * cos(self.lean)) * self.unit

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The figure's window: y0, x0, y1, x1 in pixels."""
        return self.y, self.x, self.y + SIZE[1] * self.unit, self.x + SIZE[0] * self.unit


def place(rng: np.random.Generator, x: float, y: float, unit: float) -> Place:
    """A place with some lean."""
    return Place(x, y, unit, float(rng.normal(0, 0.025)), bool(rng.random() < 0.5))


def draw_shadow(canvas: Canvas, at: Place, wide: float = 15.0) -> None:
    """What a figure throws on the ground."""
    ring = [at(wide * cos(a) + 4, FEET + 0.5 + 2.6 * sin(a)) for a in np.linspace(0, 2 * pi, 20)]
    canvas.veil(ring, (20, 20, 30), 0.45, 0.8 * at.unit)


def draw_woman(canvas: Canvas, rng: np.random.Generator, at: Place, worn: Dress | None = None) -> None:
    """Somebody in a dress."""
    worn = worn or dress(rng, at.unit)
    skin, hair = pick(rng, SKINS), pick(rng, HAIRS)
    style = int(rng.integers(4))
    draw_shadow(canvas, at, max(worn.sides[-1][1], 12) + 2)
    if style in (0, 1):
        _long_hair(canvas, at, hair, 34 if style == 0 else 24)
    _legs(canvas, rng, at, skin, worn.hem)
    arms = _arms(rng)
    _arm(canvas, at, arms[0], skin, worn, -1)
    _skirt(canvas, rng, at, worn)
    _neckline(canvas, at, skin, worn)
    _arm(canvas, at, arms[1], skin, worn, 1)
    _head(canvas, at, skin, hair, style)
    if rng.random() < 0.25:
        _bag(canvas, at, arms[1][-1], dye(rng))


def draw_man(canvas: Canvas, rng: np.random.Generator, at: Place) -> None:
    """Somebody in a shirt or a jacket and trousers: all that a dress detector has to tell apart."""
    skin, hair, shirt, trousers = pick(rng, SKINS), pick(rng, HAIRS), dye(rng), times(dye(rng), rng.uniform(0.4, 1))
    draw_shadow(canvas, at)
    spread, step = rng.uniform(5.0, 8.0), rng.uniform(-3, 3)
    shorts = rng.random() < 0.2
    for side in (-1, 1):
        foot = (side * spread + step, FEET - 2)
        knee = (side * (spread + 4.5) / 2 + step / 2, 92)
        shade = times(trousers, 1.0 if side == 1 else 0.85)
        canvas.limb([at(side * 4.4, 64), at(*knee), at(*foot)], _wide(at, 9.5, 7.5, 5.8), skin if shorts else shade)
        if shorts:
            canvas.limb([at(side * 4.4, 64), at(*knee)], _wide(at, 9.8, 9.0), shade)
        canvas.ellipse(*at(foot[0] + 1.5, FEET), 4.4 * at.unit, 1.9 * at.unit, (36, 32, 30))
    arms = _arms(rng)
    sleeve = 1.0 if rng.random() < 0.6 else 0.35
    long = rng.uniform(64, 72)
    body = [(-10.5, SHOULDER), (-9.5, 45), (-9.0, long), (9.0, long), (9.5, 45), (10.5, SHOULDER), (4, 26), (-4, 26)]
    _clothed_arm(canvas, at, arms[0], skin, times(shirt, 0.85), sleeve, -1)
    canvas.polygon([at(x, y) for x, y in body], shirt)
    canvas.polygon(
        [at(x, y) for x, y in [(0, 26), (3.0, long), (9.0, long), (9.5, 45), (10.5, SHOULDER)]], times(shirt, 0.9)
    )
    if rng.random() < 0.4:  # an open jacket
        canvas.polygon([at(x, y) for x, y in [(-2.5, 26), (2.5, 26), (1.5, long - 4), (-1.5, long - 4)]], dye(rng))
    canvas.limb([at(0, 20), at(0, 26)], _wide(at, 5.2, 5.2), skin)
    _clothed_arm(canvas, at, arms[1], skin, shirt, sleeve, 1)
    _head(canvas, at, skin, hair, 4)


def _wide(at: Place, *units: float) -> list[float]:
    return [u * at.unit for u in units]


def _arms(rng: np.random.Generator) -> list[list[Point]]:
    """Shoulder, elbow and hand of both arms, x counted outwards."""
    poses: list[list[Point]] = [
        [(9.0, 31.5), (12.0, 46), (12.5, 61)],
        [(9.0, 31.5), (13.5, 45), (11.0, 59)],
        [(9.0, 31.5), (17.0, 44), (9.0, 52)],
        [(9.0, 31.5), (16.0, 38), (19.0, 24)],
        [(9.0, 31.5), (13.0, 45), (18.5, 54)],
    ]
    return [poses[int(i)] for i in rng.choice(len(poses), 2, p=[0.3, 0.25, 0.2, 0.08, 0.17])]


def _clothed_arm(
    canvas: Canvas, at: Place, arm: list[Point], skin: Colour, cloth: Colour, sleeve: float, side: int
) -> None:
    points = [at(side * x, y) for x, y in arm]
    canvas.limb(points, _wide(at, 4.6, 3.8, 3.0), skin)
    if sleeve:
        elbow, share = points[1], min(2 * sleeve, 1.0)
        part = [
            points[0],
            (points[0][0] + (elbow[0] - points[0][0]) * share, points[0][1] + (elbow[1] - points[0][1]) * share),
        ]
        if sleeve > 0.5:
            share = 2 * sleeve - 1.08
            part.append((elbow[0] + (points[2][0] - elbow[0]) * share, elbow[1] + (points[2][1] - elbow[1]) * share))
        canvas.limb(part, _wide(at, 6.0, 5.4, 4.6)[: len(part)], cloth)


def _arm(canvas: Canvas, at: Place, arm: list[Point], skin: Colour, worn: Dress, side: int) -> None:
    _clothed_arm(canvas, at, arm, skin, times(worn.colour, 0.92), worn.sleeve, side)


def _legs(canvas: Canvas, rng: np.random.Generator, at: Place, skin: Colour, hem: float) -> None:
    apart, heel = rng.uniform(2.6, 5.0), rng.random() < 0.5
    shoe = dye(rng)
    for side in (-1, 1):
        shade = times(skin, 0.9 if side < 0 else 1.0)
        canvas.limb(
            [at(side * 4, min(hem - 6, 96)), at(side * (apart + 0.4), 104), at(side * apart, FEET - 2)],
            _wide(at, 6.4, 4.8, 3.0),
            shade,
        )
        canvas.ellipse(*at(side * apart + 1.2, FEET), 3.4 * at.unit, 1.5 * at.unit, shoe)
        if heel:
            canvas.limb([at(side * apart - 1.2, FEET - 1), at(side * apart - 1.4, FEET + 1.2)], _wide(at, 1, 1), shoe)


def _skirt(canvas: Canvas, rng: np.random.Generator, at: Place, worn: Dress) -> None:
    """The dress itself: cloth, folds, light from one side, belt and trim."""
    sway = rng.normal(0, 1.2)

    def drift(y: float) -> float:
        return float(sway * max(y - WAIST, 0) / 50)

    right = smooth([(w + drift(y), y) for y, w in worn.sides], 5)
    left = smooth([(-w + drift(y), y) for y, w in worn.sides], 5)
    half = worn.sides[-1][1]
    hem = [
        (x + drift(worn.hem), worn.hem + worn.round * (1 - (x / half) ** 2)) for x in np.linspace(half, -half, 9)[1:-1]
    ]
    outline = [at(x, y) for x, y in [*right, *hem, *reversed(left)]]
    canvas.cloth(outline, worn.weave)
    dark = [(x, y) for x, y in right if y > worn.sides[0][0]]
    inner = [(x * 0.35, y) for x, y in reversed(dark)]
    canvas.veil([at(x, y) for x, y in [*dark, *inner]], times(worn.colour, 0.3), 0.2, 0.6 * at.unit)
    for i in range(worn.folds):
        share = (i + 0.7 + rng.uniform(-0.2, 0.2)) / (worn.folds + 0.4) * 2 - 1
        foot, start = share * half * 0.95 + drift(worn.hem), share * 5
        wide = rng.uniform(0.8, 1.8)
        fold = [(start, WAIST + 8), (foot - wide, worn.hem), (foot + wide, worn.hem)]
        canvas.veil([at(x, y) for x, y in fold], times(worn.colour, 0.35), 0.35, 0.3 * at.unit)
    if worn.trim is not None:
        low = [(x, y) for x, y in right if y > worn.hem - 4], [(x, y) for x, y in left if y > worn.hem - 4]
        band = [(half * 0.97 + drift(worn.hem), worn.hem - 3), *low[0][-1:], *hem, *low[1][-1:]]
        band += [(-half * 0.97 + drift(worn.hem), worn.hem - 3)]
        band += [(x, y - 3) for x, y in reversed(hem)]
        canvas.polygon([at(x, y) for x, y in band], worn.trim)
    if worn.belt is not None:
        height, wide = worn.sides[2]
        canvas.polygon(
            [
                at(x, y)
                for x, y in [(-wide, height - 1.4), (wide, height - 1.4), (wide, height + 1.6), (-wide, height + 1.6)]
            ],
            worn.belt,
        )


def _neckline(canvas: Canvas, at: Place, skin: Colour, worn: Dress) -> None:
    shade = times(skin, 0.94)
    cuts: dict[str, list[Point]] = {
        "round": [(-5.0, 27), (-3.5, 31), (0, 32.5), (3.5, 31), (5.0, 27)],
        "deep": [(-4.5, 27), (0, 39), (4.5, 27)],
        "square": [(-5.0, 27), (-5.0, 34), (5.0, 34), (5.0, 27)],
        "strapless": [(-9.0, 29.5), (-8.2, 34.8), (0, 33.2), (8.2, 34.8), (9.0, 29.5), (3.5, 26.5), (-3.5, 26.5)],
    }
    canvas.limb([at(0, 20), at(0, 28)], _wide(at, 5.0, 5.4), shade)
    canvas.polygon([at(x, y) for x, y in cuts[worn.neck]], shade)


def _head(canvas: Canvas, at: Place, skin: Colour, hair: Colour, style: int) -> None:
    """Head and hair: 0 long, 1 bob, 2 bun, 3 ponytail, 4 short."""
    u = at.unit
    if style == 2:
        canvas.ellipse(*at(0, 4.8), 3.6 * u, 3.4 * u, hair)
    if style == 3:
        canvas.limb([at(4.5, 11), at(8.5, 17), at(8.0, 27)], _wide(at, 4.5, 4.0, 1.5), hair)
    canvas.ellipse(*at(0, 13.2), 6.9 * u, 7.4 * u, hair)
    canvas.ellipse(*at(0, 15.6), 5.6 * u, 6.6 * u, skin)
    fringe = [(-6.2, 13.5), (-5.5, 8), (0, 6.2), (5.5, 8), (6.2, 13.5), (3.0, 10.8), (-2.0, 11.4)]
    canvas.polygon([at(x, y) for x, y in fringe], hair)
    eye = between(hair, (20, 20, 20), 0.7)
    for side in (-1, 1):
        canvas.ellipse(*at(side * 2.2, 15.6), 0.75 * u, 0.75 * u, eye)
    canvas.ellipse(*at(0, 19.4), 1.5 * u, 0.55 * u, (176, 70, 70))


def _long_hair(canvas: Canvas, at: Place, hair: Colour, down: float) -> None:
    outline = smooth([(-6.6, 12), (-8.2, 20), (-7.0, down), (0, down + 1.5), (7.0, down), (8.2, 20), (6.6, 12)])
    canvas.polygon([at(x, y) for x, y in outline], times(hair, 0.85))


def _bag(canvas: Canvas, at: Place, hand: Point, colour: Colour) -> None:
    x, y = hand
    canvas.polygon([at(x - 3.5, y + 5), at(x + 3.5, y + 5), at(x + 4.5, y + 13), at(x - 4.5, y + 13)], colour)
    canvas.limb([at(x - 2.5, y + 5), at(x, y), at(x + 2.5, y + 5)], _wide(at, 0.9, 0.9, 0.9), times(colour, 0.6))
