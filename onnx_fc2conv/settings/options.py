"""What every option is made of: a field with its help, and the texts that a command line gives."""

from __future__ import annotations

from ..errors import UsageError
from .late import Option

TYPE_CHECKING = False  # ``typing`` takes longer than ``argparse``
if TYPE_CHECKING:
    from typing import Any

Size = tuple[int, ...]

RUNTIMES = ("onnxruntime", "reference")  #: what can run the checks


def option(default: Any, help_: str, **argparse_extras: Any) -> Any:
    """An option of a settings class (``Late``).

    Args:
        default: its value where the option is not given.
        help_: for the command line and the README.
        argparse_extras: ``flag``, ``metavar``, ``choices``; ``count=True`` for a whole number of at least 1;
            ``parse`` for what makes the value of a text.
    """
    return Option(default, {"help": help_, **argparse_extras})


def verify_option() -> Any:
    """Whether the checks are run."""
    return option(True, "write the model without running any check", flag="--no-verify")


def runtime_option() -> Any:
    """What runs them."""
    return option(
        "onnxruntime",
        "what runs the checks: onnxruntime (default), or onnx.reference, which is slow and also takes float64 and "
        "bfloat16",
        choices=RUNTIMES,
        metavar="|".join(RUNTIMES),
    )


def share_data_option() -> Any:
    """Whether the output refers to the input's data files."""
    return option(
        False,
        "where the weights are external data and OUT stands beside them: refer to the same data files, and write only "
        "what is in none of them",
    )


def report_option() -> Any:
    """A file for the report."""
    return option(None, "also write the report to FILE (.json, or .md for Markdown)", metavar="FILE")


def quiet_option() -> Any:
    """Whether nothing is printed."""
    return option(False, "print nothing but errors")


def require_valid(settings: Any) -> None:
    """Refuse what no model could mean.

    Raises:
        UsageError: a size, a choice, a number or the name of the report file is none.
    """
    for size in settings.sizes:
        if not size or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in size):
            raise UsageError(f"size {size!r} is not a tuple of positive pixel counts, such as (512, 1024)")
    for name, option in settings.OPTIONS.items():
        given = getattr(settings, name)
        choices = option.metadata.get("choices")
        if choices and given not in choices:
            raise UsageError(f"{name} {given!r} is none of {', '.join(choices)}")
        if option.metadata.get("count") and given is not None and (type(given) is not int or given < 1):
            raise UsageError(f"{name} {given!r} is not a whole number of at least 1")
    if settings.report is not None and not settings.report.lower().endswith((".json", ".md")):
        raise UsageError(f"report file '{settings.report}' must end in .json or .md")


def parse_count(flag: str, text: str) -> int:
    """``"64"`` -> 64: what an option that limits something takes.

    Raises:
        UsageError: the text is no whole number of at least 1.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise UsageError(f"{flag} {text!r} must be a whole number of at least 1, such as 7")
    return int(text)


def parse_stride(text: str) -> Size:
    """``"8"`` -> ``(8,)``, for every axis; ``"8x4"`` -> ``(8, 4)``: height x width, or as many as there are axes.

    Raises:
        UsageError: the text is not positive integers joined by ``x``.
    """
    parts = text.lower().split("x")
    if len(parts) > 3 or any(not (p.isascii() and p.isdigit() and len(p) < 10 and int(p)) for p in parts):
        raise UsageError(f"--stride {text!r} must look like 8, or like 8x4 (height x width)")
    return tuple(map(int, parts))


def parse_size(text: str) -> Size:
    """``"512x1024"`` -> ``(512, 1024)``: height x width, or as many numbers as the model has spatial axes.

    Raises:
        UsageError: the text is not positive integers joined by ``x``.
    """
    try:
        size = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        size = ()
    if not size or min(size) < 1 or len(size) > 3:
        raise UsageError(f"--size {text!r} must look like 512x1024 (height x width)")
    return size
