"""Every mistake at every place of every subject: it is shown to be one, and held against the checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onnx_fc2conv import Fc2ConvError

from .mistakes import MISTAKES, Mistake
from .proof import Proof
from .subjects import SUBJECTS, Subject

REJECTED, ACCEPTED, CRASHED, VACUOUS = "rejected", "ACCEPTED", "CRASHED", "no difference"


@dataclass(frozen=True)
class Verdict:
    """What became of one sabotaged model.

    Attributes:
        result: one of the four words above; the second and third are bugs of the package.
        difference: in what the model differs from the right one.
        reason: what the checks said.
    """

    mistake: Mistake
    subject: str
    site: str
    result: str
    difference: str
    reason: str


def sabotaged(
    subject: Subject, mistakes: Iterable[Mistake] | None = None, most: int | None = None
) -> Iterator[Verdict]:
    """Each mistake at each place of one subject.

    Args:
        subject: whose right conversion is accepted, which is asked first.
        mistakes: all by default.
        most: places for each mistake that make a difference; default all.

    Raises:
        Fc2ConvError: the right conversion is rejected.
    """
    subject.verify(subject.right)
    proof = Proof(subject)
    for mistake in MISTAKES.values() if mistakes is None else mistakes:
        made = 0
        for site, model in mistake.sites(subject.right):
            difference = proof.difference(model)
            if difference is None:
                yield Verdict(mistake, subject.name, site, VACUOUS, "", "")
                continue
            made += 1
            try:
                subject.verify(model)
                result, reason = ACCEPTED, ""
            except Fc2ConvError as e:
                result, reason = REJECTED, " ".join(str(e).split())
            except Exception as e:  # whatever it is, users would see a traceback
                result, reason = CRASHED, f"{type(e).__name__}: {e}"
            yield Verdict(mistake, subject.name, site, result, difference, reason)
            if made == most:
                break


def all_verdicts(names: Iterable[str] = (), most: int | None = None) -> Iterator[Verdict]:
    """All mistakes on all subjects, or on those whose names contain one of these; see ``sabotaged``."""
    wanted = list(names)
    for subject in SUBJECTS:
        if not wanted or any(name in subject.name for name in wanted):
            yield from sabotaged(subject, most=most)
