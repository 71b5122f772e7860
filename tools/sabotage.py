"""How much the checks and the tests notice: mistakes in converted models, and mutants of the rules.

``python -m tools.sabotage models`` makes every known mistake in correct conversions and shows that ``verify`` rejects
each; ``python -m tools.sabotage rules --sample 300 --seed 1`` changes the code of ``lift/``, ``flatten.py`` and
``geometry/`` in small ways and counts which changes a test notices. Both print a Markdown table. The second keeps what
it has judged in ``--folder`` and goes on from there; the first time, it runs all tests once to learn which runs which
line. Exit code 1 if the checks accept a mistake.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A Markdown table."""
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def models(options: argparse.Namespace) -> int:
    """Make mistakes in models."""
    from tools.sabotaging.models import score, trial

    verdicts = []
    for verdict in trial.all_verdicts(options.subject, options.most):
        verdicts.append(verdict)
        if verdict.result in (trial.ACCEPTED, trial.CRASHED) or options.verbose:
            parts = (verdict.subject, verdict.mistake.name, verdict.site, verdict.difference, verdict.reason)
            print(f"{verdict.result}: {'; '.join(part for part in parts if part)}", flush=True)
    print_table(score.COLUMNS, score.table(verdicts))
    return 1 if any(v.result in (trial.ACCEPTED, trial.CRASHED) for v in verdicts) else 0


def rules(options: argparse.Namespace) -> int:
    """Mutate the rules."""
    from tools.sabotaging.rules import campaign, score

    plan = campaign.Plan(
        options.sample,
        options.seed,
        options.minutes,
        options.seconds,
        options.jobs,
        options.folder,
        tuple(options.file),
        options.again,
    )
    verdicts, known = campaign.run(plan), score.equivalent()
    reasons = score.explained()
    for v in score.survivors(verdicts, known):
        print(f"survived: {v.mutant.file}:{v.mutant.first}: {v.mutant.was} => {v.mutant.now}")
        print(f"  {reasons.get(v.mutant.name, 'not explained')}")
    print_table(score.COLUMNS, score.by_file(verdicts, known))
    print()
    print_table(score.COLUMNS, score.table(verdicts, known))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="models|rules")
    first = commands.add_parser("models", help="mistakes in converted models, against verify")
    first.add_argument("--subject", action="append", default=[], metavar="NAME", help="only those whose name has this")
    first.add_argument("--most", type=int, metavar="N", help="places of each mistake in a model, default: all")
    first.add_argument("--verbose", action="store_true", help="say of every mistake why it is rejected")
    first.set_defaults(run=models)
    second = commands.add_parser("rules", help="mutants of lift/, flatten.py and geometry/, against the tests")
    second.add_argument("--sample", type=int, default=300, metavar="N", help="mutants, default: 300")
    second.add_argument("--seed", type=int, default=1, metavar="S", help="of the sample, default: 1")
    second.add_argument("--minutes", type=float, default=60, metavar="M", help="begin no mutant after these")
    second.add_argument("--seconds", type=float, default=20, metavar="T", help="of tests for one mutant, default: 20")
    second.add_argument("--jobs", type=int, default=2, metavar="J", help="processes, default: 2")
    second.add_argument(
        "--folder", type=Path, default=Path("build/mutants"), help="what is kept, default: build/mutants"
    )
    second.add_argument("--file", action="append", default=[], metavar="PART", help="only files whose path has this")
    second.add_argument("--again", action="store_true", help="judge survivors anew")
    second.set_defaults(run=rules)
    options = parser.parse_args(argv)
    run: int = options.run(options)
    return run


if __name__ == "__main__":
    sys.exit(main())
