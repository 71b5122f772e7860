"""One comparison of numbers, used by every check: the error relative to the largest reference value."""

from __future__ import annotations

import numpy as np

FLOATS = "fV"  #: kinds of numpy types that are floating-point; bfloat16 is of kind V


def error(found: np.ndarray, expected: np.ndarray, quantised: bool = False, scale: float | None = None) -> float:
    """Largest difference, relative to the largest magnitude in ``expected``; infinite where the kinds differ.

    NaN equals NaN and an infinity equals itself. Of integers and booleans, it is the fraction that differs, unless the
    integers are ``quantised`` numbers. With a ``scale`` the difference is relative to that.
    """
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    if expected.size == 0:
        return 0.0
    if expected.dtype.kind not in FLOATS and not quantised:
        return float(np.mean(found != expected))
    a, b = found.astype(np.float64), expected.astype(np.float64)
    special = ~np.isfinite(b)
    if not np.array_equal(a[special], b[special], equal_nan=True) or not np.isfinite(a[~special]).all():
        return float("inf")
    a, b = a[~special], b[~special]
    if b.size == 0:
        return 0.0
    difference = float(np.abs(a - b).max())
    scale = float(np.abs(b).max()) if scale is None else scale
    return difference / scale if scale > 0 else (0.0 if difference == 0 else float("inf"))


def scale_of(expected: np.ndarray) -> float:
    """The largest finite magnitude; 0 where there is none."""
    magnitudes = np.abs(expected.astype(np.float64))
    return float(magnitudes[np.isfinite(magnitudes)].max(initial=0.0))


def share_beyond(found: np.ndarray, expected: np.ndarray, tolerance: float) -> float:
    """Share of answers (along the last axis) with a difference beyond the tolerance, relative to the largest value."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    scale = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        beyond = (np.abs(a - b) > tolerance * scale) & np.isfinite(b)
    return float(np.mean(beyond.reshape(-1, beyond.shape[-1]).any(0)))


def distances(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """For each answer (along the last axis) the largest difference, relative to the largest of all expected values."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    scale = max(float(np.abs(b).max(initial=0.0)), float(np.finfo(np.float64).tiny))
    largest: np.ndarray = np.abs(a - b).reshape(-1, b.shape[-1]).max(0) / scale
    return largest
