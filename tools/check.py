"""The one command that a change must pass: formatter, linter, type checker, generated files, tests with coverage."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
COVERAGE = 95  #: per cent of lines and branches

STEPS: dict[str, list[str]] = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "models": ["tools/make_models.py", "--check"],
    "readme": ["tools/docs.py", "--check"],
    "tests": [
        "pytest",
        "-n",
        "auto",
        "--cov",
        "--cov-report=term-missing:skip-covered",
        f"--cov-fail-under={COVERAGE}",
    ],
}


def command(arguments: list[str]) -> list[str]:
    """A step as run by this Python: a module, or a script of this folder."""
    return [sys.executable, *([] if arguments[0].endswith(".py") else ["-m"]), *arguments]


def main() -> int:
    """Run the steps in order and stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", help=f"steps to run, default all: {', '.join(STEPS)}")
    chosen = parser.parse_args().steps or list(STEPS)
    unknown = [s for s in chosen if s not in STEPS]
    if unknown:
        parser.error(f"no step {unknown[0]!r}; there are {', '.join(STEPS)}")
    for step in chosen:
        print(f"== {step}", flush=True)
        start = time.monotonic()
        code = subprocess.run(command(STEPS[step]), cwd=ROOT, check=False).returncode
        if code:
            print(f"== {step} FAILED after {time.monotonic() - start:.0f} s", flush=True)
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
