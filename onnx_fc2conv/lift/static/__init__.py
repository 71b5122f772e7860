"""Lifting where no size changes: every FC node becomes a Conv, and all around it stays as it is."""

from __future__ import annotations

from .walk import lift_static

__all__ = ["lift_static"]
