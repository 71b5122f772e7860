"""The checks of a model whose convolutions became matrix products, or whose heads became FC again.

structure    the ONNX checker accepts it, the runtime loads it; inputs and outputs are the original's; nothing but
             standard operators was added; no convolution is left but those that were listed
same size    original and rewritten model on the same inputs, at the size that is fixed or known, with one image and
             with two where the batch is dynamic
other size   the same at two more sizes where the size is dynamic
default run  the same, with the graph optimisations that users run with, if the runtime has any
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from onnx import ModelProto

from .. import dtypes
from ..conversion import Conversion, text
from ..errors import UnreadableModel, VerificationFailed
from ..ops import STANDARD_DOMAINS, title
from ..settings import Size
from .bounds import Bounds
from .choice import runtime
from .judgement import Both, Judgement
from .later import NAME, Later, default_session
from .outcome import Check, Outcome
from .session import Feeds, RuntimeRefusal, Session
from .static import as_ones, outputs_by_type, require_repeatable, require_signature
from .static_inputs import SIZES, Inputs
from .structure import require_valid
from .watched import Progress, Watched

CONVOLUTIONS = frozenset("Conv FusedConv ConvInteger QLinearConv NhwcConv NhwcFusedConv".split())
OTHERS = 2  #: sizes besides the first that a model of dynamic size is checked at


@dataclass(frozen=True)
class Expected:
    """What a rewritten model must be.

    Attributes:
        sizes: of the open axes of the inputs, to check at, the known one first; those at which the original does not
            run are passed over if they were not ``asked`` for.
        asked: whether the user named the sizes.
        left: titles of the convolutions that stay; ``None`` where nothing is said of operators.
        same_signature: whether every input and output keeps its type and shape.
        grids: how many axes of size 1 each output of the original has at its end and the rewritten model's has not; an
            output that is not listed keeps its shape.
        image: name and spatial axes of the input whose size a table of the checks shows; ``None`` for none.
    """

    sizes: Sequence[Size] = ()
    asked: bool = False
    left: Collection[str] | None = ()
    same_signature: bool = True
    grids: Mapping[str, int] = field(default_factory=dict)
    image: tuple[str, Sequence[int]] | None = None


class LoweredVerifier:
    """Runs the checks of one rewritten model. Every failure raises ``VerificationFailed`` with the check's name."""

    def __init__(
        self, conversion: Conversion, proto: ModelProto, folder: str, progress: Progress, expected: Expected
    ) -> None:
        """Prepare the checks.

        Args:
            conversion: the original; its plan holds the model and nothing of a head.
            proto: the model under test.
            folder: where its external data lies.
            progress: called with a check's name, the steps done, and their number.
            expected: what it must be.
        """
        self._conversion, self._plan, self._expected = conversion, conversion.plan, expected
        self._proto, self._folder, self._progress = proto, folder, Watched(progress)
        self._later = Later()
        self._runtime = runtime(conversion.plan.runtime)
        self._bounds = Bounds(conversion)
        self._judgement = Judgement(self._bounds, outputs_by_type(conversion.original.graph.output))
        self.outcome = Outcome(f"{self._runtime.name} {self._runtime.version}")

    def run(self) -> Outcome:
        """All checks, cheapest first.

        Raises:
            VerificationFailed: a check found a difference, or the runtime cannot run what is to be checked.
            NotVerified: there is not enough memory to run a check.
            UnreadableModel: the original cannot be run.
        """
        with self._progress.enough_memory():
            return self._all()

    def _all(self) -> Outcome:
        steps = 3 + OTHERS
        self._progress("structure", 0, steps)
        self._structure()
        self._progress("same size", 1, steps)
        candidates = self._expected.sizes or SIZES
        inputs = Inputs(self._plan, self._original, candidates)
        awake = inputs.choose_scale(lambda feeds: list(self._original.run(feeds).values()))
        asleep = "" if awake else "; an output was the same for two inputs, so this proves little"
        self._at("same size", inputs, None, asleep)
        if inputs.sizes_are_open:
            done = [inputs.open_size]
            for size in candidates:
                if len(done) <= OTHERS or self._expected.asked:
                    self._progress("other size", 1 + len(done), max(steps, 3 + len(done)))
                    done += [size] if size not in done and self._other(inputs, size, asleep) else []
            if len(done) == 1 and not self._expected.asked:
                note = "the original runs at no other size that was tried"
                self.outcome.checks.append(Check("other size", None, None, note=note))
        self._progress("default run", steps - 1, steps)
        self._as_users_run()
        self._progress("done", steps, steps)
        return self.outcome

    def _structure(self) -> None:
        require_valid(self._proto, self._folder, self._conversion.original, self._plan.model.folder)
        if self._expected.same_signature:
            require_signature(self._conversion.original, self._proto)
        left = self._expected.left
        if left is not None:
            self._require_standard()
            require_no_convolution(self._proto, left)
        self._load()
        parts = ["ONNX checker", f"loads in {self._runtime.name}"]
        parts += ["same inputs and outputs"] if self._expected.same_signature else []
        if left is not None:
            listed = f" but the {len(left)} listed" if left else ""
            parts += ["nothing but standard operators added", f"no convolution left{listed}"]
        self.outcome.checks.append(Check("structure", None, True, note=", ".join(parts)))

    def _require_standard(self) -> None:
        """Nothing of another domain than the standard was added."""
        before = {(n.domain, n.op_type, *n.output) for n in self._plan.model.proto.graph.node}
        for node in self._proto.graph.node:
            if node.domain not in STANDARD_DOMAINS and (node.domain, node.op_type, *node.output) not in before:
                raise VerificationFailed("structure: an operator that is not of the standard was added", title(node))

    def _load(self) -> None:
        name, load, folder = self._runtime.name, self._runtime.load, self._plan.model.folder
        try:
            self._original = load(self._conversion.original, folder)
        except RuntimeRefusal as e:
            advice = f"; {dtypes.ADVICE}" if self._plan.runtime == "onnxruntime" else ""
            reason = f"{name} does not load the original model, so nothing can be checked: {e}{advice}"
            raise UnreadableModel(reason) from e
        try:
            self._session = load(self._proto, self._folder)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"structure: {name} does not load the rewritten model: {e}") from e

    def _as_users_run(self) -> None:
        """What was put off, in default sessions; nothing else is loaded then."""
        if not self._runtime.optimises:
            return
        del self._session, self._original
        loads = [default_session(self._runtime, self._proto, self._folder, "rewritten model")]
        if self._bounds.in_integers:
            folder = self._plan.model.folder
            loads.append(default_session(self._runtime, self._conversion.original, folder, "original"))
        self._later.run(self.outcome, *loads)

    def _other(self, inputs: Inputs, size: Size, asleep: str) -> bool:
        """Check at another size; false if it is a guess at which the original does not run."""
        refused = inputs.refused_at(self._original, size)
        if refused and self._expected.asked:
            raise VerificationFailed(f"other size: the original does not run at {text(size)}: {refused}") from refused
        if refused:
            return False
        self._at("other size", inputs, size, asleep)
        return True

    def _at(self, name: str, inputs: Inputs, size: Size | None, asleep: str) -> None:
        """Compare at the present size, with every batch; without a batch that the original cannot do."""
        for batch, fine in inputs.draws if name == "same size" else inputs.draws[:-1]:
            feeds = inputs.draw(batch=batch, fine=fine)
            shown = self._shown(feeds)
            try:
                expected = self._original.run(feeds)
            except RuntimeRefusal as e:
                if batch == inputs.batches[0]:
                    raise VerificationFailed(f"{name}: {self._runtime.name} does not run the original: {e}") from e
                note = "the original declares a dynamic batch and runs with one image only"
                self.outcome.checks.append(Check(name, shown, None, note=note))
                continue
            require_repeatable(expected, self._original.run(feeds))
            note = f"batch {batch}{asleep}"
            check = Check("all digits" if fine else name, shown, True, (1, 1), note=note)
            self._compare(check, self._session, feeds, expected)
            if self._runtime.optimises and not fine:
                check = Check(NAME, shown, True, (1, 1), note=note)
                self._later.add(self.outcome, feeds, partial(self._default_run, check, expected))

    def _default_run(self, check: Check, expected: Feeds, found: Feeds, optimised: Feeds | None = None) -> list[Check]:
        """The same as users run it."""
        ours, written = self._paired(check, found, expected)
        originals = [Both(self._paired(check, found, optimised or expected)[1], written)]
        self._judgement.compare_optimised(check, ours, written, lambda: originals)
        return [check]

    def _shown(self, feeds: Feeds) -> Size | None:
        """The image's size."""
        if self._expected.image is None:
            return None
        name, axes = self._expected.image
        return tuple(feeds[name].shape[axis] for axis in axes)

    def _compare(self, check: Check, session: Session, feeds: Feeds, expected: Feeds) -> None:
        try:
            found = session.run(feeds)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"{check.name}: the rewritten model does not run: {e}") from e
        self._judgement.compare(check, *self._paired(check, found, expected), True)
        self.outcome.checks.append(check)

    def _paired(self, check: Check, found: Feeds, expected: Feeds) -> tuple[Feeds, Feeds]:
        """What came out and what should have, without the grid axes that only the original has.

        Raises:
            VerificationFailed: there are other outputs.
        """
        if list(found) != list(expected):
            raise VerificationFailed(f"{check.name}: the outputs are {list(found)}, expected {list(expected)}")
        grids = self._expected.grids
        return as_ones(found), as_ones({n: _without_grid(v, grids.get(n, 0)) for n, v in expected.items()})


def _without_grid(value: np.ndarray, axes: int) -> np.ndarray:
    """``[N, K]`` of ``[N, K, 1, 1]``, which are the same answers; as it is, where it has a grid of more than a cell."""
    kept = value.ndim - axes
    return value.reshape(value.shape[:kept]) if axes and set(value.shape[kept:]) == {1} else value


def require_no_convolution(proto: ModelProto, left: Collection[str]) -> None:
    """No convolution is left but those that were listed.

    Raises:
        VerificationFailed: one is.
    """
    for node in proto.graph.node:
        if node.op_type in CONVOLUTIONS and title(node) not in left:
            raise VerificationFailed("structure: a convolution is left", title(node))
