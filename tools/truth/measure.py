"""The error of an original and of its converted model, against the original in double precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from .doubled import NotEvaluated
from .parts import TRIED, cost
from .windows import Answer, Pair, at_trained_size, in_cells

ROUNDS = 8  #: images, or batches of them, at each size; of fewer, which error is the larger one is a matter of luck
WINDOWS = 8  #: that are sampled of an enlarged image, its corners first
DIFFERENT = "the original is farther from the float64 evaluation than half of its digits, so that is another function"


@dataclass
class Errors:
    """Largest errors of one output, and of the exact values the largest magnitude."""

    dtype: np.dtype
    original: float = 0.0
    converted: float = 0.0
    scale: float = 0.0

    @property
    def unit(self) -> float:
        """One unit in the last place of the scale."""
        return float(np.spacing(self.dtype.type(self.scale)))

    @property
    def ratio(self) -> float:
        """The converted model's error as a share of what is accepted; beyond 1 it is too large."""
        return self.converted / (2 * self.original + self.unit)


@dataclass
class Measured:
    """What was found about one model.

    Attributes:
        errors: by output, of the nodes as they are written.
        optimised: the same, as onnxruntime optimises them.
        values: numbers that were compared.
        windows: answers in cells of enlarged images among them.
        unseen: why there are none.
        neutral: the ratio on onnx.reference, where that was asked.
    """

    errors: dict[str, Errors] = field(default_factory=dict)
    optimised: dict[str, Errors] = field(default_factory=dict)
    values: int = 0
    windows: int = 0
    unseen: str = ""
    neutral: float = float("inf")

    @property
    def ratio(self) -> float:
        """The worst output's."""
        return max((e.ratio for e in self.errors.values()), default=0.0)

    @property
    def optimised_ratio(self) -> float:
        """The worst output's, optimised."""
        return max((e.ratio for e in self.optimised.values()), default=0.0)

    def add(self, answers: Iterable[Answer]) -> int:
        """Compare answers; returns how many.

        Raises:
            NotEvaluated: the exact ones and the original's are not of the same function.
        """
        count = 0
        for answer in answers:
            exact, (original, optimised) = answer.exact, answer.original
            if original.dtype.kind != "f":
                continue
            if exact.shape != original.shape or exact.dtype != np.float64:
                raise NotEvaluated("onnx.reference gives another shape or type")
            if not (np.isfinite(exact).all() and np.isfinite(original).all()):
                raise NotEvaluated("answers that are not finite")
            _note(self.errors, answer.name, exact, original, answer.converted[0])
            _note(self.optimised, answer.name, exact, optimised, answer.converted[1])
            self.values += exact.size
            count += 1
        return count


def _note(errors: dict[str, Errors], name: str, exact: np.ndarray, original: np.ndarray, converted: np.ndarray) -> None:
    found = errors.setdefault(name, Errors(original.dtype))
    found.scale = max(found.scale, float(np.abs(exact).max(initial=0.0)))
    found.original = max(found.original, _apart(original, exact))
    far = _apart(converted, exact)
    found.converted = np.inf if np.isnan(far) else max(found.converted, far)
    if found.original > float(np.sqrt(np.finfo(original.dtype).eps)) * found.scale:
        raise NotEvaluated(DIFFERENT)


def _apart(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.abs(found.astype(np.float64) - exact).max(initial=0.0))


def measure(pair: Pair, limit: int, seed: int = 0, rounds: int = ROUNDS) -> Measured:
    """Compare the models of a pair.

    Args:
        pair: the models.
        limit: multiplications; models that need more for one answer are not evaluated, and windows only so many.
        seed: of the images.
        rounds: images, or batches of them, at each size.

    Raises:
        NotEvaluated: there is nothing to compare with.
    """
    work = cost(pair.original)
    if work > limit:
        raise NotEvaluated(f"more than {limit} multiplications")
    cells = min(WINDOWS, limit // max(work, 1))
    try:
        return _measured(pair, TRIED, cells, seed, rounds)
    except NotEvaluated as first:
        try:  # a batch may be open in the file and fixed in a node
            return _measured(pair, 1, cells, seed, rounds)
        except NotEvaluated:
            raise first from None


def _measured(pair: Pair, batch: int, cells: int, seed: int, rounds: int) -> Measured:
    found, random = Measured(), np.random.default_rng(seed)
    for _ in range(rounds):
        found.add(at_trained_size(pair, batch, random))
    if not found.values:
        raise NotEvaluated("no output is floating-point")
    try:
        for _ in range(rounds):
            found.windows += found.add(in_cells(pair, batch, cells, random))
    except NotEvaluated as e:
        if str(e) == DIFFERENT:
            raise
        found.unseen = str(e)
    return found
