"""The checks. Each compares the converted model with the original's own nodes and can fail.

structure    the ONNX checker accepts it, the runtime loads it, no FC is left in the heads, spatial dims are free
same size    original and converted at the trained size (also with two images where the batch is dynamic)
grid law     predicted grid and stride against the shapes that come out
feature maps outputs that are feature maps themselves, against the original's backbone at the enlarged size
windows      the original head on every window of the enlarged feature map, against the converted grid
default run  the same, with the graph optimisations that users run with, if the runtime has any
image crops  the original on image crops: must agree if the model is exact, is measured if it is not; none where one
             answer is for the whole image
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto

from .. import dtypes
from ..conversion import Conversion, Sizes, text, words
from ..errors import UnreadableModel, VerificationFailed
from ..rewrite import Windowed
from .bounds import Bounds
from .choice import runtime
from .compare import FLOATS, error
from .inputs import Images
from .judgement import Exact, Judgement
from .oracle import Cell, Oracle, image_crops, sample_cells
from .outcome import Check, Deviation, Outcome
from .session import Feeds, RuntimeRefusal, opset_of
from .structure import require_converted, require_limits, require_valid

Progress = Callable[[str, int, int], None]
Answer = Callable[[tuple[str, ...], Feeds, Cell, tuple[int, ...], Feeds], Feeds]


class Verifier:
    """Runs the checks of one conversion. Every failure raises ``VerificationFailed`` with the check's name."""

    def __init__(self, conversion: Conversion, proto: ModelProto, folder: str, progress: Progress) -> None:
        """Prepare the checks.

        Args:
            conversion: the original and what the conversion should be.
            proto: the model under test.
            folder: where its external data lies.
            progress: called with a check's name, the steps done, and their number.
        """
        self._conversion, self._plan = conversion, conversion.plan
        self._proto, self._folder, self._progress = proto, folder, progress
        self._lifted, self._runtime = conversion.outputs, runtime(conversion.plan.runtime)
        self._bounds = Bounds(conversion)
        self._judgement = Judgement(self._bounds, self._lifted)
        self._images = Images(conversion.plan)
        self._optimised_oracle: Oracle | None = None
        self.outcome = Outcome(f"{self._runtime.name} {self._runtime.version}")

    def run(self, sizes: list[Sizes]) -> Outcome:
        """All checks, cheapest first.

        Raises:
            VerificationFailed: a check found a difference, or the runtime cannot run what is to be checked.
        """
        steps = 3 + 3 * len(sizes)
        self._progress("structure", 0, steps)
        require_valid(self._proto, self._conversion.original)
        require_converted(self._conversion, self._proto)
        require_limits(self._conversion, self._proto)
        self._load()
        name, newest = self._runtime.name, self._runtime.newest_opset()
        note = f"ONNX checker, loads in {name}, no FC left, spatial dims free"
        if opset_of(self._proto) > newest:
            note += f"; {name} knows opset {newest} at most, where all its operators are the same"
        self.outcome.checks.append(Check("structure", None, True, note=note))
        try:
            self._progress("same size", 1, steps)
            self._same_size()
            self._progress("grid law", 2, steps)
            self._stride()
            for i, size in enumerate(sizes):
                self._at(size, 3 + 3 * i, steps)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"{name} cannot run the check: {e}") from e
        self._progress("done", steps, steps)
        return self.outcome

    def _load(self) -> None:
        name, load = self._runtime.name, self._runtime.load
        try:
            self._oracle = Oracle(self._plan, self._runtime, self._conversion.original)
        except RuntimeRefusal as e:
            advice = f"; {dtypes.ADVICE}" if self._plan.runtime == "onnxruntime" else ""
            reason = f"{name} does not load the original model, so nothing can be checked: {e}{advice}"
            raise UnreadableModel(reason) from e
        try:
            self._session = load(self._proto, self._folder)
            self._default = load(self._proto, self._folder, default=True) if self._runtime.optimises else None
        except RuntimeRefusal as e:
            raise VerificationFailed(f"structure: {name} does not load the converted model: {e}") from e
        missing = [o for o in self._plan.model.outputs if o not in self._session.outputs]
        if missing:
            raise VerificationFailed(f"structure: output '{missing[0]}' is gone")

    def _compare(
        self,
        check: Check,
        found: Feeds,
        expected: Feeds,
        whole: bool,
        optimised: bool = False,
        exact: Exact | None = None,
    ) -> None:
        self._judgement.compare(check, found, expected, whole, optimised, exact)
        self.outcome.checks.append(check)

    # -- the checks ------------------------------------------------------------------------------------------------

    def _same_size(self) -> None:
        trained = next(iter(self._conversion.trained.values()))
        original = self._oracle.original
        awake = self._images.choose_scale(lambda feeds: list(original.run(feeds, list(self._lifted)).values()))
        for batch in self._images.batches:
            feeds = self._images.draw(batch=batch)
            try:
                expected = original.run(feeds)
            except RuntimeRefusal:
                if batch == self._images.batches[0]:
                    raise
                note = "the original declares a dynamic batch and runs with one image only"
                self.outcome.checks.append(Check("same size", trained, None, note=note))
                continue
            found = self._session.run(feeds)
            for name in self._lifted:
                if found[name].shape == expected[name].shape + (1,) * self._lifted[name].grid_rank:
                    found[name] = found[name].reshape(expected[name].shape)
            asleep = "" if awake else "; an output was the same for two images, so this proves little"
            self._compare(
                Check("same size", trained, True, (1, 1), note=f"batch {batch}{asleep}"), found, expected, True
            )

    def _stride(self) -> None:
        """One stride more is one cell more, one pixel less is not: per axis, on the shapes that come out."""
        trained, steps = self._conversion.trained, self._conversion.steps
        tried = 0
        for source, i in [(name, i) for name, strides in steps.items() for i in range(len(strides))]:
            step = steps[source][i]
            for grown in (step,) if self._conversion.phases or step == 1 else (step, step - 1):
                size = tuple(t + (grown if k == i else 0) for k, t in enumerate(trained[source]))
                sizes = trained | {source: size}
                try:
                    found = self._session.run(self._images.draw(sizes))
                except RuntimeRefusal as e:
                    if grown == step:
                        raise VerificationFailed(
                            f"grid law: the converted model does not run at {words(sizes)}: {e}"
                        ) from e
                    continue  # a network that cannot run between its own steps
                self._require_grid(found, sizes)
                tried += 1
        whole = all(value.grid.whole_image for value in self._lifted.values())
        note = "one answer for the whole image" if whole else f"effective stride {words(steps)}"
        note += f" measured at {tried} sizes"
        self.outcome.checks.append(Check("grid law", None, True, note=note))

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

    def _at(self, sizes: Sizes, done: int, steps: int) -> None:
        """All checks at one enlarged size of each input."""
        feeds, trained = self._images.draw(sizes), self._images.draw()
        trained = feeds | {image.name: trained[image.name] for image in self._plan.images}
        first = next(iter(sizes.values()))
        self._progress("windows", done, steps)
        try:
            found = self._session.run(feeds)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"windows: the converted model does not run at {words(sizes)}: {e}") from e
        self._require_grid(found, sizes)
        self.outcome.checks.append(Check("grid law", first, True, note=self._grid_words(sizes)))
        optimised = self._default.run(feeds) if self._default else None
        maps = self._oracle.maps(feeds)
        if self._oracle.map_outputs:
            check = Check(
                "feature maps", first, True, note="outputs that are maps, as the original's backbone gives them"
            )
            self._compare(check, found, {name: maps[name] for name in self._oracle.map_outputs}, True)
        for names in self._same_grid():
            over = self._lifted[names[0]].grid
            size = sizes[over.source]
            grid = over.grid_size(size)
            cells = sample_cells(grid, self._bounds.window_cells(), sum(grid))
            count = (len(cells), int(np.prod(grid)))
            expected = self._answers(self._oracle.answer, names, maps, cells, trained)
            exact = self._exact(names, maps, cells, trained)
            whole = self._lifted[names[0]].grid.whole_image
            note = "the original on the whole image" if whole else ""
            windows = Check("windows", size, True, count, note=note)
            self._compare(windows, _at_cells(found, names, cells), expected, False, exact=exact)
            if optimised is not None:
                self._progress("default run", done + 1, steps)
                default = Check("default run", size, True, count)
                if self._bounds.all_steps.nodes:  # what is quantised comes out otherwise where it is optimised
                    expected = self._optimised_answers(names, feeds, cells, trained)
                self._compare(default, _at_cells(optimised, names, cells), expected, True, True, exact)
            if whole:
                continue  # there is one answer and no crop that it belongs to
            self._progress("image crops", done + 2, steps)
            self._image_crops(size, feeds, found, names)

    def _answers(self, answer: Answer, names: list[str], maps: Feeds, cells: list[Cell], trained: Feeds) -> Feeds:
        stride = self._lifted[names[0]].grid.stride
        answers = [answer(tuple(names), maps, cell, stride, trained) for cell in cells]
        return _stacked(names, answers)

    def _exact(self, names: list[str], maps: Feeds, cells: list[Cell], trained: Feeds) -> Exact:
        def exact(name: str, which: np.ndarray) -> np.ndarray:
            some = [cells[int(i)] for i in which]
            return self._answers(self._oracle.precise, names, maps, some, trained)[name]

        return exact

    def _optimised_answers(self, names: list[str], feeds: Feeds, cells: list[Cell], trained: Feeds) -> Feeds:
        if self._optimised_oracle is None:
            self._optimised_oracle = Oracle(self._plan, self._runtime, self._conversion.original, default=True)
        maps = self._optimised_oracle.maps(feeds)
        return self._answers(self._optimised_oracle.answer, names, maps, cells, trained)

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

    def _image_crops(self, size: tuple[int, ...], feeds: Feeds, found: Feeds, names: list[str]) -> None:
        """The original on image crops. Asserted for an exact model, measured for any other."""
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

        expected = _stacked(names, [self._oracle.original.run(crop(cell), names) for cell in cells])
        at_cells = _at_cells(found, names, cells)

        check = Check("image crops", size, True, (len(cells), int(np.prod(grid_size))))
        if self._conversion.verdict == "exact":
            self._compare(check, at_cells, expected, True, exact=exact)
            return
        check.passed, check.note = None, "not asserted"
        check.error = max(self._deviation(name, at_cells[name], expected[name], len(cells)) for name in names)
        self.outcome.checks.append(check)

    def _deviation(self, name: str, found: np.ndarray, expected: np.ndarray, cells: int) -> float:
        deviation = error(found, expected)
        known = self.outcome.deviation.get(name)
        if known is None or deviation > known.error:
            agreement = _agreement(found, expected, self._lifted[name])
            self.outcome.deviation[name] = Deviation(deviation, agreement, cells)
        return deviation


def _stacked(names: list[str], answers: list[Feeds]) -> Feeds:
    return {name: np.stack([a[name] for a in answers], -1) for name in names}


def _at_cells(found: Feeds, names: list[str], cells: list[Cell]) -> Feeds:
    index = tuple(np.array(cells).T)
    return {name: np.ascontiguousarray(found[name][(Ellipsis, *index)]) for name in names}


def _agreement(found: np.ndarray, expected: np.ndarray, value: Windowed) -> float | None:
    """Share of cells whose highest class is the same, where the output looks like class scores."""
    labels = value.layout.plain and len(value.features) == 1 and value.features[0] > 1
    if not labels or expected.dtype.kind not in FLOATS:
        return None
    return float(np.mean(found.argmax(1) == expected.argmax(1)))
