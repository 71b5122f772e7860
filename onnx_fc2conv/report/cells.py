"""How values, checks and lists are written in the cells of a table, on a terminal and in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import floor

from ..errors import printable
from .data import CheckRow

MOST_NODES = 6  #: in place of one, named one by one
MOST_LINES = 8  #: of one kind, on a terminal


def most(rows: Sequence[tuple[str, ...]], limit: int) -> Sequence[tuple[str, ...]]:
    """The rows, or the first and last of many and how many there are more."""
    if len(rows) <= limit:
        return rows
    half = limit // 2
    return [*rows[:half], ("...", f"{len(rows) - 2 * half + 1} more", *[""] * (len(rows[0]) - 2)), *rows[-half + 1 :]]


def listed(lines: list[str]) -> list[str]:
    """The lines, or the first of many and how many there are more."""
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], f"{len(lines) - MOST_LINES} more"]


def by(numbers: Iterable[int]) -> str:
    """``4x2``."""
    return "x".join(map(str, numbers))


def counted(op_types: list[str]) -> str:
    """``Slice + Conv``; of many nodes, how many of each."""
    counts = Counter(op_types)
    if len(op_types) > MOST_NODES:
        return " + ".join(f"{count} {op_type}" if count > 1 else op_type for op_type, count in counts.items())
    return " + ".join(op_types) or "-"


def check_cells(checks: list[CheckRow]) -> Sequence[tuple[str, ...]]:
    """One row per check."""
    rows = []
    for c in checks:
        result = "measured" if c.passed is None else "passed" if c.passed else "FAILED"
        cells = "" if c.cells is None else f"{c.cells} of {c.cells_total}"
        error = "" if c.error is None else "equal" if c.error == 0 else f"{c.error:.2g}"
        tolerance = "" if c.tolerance is None else f"{c.tolerance:.2g}"
        rows.append(
            (c.name, by(c.size) if c.size else "", cells, error, tolerance, f"{result}; {c.note}" if c.note else result)
        )
    return rows


def markdown_table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """The lines of a table, and an empty one."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(printable(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [*lines, ""]


def percent(share: float) -> str:
    """``99.98%``; rounded down, so that only all is 100%."""
    return f"{floor(share * 10000 + 1e-6) / 100:g}%"  # a whole number of hundredths stays one
