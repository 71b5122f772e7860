"""A ReverseReport on a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from ..errors import printable
from .cells import by, check_cells, counted, listed, markdown_table, most, percent
from .products import ProductRow, ReverseReport
from .terminal import Screen

COLUMNS = ("node", "was", "matrix", "multiplications", "weights", "patches")
DENSE_COLUMNS = ("node", "was", "matrix", "zeros", "multiplications", "weights")
RESTORED_COLUMNS = ("node", "was", "weight", "")
CHECK_COLUMNS = ("check", "size", "error", "tolerance", "result")
MOST_ROWS = 20  #: on a terminal


def print_estimate(report: ReverseReport, stream: TextIO, width: int | None = None) -> None:
    """What the matrices of a dense form are going to be, before any of them is."""
    screen = Screen(stream, width)
    total = sum(p.bytes_after for p in report.products)
    count = len(report.products)
    words = f"{count} matri{'ces' if count != 1 else 'x'} of {in_bytes(total)} in all ({total} bytes)"
    screen.line("", f"{report.input}: {words}")
    _print_products(report, screen)


def print_reverse(report: ReverseReport, stream: TextIO, width: int | None = None, announced: bool = False) -> None:
    """The report on a terminal.

    Args:
        report: what is to be said.
        stream, width: as of ``Screen``.
        announced: the table of the products is on the screen already.
    """
    screen = Screen(stream, width)
    screen.line("", report.headline())
    for change in listed(report.restructured):
        screen.line(f"structure: {change}")
    if not announced:
        _print_products(report, screen)
    if report.restored:
        screen.table("heads", RESTORED_COLUMNS, most(_restored_cells(report), MOST_ROWS))
    for line in listed([f"{row.node}: {row.reason}" for row in report.left]):
        screen.line(f"left as it is: {line}")
    for note in report.notes:
        screen.line(note)
    if report.checks:
        screen.table("checks", CHECK_COLUMNS, _check_cells(report))


def markdown_reverse(report: ReverseReport) -> str:
    """The Markdown text that ``--report FILE.md`` writes."""
    lines = [f"# {printable(report.headline())}", ""]
    if report.restructured:
        lines += ["## Structure", "", *(f"* {printable(change)}" for change in report.restructured), ""]
    if report.products:
        lines += ["## Matrices", "", f"Numbers are the {_counted_at(report)}.", ""]
        cells = [(*row, counted(p.to)) for row, p in zip(_product_cells(report), _products(report), strict=True)]
        lines += markdown_table((*_columns(report), "in its place"), cells)
    if report.restored:
        lines += ["## Heads", "", *markdown_table(RESTORED_COLUMNS, _restored_cells(report))]
    if report.left:
        rows = [(row.node, row.reason) for row in report.left]
        lines += ["## Left as they are", "", *markdown_table(("node", "reason"), rows)]
    if report.notes:
        lines += ["## Notes", "", *(f"* {printable(note)}" for note in report.notes), ""]
    lines += ["## Checks", "", *markdown_table(CHECK_COLUMNS, _check_cells(report))]
    return "\n".join(lines).rstrip("\n") + "\n"


def _print_products(report: ReverseReport, screen: Screen) -> None:
    if report.products:
        screen.table(f"matrices ({_counted_at(report)})", _columns(report), most(_product_cells(report), MOST_ROWS))


def _counted_at(report: ReverseReport) -> str:
    return f"costs of one image{f' of {by(report.size)}' if report.size else ''}"


def _columns(report: ReverseReport) -> tuple[str, ...]:
    return DENSE_COLUMNS if report.form == "dense" else COLUMNS


def _products(report: ReverseReport) -> list[ProductRow]:
    """All products, and their total where there are several."""
    total = report.total()
    return report.products if total is None else [*report.products, total]


def _product_cells(report: ReverseReport) -> list[tuple[str, ...]]:
    return [_row(p, report.form == "dense") for p in _products(report)]


def _row(p: ProductRow, dense: bool) -> tuple[str, ...]:
    size = f"{p.rows} x {p.columns}" if p.rows else ""
    matrix = f"{p.count} of {size}" if p.count > 1 and size else size
    work = _change(in_units(p.before), in_units(p.after))
    weights = _change(in_bytes(p.bytes_before), in_bytes(p.bytes_after))
    if dense:
        return p.node, p.what, matrix, percent(p.zeros), work, weights
    return p.node, p.what, matrix, work, weights, in_bytes(p.gathered) if p.gathered != 0 else "-"


def _restored_cells(report: ReverseReport) -> Sequence[tuple[str, ...]]:
    return [(r.node, counted(r.was), f"{r.weight} {r.weight_shape}", r.how) for r in report.restored]


def _check_cells(report: ReverseReport) -> list[tuple[str, ...]]:
    """Without the column of cells: there is one answer."""
    return [(name, size, *rest) for name, size, _, *rest in check_cells(report.checks)]


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"


def in_units(n: int | None) -> str:
    """``1.23 M``; ``?`` where it is not known."""
    return _scaled(n, 1000, ("", "k", "M", "G", "T", "P")).strip()


def in_bytes(n: int | None) -> str:
    """``1.23 MiB``; ``?`` where it is not known."""
    return _scaled(n, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def _scaled(n: int | None, step: int, units: tuple[str, ...]) -> str:
    if n is None:
        return "?"
    value, k = float(n), 0
    while value >= step and k < len(units) - 1:
        value, k = value / step, k + 1
    return f"{n} {units[0]}" if k == 0 else f"{value:.3g} {units[k]}"
