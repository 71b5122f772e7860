"""A Report on one terminal screen, and as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TextIO

from ..errors import printable
from .data import CheckRow, NodeRow, OutputRow, Report
from .terminal import Screen

MOST_NODES = 6  #: in place of one, named one by one
MOST_TABLES = 4  #: of heads, on a terminal
MOST_LINES = 8  #: of one kind, on a terminal
MOST_NAMED = 4  #: nodes for one reason, on a terminal


def print_report(report: Report, stream: TextIO, width: int | None = None) -> None:
    """The report on one terminal screen; the arguments are those of ``Screen``."""
    screen = Screen(stream, width)
    screen.line("", report.headline())
    for image in report.images:
        sizes = f"trained size {_x(image.trained_size)}, valid sizes: {image.valid_sizes}"
        same = f"must have the size of '{image.same_size_as}'"
        screen.line(f"input '{image.name}', {same if image.same_size_as else sizes}")
    for change in _listed(report.restructured):
        screen.line(f"structure: {change}")
    for node in report.unbaked:
        screen.line(f"carried the trained size, rewritten to follow the input's: {node}")
    for name, shape in report.maps.items():
        screen.line(f"output '{name}' is a feature map, [{', '.join(shape)}]")
    _print_heads(report, screen)
    if report.outputs:
        outputs = _output_cells(report.outputs)
        shown = outputs if len(outputs) <= 6 else [*outputs[:5], (f"... {len(outputs) - 5} more", "", "", "", "")]
        screen.table("outputs", ("output", "shape", "window", "stride", "grid"), shown)
    if report.form_words():
        screen.line(report.form_words())
    for line in _listed([f"{row.node}: {row.reason}" for row in report.left]):
        screen.line(f"left as it is: {line}")
    style = "bold green" if report.verdict in ("exact", None) else "bold yellow"
    screen.line(f": {report.verdict_words()}", _verdict(report), style)
    if report.checks:
        screen.table("checks", ("check", "size", "cells", "error", "tolerance", "result"), _check_cells(report.checks))
    screen.line(f": {report.handover.verdict_words()}", "TensorRT")
    for line in (*_findings(report), *report.handover.notes):
        screen.line(line)
    if (command := report.trtexec()) is not None:
        screen.unbroken(command)  # a line that was broken up could not be copied


def _print_heads(report: Report, screen: Screen) -> None:
    tables = report.heads if len(report.heads) <= MOST_TABLES else report.heads[: MOST_TABLES - 1]
    for head in tables:
        rows = _node_cells(head.nodes)
        shown = rows if len(rows) <= 14 else [*rows[:7], ("...", f"{len(rows) - 12} more", "...", ""), *rows[-5:]]
        title = f"head behind '{head.feature_map}' {head.feature_map_shape}"
        screen.table(title, ("node", "from", "to", "kernel"), shown)
    if len(tables) < len(report.heads):
        screen.line(f"... and {len(report.heads) - len(tables)} more heads")


def markdown(report: Report) -> str:
    """The Markdown text that ``--report FILE.md`` writes."""
    words = f"Verdict: **{_verdict(report)}**. {printable(report.verdict_words())}"
    lines = [f"# {printable(report.headline())}", "", words, ""]
    if report.restructured:
        lines += ["## Structure", "", *(f"* {printable(change)}" for change in report.restructured), ""]
    if report.unbaked:
        lines += ["## Rewritten to follow the size", "", *(f"* {printable(node)}" for node in report.unbaked), ""]
    for head in report.heads:
        lines += [f"## Head behind `{printable(head.feature_map)}` {head.feature_map_shape}", ""]
        lines += _markdown(("node", "from", "to", "kernel"), _node_cells(head.nodes))
    if report.maps:
        maps = [f"* `{printable(name)}`: [{', '.join(shape)}]" for name, shape in report.maps.items()]
        lines += ["## Outputs that are feature maps", "", *maps, ""]
    if report.outputs:
        lines += ["## Outputs", ""]
        lines += _markdown(("output", "shape", "window", "stride", "grid"), _output_cells(report.outputs))
    lines += [printable(report.form_words()), ""] if report.form_words() else []
    if report.left:
        rows = [(row.node, row.reason) for row in report.left]
        lines += ["## Left as they are", "", *_markdown(("node", "reason"), rows)]
    lines += ["## Checks", ""]
    lines += _markdown(("check", "size", "cells", "error", "tolerance", "result"), _check_cells(report.checks))
    lines += ["## TensorRT", "", printable(f"{report.handover.verdict_words()}"), ""]
    lines += [f"* {printable(line)}" for line in (*_findings(report), *report.handover.notes)]
    if (command := report.trtexec()) is not None:
        lines += ["", "```sh", command, "```"]
    return "\n".join(lines).rstrip("\n") + "\n"


def _findings(report: Report) -> list[str]:
    """The first of what is not documented as supported, with the first nodes of each."""
    lines = []
    for finding in report.handover.unsupported:
        shown, more = finding.nodes[:MOST_NAMED], len(finding.nodes) - MOST_NAMED
        lines.append(f"{finding.reason}: {', '.join(shown)}" if shown else finding.reason)
        lines[-1] += f" and {more} more" if more > 0 else ""
    return _listed(lines)


def _verdict(report: Report) -> str:
    return report.verdict or "static"


def _listed(lines: list[str]) -> list[str]:
    """The lines, or the first of many and how many there are more."""
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], f"{len(lines) - MOST_LINES} more"]


def _x(numbers: Iterable[int]) -> str:
    return "x".join(map(str, numbers))


def _node_cells(nodes: list[NodeRow]) -> Sequence[tuple[str, ...]]:
    return [(n.node, n.op, _counted(n.to), _x(n.kernel) if n.kernel else "") for n in nodes]


def _counted(op_types: list[str]) -> str:
    """``Slice + Conv``; of many nodes, how many of each."""
    counts = Counter(op_types)
    if len(op_types) > MOST_NODES:
        return " + ".join(f"{count} {op_type}" if count > 1 else op_type for op_type, count in counts.items())
    return " + ".join(op_types) or "-"


def _output_cells(outputs: list[OutputRow]) -> Sequence[tuple[str, ...]]:
    rows = []
    for o in outputs:
        grids = ", ".join(f"{size}: {_x(g)} = {_product(g)}" for size, g in o.grids.items())
        window, stride = ("whole image", "-") if o.whole_image else (_x(o.window), _x(o.stride))
        rows.append((o.name, f"[{', '.join(o.shape)}]", window, stride, grids))
    return rows


def _product(numbers: list[int]) -> int:
    result = 1
    for n in numbers:
        result *= n
    return result


def _check_cells(checks: list[CheckRow]) -> Sequence[tuple[str, ...]]:
    rows = []
    for c in checks:
        result = "measured" if c.passed is None else "passed" if c.passed else "FAILED"
        cells = "" if c.cells is None else f"{c.cells} of {c.cells_total}"
        error = "" if c.error is None else "equal" if c.error == 0 else f"{c.error:.2g}"
        tolerance = "" if c.tolerance is None else f"{c.tolerance:.2g}"
        rows.append(
            (c.name, _x(c.size) if c.size else "", cells, error, tolerance, f"{result}; {c.note}" if c.note else result)
        )
    return rows


def _markdown(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(printable(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [*lines, ""]
