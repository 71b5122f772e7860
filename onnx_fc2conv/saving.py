"""A result on the disk: all of it, or nothing, and loaded once more before it counts."""

from __future__ import annotations

from typing import Any, Protocol

from onnx import ModelProto

from . import model_io


class Reported(Protocol):
    """The report of a result."""

    verified: bool
    output: str | None


def save(path: Any, model: ModelProto, report: Reported, folder: str, source: Any, runtime: str) -> None:
    """Write a model.

    Args:
        path: where to.
        model: what to write.
        report: gets the path.
        folder: where external data that the model refers to lies now.
        source: the input, which is never overwritten.
        runtime: what loads the written file, if the model was verified.

    Raises:
        UsageError: the target cannot be written, or is the input itself.
        VerificationFailed: what lies on the disk is not accepted by the runtime that checked the model.
    """
    target = model_io.Target.of(path, source)
    with model_io.staged(target, model, folder) as staged:
        if report.verified:
            from .verification import require_loads

            require_loads(str(staged), runtime)
    report.output = str(path)
