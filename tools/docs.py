"""Write the README's tables from the code: operators, refusals, options. ``--check`` says whether they are stale."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from io import StringIO
from pathlib import Path

from onnx import defs

from onnx_fc2conv import convert, convolution_to_matmul
from onnx_fc2conv.heatmap import HeatmapSettings
from onnx_fc2conv.lift import RULES
from onnx_fc2conv.report import print_estimate, print_report, print_reverse
from onnx_fc2conv.settings import ReverseSettings, Settings

README = Path(__file__).parent.parent / "README.md"
OLDEST_OPSET = 7
WIDTH = 100


def table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def first_opset(kind: str) -> int:
    """The first opset, from the oldest that is read on, in which an operator of the standard exists."""
    versions = [s.since_version for s in defs.get_all_schemas_with_history() if s.name == kind and s.domain == ""]
    return max(min(versions), OLDEST_OPSET)


def named(kind: str) -> str:
    """The operator as a table shows it; the opset counts the standard's operators only, not those of a domain."""
    since = OLDEST_OPSET if "." in kind else first_opset(kind)
    return f"`{kind}`" + (f" ({since})" if since > OLDEST_OPSET else "")


def operators() -> str:
    """One row per family, with the opset from which on each operator exists where that is not the oldest."""
    families: dict[str, list[str]] = {}
    for entry in sorted(RULES.values(), key=lambda e: ("." in e.kind, e.kind)):
        if entry.rule is not None:
            families.setdefault(entry.family, []).append(named(entry.kind))
    columns = ("family", "operators (first opset, if later than 7)")
    return table(columns, [(family, ", ".join(names)) for family, names in families.items()])


def refusals() -> str:
    """One row per reason."""
    reasons: dict[str, list[str]] = {}
    for entry in RULES.values():
        if entry.because is not None:
            reasons.setdefault(entry.because.format(start="a flattening"), []).append(f"`{entry.kind}`")
    return table(("operators", "why never"), [(", ".join(sorted(n)), r) for r, n in reasons.items()])


def options(settings: type) -> str:
    """One row per command-line option."""
    rows = []
    for f in fields(settings):
        flag = f.metadata.get("flag", "--" + f.name.replace("_", "-"))
        value = f" {f.metadata['metavar']}" if "metavar" in f.metadata else ""
        rows.append((f"`{flag}{value}`".replace("|", "\\|"), f.metadata["help"]))
    return table(("option", "meaning"), rows)


@cache
def example() -> str:
    """What the README's first command prints."""
    model = Path("models") / "reference_detector.onnx"
    result = convert(README.parent / model, sizes=[(512, 1024)])
    result.report.input, result.report.output = str(model), "detector_map.onnx"
    result.report.speed = []  # that is another one on every machine
    printed = StringIO()
    print_report(result.report, printed, width=WIDTH)
    return _as_printed(f"onnx-fc2conv {model} detector_map.onnx --size 512x1024", printed)


@cache
def reverse_example() -> str:
    """What ``onnx-conv2fc`` prints of a network in its dense form."""
    model = Path("models") / "conv3d.onnx"
    result = convolution_to_matmul(README.parent / model, form="dense")
    result.report.input, result.report.output = str(model), "conv3d_dense.onnx"
    printed = StringIO()
    print_estimate(result.report, printed, width=WIDTH)
    print_reverse(result.report, printed, width=WIDTH, announced=True)
    return _as_printed(f"onnx-conv2fc {model} conv3d_dense.onnx --form dense", printed)


def _as_printed(command: str, printed: StringIO) -> str:
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "\n".join(["```text", f"$ {command}", *lines, "```"])


def rendered(text: str) -> str:
    """The README's text with every table between its markers made anew."""
    tables = {
        "example": example(),
        "operators": operators(),
        "refusals": refusals(),
        "options": options(Settings),
        "reverse example": reverse_example(),
        "reverse options": options(ReverseSettings),
        "heatmap options": options(HeatmapSettings),
    }
    for name, content in tables.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"README.md has no place for the table of {name}")
        text = pattern.sub(lambda m, c=content: m[1] + c + m[2], text)  # type: ignore[misc]
    return text


def main() -> int:
    """Rewrite the README, or with ``--check`` exit with 1 if it is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a table is stale")
    text = README.read_text(encoding="utf-8")
    new = rendered(text)
    if parser.parse_args().check:
        return int(new != text)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
