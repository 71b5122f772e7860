"""The picture of a heat map: the map over the picture, boxes with their scores, a colour bar, and a title.

The picture stays at its own pixels (a small one is enlarged by a whole number), so the map lies on it exactly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .detection import Heat
from .labels import Rectangle, placed
from .picture import library

COLOURS = "inferno"  #: matplotlib's map of colours: its lightness grows with the answer
OPAQUE = (0.45, 0.65)  #: how much of the lowest and of the highest colour covers the picture
SMALLEST = 320  #: pixels; smaller pictures are enlarged
INK, PAPER, FRAME, EDGE = (30, 30, 34), (255, 255, 255), (64, 255, 160), (0, 0, 0)
TICKS = 5
DECIMALS = 2


def draw(heat: Heat) -> Any:
    """The picture of a heat map: a ``PIL.Image.Image``.

    Raises:
        UsageError: Pillow or matplotlib is not installed.
    """
    return _Sheet(heat).drawn()


def coloured(heat: Heat) -> tuple[np.ndarray, tuple[float, float]]:
    """The picture with the map over it, uint8 [H, W, 3], and the answers that the two ends of the colours stand for."""
    values = heat.map()
    low, high = limits(values)
    colours = library("matplotlib").colormaps[COLOURS]
    share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
    over = colours(share)[..., :3] * 255
    opaque = OPAQUE[0] + (OPAQUE[1] - OPAQUE[0]) * share
    opaque[np.isnan(values)] = 0
    grey = heat.pixels.mean(-1, keepdims=True)
    under = np.where(np.isnan(values)[..., None], 0.35 * heat.pixels + 0.65 * grey, 0.8 * heat.pixels + 0.2 * grey)
    mixed = under * (1 - opaque[..., None]) + over * opaque[..., None]
    return np.rint(mixed).astype(np.uint8), (low, high)


def limits(values: np.ndarray) -> tuple[float, float]:
    """The answers that the colours go from and to: 0 and 1 if all lie between, else the lowest and the highest."""
    finite = values[np.isfinite(values)]
    if not finite.size or (finite.min() >= 0 and finite.max() <= 1):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


class _Sheet:
    """A drawing under construction: all sizes follow from the picture's."""

    def __init__(self, heat: Heat) -> None:
        pillow = library("PIL.Image")
        self.heat = heat
        height, width = heat.pixels.shape[:2]
        self.zoom = max(-(-SMALLEST // max(height, width)), 1)
        mixed, self.limits = coloured(heat)
        big = mixed.repeat(self.zoom, 0).repeat(self.zoom, 1)
        self.unit = max(round(min(big.shape[:2]) / 40), 11)  #: the height of letters
        path = Path(library("matplotlib").get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        self.font = library("PIL.ImageFont").truetype(str(path), self.unit)
        self.top = 2 * self.unit
        self.title = _title(heat)
        bar = round(self.unit * 1.2) + self._width(f"{self.limits[0]:.{DECIMALS}f}") + 3 * self.unit
        full = max(big.shape[1] + bar, int(self.font.getlength(self.title)) + 2 * self.unit)
        self.size = (big.shape[1], big.shape[0])
        self.image = pillow.new("RGB", (full, big.shape[0] + self.top + self.unit), PAPER)
        self.image.paste(pillow.fromarray(big), (0, self.top))
        self.pen = library("PIL.ImageDraw").Draw(self.image)

    def drawn(self) -> Any:
        """The finished picture."""
        self.pen.text((self.unit // 2, self.top / 2), self.title, INK, self.font, "lm")
        self._bar()
        line = max(self.unit // 6, 2)
        frames = [self._frame(d.box) for d in self.heat.detections]
        for frame in reversed(frames):
            self.pen.rectangle(frame, outline=EDGE, width=line + 2)
            inner = (frame[0] + 1, frame[1] + 1, frame[2] - 1, frame[3] - 1)
            self.pen.rectangle(inner, outline=FRAME, width=line)
        self._scores(frames)
        return self.image

    def _frame(self, box: tuple[float, float, float, float]) -> Rectangle:
        y0, x0, y1, x1 = (round(v * self.zoom) for v in box)
        return x0, y0 + self.top, max(x1 - 1, x0 + 3), max(y1 - 1, y0 + 3) + self.top

    def _scores(self, frames: list[Rectangle]) -> None:
        texts = [f"{d.score:.{DECIMALS}f}" for d in self.heat.detections]
        sizes = [(self._width(t) + self.unit // 2, self.unit + self.unit // 3) for t in texts]
        page = (0, self.top, self.size[0], self.top + self.size[1])
        for text, at in zip(texts, placed(frames, sizes, page), strict=True):
            self.pen.rectangle(at, fill=FRAME, outline=EDGE)
            self.pen.text(((at[0] + at[2]) / 2, (at[1] + at[3]) / 2), text, EDGE, self.font, "mm")

    def _bar(self) -> None:
        """The colours beside the picture, with numbers."""
        low, high = self.limits
        x0, x1 = self.size[0] + self.unit, self.size[0] + round(self.unit * 2.2)
        y0, y1 = self.top, self.top + self.size[1] - 1
        colours = library("matplotlib").colormaps[COLOURS]
        for y in range(y0, y1 + 1):
            r, g, b, _ = colours((y1 - y) / max(y1 - y0, 1), bytes=True)
            self.pen.line((x0, y, x1, y), (int(r), int(g), int(b)))
        self.pen.rectangle((x0, y0, x1, y1), outline=INK)
        for i in range(TICKS):
            y = y1 + (y0 - y1) * i / (TICKS - 1)
            at = min(max(y, y0 + self.unit / 2), y1 - self.unit / 2)
            self.pen.line((x1, y, x1 + self.unit // 3, y), INK)
            text = f"{low + (high - low) * i / (TICKS - 1):.{DECIMALS}f}"
            self.pen.text((x1 + self.unit // 2, at), text, INK, self.font, "lm")

    def _width(self, text: str) -> int:
        return int(self.font.getlength(text) + 0.5)


def _title(heat: Heat) -> str:
    """``dress: 13 x 31 = 403 answers every 32 pixels, 5 boxes``."""
    name = heat.label or (heat.output if heat.channels == 1 else f"{heat.output} [{heat.channel}]")
    grids = [a.shape for a in heat.answers]
    step = " x ".join(map(str, dict.fromkeys(heat.stride)))
    count = sum(h * w for h, w in grids)
    if len(grids) == 1:
        answers = f"{grids[0][0]} x {grids[0][1]} = {count} answers, one every {step} pixels"
    else:
        answers = f"{count} answers at {len(grids)} scales, stride {step}"
    boxes = len(heat.detections)
    return f"{name}: {answers}; {boxes} {'box' if boxes == 1 else 'boxes'}"
