"""What a subcommand is asked, and what a wrong result is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import ModelProto

CLOSE = 1e-3  #: of the largest answer; the forms of a head sum in different orders
CLOSE_HALF = 2e-2  #: the same of float16


@dataclass(frozen=True)
class Plan:
    """What every subcommand is given.

    Attributes:
        folder: where models are made, and found again.
        small: whether the models are small ones, for a trial.
        rounds: how often each way runs.
    """

    folder: Path
    small: bool
    rounds: int


def session(model: ModelProto | Path | str, mapped: bool = False) -> ort.InferenceSession:
    """A session on the CPU: a default one, or one that neither optimises nor copies its weights."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if mapped:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    given = model.SerializeToString() if isinstance(model, ModelProto) else str(model)
    return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def image(session: ort.InferenceSession, batch: int = 1, size: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """Random images for a model with one input; ``size`` where that is free."""
    (given,) = session.get_inputs()
    dims = [d if isinstance(d, int) else None for d in given.shape]
    dims[0] = dims[0] or batch
    free = iter(size)
    shape = [next(free) if d is None else d for d in dims]
    values = np.random.default_rng(1).standard_normal(shape, np.float32)
    return {given.name: values.astype(np.float16 if "float16" in given.type else np.float32)}


def answer(session: ort.InferenceSession, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """The first output."""
    return np.asarray(session.run(None, feeds)[0])


def require_same(what: str, found: np.ndarray, expected: np.ndarray) -> None:
    """Stop where what is measured does not compute the same: its time would mean nothing.

    Raises:
        SystemExit: the answers differ.
    """
    close = CLOSE_HALF if expected.dtype == np.float16 else CLOSE
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    largest = np.abs(expected).max(initial=0)
    if found.size != expected.size or not np.isfinite(found).all() or not largest:
        raise SystemExit(f"{what}: {found.size} answers, {expected.size} expected; none may be NaN, nor all zero")
    error = np.abs(found.reshape(expected.shape) - expected).max(initial=0) / largest
    if error > close:
        raise SystemExit(f"{what}: other answers, by {error:.2g} of the largest one")
