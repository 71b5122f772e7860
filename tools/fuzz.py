"""Try to break the package: damaged files, random networks, and the models that ship inside of the onnx package.

``python -m tools.fuzz --cases 26700 --minutes 30`` does 20,000 damaged files, 4,000 networks and 2,670 models of onnx.
Each case is a seed and a number, and nothing else: ``--seed 3 --case 1234`` does one again. ``--resume FILE`` keeps a
log, and goes on where it ended. What fails is made smaller and written to ``--save``, from where
``tests/fuzz/test_cases.py`` picks it up. The exit code is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:  # when run as a script
    sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: E402
from rich.table import Table  # noqa: E402

from tools.fuzzing import cases  # noqa: E402
from tools.fuzzing.trial import FINE, Verdict  # noqa: E402
from tools.fuzzing.workers import GIB, Prelude, Worker, all_of, cores, shrunk  # noqa: E402

SAVE = ROOT / "tests" / "fuzz_cases"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
COUNTED = (
    "refused",
    "headless",
    "reread",
    "caught",
    "unjudged",
    "illegal",
)  #: verdicts whose reasons are printed, where they are needless


@dataclass
class Tally:
    """What came of all cases.

    Attributes:
        verdicts: how often, by kind of case and verdict.
        reasons: the same with the reason, for what is no failure.
        failures: number, kind of case, verdict and text.
    """

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    failures: list[tuple[int, str, str, str]] = field(default_factory=list)
    seconds: Counter[str] = field(default_factory=Counter)

    def add(self, number: int, verdict: str, text: str, seconds: float) -> None:
        """One more."""
        kind = cases.kind_of(number)
        self.verdicts[kind, verdict] += 1
        self.seconds[kind] += seconds  # type: ignore[assignment]
        if verdict in COUNTED:
            self.reasons[kind, verdict, cases.reason(text)] += 1
        if verdict not in FINE:
            self.failures.append((number, kind, verdict, text))

    def print(self, console: Console, most: int = 20) -> None:
        """Everything, as tables."""
        table = Table("kind", "verdict", "cases")
        for (kind, verdict), count in sorted(self.verdicts.items()):
            table.add_row(kind, verdict, str(count), style="" if verdict in FINE else "red")
        for kind in cases.KINDS:
            done = sum(n for (k, _), n in self.verdicts.items() if k == kind)
            if done:
                table.add_row(kind, "all", f"{done}, {done / max(self.seconds[kind], 1e-9):.1f} a second and core")
        console.print(table)
        reasons = [row for row in self.reasons.most_common() if row[0][0] == "network"][:most]
        if reasons:
            table = Table("networks", "reason", "cases")
            for (_, verdict, text), count in reasons:
                table.add_row(verdict, text, str(count))
            console.print(table)
        for number, kind, verdict, text in self.failures:
            console.print(f"case {number} ({kind}): {verdict}: {text}"[:700], markup=False, style="red", soft_wrap=True)


class Log:
    """A file of JSON lines, one for each case that is done."""

    def __init__(self, path: Path | None, seed: int) -> None:
        self._seed, self._file = seed, None
        self.done: dict[int, dict[str, Any]] = {}
        if path is None:
            return
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, KeyError):  # the last line may be cut off
                    row = json.loads(line)
                    if row["seed"] == seed:
                        self.done[row["case"]] = row
        self._file = path.open("a", encoding="utf-8")
        self._file.write("\n" if path.stat().st_size else "")

    def add(self, number: int, verdict: Verdict, seconds: float) -> None:
        """One more case."""
        if self._file is not None:
            row = {"seed": self._seed, "case": number, "kind": cases.kind_of(number), "verdict": verdict.kind}
            row |= {"code": verdict.code, "text": verdict.text[:700], "seconds": round(seconds, 4)}
            print(json.dumps(row), file=self._file, flush=True)

    def close(self) -> None:
        """No more cases."""
        if self._file is not None:
            self._file.close()


def numbers(arguments: argparse.Namespace, done: dict[int, Any]) -> Iterator[int]:
    """The cases to do, until the time is up."""
    until = time.monotonic() + arguments.minutes * 60
    wanted = [arguments.case] if arguments.case is not None else range(arguments.cases)
    for number in wanted:
        if time.monotonic() > until:
            return
        if number not in done and (arguments.case is not None or cases.kind_of(number) in arguments.kinds):
            yield number


def fuzz(arguments: argparse.Namespace, console: Console, prelude: Prelude | None = None) -> Tally:
    """Do the cases, make smaller what fails, and write it down."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    log, tally, seen = Log(arguments.resume, arguments.seed), Tally(), set[tuple[str, str]]()
    for number, row in log.done.items():
        tally.add(number, row["verdict"], row["text"], row["seconds"])
    work = Path(tempfile.mkdtemp(prefix="fuzz."))
    workers = [
        Worker(work / str(i), arguments.limit, int(arguments.memory * GIB), prelude) for i in range(arguments.workers)
    ]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
            total = (
                1
                if arguments.case is not None
                else len(
                    [n for n in range(arguments.cases) if n not in log.done and cases.kind_of(n) in arguments.kinds]
                )
            )
            task = progress.add_task("fuzzing", total=total)
            for worker, verdict, seconds in all_of(
                workers, ((n, cases.plan_of(arguments.seed, n)) for n in numbers(arguments, log.done))
            ):
                number = worker.number
                tally.add(number, verdict.kind, verdict.text, seconds)
                log.add(number, verdict, seconds)
                progress.update(task, advance=1, description=f"fuzzing, {len(tally.failures)} failed")
                if verdict.failed and worker.plan is not None:
                    console.print(f"case {number}: {verdict.kind}: {verdict.text}"[:400], markup=False, soft_wrap=True)
                    signature = verdict.kind, cases.reason(verdict.text)
                    if signature not in seen and arguments.save is not None:
                        keep(worker, number, verdict, arguments)
                    seen.add(signature)
    except KeyboardInterrupt:
        console.print("interrupted")
    finally:
        for worker in workers:
            worker.stop()
        shutil.rmtree(work, ignore_errors=True)
        log.close()
    return tally


