"""Verification with onnxruntime: the only room that imports it."""

from __future__ import annotations

from .checks import Check, Deviation, Outcome, Verifier
from .structure import require_loads

__all__ = ["Check", "Deviation", "Outcome", "Verifier", "require_loads"]
