"""Which check is under way, so that one that cannot be run is named: it is never passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import NotVerified
from .session import one_line

Progress = Callable[[str, int, int], None]


class Watched:
    """Progress that knows the check that it was last told about."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self.check = progress, "structure"

    def __call__(self, check: str, done: int, of: int) -> None:
        """Hand it on."""
        self.check = check
        self._progress(check, done, of)

    @contextmanager
    def enough_memory(self) -> Iterator[None]:
        """Name the check for which there was not enough memory.

        Raises:
            NotVerified: there was not.
        """
        with enough_memory(lambda: self.check):
            yield


@contextmanager
def enough_memory(check: Callable[[], str]) -> Iterator[None]:
    """The same for one check.

    Raises:
        NotVerified: there was not enough memory.
    """
    try:
        yield
    except MemoryError as e:
        words = one_line(e)
        why = f" ({words})" if words else ""
        reason = f"the check was not run: not enough memory{why}; --no-verify converts without any check"
        raise NotVerified(f"{check()}: {reason}") from e
