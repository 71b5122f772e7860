"""What users get comes last: default sessions hold rearranged copies of the weights, so no other session is left then.

Checks that need one are put off. Each session is made once, answers all that was put off, and goes before the next one
comes; then the checks are made of what they gave, and take their places among the others.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import ModelProto

from ..errors import VerificationFailed
from .outcome import Check, Outcome
from .session import Feeds, Runtime, RuntimeRefusal, Session

#: makes rows of what each session gave for one set of inputs
Job = Callable[..., list[Check]]
NAME = "default run"


class Later:
    """Checks that wait for what default sessions give."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Feeds, Job]] = []

    def add(self, outcome: Outcome, feeds: Feeds, job: Job) -> None:
        """Put off a check of these inputs; its rows will stand where it is put off."""
        self._waiting.append((len(outcome.checks), feeds, job))

    def run(self, outcome: Outcome, *loads: Callable[[], Session]) -> None:
        """Do all that waits.

        Args:
            outcome: gets the rows.
            loads: make the sessions, the one of the model under test first.

        Raises:
            VerificationFailed: one does not load or run.
        """
        given = [self._answers(load) for load in loads] if self._waiting else []
        rows = [(place, job(*(by_feeds[id(feeds)] for by_feeds, _ in given))) for place, feeds, job in self._waiting]
        note = _spared(given[0][1]) if given else ""
        for place, checks in reversed(rows):
            for check in (c for c in checks if c.name == NAME and note):
                check.note = f"{check.note}; {note}" if check.note else note
            outcome.checks[place:place] = checks
        self._waiting = []

    def _answers(self, load: Callable[[], Session]) -> tuple[dict[int, Feeds], list[str]]:
        session, found = load(), dict[int, Feeds]()
        for _, feeds, _ in self._waiting:
            if id(feeds) not in found:
                try:
                    found[id(feeds)] = session.run(feeds)
                except RuntimeRefusal as e:
                    raise VerificationFailed(f"{NAME}: the model does not run with graph optimisations: {e}") from e
        return found, session.as_stored


def _spared(names: list[str]) -> str:
    """What is said of weights that were too large for a default session's copies."""
    what = "the largest weight was" if len(names) == 1 else f"the {len(names)} largest weights were"
    return f"{what} run as stored, not rearranged, to save memory" if names else ""


def default_session(runtime: Runtime, proto: ModelProto, folder: str, what: str) -> Callable[[], Session]:
    """Makes a session of a model, as users do.

    Args:
        runtime: that of all checks.
        proto: the model.
        folder: where its external data lies.
        what: its name in messages.
    """

    def load() -> Session:
        try:
            return runtime.load(proto, folder, default=True)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"{NAME}: {runtime.name} does not load the {what}: {e}") from e

    return load
