"""Lines and tables on a terminal, or in a pipe; nothing that a name holds is acted on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from ..errors import printable

PIPED_WIDTH = 120


class Screen:
    """Where a report is printed: tables that fit, colours where the stream is a terminal."""

    def __init__(self, stream: TextIO, width: int | None = None) -> None:
        """Start on a stream.

        Args:
            stream: where to.
            width: columns; default: the terminal's, or 120 where there is none.
        """
        from rich.console import Console

        width = width or (None if stream.isatty() else PIPED_WIDTH)
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False, width=width)

    def line(self, words: str, lead: str = "", style: str = "bold") -> None:
        """One paragraph; ``lead`` stands in front of it, in a style of its own."""
        from rich.text import Text

        self._console.print(Text(printable(lead), style) + Text(printable(words)))

    def unbroken(self, words: str) -> None:
        """One line that is meant to be copied, as it is."""
        from rich.text import Text

        self._console.print(Text(words), soft_wrap=True)

    def table(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        """A table; without a title if that is empty."""
        from rich.table import Column, Table
        from rich.text import Text

        headers = [Column(name, overflow="fold") for name in columns]
        table = Table(*headers, title=Text(printable(title), "bold") if title else None, title_justify="left")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self._console.print(table)
