"""One mutant judged: the package is imported with it, and the tests that run its line are run until one fails."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from .mutants import Mutant, mutated
from .recording import QUIET
from .targets import ROOT, module_of

KILLED, SURVIVED, LATE = "killed", "survived", "killed by time"
NOT_FOUND = 4  #: what pytest answers if a test that was asked for is not there (any more)
NOTHING = 5  #: what it answers if there was nothing to run


class Mutation(MetaPathFinder):
    """Gives one module of another code to whoever imports it."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._path = ROOT / mutant.file
        self._module = module_of(Path(mutant.file))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own place, with a loader that compiles the mutant."""
        if fullname != self._module:
            return None
        inside = [str(self._path.parent)] if self._path.stem == "__init__" else None
        loader = _Loader(fullname, str(self._path), self._mutant)
        return spec_from_file_location(fullname, self._path, loader=loader, submodule_search_locations=inside)


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """The mutant's, compiled anew."""
        return compile(mutated(self._mutant), str(self.path), "exec")


class _First:
    """A plugin of pytest that remembers the first test that failed."""

    def __init__(self) -> None:
        self.failed = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        """One phase of a test is over."""
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        """A file of tests was read: it imports the package."""
        if report.failed and not self.failed:
            self.failed = report.nodeid or "collection"


def judged(mutant: Mutant, parts: list[list[str]]) -> dict[str, str]:
    """Run the tests in this process, which must not have imported the package.

    Returns:
        The result, and the test that noticed.
    """
    import pytest

    if any(name.startswith(module_of(Path(mutant.file)).partition(".")[0]) for name in sys.modules):
        raise RuntimeError("the package was imported already")
    finder = Mutation(mutant)
    sys.meta_path.insert(0, finder)
    for part in parts:
        first = _First()
        code = pytest.main([*QUIET, "-x", *part], plugins=[first])
        if code == NOT_FOUND and not first.failed:  # it changed the cases of a test
            files = list(dict.fromkeys(name.partition("::")[0] for name in part))
            code = pytest.main([*QUIET, "-x", *files], plugins=[first])
        if code not in (pytest.ExitCode.OK, NOTHING) or first.failed:
            return {"result": KILLED, "by": first.failed or f"pytest {int(code)}"}
    return {"result": SURVIVED, "by": ""}
