"""Grids as rows of JSON, and back: what lies in a file is believed only if every number of it fits the others.

A row says everything in plain numbers, so that a program in another language need not know the formulas:

input               name of the graph input
trained_size        pixels, per axis
window              cells of the feature map
stride, offset      pixels: the box of cell i starts at ``offset + i * stride`` and has the trained size
grid_law            per axis steps ``(mul, add, div)``: the input's size n, then ``(n * mul + add) // div`` of what was
receptive_field     pixels that one cell of the feature map depends on; ``window_receptive_field``: that a window does
padding             pixels in front of the box that a window depends on too; ``padding_after``: behind it
size_step           valid sizes are ``trained_size + n * size_step``
global_context      whether every pixel can have a part in every answer
"""

from __future__ import annotations

from typing import Any

from .grid import Grid
from .sizes import SizeLaw

LARGEST = 2**40  #: no number of a real model is as large
MOST_AXES = 8
MOST_STEPS = 64  #: of one law; a normal form of more needs that many resizes in a row


def to_row(grid: Grid) -> dict[str, Any]:
    """JSON-ready form of a grid."""
    return {
        "input": grid.source,
        "trained_size": list(grid.trained_size),
        "window": list(grid.window),
        "stride": list(grid.stride),
        "offset": list(grid.offset),
        "grid_law": [[list(step) for step in law.steps] for law in grid.laws],
        "receptive_field": list(grid.field),
        "window_receptive_field": list(grid.window_field),
        "padding": list(grid.padding),
        "padding_after": list(grid.padding_after),
        "size_step": list(grid.step),
        "global_context": grid.global_context,
    }


def from_row(row: Any) -> Grid:
    """The inverse of ``to_row``.

    Raises:
        ValueError: something is missing, is no whole number, or contradicts the rest.
    """
    if not isinstance(row, dict):
        raise ValueError("an output is no object")
    source, context = _of(row, "input"), _of(row, "global_context")
    if not isinstance(source, str) or not isinstance(context, bool):
        raise ValueError("its input is no name, or its global_context neither true nor false")
    rank = len(_list(row, "trained_size"))
    grid = Grid(
        source,
        _numbers(row, "trained_size", rank, 1),
        _numbers(row, "window", rank, 1),
        _numbers(row, "stride", rank, 1),
        _laws(row, rank),
        _numbers(row, "receptive_field", rank, 1),
        _numbers(row, "padding", rank),
        _numbers(row, "padding_after", rank),
        _numbers(row, "size_step", rank, 1),
        context,
    )
    if any(law(n) != 1 for law, n in zip(grid.laws, grid.trained_size, strict=True)):
        raise ValueError("its grid is not one cell at the trained size")
    if min(grid.window_field) < 1:
        raise ValueError("its paddings leave nothing of the trained size")
    for key, value in to_row(grid).items():
        if _of(row, key) != value:
            raise ValueError(f"{key} is {str(row[key])[:60]} where the rest says {value}")
    return grid


def _of(row: dict[str, Any], key: str) -> Any:
    if key not in row:
        raise ValueError(f"an output has no {key}")
    return row[key]


def _list(row: dict[str, Any], key: str) -> list[Any]:
    found = _of(row, key)
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_AXES:
        raise ValueError(f"{key} is no list of one number per axis")
    return found


def _numbers(row: dict[str, Any], key: str, rank: int, least: int = -LARGEST) -> tuple[int, ...]:
    found = _list(row, key)
    if len(found) != rank:
        raise ValueError(f"{key} has {len(found)} numbers, trained_size {rank}")
    return tuple(_whole(n, key, least) for n in found)


def _whole(n: Any, key: str, least: int) -> int:
    if type(n) is not int or not least <= n <= LARGEST:
        raise ValueError(
            f"{key} has {str(n)[:60]}, which is no whole number" + (f" from {least} on" if least > 0 else "")
        )
    return n


def _laws(row: dict[str, Any], rank: int) -> tuple[SizeLaw, ...]:
    laws = _list(row, "grid_law")
    if len(laws) != rank or not all(isinstance(law, list) and len(law) <= MOST_STEPS for law in laws):
        raise ValueError("grid_law is no list of steps per axis")
    return tuple(SizeLaw(tuple(_step(step) for step in law)) for law in laws)


def _step(step: Any) -> tuple[int, int, int]:
    if not isinstance(step, list) or len(step) != 3:
        raise ValueError("a step of grid_law is not three numbers")
    mul, add, div = step
    return _whole(mul, "grid_law", 0), _whole(add, "grid_law", -LARGEST), _whole(div, "grid_law", 1)
