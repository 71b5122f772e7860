"""The one law, as a plain loop: every cell of the grid is the original's own answer on its window.

The original's nodes give the feature map of an enlarged image, and then, window by window, the answers; or the whole
original gives them, on one image crop after the other. Nothing here knows the package.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from .runtime import Feeds, Session, cut, values_of

Grid = tuple[int, ...]
Answers = dict[str, np.ndarray]  #: by output, with the grid axes appended last

#: largest error relative to the largest value where arithmetic rounds; sums in another order stay far below
ROUNDING = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-9}
SIXTEENTHS = 16
TINY = 1e-2  #: smaller values may be what is left of larger ones


def over_grid(grid: Grid, answer: Callable[[Grid], Answers]) -> Answers:
    """The answers of all cells, in one array for each output."""
    found: Answers = {}
    for cell in itertools.product(*map(range, grid)):
        for name, value in answer(cell).items():
            if name not in found:
                found[name] = np.empty((*value.shape, *grid), value.dtype)
            place: Any = (..., *cell)
            found[name][place] = value
    return found


def part(values: np.ndarray, axes: Sequence[int], starts: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """A box cut out of the spatial axes."""
    slices = [slice(None)] * values.ndim
    for axis, start, length in zip(axes, starts, size, strict=True):
        slices[axis] = slice(start, start + length)
    return np.ascontiguousarray(values[tuple(slices)])


def on_windows(
    model: ModelProto, feeds: Feeds, trained: Feeds, value: str, axes: Sequence[int], outputs: Sequence[str]
) -> Answers:
    """The original head on every window of a value.

    Args:
        model: the original.
        feeds: an enlarged image, and what else the model takes.
        trained: the same at the trained size, for a head that asks for the image's shape.
        value: the feature map.
        axes: its spatial axes.
        outputs: of the model.
    """
    large, small = (values_of(model, [value], f)[value] for f in (feeds, trained))
    window = [small.shape[a] for a in axes]
    grid = tuple(large.shape[a] - n + 1 for a, n in zip(axes, window, strict=True))
    head = Session(cut(model, {value: helper.np_dtype_to_tensor_dtype(large.dtype)}, outputs))
    rest = {n: v for n, v in trained.items() if n != value}
    return over_grid(grid, lambda cell: head.run({**rest, value: part(large, axes, cell, window)}, outputs))


def on_crops(
    session: Session,
    feeds: Feeds,
    images: Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[int]]],
    grid: Grid,
    outputs: Sequence[str],
) -> Answers:
    """The original on every image crop.

    Args:
        session: the original.
        feeds: an enlarged image, and what else the model takes.
        images: for each image its spatial axes, its trained size and the stride of the grid in its pixels.
        grid: cells.
        outputs: of the model.
    """

    def answer(cell: Grid) -> Answers:
        crops = dict(feeds)
        for name, (axes, size, stride) in images.items():
            crops[name] = part(feeds[name], axes, [i * s for i, s in zip(cell, stride, strict=True)], size)
        return session.run(crops, outputs)

    return over_grid(grid, answer)


def in_form(answers: np.ndarray, rank: int, form: str) -> np.ndarray:
    """What ``--output`` makes of a grid of ``rank`` axes."""
    if form == "map":
        return answers
    if form in ("mean", "max"):
        axes = tuple(range(answers.ndim - rank, answers.ndim))
        wide = answers.astype(np.float64) if form == "mean" else answers
        pooled: np.ndarray = wide.mean(axes) if form == "mean" else wide.max(axes)
        return pooled.astype(answers.dtype)
    grid_first = np.moveaxis(answers, range(answers.ndim - rank, answers.ndim), range(1, 1 + rank))
    rows: np.ndarray = grid_first.reshape(-1, *grid_first.shape[1 + rank :])
    return rows


def difference(found: np.ndarray, expected: np.ndarray, exact: bool, slack: float = 0.0) -> str | None:
    """Why two arrays are not equal; ``None`` if they are.

    Args:
        found: of the converted model.
        expected: of the original.
        exact: every bit must be right.
        slack: largest absolute error that is excused besides rounding.
    """
    if found.dtype != expected.dtype:
        return f"is {found.dtype}, and the original gives {expected.dtype}"
    if found.shape != expected.shape:
        return f"has shape {list(found.shape)}, and the law gives {list(expected.shape)}"
    if np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f"):
        return None
    if expected.dtype.kind != "f" or exact:
        wrong = np.count_nonzero(found != expected)
        return f"differs in {wrong} of {found.size} values"
    a, b = found.astype(np.float64), expected.astype(np.float64)
    usual = np.isfinite(b)
    if not np.isfinite(a[usual]).all():
        return "is not finite where the original is"
    scale = float(np.abs(b[usual]).max(initial=0.0))
    error = float(np.abs(a - b)[usual].max(initial=0.0))
    allowed = ROUNDING[str(expected.dtype)] * (scale + TINY) + slack
    return f"is off by {error:.3g} where the largest value is {scale:.3g}" if error > allowed else None


def excused(
    run: Callable[[Feeds], Answers], feeds: Feeds, name: str, found: np.ndarray, want: np.ndarray, exact: bool = False
) -> str | None:
    """Why two arrays are not equal, unless the original itself moves as far when its inputs move by rounding."""
    wrong = difference(found, want, exact)
    if wrong is None or exact or want.dtype.kind != "f" or found.shape != want.shape:
        return wrong
    return difference(found, want, False, conditioning(run, feeds)[name])


def conditioning(run: Callable[[Feeds], Answers], feeds: Feeds) -> dict[str, float]:
    """How far the original's own answers move when its inputs move by rounding: what no one can be blamed for."""
    base, worst = run(feeds), dict[str, float]()
    for sign in (-1, 1):
        moved = {n: _moved(v, sign) for n, v in feeds.items()}
        for name, value in run(moved).items():
            both = (
                np.isfinite(value) & np.isfinite(base[name]) if value.dtype.kind == "f" else np.ones(value.shape, bool)
            )
            apart = np.abs(value.astype(np.float64) - base[name].astype(np.float64))[both].max(initial=0.0)
            worst[name] = max(worst.get(name, 0.0), SIXTEENTHS * float(apart))
    return worst


def _moved(value: np.ndarray, sign: int) -> np.ndarray:
    if value.dtype.kind != "f":
        return value
    signs = np.where(np.arange(value.size).reshape(value.shape) % 2 == 0, sign, -sign)
    return np.asarray(value * (1 + signs * 2 * np.finfo(value.dtype).eps) + signs * 1e-30, value.dtype)
