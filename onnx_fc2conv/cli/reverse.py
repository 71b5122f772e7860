"""``onnx-conv2fc``: convolutions become matrix products, or FC heads again."""

from __future__ import annotations

import sys

from ..settings import ReverseSettings
from .command import Command, printed, require_apart


def run(source: str, target: str | None, settings: ReverseSettings) -> int:
    """Rewrite, or say what would be done."""
    from .. import model_io, reverse, reverting
    from ..report import ReverseReport, markdown_reverse, print_estimate, print_reverse
    from .progress import Progress

    announced = False

    def announce(report: ReverseReport) -> None:
        nonlocal announced
        if not settings.quiet:
            announced = True
            printed(lambda: print_estimate(report, sys.stdout), None)

    if settings.report is not None:
        model_io.Target.of(settings.report, source)
    if target is None:
        report = (reverting if settings.revert else reverse).inspect(source, settings)
    else:
        model_io.Target.of(target, source)
        require_apart(target, settings.report)
        if settings.share_data:
            model_io.require_shareable(target, source)
        with Progress(settings.quiet) as progress:
            if settings.revert:
                result = reverting.revert(source, settings, progress)
            else:
                result = reverse.to_matmul(source, settings, progress, announce)
            result.save(target, settings.share_data)
        report = result.report
    if settings.report is not None:
        as_markdown = settings.report.lower().endswith(".md")
        model_io.write_text(settings.report, markdown_reverse(report) if as_markdown else report.to_json())
    if not settings.quiet:
        printed(lambda: print_reverse(report, sys.stdout, announced=announced), report.output)
    return 0


COMMAND = Command(
    "onnx-conv2fc",
    "Rewrite the convolutions of an ONNX model as products with a matrix, or take back what onnx-fc2conv did, and "
    "verify the result by running it. Without OUT, say what would be done and write nothing.",
    "exit codes: 0 rewritten and verified (or, without OUT, possible); 1 nothing to rewrite, or refused; "
    "2 usage, or the input could not be read; 3 a check failed",
    ReverseSettings,
    "rewrite",
    run,
)
