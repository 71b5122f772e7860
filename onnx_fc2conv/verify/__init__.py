"""Verification with onnxruntime: the only room that imports it."""

from __future__ import annotations

from .checks import Check, Deviation, Outcome, Verifier
from .runtime import RuntimeRefusal, Session

__all__ = ["Check", "Deviation", "Outcome", "RuntimeRefusal", "Session", "Verifier"]
