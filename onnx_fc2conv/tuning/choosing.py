"""Which form is written: the fastest over all sizes, if it is faster than the plain one by more than chance.

Sizes can disagree: a large map has so many windows that the plain Conv reads its weight for all of them at once, a
single window has none to share it with. Each size counts alike, however long it takes: what is compared is the
geometric mean of a form's ratios, the mean that does not depend on the form that they are relative to (Fleming and
Wallace, "How not to lie with statistics", 1986).

The plain form stays unless another one is faster by ``MARGIN``, and a form takes the place of a simpler one only if it
is faster than that by as much. A gain that is not far above what chance gives is measured once more, and the smaller
of both counts. Each form is measured against the fastest so far, so that no time is spent on what is known to be slow,
and forms that are nearly as fast are told apart; ratios to the plain form are products of such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import exp, log

from .measuring import Compared

MARGIN = 0.03
SURE = 0.7  #: of the other form's time; what is below is not measured twice


@dataclass(frozen=True)
class Timed:
    """A time at one size, relative to the plain form's.

    Attributes:
        size: in words; empty where no size changes.
        ratio: of times.
        turns: how often both ran.
    """

    size: str
    ratio: float
    turns: int


@dataclass(frozen=True)
class Trial:
    """What is known of one form.

    Attributes:
        form: its name.
        timed: at every size, in order; empty if it was not measured.
        reason: why it was not.
    """

    form: str
    timed: tuple[Timed, ...] = ()
    reason: str = ""

    @property
    def mean(self) -> float | None:
        """The geometric mean of its ratios."""
        return _mean(t.ratio for t in self.timed) if self.timed else None


@dataclass
class Tuning:
    """The choice, and what it rests on.

    Attributes:
        batch: number of images.
        sizes: in words, the trained one first; empty where no size changes.
        trials: of every form, the plain one first.
        chosen: name of the form; ``None`` if nothing was measured.
        original: the original's time relative to the plain form's, at the trained size; ``None`` if it is not known.
        note: why it is not.
        runtime: what was measured, with its version.
    """

    batch: int
    sizes: tuple[str, ...]
    trials: list[Trial] = field(default_factory=list)
    chosen: str | None = None
    original: float | None = None
    note: str = ""
    runtime: str | None = None


def chosen(trials: Sequence[Trial]) -> Trial:
    """The form to write, given what was measured of each; the first one is the plain form."""
    best = trials[0]
    for trial in trials[1:]:
        if trial.mean is not None and trial.mean <= (best.mean or 1.0) * (1 - MARGIN):
            best = trial
    return best


def tried(form: str, best: Trial, measure: Callable[[], Sequence[Compared]]) -> Trial:
    """Measure a form; a small gain is measured twice.

    Args:
        form: its name.
        best: the fastest form so far.
        measure: gives the form's time relative to that one's at every size.
    """
    found = measure()
    if SURE < _mean(c.ratio for c in found) <= 1 - MARGIN:
        found = max(found, measure(), key=lambda again: _mean(c.ratio for c in again))
    return Trial(form, tuple(Timed(t.size, c.ratio * t.ratio, c.turns) for t, c in zip(best.timed, found, strict=True)))


def _mean(ratios: Iterable[float]) -> float:
    """The geometric mean."""
    logarithms = [log(max(ratio, 1e-9)) for ratio in ratios]
    return exp(sum(logarithms) / len(logarithms))
