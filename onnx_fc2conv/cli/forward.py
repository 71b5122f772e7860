"""``onnx-fc2conv``: FC heads become convolutions."""

from __future__ import annotations

import sys

from ..errors import UsageError
from ..settings import Settings
from .command import Command, printed, require_apart


def run(source: str, target: str | None, settings: Settings) -> int:
    """Convert, or say what would be done."""
    if settings.check:
        return _check(source, target, settings)

    from .. import model_io, pipeline
    from ..report import markdown, print_report
    from .progress import Progress

    if settings.report is not None:
        model_io.Target.of(settings.report, source)
    if target is None:
        report = pipeline.inspect(source, settings)
    else:
        model_io.Target.of(target, source)
        require_apart(target, settings.report)
        if settings.share_data:
            model_io.require_shareable(target, source)
        with Progress(settings.quiet) as progress:
            result = pipeline.convert(source, settings, progress)
            result.save(target, settings.share_data)
        report = result.report
    if settings.report is not None:
        as_markdown = settings.report.lower().endswith(".md")
        model_io.write_text(settings.report, markdown(report) if as_markdown else report.to_json())
    if not settings.quiet:
        printed(lambda: print_report(report, sys.stdout), report.output)
    return 0


def _check(source: str, target: str | None, settings: Settings) -> int:
    """``--check``: nothing is converted."""
    from .. import checkup, model_io
    from ..report import print_findings

    if target is not None:
        raise UsageError("--check converts nothing, so it takes no output file")
    if settings.report is not None:
        model_io.Target.of(settings.report, source)
        if settings.report.lower().endswith(".md"):
            raise UsageError("the findings of --check are written as .json")
    found = checkup.check(source, settings)
    if settings.report is not None:
        model_io.write_text(settings.report, found.to_json())
    if not settings.quiet:
        printed(lambda: print_findings(found, sys.stdout), None)
    return 0 if found.clean else 1


COMMAND = Command(
    "onnx-fc2conv",
    "Rewrite the fully connected heads of an ONNX model into equivalent Conv nodes, free its spatial input dims, and "
    "verify the result by running it. Without OUT, say what would be done and write nothing.",
    "exit codes: 0 converted and verified (or, without OUT, convertible); 1 nothing to convert, or refused; "
    "2 usage, or the input could not be read; 3 a check failed. With --check: 0 clean, 1 findings",
    Settings,
    "convert",
    run,
)
