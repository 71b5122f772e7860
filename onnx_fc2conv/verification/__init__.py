"""Verification with onnxruntime, or with onnx.reference: the only room that runs whole models."""

from __future__ import annotations

from .checks import Verifier
from .lowered import Expected, LoweredVerifier
from .outcome import Check, Deviation, Measured, Outcome
from .session import RuntimeRefusal
from .static import StaticVerifier
from .structure import require_loads
from .trying import default_session, drawn, runs_on

__all__ = [
    "Check",
    "Deviation",
    "Expected",
    "LoweredVerifier",
    "Measured",
    "Outcome",
    "RuntimeRefusal",
    "StaticVerifier",
    "Verifier",
    "default_session",
    "drawn",
    "require_loads",
    "runs_on",
]
