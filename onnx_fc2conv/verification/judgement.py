"""Whether what was found is what was expected: bounds from the element type, and what may lie beyond them.

1. Within the bound of rounding: equal.
2. Where something is quantised, a value may go to the next step now and then.
3. Where the original's own rounding is larger than the bound, double precision tells whether the converted answer is as
   near to the exact one as the original's is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto
from onnx.helper import np_dtype_to_tensor_dtype

from .. import dtypes
from ..conversion import text
from ..errors import VerificationFailed
from ..rewrite import Windowed
from .bounds import Bounds, Steps
from .compare import FLOATS, distances, error, share_beyond
from .outcome import Check
from .saturation import HINT, saturates
from .session import Feeds, RuntimeRefusal

#: the exact answers of an output at some of the compared cells (by position in the comparison), stacked last
Exact = Callable[[str, np.ndarray], np.ndarray]

DOUBTS = 16  #: answers that are computed once more in double precision


@dataclass(frozen=True)
class Both:
    """The same answers of the original, with graph optimisations and as it is written."""

    optimised: Feeds
    written: Feeds


class Judgement:
    """Compares outputs; every failure raises ``VerificationFailed`` with the check's name."""

    def __init__(self, bounds: Bounds, lifted: Mapping[str, Windowed]) -> None:
        self._bounds, self._lifted = bounds, lifted

    def compare(
        self,
        check: Check,
        found: Feeds,
        expected: Feeds,
        whole: bool,
        optimised: bool = False,
        exact: Exact | None = None,
    ) -> None:
        """Compare outputs and note the outcome in the check.

        Args:
            check: which one.
            found, expected: outputs by name.
            whole: rounding may differ in the backbone too.
            optimised: one of both ran with graph optimisations, which compute quantised nodes in integers.
            exact: gives answers in double precision, where there are some.

        Raises:
            VerificationFailed: an output differs.
        """
        check.error = check.tolerance = 0.0
        steps = self._bounds.all_steps if whole else self._bounds.head_steps
        for name, reference in expected.items():
            shape = list(found[name].shape)
            if shape != list(reference.shape):
                reason = f"output '{name}' has shape {shape}, expected {list(reference.shape)}"
                raise VerificationFailed(f"{check.name}: {reason}")
            rounding = tolerance = self._rounding(name, reference, whole)
            in_steps = steps.nodes > 0 and (reference.dtype.kind == "f" or reference.dtype.itemsize < 4)
            if in_steps:
                tolerance = rounding + dtypes.quantised_tolerance(steps.coarsest, steps.nodes)
            e = error(found[name], reference, in_steps)
            if not e <= tolerance:
                # an infinite error is a NaN, an infinity or another type: no rounding, and no second opinion
                if not np.isfinite(e) or not self._as_near(check, name, found[name], reference, tolerance, exact):
                    raise VerificationFailed(
                        f"{check.name}: output '{name}' at {text(check.size or ())} differs by {e:.2g} of its scale, "
                        f"tolerance {tolerance:.2g}{HINT if in_steps and saturates() else ''}"
                    )
                tolerance = e
            if in_steps and e > rounding and not optimised:
                _require_rare(check, name, found[name], reference, rounding, steps)
            check.error, check.tolerance = max(check.error, e), max(check.tolerance, tolerance)

    def compare_optimised(
        self,
        check: Check,
        found: Feeds,
        expected: Feeds,
        originals: Callable[[], Sequence[Both]],
        exact: Exact | None = None,
    ) -> None:
        """Compare what ran with graph optimisations: with the original as it is written, or with that optimised too.

        Optimised, a model may be computed in integers (``Bounds.in_integers``). Where that alone makes the original
        another model (integer kernels saturate on processors without dot products of bytes, products with int8 weights
        quantise what they are multiplied with), there is nothing to compare with, and the check says so.

        Args:
            check: which one.
            found, expected: as for ``compare``.
            originals: what the original gives in both ways; for the inputs in question first.
            exact: as for ``compare``.

        Raises:
            VerificationFailed: an output differs from both, and the original's from one another do not.
        """
        try:
            self.compare(check, found, expected, True, True, exact)
            return
        except VerificationFailed:
            if not self._bounds.in_integers:
                raise
        both = originals()
        try:
            self.compare(check, found, both[0].optimised, True, True, exact)
        except VerificationFailed:
            own = [self._own(one) for one in both]
            if not any(apart > accepted for apart, accepted in own):
                raise
            check.passed, check.error, check.tolerance = None, max(apart for apart, _ in own), None
            check.note = "not asserted: the original itself differs by this much once onnxruntime optimises it here"

    def _own(self, both: Both) -> tuple[float, float]:
        """How far the original is from itself when it is optimised, and how far the kind of its arithmetic explains."""
        steps, apart, accepted = self._bounds.all_steps, 0.0, 0.0
        for name, reference in both.written.items():
            apart = max(apart, error(both.optimised[name], reference, True))
            accepted = max(accepted, self._rounding(name, reference, True))
        return apart, accepted + dtypes.quantised_tolerance(steps.coarsest, steps.nodes)

    def same(self, found: Feeds, expected: Feeds) -> bool:
        """Whether the same nodes of the head gave these: to the rounding of sums, or to the bit where it quantises."""
        for name, reference in expected.items():
            rounding = 0.0 if self._bounds.head_steps.nodes else self._rounding(name, reference, False)
            if not error(found[name], reference) <= rounding:
                return False
        return True

    def _rounding(self, name: str, reference: np.ndarray, whole: bool) -> float:
        elem_type = self._lifted[name].elem_type if name in self._lifted else TensorProto.FLOAT
        if reference.dtype.kind in "iub":
            return 0.0
        b = self._bounds
        terms, nodes = (b.all_terms, b.all_nodes) if whole else (b.head_terms, b.head_nodes)
        return dtypes.tolerance(elem_type, terms, nodes)

    def _as_near(
        self,
        check: Check,
        name: str,
        found: np.ndarray,
        reference: np.ndarray,
        tolerance: float,
        exact: Exact | None,
    ) -> bool:
        """True if the converted answers are as near to the exact ones as the original's own, which must be near."""
        if exact is None or reference.dtype.kind not in FLOATS or not np.isfinite(reference).all():
            return False
        apart = distances(found, reference)
        doubtful = np.flatnonzero(~(apart <= tolerance))
        worst = doubtful[np.argsort(-apart[doubtful])][:DOUBTS]
        try:
            true = exact(name, worst)
        except RuntimeRefusal:
            return False
        scale = max(float(np.abs(reference.astype(np.float64)).max()), float(np.finfo(np.float64).tiny))
        ours = float(np.abs(found[..., worst].astype(np.float64) - true).max()) / scale
        originals = float(np.abs(reference[..., worst].astype(np.float64) - true).max()) / scale
        if not originals <= dtypes.most_of_its_digits(np_dtype_to_tensor_dtype(reference.dtype)):
            return False  # either the original means nothing here, or what it is held against does not
        if not ours <= tolerance + dtypes.SAFETY * originals:
            return False
        count = f"{len(worst)} of {len(doubtful)} doubtful answers computed in double precision"
        check.note = f"{count}: off by {ours:.1g} of the scale, the original's own by {originals:.1g}"
        return True


def _require_rare(
    check: Check, name: str, found: np.ndarray, reference: np.ndarray, rounding: float, steps: Steps
) -> None:
    """A quantised value goes to another step now and then; a wrong conversion is wrong nearly everywhere."""
    if check.cells == (1, 1):
        return
    share = share_beyond(found, reference, rounding)
    accepted = dtypes.share_of_flips(steps.finest, steps.values, rounding, reference.shape[-1])
    check.note = f"{share:.1%} of the answers differ by a step of the quantised type"
    if share > accepted:
        reason = f"output '{name}' differs in {share:.0%} of the answers, more than quantising explains"
        raise VerificationFailed(f"{check.name}: {reason} ({accepted:.0%}){HINT if saturates() else ''}")
