"""A Report on one terminal screen, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TextIO

from ..errors import printable
from . import speed, tuning
from .cells import by, check_cells, counted, listed, markdown_table, most
from .data import NodeRow, OutputRow, Report
from .terminal import Screen

CHECK_COLUMNS = ("check", "size", "cells", "error", "tolerance", "result")
MOST_TABLES = 4  #: of heads, on a terminal
MOST_ROWS = 9  #: of one head, on a terminal
MOST_NAMED = 4  #: nodes for one reason, on a terminal


def print_report(report: Report, stream: TextIO, width: int | None = None) -> None:
    """The report on one terminal screen; the arguments are those of ``Screen``."""
    screen = Screen(stream, width)
    screen.line("", report.headline())
    for image in report.images:
        sizes = f"trained size {by(image.trained_size)}, valid sizes: {image.valid_sizes}"
        same = f"must have the size of '{image.same_size_as}'"
        screen.line(f"input '{image.name}', {same if image.same_size_as else sizes}")
    for change in listed(report.restructured):
        screen.line(f"structure: {change}")
    for node in report.unbaked:
        screen.line(f"carried the trained size, rewritten to follow the input's: {node}")
    for change in listed(report.dense):
        screen.line(f"made denser: {change}")
    for name, shape in report.maps.items():
        screen.line(f"output '{name}' is a feature map, [{', '.join(shape)}]")
    _print_heads(report, screen)
    if report.outputs:
        outputs = _output_cells(report.outputs)
        shown = outputs if len(outputs) <= 6 else [*outputs[:5], (f"... {len(outputs) - 5} more", "", "", "", "")]
        screen.table("outputs", ("output", "shape", "window", "stride", "grid"), shown)
    if report.form_words():
        screen.line(report.form_words())
    for line in listed([f"{row.node}: {row.reason}" for row in report.left]):
        screen.line(f"left as it is: {line}")
    style = "bold green" if report.verdict in ("exact", None) else "bold yellow"
    screen.line(f": {report.verdict_words()}", _verdict(report), style)
    if report.checks:
        screen.table("checks", CHECK_COLUMNS, check_cells(report.checks))
    if report.speed:
        screen.line(speed.words(report.speed))
    if report.tuning is not None:
        screen.table(*tuning.table(report.tuning))
        screen.line(report.tuning.words())
    screen.line(f": {report.handover.verdict_words()}", "TensorRT")
    for line in (*_findings(report), *report.handover.notes):
        screen.line(line)
    if (command := report.trtexec()) is not None:
        screen.unbroken(command)  # a line that was broken up could not be copied


def _print_heads(report: Report, screen: Screen) -> None:
    tables = report.heads if len(report.heads) <= MOST_TABLES else report.heads[: MOST_TABLES - 1]
    for head in tables:
        shown = most(_node_cells(head.nodes), MOST_ROWS)
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
    if report.dense:
        lines += ["## Made denser", "", *(f"* {printable(change)}" for change in report.dense), ""]
    for head in report.heads:
        lines += [f"## Head behind `{printable(head.feature_map)}` {head.feature_map_shape}", ""]
        lines += markdown_table(("node", "from", "to", "kernel"), _node_cells(head.nodes))
    if report.maps:
        maps = [f"* `{printable(name)}`: [{', '.join(shape)}]" for name, shape in report.maps.items()]
        lines += ["## Outputs that are feature maps", "", *maps, ""]
    if report.outputs:
        lines += ["## Outputs", ""]
        lines += markdown_table(("output", "shape", "window", "stride", "grid"), _output_cells(report.outputs))
    lines += [printable(report.form_words()), ""] if report.form_words() else []
    if report.left:
        rows = [(row.node, row.reason) for row in report.left]
        lines += ["## Left as they are", "", *markdown_table(("node", "reason"), rows)]
    lines += ["## Checks", ""]
    lines += markdown_table(CHECK_COLUMNS, check_cells(report.checks))
    lines += [speed.words(report.speed), ""] if report.speed else []
    if report.tuning is not None:
        title, columns, measured = tuning.table(report.tuning)
        lines += [f"## {title}", "", *markdown_table(columns, measured), printable(report.tuning.words()), ""]
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
    return listed(lines)


def _verdict(report: Report) -> str:
    return report.verdict or "static"


def _node_cells(nodes: list[NodeRow]) -> Sequence[tuple[str, ...]]:
    return [(n.node, n.op, counted(n.to), by(n.kernel) if n.kernel else "") for n in nodes]


def _output_cells(outputs: list[OutputRow]) -> Sequence[tuple[str, ...]]:
    rows = []
    for o in outputs:
        grids = ", ".join(f"{size}: {by(g)} = {prod(g)}" for size, g in o.grids.items())
        window, stride = ("whole image", "-") if o.whole_image else (by(o.window), by(o.stride))
        rows.append((o.name, f"[{', '.join(o.shape)}]", window, stride, grids))
    return rows
