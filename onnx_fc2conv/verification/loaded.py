"""What all checks work with: the original, its parts and the model under test, loaded."""

from __future__ import annotations

from onnx import ModelProto

from .. import dtypes
from ..conversion import Conversion
from ..errors import UnreadableModel, VerificationFailed
from .bounds import Bounds
from .choice import runtime
from .forms import OutputForms
from .inputs import Images
from .judgement import Exact, Judgement
from .later import Later
from .oracle import Oracle
from .outcome import Check, Outcome
from .session import Feeds, RuntimeRefusal, Session
from .watched import Progress, Watched


class Loaded:
    """One conversion and the sessions that check it."""

    _session: Session

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
        self._lifted, self._runtime = conversion.outputs, runtime(conversion.plan.runtime)
        self._bounds = Bounds(conversion)
        self._judgement = Judgement(self._bounds, self._lifted)
        self._images = Images(conversion.plan)
        self._later = Later()
        self._optimised_oracle: Oracle | None = None
        self._ran: list[int] = []  # batches that the original runs with
        self.outcome = Outcome(f"{self._runtime.name} {self._runtime.version}")

    def _load(self) -> None:
        """Load what compares node by node.

        Raises:
            UnreadableModel: the runtime does not load the original.
            VerificationFailed: it does not load the converted model, or that has lost an output.
        """
        name, load = self._runtime.name, self._runtime.load
        try:
            self._oracle = Oracle(self._plan, self._runtime, self._conversion.original)
        except RuntimeRefusal as e:
            advice = f"; {dtypes.ADVICE}" if self._plan.runtime == "onnxruntime" else ""
            reason = f"{name} does not load the original model, so nothing can be checked: {e}{advice}"
            raise UnreadableModel(reason) from e
        self._forms = OutputForms(self._conversion, self._proto)
        try:
            self._session = load(self._forms.with_maps(self._proto), self._folder)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"structure: {name} does not load the converted model: {e}") from e
        missing = [o for o in self._plan.model.outputs if o not in self._session.outputs]
        if missing:
            raise VerificationFailed(f"structure: output '{missing[0]}' is gone")

    def _release(self) -> None:
        """Let go of the sessions that compare node by node; what the oracle still needs, it loads again."""
        del self._session
        self._oracle.release()

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
