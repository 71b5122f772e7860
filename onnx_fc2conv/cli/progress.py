"""A progress bar for whoever waits."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any


class Progress(AbstractContextManager["Progress"]):
    """A progress bar on stderr, if that is a terminal and the work takes longer than a second."""

    AFTER = 1.0

    def __init__(self, quiet: bool) -> None:
        self._wanted = sys.stderr is not None and sys.stderr.isatty() and not quiet
        self._start = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, name: str, done: int, of: int) -> None:
        """A check begins; so many steps of all are done."""
        if not self._wanted or time.monotonic() - self._start < self.AFTER:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=of)
        self._bar.update(self._task, description=f"checking: {name}", completed=done)

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
