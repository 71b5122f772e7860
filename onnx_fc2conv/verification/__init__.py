"""Verification with onnxruntime, or with onnx.reference: the only room that runs whole models."""

from __future__ import annotations

from .checks import Verifier
from .lowered import Expected, LoweredVerifier
from .outcome import Check, Deviation, Measured, Outcome
from .static import StaticVerifier
from .structure import require_loads

__all__ = [
    "Check",
    "Deviation",
    "Expected",
    "LoweredVerifier",
    "Measured",
    "Outcome",
    "StaticVerifier",
    "Verifier",
    "require_loads",
]
