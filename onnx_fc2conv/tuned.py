"""``--tune`` on one screen: write the heads in every form, measure each on onnxruntime, take the fastest.

Sessions are those that users run: default options. Two of them are open at a time, the fastest so far and the one that
is measured. The sizes are the trained one and those that were asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from onnx import ModelProto

from .conversion import Conversion, Sizes, words
from .draft import Draft
from .errors import UsageError
from .head_form import FORMS, PLAIN
from .open_sizes import declared_size
from .tuning import Compared, Run, Timed, Trial, Tuning, chosen, compared, find, fitting, tried

Progress = Callable[[str, int, int], None]
Compare = Callable[[Run, Run], Compared]


def planned(draft: Draft, conversion: Conversion, batch: int) -> Tuning:
    """Which forms would be measured, and where; nothing is run.

    Args:
        draft: the conversion before it is put together.
        conversion: it, in the plain form.
        batch: number of images.

    Raises:
        UsageError: the model takes another number of images.
    """
    _require_batch(conversion, batch)
    reasons = fitting(find(draft.plan, draft.rewrite), draft.plan.static, batch)
    trials = [Trial(form, reason=reasons.get(form, "")) for form in FORMS]
    return Tuning(batch, tuple(words(size) for size in _sizes(conversion, draft)), trials)


def fastest(
    draft: Draft,
    conversion: Conversion,
    batch: int,
    folder: str,
    progress: Progress,
    compare: Compare | None = None,
) -> Tuning:
    """Measure every form that the heads can have.

    Args:
        draft: the conversion before it is put together; it can still be afterwards.
        conversion: it, in the plain form.
        batch: number of images.
        folder: where external data lies.
        progress: told about what is measured.
        compare: takes two models' runs; gives the first one's time relative to the second; default: by the clock.

    Raises:
        UsageError: the model takes another number of images.
    """
    tuning = planned(draft, conversion, batch)
    if not any(not trial.reason for trial in tuning.trials[1:]):
        tuning.chosen = PLAIN
        return tuning
    from .verification import RuntimeRefusal, runs_on

    tuning.runtime = runs_on()
    stage = _Stage(draft, conversion, folder, batch, compare or compared)
    tuning.trials[0] = stage.best
    for i, trial in enumerate(tuning.trials[1:], 1):
        progress(f"--tune: {trial.form}", i, len(tuning.trials) + 1)
        try:
            tuning.trials[i] = trial if trial.reason else stage.trial(trial.form)
        except RuntimeRefusal as e:
            tuning.trials[i] = replace(trial, reason=f"onnxruntime does not run it: {e}")
    progress("--tune: the original", len(tuning.trials), len(tuning.trials) + 1)
    try:
        tuning.original = stage.original()
    except RuntimeRefusal as e:
        tuning.note = f"the original does not run on {batch} images: {e}"
    tuning.chosen = stage.best.form
    return tuning


class _Stage:
    """The fastest form so far in a session, its inputs at every size, and what is compared with it."""

    def __init__(self, draft: Draft, conversion: Conversion, folder: str, batch: int, compare: Compare) -> None:
        """Load the plain form and draw images.

        Raises:
            UsageError: it does not run on so many of them.
        """
        from .verification import RuntimeRefusal, drawn

        self._draft, self._conversion, self._folder, self._compare = draft, conversion, folder, compare
        try:
            self._session = self._loaded(conversion.proto)
            sizes = _sizes(conversion, draft)
            self._feeds = [drawn(conversion, size, batch) for size in sizes]
            for feeds in self._feeds:
                self._session.run(feeds)
        except RuntimeRefusal as e:
            raise UsageError(
                f"--tune {batch}: onnxruntime does not run the converted model on {batch} images: {e}"
            ) from e
        self.best = Trial(PLAIN, tuple(Timed(words(size), 1.0, 0) for size in sizes))

    def trial(self, form: str) -> Trial:
        """Measure a form; the faster of both stays.

        Raises:
            RuntimeRefusal: it does not run.
        """
        session = self._loaded(self._draft.tried(form).proto)
        trial = tried(form, self.best, lambda: [self._compared(session, feeds) for feeds in self._feeds])
        if chosen([self.best, trial]) is trial:
            self.best, self._session = trial, session
        return trial

    def original(self) -> float:
        """The original's time at the trained size, relative to the plain form's.

        Raises:
            RuntimeRefusal: it does not run on so many images.
        """
        session = self._loaded(self._conversion.original)
        return self._compared(session, self._feeds[0]).ratio * self.best.timed[0].ratio

    def _compared(self, session: Any, feeds: Any) -> Compared:
        return self._compare(partial(session.run, feeds), partial(self._session.run, feeds))

    def _loaded(self, proto: ModelProto) -> Any:
        from .verification import default_session

        return default_session(proto, self._folder)


def _sizes(conversion: Conversion, draft: Draft) -> list[Sizes]:
    """The trained size first, then what was asked for."""
    if conversion.plan.static:
        return [{}]
    asked = conversion.sizes(draft.settings.sizes) if draft.settings.sizes else []
    return [conversion.trained, *(size for size in asked if size != conversion.trained)]


def _require_batch(conversion: Conversion, batch: int) -> None:
    """Refuse a number of images that the model does not take.

    Raises:
        UsageError: it takes another one.
    """
    names = {image.name for image in conversion.plan.images}
    inputs = conversion.plan.model.inputs
    ranked = [v.type.tensor_type.shape.dim for v in inputs if not names or v.name in names]
    declared = next((n for dims in ranked if dims and (n := declared_size(dims[0]))), None)
    if declared is not None and declared != batch and not any(dims[0].dim_param for dims in ranked if dims):
        static = "" if conversion.plan.static else ", or free the batch with --dynamic-batch"
        raise UsageError(f"--tune {batch}: the model takes {declared} at a time; give --tune {declared}{static}")
