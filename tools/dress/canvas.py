"""A picture to draw on in fractions of pixels: shapes are drawn large and shrunk at the end, which smooths edges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import cos, hypot, pi, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]  #: x, y in pixels of the finished picture
Paint = Colour | Image.Image  #: one colour, or a picture of the shape's size on the canvas

FINE = 3  #: the canvas has so many pixels for each of the finished picture, along each axis


class Canvas:
    """A picture under construction.

    Attributes:
        size: width and height of the finished picture, in pixels.
    """

    def __init__(self, size: tuple[int, int], ground: Colour) -> None:
        self.size = size
        self._image = Image.new("RGB", (size[0] * FINE, size[1] * FINE), ground)
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: Iterable[Point], colour: Colour) -> None:
        """A filled polygon."""
        self._draw.polygon([(x * FINE, y * FINE) for x, y in points], fill=colour)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """A filled rectangle."""
        if x1 > x0 and y1 > y0:
            self._draw.rectangle((x0 * FINE, y0 * FINE, x1 * FINE - 1, y1 * FINE - 1), fill=colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """A filled ellipse around a point."""
        self._draw.ellipse(((x - rx) * FINE, (y - ry) * FINE, (x + rx) * FINE, (y + ry) * FINE), fill=colour)

    def limb(self, points: Sequence[Point], widths: Sequence[float], colour: Colour) -> None:
        """A chain of rounded segments, so wide at each of its points."""
        for (a, wa), (b, wb) in zip(
            zip(points, widths, strict=True), zip(points[1:], widths[1:], strict=True), strict=False
        ):
            length = hypot(b[0] - a[0], b[1] - a[1]) or 1.0
            nx, ny = (a[1] - b[1]) / length / 2, (b[0] - a[0]) / length / 2
            corners = [(a[0] + nx * wa, a[1] + ny * wa), (b[0] + nx * wb, b[1] + ny * wb)]
            corners += [(b[0] - nx * wb, b[1] - ny * wb), (a[0] - nx * wa, a[1] - ny * wa)]
            self.polygon(corners, colour)
        for (x, y), w in zip(points, widths, strict=True):
            self.ellipse(x, y, w / 2, w / 2, colour)

    def cloth(self, outline: Sequence[Point], weave: Callable[[tuple[int, int], float], Image.Image]) -> None:
        """A polygon filled with a fabric.

        Args:
            outline: its points.
            weave: makes the fabric for a size in canvas pixels, given how many of them are one pixel.
        """
        xs, ys = [p[0] * FINE for p in outline], [p[1] * FINE for p in outline]
        left, top = int(min(xs)), int(min(ys))
        size = (max(int(max(xs)) - left + 2, 1), max(int(max(ys)) - top + 2, 1))
        mask = Image.new("L", size, 0)
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in zip(xs, ys, strict=True)], fill=255)
        self._image.paste(weave(size, FINE), (left, top), mask)

    def veil(self, outline: Sequence[Point], colour: Colour, opacity: float, soft: float = 0.0) -> None:
        """A polygon that the picture shines through: shadows, glass; with an edge so many pixels soft."""
        margin = int(3 * soft * FINE) + 2
        xs, ys = [p[0] * FINE for p in outline], [p[1] * FINE for p in outline]
        left, top = int(min(xs)) - margin, int(min(ys)) - margin
        size = (int(max(xs)) - left + margin, int(max(ys)) - top + margin)
        mask = Image.new("L", size, 0)
        points = [(x - left, y - top) for x, y in zip(xs, ys, strict=True)]
        ImageDraw.Draw(mask).polygon(points, fill=round(255 * opacity))
        if soft:
            mask = mask.filter(ImageFilter.GaussianBlur(soft * FINE))
        self._image.paste(colour, (left, top), mask)

    def finished(self) -> Image.Image:
        """The picture, shrunk to its size."""
        return self._image.reduce(FINE)


def gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    """A picture that goes from one colour to another, downwards."""
    ramp = np.linspace(np.array(top, float), np.array(bottom, float), size[1])
    return Image.fromarray(np.repeat(ramp[:, None], size[0], 1).round().astype(np.uint8), "RGB")


def smooth(points: Sequence[Point], steps: int = 6) -> list[Point]:
    """A Catmull-Rom curve through the points, from the first to the last."""
    p = [points[0], *points, points[-1]]
    curve: list[Point] = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        for t in np.arange(steps) / steps:
            row = [
                0.5 * (2 * q + (r - o) * t + (2 * o - 5 * q + 4 * r - s) * t**2 + (3 * q - o - 3 * r + s) * t**3)
                for o, q, r, s in zip(a, b, c, d, strict=True)
            ]
            curve.append((float(row[0]), float(row[1])))
    return [*curve, points[-1]]


def blob(
    rng: np.random.Generator, x: float, y: float, rx: float, ry: float, rough: float = 0.2, count: int = 14
) -> list[Point]:
    """A closed, uneven outline around a point."""
    angles = np.arange(count) * 2 * pi / count
    radii = 1 + rng.uniform(-rough, rough, count)
    ring = [(x + rx * r * cos(a), y + ry * r * sin(a)) for a, r in zip(angles, radii, strict=True)]
    return smooth([*ring, ring[0]], 3)
