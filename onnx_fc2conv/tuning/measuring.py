"""How long a model takes relative to another one, on a machine that does other things too.

Both run in turns, so that whatever else the machine does falls on both; each turn gives one ratio, and the result is
their median. A model that runs for less than ``SAMPLE`` runs several times in a turn. There are at least ``LEAST``
turns; then it ends after ``BUDGET`` seconds, or as soon as the model is clearly the slower one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

Run = Callable[[], object]  #: one run of a model on its inputs
Clock = Callable[[], float]

SAMPLE = 0.02  #: seconds
LEAST, MOST = 3, 41
BUDGET = 4.0  #: seconds, both models together
CLEARLY_SLOWER = 1.5


@dataclass(frozen=True)
class Compared:
    """The result.

    Attributes:
        ratio: time of the model, relative to the other one's.
        turns: how often both ran.
    """

    ratio: float
    turns: int


def compared(run: Run, other: Run, clock: Clock = perf_counter) -> Compared:
    """The time of a model relative to another one.

    Args:
        run: runs the model.
        other: runs the other one, which has run before.
        clock: gives seconds.
    """
    run()  # what is made when a session runs for the first time does not count; the other one ran before
    once = _took(run, 1, clock), _took(other, 1, clock)
    count = max(1, min(10000, round(SAMPLE / max(min(once), 1e-6))))
    ratios = [once[0] / max(once[1], 1e-9)] if count == 1 else []
    start = clock() - (sum(once) if ratios else 0)
    while len(ratios) < MOST:
        if len(ratios) % 2:
            second, first = _took(other, count, clock), _took(run, count, clock)
        else:
            first, second = _took(run, count, clock), _took(other, count, clock)
        ratios.append(first / max(second, 1e-9))
        done = clock() - start > BUDGET or median(ratios) > CLEARLY_SLOWER
        if len(ratios) >= LEAST and done:
            break
    return Compared(median(ratios), len(ratios))


def _took(run: Run, count: int, clock: Clock) -> float:
    start = clock()
    for _ in range(count):
        run()
    return clock() - start
