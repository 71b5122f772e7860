"""Findings on one terminal screen."""

from __future__ import annotations

from typing import TextIO

from ..findings import Findings
from .terminal import Screen


def print_findings(findings: Findings, stream: TextIO, width: int | None = None) -> None:
    """What breaks or lies at another size, as a table; the arguments are those of ``Screen``."""
    screen = Screen(stream, width)
    count = len(findings.found)
    words = "nothing breaks or lies" if findings.clean else f"{count} finding{'s' if count > 1 else ''}"
    sizes = ", ".join("x".join(map(str, size)) for size in findings.trained_size.values())
    screen.line("", f"{findings.input}: {words} when its size changes from {sizes}")
    if findings.guessed:
        screen.line("The model has no trained size; this is the smallest that its FC nodes fit (--size gives it)")
    if findings.found:
        screen.table("", ("node", "", "what"), ((f.node, f.consequence, f.what) for f in findings.found))
    if findings.measured:
        screen.line(f"measured: {findings.measured}")
