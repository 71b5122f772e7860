"""Findings on one terminal screen."""

from __future__ import annotations

from typing import TextIO

from ..errors import printable
from ..findings import Findings

PIPED_WIDTH = 120


def print_findings(findings: Findings, stream: TextIO, width: int | None = None) -> None:
    """What breaks or lies at another size, as a table.

    Args:
        findings: what to print.
        stream: where to.
        width: columns; default: the terminal's, or 120 where there is none.
    """
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    width = width or (None if stream.isatty() else PIPED_WIDTH)
    console = Console(file=stream, highlight=False, markup=False, emoji=False, width=width)
    count = len(findings.found)
    words = "nothing breaks or lies" if findings.clean else f"{count} finding{'s' if count > 1 else ''}"
    sizes = ", ".join("x".join(map(str, size)) for size in findings.trained_size.values())
    console.print(Text(printable(f"{findings.input}: {words} when its size changes from {sizes}"), "bold"))
    if findings.guessed:
        console.print("The model has no trained size; this is the smallest that its FC nodes fit (--size gives it)")
    if findings.found:
        columns = [Column(name, overflow="fold") for name in ("node", "", "what")]
        table = Table(*columns)
        for finding in findings.found:
            table.add_row(*(Text(printable(cell)) for cell in (finding.node, finding.consequence, finding.what)))
        console.print(table)
    if findings.measured:
        console.print(Text(printable(f"measured: {findings.measured}")))
