"""A model slid over a picture at several scales: maps of answers, and the boxes of the best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..geometry import Grid
from .cells import edges, spread
from .model import Layout, Loaded
from .picture import grey, resized
from .preprocessing import INTEGERS, PRESETS, Preset, prepared
from .settings import HeatmapSettings
from .suppression import suppressed


@dataclass(frozen=True)
class Detection:
    """One box.

    Attributes:
        box: y0, x0, y1, x1 in pixels of the picture, clipped to it.
        score: the model's answer there.
        scale: of the picture at which it was found.
    """

    box: tuple[float, float, float, float]
    score: float
    scale: float


@dataclass(frozen=True)
class Layer:
    """The answers at one scale.

    Attributes:
        scale: the picture's, as asked for.
        answers: float32, [channels, GH, GW].
        rows, columns: where cells begin and end in pixels of the picture: [GH + 1], [GW + 1].
        boxes: of the cells, in pixels of the picture: [GH, GW, 4].
    """

    scale: float
    answers: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True)
class Heat:
    """What a model says of a picture.

    Attributes:
        pixels: the picture, uint8, [H, W, 3].
        output: name of the output; ``channel``: which of its answers, of how many ``channels``; ``label``: its name, or
            "" if there is none.
        stride: pixels from one answer to the next at scale 1.
        layers: the answers at each scale.
        detections: the best boxes after non-maximum suppression, the best first.
    """

    pixels: np.ndarray
    output: str
    channel: int
    channels: int
    label: str
    stride: tuple[int, ...]
    layers: tuple[Layer, ...]
    detections: list[Detection]

    @property
    def answers(self) -> list[np.ndarray]:
        """The map of each scale: [GH, GW]."""
        return [layer.answers[self.channel] for layer in self.layers]

    @property
    def highest(self) -> float:
        """The highest answer anywhere."""
        return float(max(np.nanmax(a, initial=-np.inf) for a in self.answers))

    def map(self) -> np.ndarray:
        """The answers at every pixel of the picture, of several scales the highest: float32, [H, W].

        NaN where no window has its middle: along the edges of the picture.
        """
        size = (self.pixels.shape[0], self.pixels.shape[1])
        found = np.full(size, np.nan, np.float32)
        for layer, answers in zip(self.layers, self.answers, strict=True):
            found = np.fmax(found, spread(answers, layer.rows, layer.columns, size))
        return found


def found(loaded: Loaded, pixels: np.ndarray, settings: HeatmapSettings) -> Heat:
    """Run a model on a picture; errors as of ``heat``."""
    output = loaded.output(settings.output)
    grid = loaded.geometry[output]
    layout = loaded.layout(grid)
    preset = _preset(settings, layout)
    layers = tuple(_layer(loaded, output, layout, preset, pixels, scale) for scale in settings.scales)
    layers = tuple(replace(layer, answers=_activated(layer.answers, settings.activation)) for layer in layers)
    channel, label = _channel(layers, settings, output)
    detections = _best(layers, channel, settings, (pixels.shape[0], pixels.shape[1]))
    channels = len(layers[0].answers)
    return Heat(pixels, output, channel, channels, label, grid.stride, layers, detections)


def _preset(settings: HeatmapSettings, layout: Layout) -> Preset:
    name = settings.preset or ("none" if layout.dtype.kind in INTEGERS else "unit")
    preset = PRESETS[name]
    given: dict[str, Any] = {
        key: getattr(settings, key) for key in ("scale", "mean", "std") if getattr(settings, key) is not None
    }
    preset = replace(preset, **given, bgr=preset.bgr or settings.bgr)
    if layout.channels == 1:  # a preset for three channels, of one: their mean
        narrow: dict[str, Any] = {k: (float(np.mean(getattr(preset, k))),) for k in ("mean", "std") if k not in given}
        preset = replace(preset, **narrow)
    return preset


def _layer(loaded: Loaded, output: str, layout: Layout, preset: Preset, pixels: np.ndarray, scale: float) -> Layer:
    grid = loaded.geometry[output]
    height, width = (max(round(n * scale), 1) for n in pixels.shape[:2])
    if height < grid.trained_size[0] or width < grid.trained_size[1]:
        window = "x".join(map(str, grid.trained_size))
        at = "" if scale == 1 else f" at scale {scale:g}"
        raise UsageError(
            f"the picture is {height}x{width}{at} (height x width), smaller than the model's window {window}"
        )
    seen = resized(pixels, (height, width))
    size = grid.fitting((height, width))
    filled = _filled(seen, size)
    filled = grey(filled) if layout.channels == 1 else filled
    tensor = layout.tensor(prepared(filled, preset, layout.dtype))
    answers = loaded.answers(output, tensor, (size[0], size[1]))
    factors = (height / pixels.shape[0], width / pixels.shape[1])
    return Layer(scale, answers, *edges(grid, (size[0], size[1]), factors), _boxes(grid, size, factors))


def _filled(pixels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The picture filled up below and to the right with its mean; copies of its edge would prolong what is there."""
    found = np.empty((*size, pixels.shape[2]), np.uint8)
    found[:] = np.rint(pixels.mean((0, 1)))
    found[: pixels.shape[0], : pixels.shape[1]] = pixels
    return found


