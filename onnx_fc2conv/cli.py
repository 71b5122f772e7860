"""The command line: argv -> Settings -> pipeline -> Report -> exit code."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from types import TracebackType
from typing import Any, NoReturn

from ._version import __version__
from .errors import Fc2ConvError, UsageError
from .settings import Settings, parse_size

PROGRAM = "onnx-fc2conv"

_DESCRIPTION = (
    "Rewrite the fully connected heads of an ONNX model into equivalent Conv nodes, free its spatial input dims, and "
    "verify the result with onnxruntime. Without OUT, say what would be done and write nothing."
)
_EPILOG = (
    "exit codes: 0 converted and verified (or, without OUT, convertible); 1 nothing to convert, or refused; "
    "2 usage, or the input could not be read; 3 a check failed"
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {PROGRAM} --help)")


def parser() -> argparse.ArgumentParser:
    """The argument parser; its options are the fields of ``Settings``."""
    result = _Parser(prog=PROGRAM, description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False)
    result.add_argument("input", metavar="IN", help="the model to convert (.onnx); never changed")
    result.add_argument("output", metavar="OUT", nargs="?", help="the file to write")
    for f in fields(Settings):
        flag = f.metadata.get("flag", "--" + f.name.replace("_", "-"))
        extras: dict[str, Any] = {"dest": f.name, "help": f.metadata["help"]}
        if f.name == "sizes":
            extras |= {"action": "append", "metavar": f.metadata["metavar"], "default": []}
        elif isinstance(f.default, bool):
            extras["action"] = "store_false" if f.default else "store_true"
        else:
            extras["metavar"] = f.metadata["metavar"]
        result.add_argument(flag, **extras)
    result.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code: 0 converted and verified, 1 not converted, 2 usage or unreadable input, 3 a check failed.
    """
    warnings.simplefilter("ignore")  # a warning of a library would break "one line on stderr"
    try:
        return _run(argv)
    except Fc2ConvError as e:
        return _say(str(e), e.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _say("interrupted; nothing was written", 130)
    except MemoryError:
        return _say("not enough memory for this model", 1)
    except Exception as e:
        place = e.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f" at {os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place else ""
        return _say(f"internal error{where}, nothing was written; please report it: {type(e).__name__}: {e}", 1)


def _say(message: str, code: int) -> int:
    text = " ".join(message.split())
    print(f"{PROGRAM}: {text if len(text) <= 500 else text[:497] + '...'}", file=sys.stderr)
    return code


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = vars(parser().parse_args(argv))
    except SystemExit as e:  # --help and --version
        return int(e.code or 0)
    source, target = arguments.pop("input"), arguments.pop("output")
    arguments["sizes"] = tuple(parse_size(s) for s in arguments["sizes"])
    settings = Settings(**arguments)

    from . import model_io, pipeline
    from .report import markdown, print_report

    if target is None:
        report = pipeline.inspect(source, settings)
    else:
        model_io.Target.of(target, source)
        with _Progress(settings.quiet) as progress:
            result = pipeline.convert(source, settings, progress)
            result.save(target)
        report = result.report
    if settings.report:
        as_markdown = settings.report.lower().endswith(".md")
        model_io.write_text(settings.report, markdown(report) if as_markdown else report.to_json())
    if not settings.quiet:
        print_report(report, sys.stdout)
    return 0


class _Progress(AbstractContextManager["_Progress"]):
    """A progress bar on stderr, if that is a terminal and the work takes longer than a second."""

    AFTER = 1.0

    def __init__(self, quiet: bool) -> None:
        self._wanted = sys.stderr.isatty() and not quiet
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
