"""The checks of a conversion that changes no size. Each compares the converted model with the original and can fail.

structure    the ONNX checker accepts it, the runtime loads it; inputs and outputs have the names, types and shapes of
             the original; no FC with constant weights is left but those that were listed
same size    original and converted on the same inputs (also with two images where the batch is dynamic)
other size   the same at another size of the axes that are left open, where there are any besides the batch
all digits   the same, with values of all digits, which show one that goes through fewer
default run  the same, with the graph optimisations that users run with, if the runtime has any
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import ModelProto, ValueInfoProto

from .. import dtypes
from ..conversion import Conversion
from ..errors import UnreadableModel, VerificationFailed
from ..geometry import Grid
from ..open_sizes import declared_size
from ..ops import FULLY_CONNECTED, title
from ..rewrite import Windowed
from .bounds import Bounds
from .choice import runtime
from .compare import FLOATS
from .inputs import WIDE
from .judgement import Both, Exact, Judgement
from .later import NAME, Later, default_session
from .outcome import Check, Outcome
from .precise import Doubled
from .session import Feeds, RuntimeRefusal, Session
from .static_inputs import SIZES, Inputs
from .structure import require_limits, require_valid
from .watched import Progress, Watched

MANY = 32  #: inputs for what quantises: less than a step shows only in how many answers go to the next one


class StaticVerifier:
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
        self._progress("structure", 0, 3)
        try:
            require_valid(self._proto, self._folder, self._conversion.original, self._plan.model.folder)
        except VerificationFailed:
            self._require_true_declarations()
            raise
        require_signature(self._conversion.original, self._proto)
        require_no_fc(self._conversion, self._proto)
        require_limits(self._conversion, self._proto)
        self._load()
        left = f", none but the {len(self._plan.left)} listed" if self._plan.left else ""
        note = f"ONNX checker, loads in {self._runtime.name}, same inputs and outputs, no FC left{left}"
        self.outcome.checks.append(Check("structure", None, True, note=note))
        self._progress("same size", 1, 3)
        self._same_size()
        self._progress("default run", 2, 3)
        self._as_users_run()
        self._progress("done", 3, 3)
        return self.outcome

    def _require_true_declarations(self) -> None:
        """Say so if it is the original that declares a shape which its output has not.

        As the signature is kept, that cannot be mended; behind an operator that ONNX does not know it goes unnoticed.

        Raises:
            UnreadableModel: it does.
        """
        self._load()
        found = self._original.run(Inputs(self._plan, self._original).draw())
        for value in self._conversion.original.graph.output:
            if not value.type.tensor_type.HasField("shape"):
                continue
            declared = [declared_size(d) or d.dim_param or "?" for d in value.type.tensor_type.shape.dim]
            computed = list(np.shape(found[value.name]))
            fits = [d == n or isinstance(d, str) for d, n in zip(declared, computed, strict=False)]
            if len(declared) != len(computed) or not all(fits):
                reason = f"output '{value.name}' is declared as {declared} and computed as {computed}"
                raise UnreadableModel(f"{reason}; --static keeps what is declared, so that has to be right first")

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
            raise VerificationFailed(f"structure: {name} does not load the converted model: {e}") from e

    def _as_users_run(self) -> None:
        """What was put off, in default sessions; nothing else is loaded then."""
        if not self._runtime.optimises:
            return
        del self._session, self._original
        loads = [default_session(self._runtime, self._proto, self._folder, "converted model")]
        if self._bounds.in_integers:  # it may come out otherwise where it is optimised
            folder = self._plan.model.folder
            loads.append(default_session(self._runtime, self._conversion.original, folder, "original"))
        self._later.run(self.outcome, *loads)

    def _default_run(self, check: Check, feeds: Feeds, expected: Feeds) -> None:
        """The same inputs in a default session, later."""

        def compare(found: Feeds, optimised: Feeds | None = None) -> list[Check]:
            written, exact = as_ones(expected), self._exact(feeds)
            originals = [Both(as_ones(optimised or expected), written)]
            self._judgement.compare_optimised(check, as_ones(found), written, lambda: originals, exact)
            return [check]

        if self._runtime.optimises:
            self._later.add(self.outcome, feeds, compare)

    def _same_size(self) -> None:
        inputs = Inputs(self._plan, self._original)
        awake = inputs.choose_scale(lambda feeds: list(self._original.run(feeds).values()))
        asleep = "" if awake else "; an output was the same for two inputs, so this proves little"
        for batch, fine in inputs.draws:
            self._at("all digits" if fine else "same size", inputs, asleep, batch, fine)
        if self._bounds.all_steps.nodes:
            self._many(inputs)
        if inputs.sizes_are_open:
            self._other_size(inputs, asleep)

    def _other_size(self, inputs: Inputs, asleep: str) -> None:
        """What runs at the size that the conversion was made with only is no equivalent."""
        known = inputs.open_size
        if any(inputs.refused_at(self._original, size) is None for size in SIZES if size != known):
            self._at("other size", inputs, asleep, inputs.batches[0])
        else:
            note = "the original runs at no other size that was tried"
            self.outcome.checks.append(Check("other size", None, None, note=note))

    def _at(self, name: str, inputs: Inputs, asleep: str, batch: int, fine: float = 0.0) -> None:
        """Compare at the present size."""
        feeds = inputs.draw(batch=batch, fine=fine)
        try:
            expected = self._original.run(feeds)
        except RuntimeRefusal as e:
            if batch == inputs.batches[0]:
                raise VerificationFailed(f"{name}: {self._runtime.name} does not run the original: {e}") from e
            note = "the original declares a dynamic batch and runs with one image only"
            self.outcome.checks.append(Check(name, None, None, note=note))
            return
        require_repeatable(expected, self._original.run(feeds))
        note = f"batch {batch}{asleep}"
        self._compare(Check(name, None, True, (1, 1), note=note), self._session, feeds, expected)
        if not fine:
            self._default_run(Check(NAME, None, True, (1, 1), note=note), feeds, expected)

    def _many(self, inputs: Inputs) -> None:
        """How often values go to another step of a quantised type, which one answer does not tell."""
        drawn = [inputs.draw(fine=WIDE) for _ in range(MANY)]
        found, expected = (_stacked(session, drawn) for session in (self._session, self._original))
        check = Check("all digits", None, True, (MANY, MANY), note="one input after the other")
        self._judgement.compare(check, found, expected, True)
        self.outcome.checks.append(check)

    def _compare(self, check: Check, session: Session, feeds: Feeds, expected: Feeds) -> None:
        try:
            found = session.run(feeds)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"{check.name}: the converted model does not run: {e}") from e
        self._judgement.compare(check, as_ones(found), as_ones(expected), True, exact=self._exact(feeds))
        self.outcome.checks.append(check)

    def _exact(self, feeds: Feeds) -> Exact:
        def exact(name: str, which: np.ndarray) -> np.ndarray:
            doubled = Doubled(self._conversion.original, self._plan.model.folder)
            return doubled.run(feeds, [name])[name][..., None][..., which]

        return exact


def _stacked(session: Session, drawn: list[Feeds]) -> Feeds:
    answers = [session.run(feeds) for feeds in drawn]
    return {name: np.stack([one[name] for one in answers], -1) for name in answers[0]}


def as_ones(values: Feeds) -> Feeds:
    """All values of each output as one answer; the answers are counted along the last axis."""
    arrays = ((n, v if isinstance(v, np.ndarray) else np.asarray(v, dtype=object)) for n, v in values.items())
    return {name: value[..., None] for name, value in arrays}


def outputs_by_type(values: Iterable[ValueInfoProto]) -> dict[str, Windowed]:
    """What is compared, by element type."""
    nowhere = Grid("", (), (), (), (), (), (), (), ())
    return {v.name: Windowed(v.name, (), v.type.tensor_type.elem_type, nowhere) for v in values}


def require_repeatable(first: Feeds, second: Feeds) -> None:
    """Refuse a model that answers the same question in two ways.

    Raises:
        VerificationFailed: it does.
    """
    for name, value in first.items():
        floats = isinstance(value, np.ndarray) and value.dtype.kind in FLOATS
        if not np.array_equal(value, second[name], equal_nan=floats):
            reason = (
                f"output '{name}' of the original is random: two runs on one input differ, so nothing can be checked"
            )
            raise VerificationFailed(f"same size: {reason}")


def require_signature(original: ModelProto, proto: ModelProto) -> None:
    """Inputs and outputs have the names, types and shapes that they had, in the same order.

    Raises:
        VerificationFailed: one differs.
    """
    for what, before, after in (
        ("input", _inputs(original), _inputs(proto)),
        ("output", list(original.graph.output), list(proto.graph.output)),
    ):
        names = [v.name for v in before], [v.name for v in after]
        if names[0] != names[1]:
            raise VerificationFailed(f"structure: the {what}s are {names[1]}, expected {names[0]}")
        for old, new in zip(before, after, strict=True):
            if old.type != new.type:
                raise VerificationFailed(
                    f"structure: {what} '{old.name}' has another type or shape than in the original"
                )


def _inputs(proto: ModelProto) -> list[ValueInfoProto]:
    constants = {t.name for t in proto.graph.initializer} | {t.values.name for t in proto.graph.sparse_initializer}
    return [v for v in proto.graph.input if v.name not in constants]


def require_no_fc(conversion: Conversion, proto: ModelProto) -> None:
    """No FC is left but those that were listed, and those that compute constants.

    Raises:
        VerificationFailed: one is.
    """
    plan = conversion.plan
    allowed = set(plan.left)
    allowed |= {str(op) for op in plan.model.ops if all(name in plan.constants.static for name in op.reads())}
    for node in proto.graph.node:
        if node.op_type in FULLY_CONNECTED and title(node) not in allowed:
            raise VerificationFailed("structure: a fully connected node is left", title(node))
