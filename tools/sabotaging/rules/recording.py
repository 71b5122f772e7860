"""Which test runs which line: every test once, with the lines of the mutated files that it runs and its seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .forks import in_processes
from .targets import ROOT, judges, sources

QUIET = ("-q", "-p", "no:cacheprovider", "--no-header", "--tb=no")
SECONDS = 1200.0  #: the most that one file of tests may take
AT_IMPORT = ""  #: what coverage calls the time in which no test runs


@dataclass(frozen=True)
class Test:
    """One test: its id, what it takes, and the lines that it runs as bits of one number per file."""

    name: str
    seconds: float
    lines: dict[str, int]

    def runs(self, file: str, first: int, last: int) -> bool:
        """Whether it runs one of these lines."""
        wanted = ((1 << (last - first + 1)) - 1) << first
        return bool(self.lines.get(file, 0) & wanted)


class Recorder:
    """A plugin of pytest that tells coverage which test runs, and keeps what each takes."""

    def __init__(self, coverage: Any) -> None:
        self._coverage = coverage
        self.seconds: dict[str, float] = {}
        self.passed: dict[str, bool] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self._coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """One of its three phases is over."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        skipped_or_failed = report.failed or report.skipped
        self.passed[report.nodeid] = self.passed.get(report.nodeid, True) and not skipped_or_failed


def record(out: Path, jobs: int) -> None:
    """Run all judges that ``out`` does not have yet; a line of JSON for each test, and one that ends its file."""
    done = {row["file"] for row in _rows(out) if "file" in row}
    left = [name for name in judges() if name not in done]
    with out.open("a") as file:
        for name, found in in_processes(left, _recorded, jobs, SECONDS):
            if found is None:
                raise SystemExit(f"{name}: could not be recorded")
            for row in [*found, {"file": name}]:
                file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{name}: {len(found)} tests, {sum(row['seconds'] for row in found):.1f} s", flush=True)


def recorded(out: Path) -> list[Test]:
    """The tests that pass on the code as it is, the quickest first."""
    files = {f"{i}": source.as_posix() for i, source in enumerate(sources())}
    tests = [
        Test(row["test"], row["seconds"], {files[i]: int(bits, 16) for i, bits in row["lines"].items()})
        for row in _rows(out)
        if "test" in row
    ]
    return sorted(tests, key=lambda test: (test.seconds, test.name))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        yield from map(json.loads, path.read_text().splitlines())


def _recorded(name: str) -> list[dict[str, Any]]:
    """Run one file of tests under coverage."""
    import coverage
    import pytest

    paths = [str(ROOT / source) for source in sources()]
    measured = coverage.Coverage(data_file=None, include=paths, config_file=False, branch=False)
    plugin = Recorder(measured)
    measured.start()
    pytest.main([*QUIET, name], plugins=[plugin])
    measured.stop()
    data = measured.get_data()
    lines: dict[str, dict[str, int]] = {}
    for i, path in enumerate(paths):
        for line, contexts in data.contexts_by_lineno(path).items():
            for test in contexts:
                if test != AT_IMPORT:
                    bits = lines.setdefault(test, {})
                    bits[f"{i}"] = bits.get(f"{i}", 0) | 1 << line
    return [
        {"test": test, "seconds": round(plugin.seconds[test], 4), "lines": {i: hex(b) for i, b in bits.items()}}
        for test, bits in lines.items()
        if plugin.passed.get(test)
    ]
