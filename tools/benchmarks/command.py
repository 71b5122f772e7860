"""The command line: which benchmarks, how often, and where their figures go."""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import convert, dense, growth, same_size, start_up, verify
from .plan import Plan
from .tables import Table, machine, machine_in_words

BENCHMARKS: dict[str, Callable[[Plan], list[Table]]] = {
    "convert": convert.run,
    "verify": verify.run,
    "same-size": same_size.run,
    "dense": dense.run,
    "growth": growth.run,
    "start-up": start_up.run,
}
ROUNDS = 5
DESCRIPTION = (
    "Measure the package as it lies here: ratios of things that take turns in one run, and the machine that it ran on."
)
README = Path(__file__).parents[2] / "README.md"
SCHEMA = 1


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    result = argparse.ArgumentParser(prog="python -m tools.bench", description=DESCRIPTION)
    result.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    result.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"of each way (default: {ROUNDS})")
    result.add_argument("--small", action="store_true", help="small models, to try it")
    result.add_argument("--keep", metavar="DIR", help="make the models there, and use those that are there already")
    result.add_argument("--json", metavar="FILE", help="also write all figures to FILE")
    result.add_argument("--readme", action="store_true", help="also put the tables into README.md")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    given = parser().parse_args(argv)
    names = given.names or list(BENCHMARKS)
    for name in names:
        if name not in BENCHMARKS:
            parser().error(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    if given.rounds < 1:
        parser().error("--rounds must be at least 1")
    here = machine()
    print(f"{machine_in_words(here)}\n", flush=True)
    tables: dict[str, list[Table]] = {}
    with folder(given.keep) as where:
        for name in names:
            tables[name] = BENCHMARKS[name](Plan(where, given.small, given.rounds))
            for table in tables[name]:
                print(f"{name}: {table.about} Medians of {given.rounds} rounds.\n\n{table.markdown()}\n", flush=True)
            if given.json:  # after each, so that an interruption loses one
                written(Path(given.json), here, given, tables)
    if given.readme:
        text = README.read_text(encoding="utf-8")
        README.write_text(placed(text, [t for found in tables.values() for t in found]), encoding="utf-8")
    return 0


@contextmanager
def folder(keep: str | None) -> Iterator[Path]:
    """Where models are made: one that stays, or one that goes."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="onnx_fc2conv_bench.") as name:
            yield Path(name)
    else:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep).resolve()


def written(path: Path, here: dict[str, object], given: argparse.Namespace, tables: dict[str, list[Table]]) -> None:
    """All figures as JSON."""
    benchmarks = {
        name: [{"columns": t.columns, "rows": t.rows, "figures": t.figures} for t in found]
        for name, found in tables.items()
    }
    whole = {"schema": SCHEMA, "machine": here, "small": given.small, "rounds": given.rounds, "benchmarks": benchmarks}
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def placed(text: str, tables: Sequence[Table]) -> str:
    """The README with tables between their markers made anew.

    Raises:
        SystemExit: it has no place for one.
    """
    for table in tables:
        pattern = re.compile(f"(<!-- {re.escape(table.name)} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"README.md has no place for the table '{table.name}'")
        text = pattern.sub(lambda m, t=table: m[1] + t.markdown() + m[2], text)  # type: ignore[misc]
    return text
