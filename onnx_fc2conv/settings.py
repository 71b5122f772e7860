"""Every option once: its name, type, default and help. The command line and the Python API are both made from it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from .errors import UsageError

Size = tuple[int, ...]

OUTPUTS = ("map", "rows", "mean", "max")  #: the forms in which an output can give its grid
RUNTIMES = ("onnxruntime", "reference")  #: what can run the checks


def _option(default: Any, help_: str, **argparse_extras: Any) -> Any:
    return field(default=default, metadata={"help": help_, **argparse_extras})


@dataclass(frozen=True)
class Settings:
    """What a user may ask for; a field per option, documented by its ``help``."""

    sizes: tuple[Size, ...] = _option(
        (),
        "enlarged size to verify at, in pixels, of every image input "
        "(repeatable; default: two sizes of the form trained + n * stride)",
        flag="--size",
        metavar="HxW",
    )
    global_pool: str = _option(
        "window",
        "a pool over the whole map becomes a pool over the window (default), or stays global: one answer for any image",
        choices=("window", "keep"),
        metavar="window|keep",
    )
    dynamic_batch: bool = _option(
        False, "the batch axis becomes free too, wherever its size was written into the model"
    )
    output: str = _option(
        "map",
        "the form of each output: map, [N, K, GH, GW] (default); rows, [N*GH*GW, K], one for each window; mean or max, "
        "all windows pooled back to [N, K]",
        choices=OUTPUTS,
        metavar="|".join(OUTPUTS),
    )
    require_exact: bool = _option(
        False, "refuse unless every answer is proven to equal the original model on the image crop"
    )
    verify: bool = _option(True, "write the model without running any check", flag="--no-verify")
    runtime: str = _option(
        "onnxruntime",
        "what runs the checks: onnxruntime (default), or onnx.reference, which is slow and also takes float64 and "
        "bfloat16",
        choices=RUNTIMES,
        metavar="|".join(RUNTIMES),
    )
    check: bool = _option(
        False,
        "convert nothing: say what breaks or lies in the model as it is when its size changes; exit code 1 if anything "
        "does (--size gives the trained size where the model has none)",
    )
    static: bool = _option(
        False,
        "change no size: FC becomes Conv, same inputs and outputs, for compilers that run Conv but not Gemm/MatMul",
    )
    max_kernel: int | None = _option(
        None,
        "split every Conv that is written into smaller exact ones, none with a kernel larger than N along an axis",
        count=True,
        metavar="N",
    )
    max_channels: int | None = _option(
        None,
        "split every Conv that is written into smaller exact ones, none with more than N input or output channels",
        count=True,
        metavar="N",
    )
    report: str | None = _option(None, "also write the report to FILE (.json, or .md for Markdown)", metavar="FILE")
    quiet: bool = _option(False, "print nothing but errors")

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """``max_kernel`` and ``max_channels``."""
        return self.max_kernel, self.max_channels

    def __post_init__(self) -> None:
        for size in self.sizes:
            if not size or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in size):
                raise UsageError(f"size {size!r} is not a tuple of positive pixel counts, such as (512, 1024)")
        for f in fields(self):
            choices = f.metadata.get("choices")
            if choices and getattr(self, f.name) not in choices:
                raise UsageError(f"{f.name} {getattr(self, f.name)!r} is none of {', '.join(choices)}")
            count = getattr(self, f.name)
            if f.metadata.get("count") and count is not None and (type(count) is not int or count < 1):
                raise UsageError(f"{f.name} {count!r} is not a whole number of at least 1")
        if self.static:
            self._require_static()
        if self.report is not None and not self.report.lower().endswith((".json", ".md")):
            raise UsageError(f"report file '{self.report}' must end in .json or .md")

    def _require_static(self) -> None:
        """Refuse what has no meaning where no size changes."""
        for flag, given, why in (
            ("--size", self.sizes, "keeps the trained size, so no other can be verified at"),
            (
                "--global-pool",
                self.global_pool != "window",
                "keeps the trained size, at which every pool stays as it is",
            ),
            ("--dynamic-batch", self.dynamic_batch, "keeps every input and output as it is, its batch too"),
            ("--output", self.output != "map", "keeps every output as it is"),
            ("--require-exact", self.require_exact, "makes no windows, so there are no image crops to be exact on"),
        ):
            if given:
                raise UsageError(f"--static {why}; leave {flag} out")


def parse_count(flag: str, text: str) -> int:
    """``"64"`` -> 64: what an option that limits something takes.

    Raises:
        UsageError: the text is no whole number of at least 1.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise UsageError(f"{flag} {text!r} must be a whole number of at least 1, such as 7")
    return int(text)


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
