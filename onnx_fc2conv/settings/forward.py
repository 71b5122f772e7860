"""The options of ``onnx-fc2conv``."""

from __future__ import annotations

from ..errors import UsageError
from .late import Late
from .options import (
    Size,
    option,
    parse_stride,
    quiet_option,
    report_option,
    require_valid,
    runtime_option,
    share_data_option,
    verify_option,
)

OUTPUTS = ("map", "rows", "mean", "max")  #: the forms in which an output can give its grid


class Settings(Late):
    """What a user may ask for; a field per option, documented by its ``help``."""

    sizes: tuple[Size, ...] = option(
        (),
        "enlarged size to verify at, in pixels, of every image input "
        "(repeatable; default: two sizes of the form trained + n * stride)",
        flag="--size",
        metavar="HxW",
    )
    global_pool: str = option(
        "window",
        "a pool over the whole map becomes a pool over the window (default), or stays global: one answer for any image",
        choices=("window", "keep"),
        metavar="window|keep",
    )
    stride: tuple[int, ...] | None = option(
        None,
        "answers every S pixels (8, or 8x4, height first) instead of every effective stride, without training: the "
        "last strides become 1, and what slides behind them is dilated",
        parse=parse_stride,
        metavar="S",
    )
    dynamic_batch: bool = option(False, "the batch axis becomes free too, wherever its size was written into the model")
    output: str = option(
        "map",
        "the form of each output: map, [N, K, GH, GW] (default); rows, [N*GH*GW, K], one for each window; mean or max, "
        "all windows pooled back to [N, K]",
        choices=OUTPUTS,
        metavar="|".join(OUTPUTS),
    )
    require_exact: bool = option(
        False, "refuse unless every answer is proven to equal the original model on the image crop"
    )
    verify: bool = verify_option()
    runtime: str = runtime_option()
    check: bool = option(
        False,
        "convert nothing: say what breaks or lies in the model as it is when its size changes; exit code 1 if anything "
        "does (--size gives the trained size where the model has none)",
    )
    static: bool = option(
        False,
        "change no size: FC becomes Conv, same inputs and outputs, for compilers that run Conv but not Gemm/MatMul",
    )
    max_kernel: int | None = option(
        None,
        "split every Conv that is written into smaller exact ones, none with a kernel larger than N along an axis",
        count=True,
        metavar="N",
    )
    max_channels: int | None = option(
        None,
        "split every Conv that is written into smaller exact ones, none with more than N input or output channels",
        count=True,
        metavar="N",
    )
    tune: int | None = option(
        None,
        "write the heads in the form that is fastest on onnxruntime with N images at a time, as measured here and now "
        "at the trained size and at every --size (default: every FC a Conv)",
        count=True,
        metavar="N",
    )
    share_data: bool = share_data_option()
    report: str | None = report_option()
    quiet: bool = quiet_option()

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """``max_kernel`` and ``max_channels``."""
        return self.max_kernel, self.max_channels

    def __post_init__(self) -> None:
        require_valid(self)
        if self.stride is not None:
            self._require_stride(self.stride)
        if self.static:
            self._require_static()
        if self.tune is not None:
            self._require_tunable()

    def _require_stride(self, stride: Size) -> None:
        """Refuse what is no stride, and what has no grid that could be denser."""
        if type(stride) is not tuple or not stride or any(type(n) is not int or n < 1 for n in stride):
            raise UsageError(
                f"stride {stride!r} is not a positive number of pixels, nor a tuple of them, such as (8, 4)"
            )
        if self.global_pool == "keep":
            reason = "keeps one answer for the whole image, which cannot be denser"
            raise UsageError(f"--global-pool keep {reason}; leave --stride out")

    def _require_tunable(self) -> None:
        """Refuse what leaves nothing to choose, or nothing to choose by."""
        if self.max_kernel is not None or self.max_channels is not None:
            flag = "--max-kernel" if self.max_kernel is not None else "--max-channels"
            raise UsageError(
                f"{flag} splits Convs for other hardware, and --tune chooses for onnxruntime; leave one out"
            )
        if self.runtime != "onnxruntime":
            raise UsageError(f"--tune measures onnxruntime, and --runtime {self.runtime} does without; leave one out")

    def _require_static(self) -> None:
        """Refuse what has no meaning where no size changes."""
        for flag, given, why in (
            ("--size", self.sizes, "keeps the trained size, so no other can be verified at"),
            (
                "--global-pool",
                self.global_pool != "window",
                "keeps the trained size, at which every pool stays as it is",
            ),
            ("--stride", self.stride is not None, "keeps the trained size, at which there is one window"),
            ("--dynamic-batch", self.dynamic_batch, "keeps every input and output as it is, its batch too"),
            ("--output", self.output != "map", "keeps every output as it is"),
            ("--require-exact", self.require_exact, "makes no windows, so there are no image crops to be exact on"),
        ):
            if given:
                raise UsageError(f"--static {why}; leave {flag} out")
