"""What ``--tune`` has measured, and what it chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..head_form import FORMS


class _Timed(Protocol):
    @property
    def size(self) -> str: ...
    @property
    def ratio(self) -> float: ...
    @property
    def turns(self) -> int: ...


class _Trial(Protocol):
    @property
    def form(self) -> str: ...
    @property
    def timed(self) -> Sequence[_Timed]: ...
    @property
    def reason(self) -> str: ...
    @property
    def mean(self) -> float | None: ...


class Tuned(Protocol):
    """What was measured; ``tuning.Tuning`` is one."""

    @property
    def batch(self) -> int:
        """Number of images."""

    @property
    def sizes(self) -> Sequence[str]:
        """In words, the trained one first."""

    @property
    def trials(self) -> Sequence[_Trial]:
        """Of every form."""

    @property
    def chosen(self) -> str | None:
        """The form that is written; ``None`` if nothing was measured."""

    @property
    def original(self) -> float | None:
        """The original's time relative to the plain form's."""

    @property
    def note(self) -> str:
        """Why that is not known."""

    @property
    def runtime(self) -> str | None:
        """What was measured, with its version."""


@dataclass
class FormRow:
    """One form of the head.

    ``times`` are, by size, relative to the form ``conv``, and ``mean`` is their geometric mean; ``turns`` says how
    often both ran in turns. ``to_original`` is relative to the original, at the trained size. All are empty or null
    where the form was not measured; ``reason`` says why.
    """

    form: str
    what: str
    times: dict[str, float]
    turns: dict[str, int]
    mean: float | None
    to_original: float | None
    reason: str


@dataclass
class TuningRow:
    """What was measured with ``batch`` images, on ``runtime``; ``chosen`` is null where nothing was."""

    batch: int
    runtime: str | None
    sizes: list[str]
    chosen: str | None
    forms: list[FormRow]
    note: str

    def words(self) -> str:
        """The result in one sentence."""
        if self.chosen is None:
            return f"with {self.batch} images at a time, on onnxruntime, would be measured: {self._candidates()}."
        measured = [form for form in self.forms if form.mean is not None]
        if len(measured) < 2:
            return f"there was nothing to measure, so the head has the form '{self.chosen}': {FORMS[self.chosen]}."
        return (
            f"the head has the form '{self.chosen}', the fastest with {self.batch} images at a time on {self.runtime}: "
            f"{FORMS[self.chosen]}.{f' It was not compared with the original: {self.note}.' if self.note else ''}"
        )

    def _candidates(self) -> str:
        fitting = [form.form for form in self.forms if not form.reason]
        return ", ".join(fitting) if len(fitting) > 1 else "nothing, as there is one form only"

    def cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """A table: its columns, and a row for each form."""
        sizes = [size or "time" for size in self.sizes]
        rows = []
        for form in self.forms:
            times = [f"{form.times[size]:.2f}" if size in form.times else "" for size in self.sizes]
            original = f"{form.to_original:.2f}" if form.to_original is not None else ""
            result = "chosen" if form.form == self.chosen else form.reason or ""
            rows.append((form.form, *times, original, result))
        return ("form", *sizes, "/ original", "result"), rows


def row(tuned: Tuned) -> TuningRow:
    """The row of what was measured."""
    forms = []
    for trial in tuned.trials:
        times = {t.size: t.ratio for t in trial.timed}
        to_original = None
        if tuned.original and trial.timed:
            to_original = trial.timed[0].ratio / tuned.original
        turns = {t.size: t.turns for t in trial.timed}
        forms.append(FormRow(trial.form, FORMS[trial.form], times, turns, trial.mean, to_original, trial.reason))
    return TuningRow(tuned.batch, tuned.runtime, list(tuned.sizes), tuned.chosen, forms, tuned.note)


def table(tuning: TuningRow) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Title, columns and rows for a terminal or Markdown."""
    columns, rows = tuning.cells()
    return f"--tune: times with {tuning.batch} images, relative to 'conv'", columns, rows