def _boxes(grid: Grid, size: tuple[int, ...], factors: tuple[float, float]) -> np.ndarray:
    found: np.ndarray = grid.boxes(size) / np.array([*factors, *factors])
    return found


def _activated(answers: np.ndarray, activation: str) -> np.ndarray:
    if activation == "none":
        return answers
    if activation == "sigmoid":
        return np.asarray(np.exp(-np.logaddexp(0, -answers)), np.float32)
    if len(answers) == 1:
        raise UsageError("--activation softmax of a single channel is 1 everywhere; sigmoid is for one channel")
    powers = np.exp(answers - answers.max(0))
    return np.asarray(powers / powers.sum(0), np.float32)


def _channel(layers: tuple[Layer, ...], settings: HeatmapSettings, output: str) -> tuple[int, str]:
    """Which channel is asked for, or is highest anywhere, and its name."""
    channels = len(layers[0].answers)
    labels = _labels(settings.labels, channels, output)
    if settings.label is not None:
        if settings.label not in labels:
            near = get_close_matches(settings.label, labels, 3)
            hint = f"; near: {', '.join(near)}" if near else ""
            raise UsageError(f"'{settings.labels}' has no label '{settings.label}'{hint}")
        return labels.index(settings.label), settings.label
    channel = settings.channel
    if channel is None:
        peaks = [np.nan_to_num(layer.answers, nan=-np.inf).reshape(channels, -1).max(1) for layer in layers]
        channel = int(np.max(peaks, 0).argmax())
    if channel >= channels:
        raise UsageError(f"--channel {channel}: output '{output}' has {channels}, counted from 0")
    return channel, labels[channel] if labels else ""


def _labels(path: str | None, channels: int, output: str) -> list[str]:
    if path is None:
        return []
    try:
        names = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8 text"
        raise UsageError(f"labels '{path}' cannot be read: {reason}") from e
    while names and not names[-1]:
        names.pop()
    if len(names) != channels:
        raise UsageError(f"'{path}' has {len(names)} labels, output '{output}' has {channels} channels")
    return names


def _best(layers: tuple[Layer, ...], channel: int, settings: HeatmapSettings, size: tuple[int, int]) -> list[Detection]:
    scores = np.concatenate([layer.answers[channel].ravel() for layer in layers])
    boxes = np.concatenate([layer.boxes.reshape(-1, 4) for layer in layers])
    scales = np.concatenate([np.full(layer.answers[channel].size, layer.scale) for layer in layers])
    above = np.flatnonzero(scores >= settings.threshold)
    kept = above[suppressed(boxes[above], scores[above], settings.iou, settings.top)]
    limits = (*size, *size)
    return [
        Detection(
            tuple(min(max(float(v), 0.0), float(n)) for v, n in zip(boxes[i], limits, strict=True)),  # type: ignore[arg-type]
            float(scores[i]),
            float(scales[i]),
        )
        for i in kept
    ]
