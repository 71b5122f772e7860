"""Times side by side: what is compared takes turns (A B A B ..), and medians are taken."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: A process's peak begins with that of the one that started it, which has made models here; so a small one does.
RUNNER = """
import os, sys, time
start = time.perf_counter()
_, status, used = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
print(f"\\n{time.perf_counter() - start} {used.ru_maxrss} {os.waitstatus_to_exitcode(status)}")
"""


@dataclass
class Times:
    """What was measured of one way.

    Attributes:
        seconds: of each run.
        peak: bytes of memory that a run's process held at most, where that was asked for.
    """

    seconds: list[float] = field(default_factory=list)
    peak: int = 0

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return statistics.median(self.seconds)


def medians(ways: Mapping[str, Callable[[], object]], rounds: int, warm: bool = True) -> dict[str, float]:
    """Median seconds of each way in this process; all take turns.

    Args:
        ways: what is compared.
        rounds: how often each runs.
        warm: whether each runs once before, unmeasured.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(rounds + warm):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if i >= warm:
                found[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


@dataclass(frozen=True)
class Child:
    """A process to measure.

    Attributes:
        command: what it runs, in the project's folder.
        reports: whether it prints the seconds that count as a last line of JSON; else all of its time does.
        before, after: what is done around each run, unmeasured, such as removing what it wrote.
    """

    command: Sequence[str]
    reports: bool = True
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None

    def run(self) -> tuple[float, int]:
        """Seconds, and bytes of memory at most (``ru_maxrss``).

        Raises:
            SystemExit: it failed.
        """
        if self.before is not None:
            self.before()
        command = [sys.executable, "-S", "-c", RUNNER, *self.command]
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
        )
        *printed, last = [text for text in done.stdout.splitlines() if text]
        seconds, peak, code = map(float, last.split())
        if code:
            said = "\n".join(printed)[-1000:]
            raise SystemExit(f"{' '.join(self.command)[:200]} ended with {code:.0f}: {said}")
        if self.after is not None:
            self.after()
        unit = 1 if sys.platform == "darwin" else 1024
        return (float(json.loads(printed[-1])) if self.reports else seconds), int(peak) * unit


def children(ways: Mapping[str, Child], rounds: int) -> dict[str, Times]:
    """Each way in a fresh process, taking turns."""
    found = {name: Times() for name in ways}
    for _ in range(rounds):
        for name, child in ways.items():
            seconds, peak = child.run()
            found[name].seconds.append(seconds)
            found[name].peak = max(found[name].peak, peak)
    return found


def python(code: str, *arguments: object) -> list[str]:
    """The command of a child that runs some code and prints how long its ``measured()`` took.

    The code defines ``measured``; what it does before that, such as imports, is not counted.
    """
    script = f"import json, sys, time\n{code}\nstart = time.perf_counter()\nmeasured(*sys.argv[1:])\n"
    script += "seconds = time.perf_counter() - start\nsys.stdout.flush()\nprint('\\n' + json.dumps(seconds))\n"
    return [sys.executable, "-c", script, *map(str, arguments)]
