"""What was found, done and checked: one Report, rendered for a terminal, as Markdown, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TextIO

from .geometry import Geometry

SCHEMA = 1  #: raised when a field changes its meaning or goes

Status = Literal["would convert", "converted"]
Verdict = Literal["exact", "padded", "global context"]

_MEANING = {
    "exact": "every answer is the original model's on the image crop of its window",
    "padded": "every answer is the original head's on its window of the feature map; near borders the map itself "
    "differs from that of an image crop, because nodes of the backbone pad",
    "global context": "every answer is the original head's on its window of the feature map; the map itself differs "
    "from that of an image crop, because nodes of the backbone look beyond the crop",
}


@dataclass
class NodeRow:
    """One node of a head and what took its place; ``to`` is empty where nothing is needed any more."""

    node: str
    op: str
    to: list[str]
    kernel: list[int] | None = None


@dataclass
class HeadRow:
    """One head: the feature map that it reads and the nodes behind it."""

    feature_map: str
    feature_map_shape: list[int]
    nodes: list[NodeRow]


@dataclass
class OutputRow:
    """One lifted output."""

    name: str
    shape: list[str]
    window: list[int]
    stride: list[int]
    receptive_field: list[int]
    grids: dict[str, list[int]]


@dataclass
class CheckRow:
    """One check; ``passed`` is null for a measurement that asserts nothing."""

    name: str
    size: list[int] | None
    passed: bool | None
    cells: int | None
    cells_total: int | None
    error: float | None
    tolerance: float | None
    note: str


@dataclass
class CauseRow:
    """A node because of which the model is not exact, or restricted to aligned sizes."""

    node: str
    kind: str
    detail: str


@dataclass
class Report:
    """Everything that the tool says about one conversion. The field names are the JSON keys."""

    tool: str
    input: str
    output: str | None
    status: Status
    verified: bool
    image_input: str
    trained_size: list[int]
    sizes: list[list[int]]
    valid_sizes: str
    verdict: Verdict
    causes: list[CauseRow]
    deviation: dict[str, dict[str, float | int | None]]
    heads: list[HeadRow]
    outputs: list[OutputRow]
    checks: list[CheckRow]
    geometry: dict[str, Any]
    schema: int = field(default=SCHEMA)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def to_json(self) -> str:
        """The JSON text that ``--report FILE.json`` writes."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @property
    def read_geometry(self) -> Geometry:
        """The geometry as an object."""
        return Geometry.from_json(json.dumps(self.geometry))

    def to_markdown(self) -> str:
        """The Markdown text that ``--report FILE.md`` writes."""
        lines = [f"# {self.headline()}", "", f"Verdict: **{self.verdict}**. {self.verdict_words()}", ""]
        for head in self.heads:
            lines += [f"## Head behind `{head.feature_map}` {head.feature_map_shape}", ""]
            lines += _markdown(("node", "from", "to", "kernel"), _node_cells(head.nodes))
        lines += ["## Outputs", ""]
        lines += _markdown(("output", "shape", "window", "stride", "grid"), _output_cells(self.outputs))
        lines += ["## Checks", ""]
        lines += _markdown(("check", "size", "cells", "error", "tolerance", "result"), _check_cells(self.checks))
        return "\n".join(lines)

    def headline(self) -> str:
        """What happened, in one line."""
        if self.status == "would convert":
            return f"{self.input}: can be converted (nothing was written or checked)"
        checked = "converted and verified" if self.verified else "converted, NOT verified"
        return f"{self.input} -> {self.output or 'memory'}: {checked}"

    def verdict_words(self) -> str:
        """What the verdict means here, with the nodes responsible and what was measured."""
        words = _MEANING[self.verdict]
        blamed = [c for c in self.causes if c.kind != "phase"]
        if blamed:
            shown = ", ".join(f"{c.node} ({c.detail})" for c in blamed[:4])
            words += f": {shown}{f' and {len(blamed) - 4} more' if len(blamed) > 4 else ''}"
        for name, d in self.deviation.items():
            agreement = "" if d["agreement"] is None else f", same class in {d['agreement']:.1%} of cells"
            words += f". Measured on crops: output '{name}' deviates by up to {d['error']:.2g} of its scale{agreement}"
        return words + "."


def print_report(report: Report, stream: TextIO) -> None:
    """The report on one terminal screen (rich: tables that fit, colours where the stream is a terminal)."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(file=stream, highlight=False, width=None if stream.isatty() else 120)
    console.print(f"[bold]{escape(report.headline())}[/bold]")
    console.print(
        f"input '{escape(report.image_input)}', trained size {_x(report.trained_size)}, valid sizes: {report.valid_sizes}"
    )

    def table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
        t = Table(*columns, title=escape(title), title_justify="left", title_style="bold")
        for row in rows:
            t.add_row(*map(escape, row))
        console.print(t)

    for head in report.heads:
        rows = _node_cells(head.nodes)
        shown = rows if len(rows) <= 14 else [*rows[:7], ("...", f"{len(rows) - 12} more", "...", ""), *rows[-5:]]
        table(f"head behind '{head.feature_map}' {head.feature_map_shape}", ("node", "from", "to", "kernel"), shown)
    outputs = _output_cells(report.outputs)
    shown = outputs if len(outputs) <= 8 else [*outputs[:7], (f"... {len(outputs) - 7} more", "", "", "", "")]
    table("outputs", ("output", "shape", "window", "stride", "grid"), shown)
    style = "green" if report.verdict == "exact" else "yellow"
    console.print(f"[bold {style}]{report.verdict}[/]: {escape(report.verdict_words())}")
    if report.checks:
        table("checks", ("check", "size", "cells", "error", "tolerance", "result"), _check_cells(report.checks))


def _x(numbers: Iterable[int]) -> str:
    return "x".join(map(str, numbers))


def _node_cells(nodes: list[NodeRow]) -> list[tuple[str, ...]]:
    return [(n.node, n.op, " + ".join(n.to) or "-", _x(n.kernel) if n.kernel else "") for n in nodes]


def _output_cells(outputs: list[OutputRow]) -> list[tuple[str, ...]]:
    rows = []
    for o in outputs:
        grids = ", ".join(f"{size}: {_x(g)} = {_product(g)}" for size, g in o.grids.items())
        rows.append((o.name, f"[{', '.join(o.shape)}]", _x(o.window), _x(o.stride), grids))
    return rows


def _product(numbers: list[int]) -> int:
    result = 1
    for n in numbers:
        result *= n
    return result


def _check_cells(checks: list[CheckRow]) -> list[tuple[str, ...]]:
    rows = []
    for c in checks:
        result = "measured" if c.passed is None else "passed" if c.passed else "FAILED"
        cells = "" if c.cells is None else f"{c.cells} of {c.cells_total}"
        error = "" if c.error is None else "equal" if c.error == 0 else f"{c.error:.2g}"
        tolerance = "" if c.tolerance is None else f"{c.tolerance:.2g}"
        rows.append((c.name, _x(c.size) if c.size else "", cells, error, tolerance, f"{result}; {c.note}" if c.note else result))
    return rows


def _markdown(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [*lines, ""]
