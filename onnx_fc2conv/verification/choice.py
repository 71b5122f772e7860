"""The one place that chooses the runtime that the checks run on."""

from __future__ import annotations

from .session import Runtime


def runtime(name: str) -> Runtime:
    """The runtime of this name, a value of ``settings.RUNTIMES``; only its own library is imported."""
    if name == "reference":
        from .reference import Reference

        return Reference()
    from .runtime import OnnxRuntime

    return OnnxRuntime()
