"""The checks at one enlarged size: each answer of the grid against the original's own nodes."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import numpy as np

from ..conversion import Sizes, text, words
from ..errors import VerificationFailed
from .declared import require_shapes
from .default_run import Asked, DefaultRuns, at
from .deviation import interior, measure
from .inputs import WIDE
from .map_outputs import every_cell, map_crops, map_shape
from .oracle import Cell, image_crops, sample_cells
from .outcome import Check, Speed
from .precise import Doubled
from .session import Feeds, RuntimeRefusal
from .several import alone

SEVERAL = "several images"
WARM = 0.2  #: seconds; a run that takes longer is not run again to be timed


class EnlargedChecks(DefaultRuns):
    """What is checked at every enlarged size."""

    def _require_grid(self, found: Feeds, sizes: Sizes) -> None:
        for name, value in self._lifted.items():
            size = sizes[value.grid.source]
            front = value.layout.shape(value.features, self._images.batches[0])
            predicted = (*front, *value.grid.grid_size(size))
            if found[name].shape != predicted:
                raise VerificationFailed(
                    f"grid law: output '{name}' at {text(size)} has shape {list(found[name].shape)}, "
                    f"predicted {list(predicted)}"
                )
        for name in self._oracle.map_outputs:
            expected = map_shape(self._plan, name, sizes, self._images.batches[0])
            if found[name].shape != expected:
                raise VerificationFailed(
                    f"grid law: output '{name}' at {words(sizes)} has shape {list(found[name].shape)}, "
                    f"predicted {list(expected)}"
                )

    def _at(self, sizes: Sizes, done: int, steps: int) -> None:
        """All checks at one enlarged size of each input."""
        feeds, trained = self._images.draw(sizes), self._images.draw()
        trained = feeds | {image.name: trained[image.name] for image in self._plan.images}
        first = next(iter(sizes.values()))
        self._progress("windows", done, steps)
        try:
            given, took = self._timed(feeds)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"windows: the converted model does not run at {words(sizes)}: {e}") from e
        found = self._forms.maps(given)
        self._require_grid(found, sizes)
        require_shapes(self._proto, feeds, given)
        self.outcome.checks.append(Check("grid law", first, True, note=self._grid_words(sizes)))
        self._several_images(sizes)
        self._output_form(sizes, feeds, given)
        maps = self._oracle.maps(feeds)
        if self._oracle.map_outputs:
            check = Check(
                "feature maps", first, True, note="outputs that are maps, as the original's backbone gives them"
            )
            self._compare(check, found, {name: maps[name] for name in self._oracle.map_outputs}, True)
        if self._plan.dense is not None:
            self._every_cell(first, maps, feeds)
        if not self._lifted:
            self._map_crops(sizes, feeds, found)
            self._later.add(self.outcome, feeds, lambda *_: [])  # that it loads and runs
        for names in self._same_grid():
            over = self._lifted[names[0]].grid
            size = sizes[over.source]
            grid = over.grid_size(size)
            cells = sample_cells(grid, self._bounds.window_cells(), sum(grid))
            asked = Asked(size, names, feeds, maps, trained, cells, (len(cells), int(np.prod(grid))), {})
            answered = self._answers(self._oracle, asked)
            asked = replace(asked, expected=answered.answers)
            whole = self._lifted[names[0]].grid.whole_image
            note = "the original on the whole image" if whole else ""
            windows = Check("windows", size, True, asked.count, note=note)
            self._compare(windows, asked.of(found), asked.expected, False, exact=self._exact(asked))
            self._put_off(asked)
            if whole:
                continue  # there is one answer and no crop that it belongs to
            self._progress("image crops", done + 1, steps)
            if took < WARM:  # what a first run allocates would count
                took = self._timed(feeds)[1]
            crops = self._image_crops(size, feeds, found, names)
            timed = (asked.count[1], len(cells))
            self.outcome.speed.append(Speed(size, timed, took, answered.seconds, crops))

    def _timed(self, feeds: Feeds) -> tuple[Feeds, float]:
        """What the converted model gives, and the seconds that it took."""
        start = perf_counter()
        return self._session.run(feeds), perf_counter() - start

    def _several_images(self, sizes: Sizes) -> None:
        """Several images at once, against each alone; at one size, and only where the original runs with several."""
        names = [name for name, value in self._lifted.items() if value.layout.before == 0]
        names += [name for name in self._oracle.map_outputs if self._plan.maps[name].dims[0] == "batch"]
        if not self._ran[1:] or not names or any(c.name == SEVERAL for c in self.outcome.checks):
            return
        reason = self._why_not_alone(names)
        if reason:
            self.outcome.checks.append(Check(SEVERAL, next(iter(sizes.values())), None, note=reason))
            return
        feeds = self._images.draw(sizes, self._ran[-1], fine=WIDE)
        each = self._images.one_by_one(feeds)

        def exact(name: str, which: np.ndarray) -> np.ndarray:
            doubled = Doubled(self._forms.with_maps(self._proto), self._folder)
            inner = self._forms.map_of(name)
            return alone(lambda one: doubled.run(one, [inner]), each, [inner])[inner][..., which]

        found = _last(self._maps(feeds))
        note = f"batch {self._ran[-1]}, each as alone"
        check = Check(SEVERAL, next(iter(sizes.values())), True, note=note)
        self._compare(check, found, alone(self._maps, each, names), True, exact=exact)

    def _why_not_alone(self, names: list[str]) -> str:
        """Why an image may have other answers in a batch than alone, by the original at the trained size."""
        original, feeds = self._oracle.original, self._images.draw(batch=self._ran[-1], fine=WIDE)
        together = original.run(feeds)
        try:
            each = alone(original.run, self._images.one_by_one(feeds), names)
            self._judgement.compare(Check(SEVERAL, None, True), _last({n: together[n] for n in names}), each, True)
        except RuntimeRefusal:
            return "the original does not run on each image of the batch alone"
        except VerificationFailed:
            return "the original's answers for an image depend on the others of its batch"
        return ""

    def _maps(self, feeds: Feeds) -> Feeds:
        return self._forms.maps(self._session.run(feeds))

    def _every_cell(self, size: tuple[int, ...], maps: Feeds, feeds: Feeds) -> None:
        """Of denser maps every k-th cell, against the original's own backbone, whether it pads or not."""
        expected = self._oracle.sparse_maps(feeds)
        found = {name: every_cell(self._plan.maps[name], maps[name]) for name in expected}
        steps = dict.fromkeys(text(self._plan.maps[name].dilations) for name in expected)
        note = f"of the denser map every {' or '.join(steps)}-th cell, as the original's backbone gives it"
        self._compare(Check("every k-th cell", size, True, note=note), found, expected, True)

    def _output_form(self, sizes: Sizes, feeds: Feeds, given: Feeds) -> None:
        """Outputs that are not their maps, also for several images, also as users run the model."""
        first = next(iter(sizes.values()))
        self.outcome.checks += self._forms.check(first, self._images.batches[0], given)
        for batch in self._ran[1:] if self._forms else ():
            several = self._session.run(self._images.draw(sizes, batch))
            self.outcome.checks += self._forms.check(first, batch, several)
        self._put_off_forms(sizes, feeds)

    def _same_grid(self) -> list[list[str]]:
        """The outputs, grouped by grid: one cell then means the same window for all of a group."""
        groups: list[list[str]] = []
        for name, value in self._lifted.items():
            for group in groups:
                if value.grid.aligns_with(self._lifted[group[0]].grid):
                    group.append(name)
                    break
            else:
                groups.append([name])
        return groups

    def _grid_words(self, sizes: Sizes) -> str:
        grids = dict.fromkeys(v.grid.grid_size(sizes[v.grid.source]) for v in self._lifted.values())
        counts = ", ".join(f"{text(g)} = {int(np.prod(g))} windows" for g in grids)
        return counts if len(sizes) == 1 else f"{counts}; inputs {words(sizes)}"

    def _image_crops(self, size: tuple[int, ...], feeds: Feeds, found: Feeds, names: list[str]) -> float:
        """The original on image crops. Asserted for an exact model, measured for any other.

        Returns:
            Seconds that one of them took.
        """
        grid = self._lifted[names[0]].grid
        grid_size = grid.grid_size(size)
        # The last box may stick out of the image by the pixels that the trained size itself leaves over.
        room = tuple((n - t) // s + 1 for n, t, s in zip(size, grid.trained_size, grid.stride, strict=True))
        whole = tuple(map(min, grid_size, room))
        cells = sample_cells(whole, self._bounds.crop_cells(), sum(whole))

        def crop(cell: Cell) -> Feeds:
            return feeds | image_crops(self._plan, feeds, grid, cell)

        def exact(name: str, which: np.ndarray) -> np.ndarray:
            answers = [self._oracle.precise_whole(tuple(names), crop(cells[int(i)])) for i in which]
            return _stacked([name], answers)[name]

        crops, start = [crop(cell) for cell in cells], perf_counter()
        answers = [self._oracle.original.run(one, names) for one in crops]
        took = (perf_counter() - start) / len(cells)
        expected, at_cells = _stacked(names, answers), at(found, names, cells)

        check = Check("image crops", size, True, (len(cells), int(np.prod(grid_size))))
        if self._conversion.verdict == "exact":
            self._compare(check, at_cells, expected, True, exact=exact)
            return took
        check.passed, check.note = None, "not asserted"
        inside, known = interior(grid, cells, size), self.outcome.deviation
        for name in names:
            deviation = measure(at_cells[name], expected[name], inside, self._lifted[name])
            check.error = max(check.error or 0.0, deviation.overall.error)
            known[name] = deviation.and_(known.get(name))
        self.outcome.checks.append(check)
        return took

    def _map_crops(self, sizes: Sizes, feeds: Feeds, found: Feeds) -> None:
        """Outputs that are maps, on the windows of the trained size, against the original on the crops there."""
        windows = map_crops(self._conversion, sizes, feeds, found, self._oracle.original, self._bounds.crop_cells())
        for name in windows.found:
            note = f"the map '{name}'"
            check = Check("image crops", next(iter(sizes.values())), True, windows.cells, note=note)
            if self._conversion.verdict == "exact":
                self._compare(check, {name: windows.found[name]}, {name: windows.expected[name]}, True)
                continue
            deviation = measure(windows.found[name], windows.expected[name], windows.inside, None)
            check.passed, check.error, check.note = None, deviation.overall.error, f"{note}, not asserted"
            self.outcome.deviation[name] = deviation.and_(self.outcome.deviation.get(name))
            self.outcome.checks.append(check)


def _stacked(names: list[str], answers: list[Feeds]) -> Feeds:
    return {name: np.stack([a[name] for a in answers], -1) for name in names}


def _last(found: Feeds) -> Feeds:
    """All values as one answer; the answers are counted along the last axis."""
    return {name: value[..., None] for name, value in found.items()}
