"""Many windows through the original's head at once, as the images of one batch: its weights are read once for all.

A head is given windows together only if it answers each of them as it does alone. Every rule that lifts a node refuses
one that mixes images, so it should; and some windows are run alone as well, and must have the same answers within the
rounding of the head (a product of many rows adds up in another order than one of a single row), or, where the head
quantises, the same bits. If the runtime refuses, if the answers have another count, or if they differ, then every
window is run alone, and nothing that was run together is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .session import Feeds, RuntimeRefusal

ALONE = 3  #: windows that are run alone in any case
ROOM = 2**26  #: bytes of values that the head may compute at once

Run = Callable[[Feeds], Feeds]
Same = Callable[[Feeds, Feeds], bool]  #: whether answers from a batch are those of windows that were run alone


@dataclass(frozen=True)
class Batches:
    """How a head takes several windows.

    Attributes:
        axes: of each output, the axis that counts images; ``None`` where it has none.
        most: windows at a time.
        same: compares answers.
    """

    axes: Mapping[str, int | None]
    most: int
    same: Same

    def answers(self, run: Run, window: Callable[[int], Feeds], alone: Mapping[int, Feeds], count: int) -> list[Feeds]:
        """The answers to all windows; empty where they have to be run alone.

        Args:
            run: runs the head.
            window: gives each window, whose first axis counts images in every value.
            alone: answers to some of them, run alone.
            count: of windows.
        """
        if self.most < 2 or any(axis is None for axis in self.axes.values()):
            return []
        found: list[Feeds] = []
        for start in range(0, count, self.most):
            windows = [window(i) for i in range(start, min(start + self.most, count))]
            together = {name: np.concatenate([w[name] for w in windows]) for name in windows[0]}
            try:
                answers = self._apart(run(together), next(iter(alone.values())), len(windows))
            except RuntimeRefusal:
                return []
            known = [(answers[i - start], a) for i, a in alone.items() if start <= i < start + len(answers)]
            if not answers or not all(self.same(*pair) for pair in known):
                return []
            found += answers
        return found

    def _apart(self, answers: Feeds, one: Feeds, count: int) -> list[Feeds]:
        """The answers of a batch by window; empty if they are not as many as windows."""
        for name, axis in self.axes.items():
            shape = list(one[name].shape)
            if axis is None or axis >= len(shape):
                return []
            shape[axis] *= count
            if list(answers[name].shape) != shape:
                return []
        parts = {name: np.split(answers[name], count, int(axis or 0)) for name, axis in self.axes.items()}
        return [{name: values[i] for name, values in parts.items()} for i in range(count)]


def picks(count: int) -> Sequence[int]:
    """Which windows are run alone in any case: the first, the last and the one in the middle."""
    return list(dict.fromkeys(int(i) for i in np.linspace(0, count - 1, min(count, ALONE))))
