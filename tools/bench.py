"""The benchmarks of the package as it lies here: ``python -m tools.bench [NAME ..]``; ``--help`` names them.

Each prints ratios that were measured side by side in one run, and the machine that it ran on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named."""
    if not __package__:  # as a file, which knows nothing of the folders above it
        sys.path.insert(0, str(Path(__file__).parents[1]))
    from tools.benchmarks import command

    return command.main(argv)


if __name__ == "__main__":
    sys.exit(main())
