"""What every benchmark prints: a line on the machine, and Markdown tables."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Row = tuple[str, ...]
LIBRARIES = ("onnxruntime", "onnx", "onnx-graphsurgeon", "onnx-ir", "numpy")


@dataclass
class Table:
    """One table of a benchmark.

    Attributes:
        name: of its place in the README.
        about: what is compared with what, in a sentence or two.
        columns: their heads.
        rows: what was measured, as text.
        figures: the same as numbers, one entry per measurement, for the JSON file.
    """

    name: str
    about: str
    columns: Row
    rows: list[Row] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def markdown(self) -> str:
        """The table alone."""
        return "\n".join([*head(self.columns), *map(line, self.rows)])

    def add(self, row: Iterable[str], **figures: Any) -> None:
        """One more row, shown at once to whoever waits for the table."""
        self.rows.append(tuple(row))
        print(line(self.rows[-1]), file=sys.stderr, flush=True)
        self.figures.append(figures)


def head(columns: Sequence[str]) -> list[str]:
    """The first two lines of a Markdown table."""
    return [line(columns), "|" + " --- |" * len(columns)]


def line(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def print_head(columns: Sequence[str]) -> None:
    """The machine, and the first two lines of a table whose rows come one by one."""
    print(f"{short_machine()}\n")
    print("\n".join(head(columns)), flush=True)


def print_row(cells: Sequence[str]) -> None:
    """The next row."""
    print(line(cells), flush=True)


def short_machine() -> str:
    """``onnxruntime 1.31.1, 2 cores, x86_64``."""
    return f"onnxruntime {version('onnxruntime')}, {os.cpu_count()} cores, {platform.machine()}"


def machine() -> dict[str, Any]:
    """Processor, memory, system, and the versions of what is measured."""
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": found,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def machine_in_words(found: dict[str, Any]) -> str:
    """The same on one line."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    memory = f"{found['memory'] / 2**30:.3g} GiB of memory" if found["memory"] else "unknown memory"
    first = f"{found['processor']}, {found['cores']} cores, {memory}, {found['system']}, Python {found['python']}"
    return f"{first}, {versions}; load average at the start {found['load']}"


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            names = [text.partition(":")[2].strip() for text in f if text.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def size(n: float) -> str:
    """Bytes: ``1.2 MB``."""
    value, unit = (n / 1e9, "GB") if n >= 1e9 else (n / 1e6, "MB") if n >= 1e5 else (n / 1e3, "kB")
    return f"{value:.4g} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """``1.23 s`` or ``12.3 ms``."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