def keep(worker: Worker, number: int, verdict: Verdict, arguments: argparse.Namespace) -> None:
    """Make a failing case smaller and write it down."""
    assert worker.plan is not None
    plan, found = shrunk(worker, worker.plan, verdict)
    worker.do(plan)  # its files lie there now
    cases.save(plan, found, arguments.save / f"{plan['kind']}-{arguments.seed}-{number}", worker.folder)
    worker.number = number


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = argparse.ArgumentParser(prog="fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    result.add_argument("--seed", type=int, default=0, help="another seed, other cases")
    result.add_argument("--cases", type=int, default=26_700, help="how many (default: 26,700)")
    result.add_argument("--case", type=int, metavar="N", help="only this one")
    result.add_argument("--kinds", type=lambda t: t.split(","), default=list(cases.KINDS), metavar="KIND,..")
    result.add_argument("--minutes", type=float, default=1e9, help="stop after so many")
    result.add_argument("--workers", type=int, default=cores(), help="processes (default: one for each core)")
    result.add_argument("--limit", type=float, default=60.0, help="seconds until a case hangs (default: 60)")
    result.add_argument("--memory", type=float, default=4.0, help="GiB of address space of a process (default: 4)")
    result.add_argument("--resume", type=Path, metavar="FILE", help="log to this file, and go on where it ends")
    result.add_argument("--save", type=Path, metavar="FOLDER", help=f"write failing cases here, such as {SAVE.name}")
    return result


def main(argv: Sequence[str] | None = None, prelude: Prelude | None = None) -> int:
    """Run it; 1 if anything failed."""
    console = Console()
    arguments = parser().parse_args(argv)
    unknown = set(arguments.kinds) - set(cases.KINDS)
    if unknown:
        console.print(f"fuzz: no such kind: {', '.join(sorted(unknown))}; there are {', '.join(cases.KINDS)}")
        return 2
    if arguments.case is not None:
        console.print_json(json.dumps(cases.plan_of(arguments.seed, arguments.case)))
    tally = fuzz(arguments, console, prelude)
    tally.print(console)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
