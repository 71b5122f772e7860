"""The checks. Each compares the converted model with the original's own nodes and can fail.

structure    the ONNX checker accepts it, the runtime loads it, no FC is left in the heads, spatial dims are free
same size    original and converted at the trained size (also with two images where the batch is dynamic)
all digits   the same, with pixels of all digits, which show a value that goes through fewer
output form  outputs that are rows or pooled, against their maps, at every size; all other checks compare the maps
grid law     predicted grid and stride against the shapes that come out
several images  in one batch at an enlarged size, each against itself alone
feature maps outputs that are feature maps themselves, against the original's backbone at the enlarged size
every k-th cell  of maps that were made denser (--stride), against the original's backbone at the enlarged size
windows      the original head on every window of the enlarged feature map, against the converted grid
default run  the same, with the graph optimisations that users run with, if the runtime has any
image crops  the original on image crops: must agree if the model is exact, is measured if it is not; none where one
             answer is for the whole image
"""

from __future__ import annotations

import numpy as np

from ..conversion import Sizes, words
from ..errors import VerificationFailed
from ..settings import Size
from .declared import require_geometry, require_order
from .enlarged import EnlargedChecks
from .judgement import Exact
from .map_outputs import every_cell
from .outcome import Check, Outcome
from .repeated import Repeated
from .session import Feeds, RuntimeRefusal, opset_of
from .structure import require_converted, require_limits, require_valid


class Verifier(EnlargedChecks):
    """Runs the checks of one conversion. Every failure raises ``VerificationFailed`` with the check's name."""

    def run(self, sizes: list[Sizes]) -> Outcome:
        """All checks, cheapest first.

        Raises:
            VerificationFailed: a check found a difference, or the runtime cannot run what is to be checked.
            NotVerified: there is not enough memory to run a check.
        """
        with self._progress.enough_memory():
            return self._all(sizes)

    def _all(self, sizes: list[Sizes]) -> Outcome:
        steps = 4 + 2 * len(sizes)
        self._progress("structure", 0, steps)
        require_valid(self._proto, self._folder, self._conversion.original, self._plan.model.folder)
        require_converted(self._conversion, self._proto)
        require_limits(self._conversion, self._proto)
        require_geometry(self._conversion, self._proto)
        self._load()
        require_order(self._conversion.original, self._proto)
        name, newest = self._runtime.name, self._runtime.newest_opset()
        left = "no FC left"
        if kept := self._conversion.kept:
            left += f" but the {len(kept)} of the form '{self._conversion.form}'"
        note = f"ONNX checker, loads in {name}, {left}, spatial dims free"
        if opset_of(self._proto) > newest:
            note += f"; {name} knows opset {newest} at most, where all its operators are the same"
        self.outcome.checks.append(Check("structure", None, True, note=note))
        try:
            self._progress("same size", 1, steps)
            self._same_size()
            self._progress("grid law", 2, steps)
            self._stride()
            for i, size in enumerate(sizes):
                self._at(size, 3 + 2 * i, steps)
            self._progress("default run", steps - 1, steps)
            self._as_users_run()
        except RuntimeRefusal as e:
            raise VerificationFailed(f"{name} cannot run the check: {e}") from e
        self._progress("done", steps, steps)
        return self.outcome

    # -- the checks ------------------------------------------------------------------------------------------------

    def _same_size(self) -> None:
        trained = next(iter(self._conversion.trained.values()))
        original = self._oracle.original
        awake = self._images.choose_scale(lambda feeds: list(original.run(feeds, list(self._lifted) or None).values()))
        for batch, fine in self._images.draws:
            feeds = self._images.draw(batch=batch, fine=fine)
            try:
                expected = original.run(feeds)
            except RuntimeRefusal:
                if batch == self._images.batches[0]:
                    raise
                self._one_image_only(trained, feeds)
                continue
            self._ran += [] if fine else [batch]
            given = self._session.run(feeds)
            found = self._forms.maps(given)
            for name in self._lifted:
                if found[name].shape == expected[name].shape + (1,) * self._lifted[name].grid_rank:
                    found[name] = found[name].reshape(expected[name].shape)
            for name in self._oracle.map_outputs:
                found[name] = every_cell(self._plan.maps[name], found[name])
            whole = self._whole(feeds)
            found, expected = ({name: v[name][..., None] for name in expected} for v in (found, expected))
            asleep = "" if awake else "; an output was the same for two images, so this proves little"
            name = "all digits" if fine else "same size"
            check = Check(name, trained, True, (1, 1), note=f"batch {batch}{asleep}")
            self._compare(check, found, expected, True, exact=whole)
            self.outcome.checks += [] if fine else self._forms.check(trained, batch, given)

    def _one_image_only(self, trained: Size, feeds: Feeds) -> None:
        """Several images where the original takes one: if the converted model runs on them, each has its own answer."""
        note = "the original declares a dynamic batch and runs with one image only"
        images = {image.name for image in self._plan.images}
        try:
            found = self._forms.maps(self._session.run(feeds))
            expected = Repeated(self._oracle.original, 1, images).run(feeds)
        except RuntimeRefusal:
            self.outcome.checks.append(Check("same size", trained, None, note=note))
            return
        plain = [name for name, value in self._lifted.items() if value.layout.before == 0]
        for name in plain:
            if found[name].size == expected[name].size:
                found[name] = found[name].reshape(expected[name].shape)
        found = {name: found[name][..., None] for name in plain}
        check = Check("same size", trained, True, (1, 1), note=f"{note}: image by image")
        self._compare(check, found, {name: expected[name][..., None] for name in plain}, True)

    def _whole(self, feeds: Feeds) -> Exact:
        """The whole original's answers in double precision, as the one cell that they are."""

        def exact(name: str, which: np.ndarray) -> np.ndarray:
            return self._oracle.precise_whole((name,), feeds)[name][..., None]

        return exact

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
                    found = self._forms.maps(self._session.run(self._images.draw(sizes)))
                except RuntimeRefusal as e:
                    if grown == step:
                        raise VerificationFailed(
                            f"grid law: the converted model does not run at {words(sizes)}: {e}"
                        ) from e
                    continue  # a network that cannot run between its own steps
                self._require_grid(found, sizes)
                tried += 1
        whole = bool(self._lifted) and all(value.grid.whole_image for value in self._lifted.values())
        note = "one answer for the whole image" if whole else f"effective stride {words(steps)}"
        note += f" measured at {tried} sizes"
        self.outcome.checks.append(Check("grid law", None, True, note=note))
