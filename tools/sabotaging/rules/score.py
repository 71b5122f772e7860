"""How many mutants were killed, with what a sample of this size leaves open, and which ones survived."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from .campaign import Verdict
from .trial import SURVIVED

EQUIVALENT = Path(__file__).with_name("equivalent.json")
EXPLAINED = Path(__file__).with_name("survivors.json")
Z = 1.96  #: of a normal distribution, for 95 %
COLUMNS = ("code", "mutants", "equivalent", "killed", "survived", "score", "95 % interval")


def equivalent() -> dict[str, str]:
    """Mutants that no test can notice, and why: name -> reason."""
    return _reasons(EQUIVALENT)


def explained() -> dict[str, str]:
    """Survivors that a test could notice, and why it need not; they count as survivors: name -> reason."""
    return _reasons(EXPLAINED)


def _reasons(path: Path) -> dict[str, str]:
    return {row["mutant"]: row["why"] for row in json.loads(path.read_text())}


def interval(killed: int, judged: int) -> tuple[float, float]:
    """Between which shares the true one lies, with 95 % (Wilson, "Probable inference", 1927)."""
    if judged == 0:
        return 0.0, 1.0
    share, n = killed / judged, judged
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    width = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, middle - width), min(1.0, middle + width)


def survivors(verdicts: Iterable[Verdict], known: dict[str, str]) -> list[Verdict]:
    """Those that were not noticed and that are not known to be equivalent."""
    return [v for v in verdicts if v.result == SURVIVED and v.mutant.name not in known]


def table(verdicts: Sequence[Verdict], known: dict[str, str]) -> list[tuple[str, ...]]:
    """One row for each room, and one for all."""
    rooms: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        rooms.setdefault(room(verdict.mutant.file), []).append(verdict)
    rows = [_row(name, found, known) for name, found in sorted(rooms.items())]
    return [*rows, _row("all", verdicts, known)]


def by_file(verdicts: Sequence[Verdict], known: dict[str, str]) -> list[tuple[str, ...]]:
    """One row for each file."""
    files = sorted({v.mutant.file for v in verdicts})
    return [_row(name, [v for v in verdicts if v.mutant.file == name], known) for name in files]


def room(file: str) -> str:
    """``lift/`` for its files, ``flatten.py`` for itself."""
    first, _, rest = file.partition("/")[2].partition("/")
    return f"{first}/" if rest else first


def _row(name: str, verdicts: Sequence[Verdict], known: dict[str, str]) -> tuple[str, ...]:
    same = [v for v in verdicts if v.result == SURVIVED and v.mutant.name in known]
    left = len(survivors(verdicts, known))
    judged = len(verdicts) - len(same)
    killed = judged - left
    low, high = interval(killed, judged)
    share = f"{killed / judged:.1%}" if judged else "-"
    return (name, f"{len(verdicts)}", f"{len(same)}", f"{killed}", f"{left}", share, f"{low:.0%} to {high:.0%}")
