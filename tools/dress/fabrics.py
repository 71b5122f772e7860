"""What dresses are made of: plain, striped, dotted, checked, flowered, shaded cloth."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw

from .canvas import Colour, gradient
from .colours import contrast, dye, times

Weave = Callable[[tuple[int, int], float], Image.Image]  #: size and pixels per finished pixel -> the cloth


def plain(rng: np.random.Generator, colour: Colour, other: Colour, unit: float) -> Weave:
    """One colour."""
    return lambda size, fine: Image.new("RGB", size, colour)


def shaded(rng: np.random.Generator, colour: Colour, other: Colour, unit: float) -> Weave:
    """From one shade to another, downwards."""
    top, bottom = (colour, times(colour, rng.uniform(0.45, 0.75)))
    if rng.random() < 0.4:
        top, bottom = colour, other
    return lambda size, fine: gradient(size, top, bottom)


def striped(rng: np.random.Generator, colour: Colour, other: Colour, unit: float) -> Weave:
    """Stripes across or along."""
    across, period, width = rng.random() < 0.5, rng.uniform(4, 9) * unit, rng.uniform(0.3, 0.6)

    def weave(size: tuple[int, int], fine: float) -> Image.Image:
        rows, columns = np.indices((size[1], size[0]))
        on = ((rows if across else columns) / fine % period) < period * width
        return Image.fromarray(np.where(on[..., None], other, colour).astype(np.uint8), "RGB")

    return weave


def checked(rng: np.random.Generator, colour: Colour, other: Colour, unit: float) -> Weave:
    """Gingham: two sets of stripes, darker where they cross."""
    period = rng.uniform(5, 9) * unit

    def weave(size: tuple[int, int], fine: float) -> Image.Image:
        rows, columns = np.indices((size[1], size[0]))
        share = (rows / fine % period < period / 2) * 0.5 + (columns / fine % period < period / 2) * 0.5
        mixed = np.array(colour) + (np.array(other) - np.array(colour)) * share[..., None]
        return Image.fromarray(mixed.astype(np.uint8), "RGB")

    return weave


def dotted(rng: np.random.Generator, colour: Colour, other: Colour, unit: float) -> Weave:
    """Polka dots, every second row moved by half a step."""
    step, radius = rng.uniform(5, 8) * unit, rng.uniform(0.18, 0.32)

    def weave(size: tuple[int, int], fine: float) -> Image.Image:
        image = Image.new("RGB", size, colour)
        draw, s = ImageDraw.Draw(image), step * fine
        for j in range(int(size[1] / s) + 2):
            for i in range(int(size[0] / s) + 2):
                x, y = (i + j % 2 / 2) * s, j * s
                draw.ellipse((x - radius * s, y - radius * s, x + radius * s, y + radius * s), fill=other)
        return image

    return weave


def flowered(rng: np.random.Generator, colour: Colour, other: Colour, unit: float) -> Weave:
    """Scattered flowers of five petals."""
    seed, density, r = int(rng.integers(2**31)), rng.uniform(0.012, 0.025), rng.uniform(1.2, 2.2) * unit
    middle, leaf = dye(rng), (70, 120, 60)

    def weave(size: tuple[int, int], fine: float) -> Image.Image:
        own = np.random.default_rng(seed)
        image = Image.new("RGB", size, colour)
        draw, q = ImageDraw.Draw(image), r * fine
        for _ in range(int(size[0] * size[1] / fine**2 * density / unit**2) + 1):
            x, y, turn = own.uniform(0, size[0]), own.uniform(0, size[1]), own.uniform(0, 2 * pi)
            draw.ellipse((x + q * 0.6, y + q * 0.5, x + q * 1.9, y + q * 1.2), fill=leaf)
            for k in range(5):
                px, py = x + q * 0.8 * cos(turn + k * 2 * pi / 5), y + q * 0.8 * sin(turn + k * 2 * pi / 5)
                draw.ellipse((px - q * 0.6, py - q * 0.6, px + q * 0.6, py + q * 0.6), fill=other)
            draw.ellipse((x - q * 0.45, y - q * 0.45, x + q * 0.45, y + q * 0.45), fill=middle)
        return image

    return weave


KINDS = [plain, plain, plain, shaded, striped, checked, dotted, flowered]


def fabric(rng: np.random.Generator, unit: float) -> tuple[Weave, Colour, Colour]:
    """A cloth, its ground colour, and the colour of its trimmings; ``unit`` is the wearer's pixel."""
    colour = dye(rng)
    other = contrast(rng, colour)
    return KINDS[int(rng.integers(len(KINDS)))](rng, colour, other, unit), colour, other
