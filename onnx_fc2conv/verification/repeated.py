"""A session of a model for a fixed number of images, asked one image at a time."""

from __future__ import annotations

import numpy as np

from .session import Feeds, Session


class Repeated:
    """Takes any number of images: each goes in as often as the model wants, and one of the answers comes out."""

    def __init__(self, session: Session, batch: int, batched: set[str]) -> None:
        """Wrap a session.

        Args:
            session: of the model.
            batch: how many images it takes at a time.
            batched: its inputs whose first axis counts them.
        """
        self._session, self._batch, self._batched = session, batch, batched
        self.inputs, self.outputs, self.as_stored = session.inputs, session.outputs, session.as_stored

    def run(self, feeds: Feeds, outputs: list[str] | None = None) -> Feeds:
        """The outputs by name, as ``session.Session.run`` says; those that count no images are the first image's."""
        batched = {name: value for name, value in feeds.items() if name in self._batched and name in self.inputs}
        images = max((len(value) for value in batched.values()), default=1)
        answers = []
        for i in range(images):
            one = {name: np.repeat(value[i : i + 1], self._batch, axis=0) for name, value in batched.items()}
            answers.append(self._session.run(feeds | one, outputs))
        return {name: self._together([a[name] for a in answers]) for name in answers[0]}

    def _together(self, values: list[np.ndarray]) -> np.ndarray:
        first = values[0]
        if first.ndim == 0 or len(first) % self._batch:
            return first
        return np.concatenate([value[: len(first) // self._batch] for value in values])
