"""What both commands share: argv -> settings -> the work -> an exit code; whatever goes wrong is one line on stderr."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from functools import partial
from io import TextIOWrapper

from .._version import __version__
from ..errors import Fc2ConvError, UsageError, printable
from ..settings import parse_count, parse_size

TYPE_CHECKING = False  # ``typing`` takes longer than ``argparse``
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from ..settings.late import Late

LONGEST_LINE = 500
NO_MEMORY = "not enough memory for this model; nothing was written"


class Command:
    """One command.

    Attributes:
        program: its name.
        description: what it does; ``exit_codes``: what it returns.
        options: the settings class of which its options are the fields.
        verb: what it does to a model.
        run: does it: input, output file or ``None``, settings -> exit code.
    """

    def __init__(
        self,
        program: str,
        description: str,
        exit_codes: str,
        options: type[Late],
        verb: str,
        run: Callable[[str, str | None, Any], int],
    ) -> None:
        self.program, self.description, self.exit_codes = program, description, exit_codes
        self.options, self.verb, self.run = options, verb, run

    def parser(self) -> argparse.ArgumentParser:
        """The argument parser; its options are the fields of the settings."""
        result = Parser(prog=self.program, description=self.description, epilog=self.exit_codes, allow_abbrev=False)
        result.add_argument("input", metavar="IN", help=f"the model to {self.verb} (.onnx); never changed")
        result.add_argument("target", metavar="OUT", nargs="?", help="the file to write")
        for name, f in self.options.OPTIONS.items():
            flag = f.metadata.get("flag", "--" + name.replace("_", "-"))
            extras: dict[str, Any] = {"dest": name, "help": f.metadata["help"]}
            if isinstance(f.default, tuple):
                extras |= {"action": "append", "metavar": f.metadata["metavar"], "default": []}
            elif isinstance(f.default, bool):
                extras["action"] = "store_false" if f.default else "store_true"
            else:
                extras |= {"metavar": f.metadata["metavar"], "default": f.default}
                if "parse" in f.metadata:
                    extras["type"] = f.metadata["parse"]
                if "count" in f.metadata:
                    extras["type"] = partial(parse_count, flag)
                if "choices" in f.metadata:
                    extras["choices"] = f.metadata["choices"]
            result.add_argument(flag, **extras)
        result.add_argument("--version", action="version", version=f"{self.program} {__version__}")
        return result

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command.

        Returns:
            The exit code: 0 converted and verified, 1 not converted, 2 usage or unreadable input, 3 a check failed.
        """
        return guarded(self.program, lambda: self._run(argv))

    def _run(self, argv: Sequence[str] | None) -> int:
        try:
            arguments = vars(self.parser().parse_args(argv))
        except SystemExit as e:  # --help and --version
            return int(e.code or 0)
        source, target = arguments.pop("input"), arguments.pop("target")
        arguments["sizes"] = [parse_size(s) for s in arguments["sizes"]]
        repeated = {name: tuple(given) for name, given in arguments.items() if isinstance(given, list)}
        try:
            return self.run(source, target, self.options(**arguments | repeated))
        except Unprinted as e:
            return say(self.program, str(e), 2)


def guarded(program: str, work: Callable[[], int]) -> int:
    """Do the work of a command; whatever goes wrong is one line on stderr and an exit code."""
    warnings.simplefilter("ignore")  # a warning of a library would break "one line on stderr"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is still shown
    try:
        return work()
    except Fc2ConvError as e:
        return say(program, str(e), e.exit_code)
    except KeyboardInterrupt:
        return say(program, "interrupted; nothing was written", 130)
    except MemoryError:
        return say(program, NO_MEMORY, 1)
    except Exception as e:
        if isinstance(e, OSError) and e.errno == errno.ENOMEM:  # a file cannot be mapped
            return say(program, NO_MEMORY, 1)
        what = f"{type(e).__name__}: {e}"
        return say(program, f"internal error at {_place(e)}, nothing was written; please report it: {what}", 1)


def say(program: str, message: str, code: int) -> int:
    """One line on stderr, of at most 500 characters; returns the exit code."""
    line = f"{program}: {printable(' '.join(message.split()))}"
    try:
        if sys.stderr is not None:
            shown = line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 3]}..."
            print(shown, file=sys.stderr, flush=True)
    except (OSError, ValueError):  # nobody listens
        pass
    return code


class Parser(argparse.ArgumentParser):
    """One whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        """What argparse says is one line too."""
        raise UsageError(f"{message} (see {self.prog} --help)")


class Unprinted(Exception):
    """The work is done and its report cannot be printed."""


def printed(show: Callable[[], None], output: str | None) -> None:
    """Show a report on stdout. What was asked for is done by now, so a reader that went away is no failure.

    Args:
        show: prints it.
        output: the file that was written, if one was.

    Raises:
        Unprinted: stdout takes no more.
    """
    if sys.stdout is None:
        return
    try:
        show()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as e:
        done = f"'{output}' was written" if output else "nothing was to be written"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Unprinted(f"the report cannot be printed ({e.strerror}); {done}") from e


def require_apart(target: str, report: str | None) -> None:
    """Refuse one file for the model and for the report.

    Raises:
        UsageError: it is asked for.
    """
    if report is not None and os.path.realpath(report) == os.path.realpath(target):
        raise UsageError(f"'{target}' cannot be both the model and the report")


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "an unknown place"
