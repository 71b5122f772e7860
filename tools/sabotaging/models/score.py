"""The verdicts as a table: one row for each way to be wrong."""

from __future__ import annotations

from collections.abc import Sequence

from .trial import REJECTED, VACUOUS, Verdict

COLUMNS = ("mistake in", "kinds", "sabotaged models", "rejected", "score")


def table(verdicts: Sequence[Verdict]) -> list[tuple[str, ...]]:
    """One row for each family of mistakes, and one for all; models that came out the same do not count."""
    made = [v for v in verdicts if v.result != VACUOUS]
    families = list(dict.fromkeys(v.mistake.family for v in made))
    rows = [_row(family, [v for v in made if v.mistake.family == family]) for family in families]
    return [*rows, _row("all", made)]


def _row(name: str, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    kinds = {v.mistake.name for v in verdicts}
    rejected = sum(v.result == REJECTED for v in verdicts)
    score = f"{rejected / len(verdicts):.1%}" if verdicts else "-"
    return name, f"{len(kinds)}", f"{len(verdicts)}", f"{rejected}", score
