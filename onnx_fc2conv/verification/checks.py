"""The checks. Each compares the converted model with the original's own nodes and can fail.

structure    the ONNX checker accepts it, onnxruntime loads it, no FC is left in the heads, spatial dims are free
same size    original and converted at the trained size (also with two images where the batch is dynamic)
grid law     predicted grid and stride against the shapes that come out
feature maps outputs that are feature maps themselves, against the original's backbone at the enlarged size
windows      the original head on every window of the enlarged feature map, against the converted grid
default run  the same, with the graph optimisations that users run with
image crops  the original on image crops: must agree if the model is exact, is measured if it is not
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto, TensorProto

from .. import dtypes
from ..conversion import Conversion, text
from ..errors import UnreadableModel, VerificationFailed
from ..settings import Size
from .bounds import Bounds
from .compare import error
from .inputs import Images
from .oracle import Cell, Oracle, image_crop, sample_cells
from .outcome import Check, Deviation, Outcome
from .runtime import Feeds, RuntimeRefusal, Session, newest_opset, opset_of
from .structure import require_converted, require_valid

Progress = Callable[[str, int, int], None]


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
        self._lifted = conversion.outputs
        self._bounds = Bounds(conversion)
        self._images = Images(conversion.plan)
        self.outcome = Outcome()

    def run(self, sizes: list[Size]) -> Outcome:
        """All checks, cheapest first.

        Raises:
            VerificationFailed: a check found a difference, or onnxruntime cannot run what is to be checked.
        """
        steps = 3 + 3 * len(sizes)
        self._progress("structure", 0, steps)
        require_valid(self._proto, self._conversion.original)
        require_converted(self._conversion, self._proto)
        self._load()
        note = "ONNX checker, loads in onnxruntime, no FC left, spatial dims free"
        if opset_of(self._proto) > newest_opset():
            note += f"; onnxruntime knows opset {newest_opset()} at most, where all its operators are the same"
        self.outcome.checks.append(Check("structure", None, True, note=note))
        try:
            self._progress("same size", 1, steps)
            self._same_size()
            self._progress("grid law", 2, steps)
            self._stride()
            for i, size in enumerate(sizes):
                self._at(size, 3 + 3 * i, steps)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"onnxruntime cannot run the check: {e}") from e
        self._progress("done", steps, steps)
        return self.outcome

    def _load(self) -> None:
        try:
            self._oracle = Oracle(self._plan, self._conversion.original)
        except RuntimeRefusal as e:
            reason = f"onnxruntime does not load the original model, so nothing can be checked: {e}"
            raise UnreadableModel(reason) from e
        try:
            self._session = Session(self._proto, self._folder)
            self._default = Session(self._proto, self._folder, default=True)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"structure: onnxruntime does not load the converted model: {e}") from e
        missing = [o for o in self._plan.model.outputs if o not in self._session.outputs]
        if missing:
            raise VerificationFailed(f"structure: output '{missing[0]}' is gone")

    # -- comparisons -----------------------------------------------------------------------------------------------

    def _tolerance(self, name: str, reference: np.ndarray, whole: bool) -> float:
        elem_type = self._lifted[name].elem_type if name in self._lifted else TensorProto.FLOAT
        if reference.dtype.kind in "iub":
            return 0.0
        b = self._bounds
        terms, nodes = (b.all_terms, b.all_nodes) if whole else (b.head_terms, b.head_nodes)
        return dtypes.tolerance(elem_type, terms, nodes)

    def _compare(self, check: Check, found: Feeds, expected: Feeds, whole: bool) -> None:
        """Compare outputs and note the check; ``whole`` if rounding may differ in the backbone too."""
        check.error = check.tolerance = 0.0
        for name, reference in expected.items():
            shape = list(found[name].shape)
            if shape != list(reference.shape):
                expected_shape = list(reference.shape)
                reason = f"{check.name}: output '{name}' has shape {shape}, expected {expected_shape}"
                raise VerificationFailed(reason)
            tolerance = self._tolerance(name, reference, whole)
            e = error(found[name], reference)
            if not e <= tolerance:
                raise VerificationFailed(
                    f"{check.name}: output '{name}' at {text(check.size or ())} differs by {e:.2g} of its scale, "
                    f"tolerance {tolerance:.2g}"
                )
            check.error, check.tolerance = max(check.error, e), max(check.tolerance, tolerance)
        self.outcome.checks.append(check)

    # -- the checks ------------------------------------------------------------------------------------------------

    def _same_size(self) -> None:
        trained = self._conversion.trained
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
                if found[name].shape == expected[name].shape + (1,) * len(trained):
                    found[name] = found[name].reshape(expected[name].shape)
            asleep = "" if awake else "; an output was the same for two images, so this proves little"
            self._compare(
                Check("same size", trained, True, (1, 1), note=f"batch {batch}{asleep}"), found, expected, True
            )

    def _stride(self) -> None:
        """One stride more is one cell more, one pixel less is not: per axis, on the shapes that come out."""
        trained, strides = self._conversion.trained, self._conversion.step
        tried = 0
        for i, step in enumerate(strides):
            for grown in (step,) if self._conversion.phases or step == 1 else (step, step - 1):
                size = tuple(t + (grown if k == i else 0) for k, t in enumerate(trained))
                try:
                    found = self._session.run(self._images.draw(size))
                except RuntimeRefusal as e:
                    if grown == step:
                        raise VerificationFailed(
                            f"grid law: the converted model does not run at {text(size)}: {e}"
                        ) from e
                    continue  # a network that cannot run between its own steps
                self._require_grid(found, size)
                tried += 1
        note = f"effective stride {text(strides)} measured at {tried} sizes"
        self.outcome.checks.append(Check("grid law", None, True, note=note))

    def _require_grid(self, found: Feeds, size: Size) -> None:
        for name, value in self._lifted.items():
            predicted = (*value.features, *value.grid.grid_size(size))
            if found[name].shape[1:] != predicted:
                raise VerificationFailed(
                    f"grid law: output '{name}' at {text(size)} has shape {list(found[name].shape)}, "
                    f"predicted {list(predicted)} behind the batch"
                )

    def _at(self, size: Size, done: int, steps: int) -> None:
        """All checks at one enlarged size."""
        feeds = self._images.draw(size)
        trained = feeds | {self._plan.image.name: self._images.draw()[self._plan.image.name]}
        self._progress("windows", done, steps)
        try:
            found = self._session.run(feeds)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"windows: the converted model does not run at {text(size)}: {e}") from e
        self._require_grid(found, size)
        self.outcome.checks.append(Check("grid law", size, True, note=self._grid_words(size)))
        optimised = self._default.run(feeds)
        maps = self._oracle.maps(feeds)
        if self._oracle.map_outputs:
            check = Check(
                "feature maps", size, True, note="outputs that are maps, as the original's backbone gives them"
            )
            self._compare(check, found, {name: maps[name] for name in self._oracle.map_outputs}, True)
        for names in self._same_grid():
            grid = self._lifted[names[0]].grid.grid_size(size)
            cells = sample_cells(grid, self._bounds.window_cells(), sum(grid))
            count = (len(cells), int(np.prod(grid)))
            answers = [self._oracle.answer(tuple(names), maps, cell, trained) for cell in cells]
            expected = _stacked(names, answers)
            self._compare(Check("windows", size, True, count), _at_cells(found, names, cells), expected, False)
            self._progress("default run", done + 1, steps)
            self._compare(Check("default run", size, True, count), _at_cells(optimised, names, cells), expected, True)
            self._progress("image crops", done + 2, steps)
            self._image_crops(size, feeds, found, names)

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

    def _grid_words(self, size: Size) -> str:
        grids = dict.fromkeys(v.grid.grid_size(size) for v in self._lifted.values())
        return ", ".join(f"{text(g)} = {int(np.prod(g))} windows" for g in grids)

    def _image_crops(self, size: Size, feeds: Feeds, found: Feeds, names: list[str]) -> None:
        """The original on image crops. Asserted for an exact model, measured for any other."""
        image = self._plan.image.name
        grid = self._lifted[names[0]].grid
        grid_size = grid.grid_size(size)
        # The last box may stick out of the image by the pixels that the trained size itself leaves over.
        room = tuple((n - t) // s + 1 for n, t, s in zip(size, grid.trained_size, grid.stride, strict=True))
        whole = tuple(map(min, grid_size, room))
        cells = sample_cells(whole, self._bounds.crop_cells(), sum(whole))
        answers = []
        for cell in cells:
            crop = image_crop(self._plan, feeds[image], cell, grid.stride)
            answers.append(self._oracle.original.run({**feeds, image: crop}, names))
        expected, at_cells = _stacked(names, answers), _at_cells(found, names, cells)
        check = Check("image crops", size, True, (len(cells), int(np.prod(grid_size))))
        if self._conversion.verdict == "exact":
            self._compare(check, at_cells, expected, True)
            return
        check.passed, check.note = None, "not asserted"
        check.error = max(self._deviation(name, at_cells[name], expected[name], len(cells)) for name in names)
        self.outcome.checks.append(check)

    def _deviation(self, name: str, found: np.ndarray, expected: np.ndarray, cells: int) -> float:
        deviation = error(found, expected)
        known = self.outcome.deviation.get(name)
        if known is None or deviation > known.error:
            agreement = _agreement(found, expected, self._lifted[name].features)
            self.outcome.deviation[name] = Deviation(deviation, agreement, cells)
        return deviation


def _stacked(names: list[str], answers: list[Feeds]) -> Feeds:
    return {name: np.stack([a[name] for a in answers], -1) for name in names}


def _at_cells(found: Feeds, names: list[str], cells: list[Cell]) -> Feeds:
    index = tuple(np.array(cells).T)
    return {name: np.ascontiguousarray(found[name][(Ellipsis, *index)]) for name in names}


def _agreement(found: np.ndarray, expected: np.ndarray, features: tuple[int, ...]) -> float | None:
    """Share of cells whose highest class is the same, where the output looks like class scores."""
    if len(features) != 1 or features[0] < 2 or expected.dtype.kind != "f":
        return None
    return float(np.mean(found.argmax(1) == expected.argmax(1)))
