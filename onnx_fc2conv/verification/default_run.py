"""The enlarged model as users run it, with graph optimisations, against the same answers of the original."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..conversion import Sizes
from ..settings import Size
from .judgement import Both, Exact
from .later import NAME, default_session
from .loaded import Loaded
from .oracle import Answered, Cell, Oracle
from .outcome import Check
from .session import Feeds


@dataclass(frozen=True)
class Asked:
    """Cells of one grid at one size, and the original's answers there.

    Attributes:
        size: of the image.
        names: outputs that share the grid.
        feeds, maps: the image, and the original's feature maps of it.
        trained: inputs of the trained size, for heads that ask for the input's shape.
        cells: those that are compared, of ``count[1]``.
        expected: the answers, stacked last.
    """

    size: Size
    names: list[str]
    feeds: Feeds
    maps: Feeds
    trained: Feeds
    cells: list[Cell]
    count: tuple[int, int]
    expected: Feeds

    def of(self, found: Feeds) -> Feeds:
        """The same answers in a model's grids."""
        return at(found, self.names, self.cells)


def at(found: Feeds, names: list[str], cells: list[Cell]) -> Feeds:
    """The answers at some cells of grids, stacked last."""
    index = tuple(np.array(cells).T)
    return {name: np.ascontiguousarray(found[name][(Ellipsis, *index)]) for name in names}


class DefaultRuns(Loaded):
    """What is checked once the sessions that compare node by node are gone."""

    def _put_off(self, asked: Asked) -> None:
        """Compare these answers with those of a default session, later."""
        if self._runtime.optimises:
            self._later.add(self.outcome, asked.feeds, partial(self._default_run, asked))

    def _put_off_forms(self, sizes: Sizes, feeds: Feeds) -> None:
        """Compare the outputs of the model as it is with the maps of its optimised run, later."""
        first = next(iter(sizes.values()))

        def check(optimised: Feeds, written: Feeds | None = None) -> list[Check]:
            return self._forms.check_default(first, written or {}, optimised, self._bounds)

        if self._runtime.optimises and self._forms:
            self._later.add(self.outcome, feeds, check)

    def _as_users_run(self) -> None:
        """All that was put off."""
        if not self._runtime.optimises:
            return
        self._release()
        probe = self._forms.with_maps(self._proto)
        protos = [probe] if probe is self._proto else [probe, self._proto]
        self._later.run(
            self.outcome, *(default_session(self._runtime, p, self._folder, "converted model") for p in protos)
        )

    def _answers(self, oracle: Oracle, asked: Asked) -> Answered:
        lifted = self._lifted[asked.names[0]]
        axes = {name: self._lifted[name].layout.before for name in asked.names}
        names, same = tuple(asked.names), self._judgement.same
        return oracle.answers(names, asked.maps, asked.cells, lifted.grid.stride, asked.trained, axes, same)

    def _exact(self, asked: Asked) -> Exact:
        stride = self._lifted[asked.names[0]].grid.stride

        def exact(name: str, which: np.ndarray) -> np.ndarray:
            cells = [asked.cells[int(i)] for i in which]
            answers = [
                self._oracle.precise(tuple(asked.names), asked.maps, cell, stride, asked.trained)[name]
                for cell in cells
            ]
            return np.stack(answers, -1)

        return exact

    def _optimised_answers(self, asked: Asked) -> Feeds:
        if self._optimised_oracle is None:
            self._optimised_oracle = Oracle(self._plan, self._runtime, self._conversion.original, default=True)
        maps = self._optimised_oracle.maps(asked.feeds)
        return self._answers(self._optimised_oracle, replace(asked, maps=maps)).answers

    def _originals(self, asked: Asked) -> list[Both]:
        """The original's answers with graph optimisations: cut at the map, and whole, as a cut may come between nodes
        that are only fused together.
        """
        folder, load = self._plan.model.folder, self._runtime.load
        whole = (
            load(self._conversion.original, folder, default=o).run(asked.trained, asked.names) for o in (True, False)
        )
        return [Both(self._optimised_answers(asked), asked.expected), Both(*whole)]

    def _default_run(self, asked: Asked, as_run: Feeds, written: Feeds | None = None) -> list[Check]:
        check, found = Check(NAME, asked.size, True, asked.count), asked.of(self._forms.maps(as_run))
        originals = partial(self._originals, asked)
        self._judgement.compare_optimised(check, found, asked.expected, originals, self._exact(asked))
        return [check]
