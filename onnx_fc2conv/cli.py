"""The command line: argv -> Settings -> pipeline -> Report -> exit code."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import fields
from functools import partial
from io import TextIOWrapper
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from ._version import __version__
from .errors import Fc2ConvError, UsageError, printable
from .settings import Settings, parse_count, parse_size

if TYPE_CHECKING:
    from .report import Report

PROGRAM = "onnx-fc2conv"
LONGEST_LINE = 500

_DESCRIPTION = (
    "Rewrite the fully connected heads of an ONNX model into equivalent Conv nodes, free its spatial input dims, and "
    "verify the result by running it. Without OUT, say what would be done and write nothing."
)
_EPILOG = (
    "exit codes: 0 converted and verified (or, without OUT, convertible); 1 nothing to convert, or refused; "
    "2 usage, or the input could not be read; 3 a check failed. With --check: 0 clean, 1 findings"
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {PROGRAM} --help)")


def parser() -> argparse.ArgumentParser:
    """The argument parser; its options are the fields of ``Settings``."""
    result = _Parser(prog=PROGRAM, description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False)
    result.add_argument("input", metavar="IN", help="the model to convert (.onnx); never changed")
    result.add_argument("target", metavar="OUT", nargs="?", help="the file to write")
    for f in fields(Settings):
        flag = f.metadata.get("flag", "--" + f.name.replace("_", "-"))
        extras: dict[str, Any] = {"dest": f.name, "help": f.metadata["help"]}
        if f.name == "sizes":
            extras |= {"action": "append", "metavar": f.metadata["metavar"], "default": []}
        elif isinstance(f.default, bool):
            extras["action"] = "store_false" if f.default else "store_true"
        else:
            extras["metavar"] = f.metadata["metavar"]
            if "count" in f.metadata:
                extras["type"] = partial(parse_count, flag)
            if "choices" in f.metadata:
                extras |= {"choices": f.metadata["choices"], "default": f.default}
        result.add_argument(flag, **extras)
    result.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code: 0 converted and verified, 1 not converted, 2 usage or unreadable input, 3 a check failed.
    """
    warnings.simplefilter("ignore")  # a warning of a library would break "one line on stderr"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is still shown
    try:
        return _run(argv)
    except Fc2ConvError as e:
        return _say(str(e), e.exit_code)
    except KeyboardInterrupt:
        return _say("interrupted; nothing was written", 130)
    except MemoryError:
        return _say("not enough memory for this model; nothing was written", 1)
    except Exception as e:
        return _say(f"internal error at {_place(e)}, nothing was written; please report it: {type(e).__name__}: {e}", 1)


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "an unknown place"


def _say(message: str, code: int) -> int:
    """One line on stderr, of at most 500 characters."""
    line = f"{PROGRAM}: {printable(' '.join(message.split()))}"
    with suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 3]}...", file=sys.stderr, flush=True)
    return code


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = vars(parser().parse_args(argv))
    except SystemExit as e:  # --help and --version
        return int(e.code or 0)
    source, target = arguments.pop("input"), arguments.pop("target")
    arguments["sizes"] = tuple(parse_size(s) for s in arguments["sizes"])
    settings = Settings(**arguments)
    if settings.check:
        return _check(source, target, settings)

    from . import model_io, pipeline
    from .report import markdown

    if settings.report is not None:
        model_io.Target.of(settings.report, source)
    if target is None:
        report = pipeline.inspect(source, settings)
    else:
        model_io.Target.of(target, source)
        if settings.report is not None and os.path.realpath(settings.report) == os.path.realpath(target):
            raise UsageError(f"'{target}' cannot be both the model and the report")
        with _Progress(settings.quiet) as progress:
            result = pipeline.convert(source, settings, progress)
            result.save(target)
        report = result.report
    if settings.report is not None:
        as_markdown = settings.report.lower().endswith(".md")
        model_io.write_text(settings.report, markdown(report) if as_markdown else report.to_json())
    return 0 if settings.quiet else _print(report)


def _check(source: str, target: str | None, settings: Settings) -> int:
    """``--check``: nothing is converted."""
    from . import checkup, model_io
    from .report import print_findings

    if target is not None:
        raise UsageError("--check converts nothing, so it takes no output file")
    if settings.report is not None:
        model_io.Target.of(settings.report, source)
        if settings.report.lower().endswith(".md"):
            raise UsageError("the findings of --check are written as .json")
    found = checkup.check(source, settings)
    if settings.report is not None:
        model_io.write_text(settings.report, found.to_json())
    if not settings.quiet and sys.stdout is not None:
        print_findings(found, sys.stdout)
    return 0 if found.clean else 1


def _print(report: Report) -> int:
    """The report on stdout. What was asked for is done by now, so a reader that went away is no failure."""
    from .report import print_report

    if sys.stdout is None:
        return 0
    try:
        print_report(report, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as e:
        done = f"'{report.output}' was written" if report.output else "nothing was to be written"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _say(f"the report cannot be printed ({e.strerror}); {done}", 2)
    return 0


class _Progress(AbstractContextManager["_Progress"]):
    """A progress bar on stderr, if that is a terminal and the work takes longer than a second."""

    AFTER = 1.0

    def __init__(self, quiet: bool) -> None:
        self._wanted = sys.stderr is not None and sys.stderr.isatty() and not quiet
        self._start = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, name: str, done: int, of: int) -> None:
        if not self._wanted or time.monotonic() - self._start < self.AFTER:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=of)
        self._bar.update(self._task, description=f"checking: {name}", completed=done)

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
