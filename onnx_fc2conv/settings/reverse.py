"""The options of ``onnx-conv2fc``."""

from __future__ import annotations

from ..errors import UsageError
from .late import Late
from .options import (
    Size,
    option,
    quiet_option,
    report_option,
    require_valid,
    runtime_option,
    share_data_option,
    verify_option,
)

FORMS = ("matmul", "dense")  #: what a Conv becomes
MAX_BYTES = 2**31


class ReverseSettings(Late):
    """What a user may ask of the reverse direction; a field per option, documented by its ``help``."""

    revert: bool = option(
        False,
        "undo onnx-fc2conv: the heads become Flatten and Gemm again, bit for bit, at the trained size",
    )
    form: str = option(
        "matmul",
        "what a Conv becomes: matmul, patches times the kernel as a matrix, at any size (default); dense, one FC over "
        "the whole map (Gemm with the explicit doubly block Toeplitz matrix), at one size",
        choices=FORMS,
        metavar="|".join(FORMS),
    )
    sizes: tuple[Size, ...] = option(
        (),
        "the size of the image inputs, in pixels, where the model leaves it open; matmul is verified at each "
        "(repeatable), dense and --revert are made for it",
        flag="--size",
        metavar="HxW",
    )
    only: tuple[str, ...] = option(
        (),
        "rewrite only the nodes of this name, which may hold * and ? (repeatable)",
        names=True,
        metavar="NAME",
    )
    skip: tuple[str, ...] = option(
        (), "leave the nodes of this name as they are (repeatable)", names=True, metavar="NAME"
    )
    pointwise_only: bool = option(False, "rewrite only 1x1 Convs, whose matrix product needs no patches")
    strict: bool = option(
        False, "with --form dense: refuse unless every node between the image and the outputs is dense or elementwise"
    )
    max_bytes: int = option(
        MAX_BYTES, "with --form dense: refuse matrices of more bytes in all (default: 2 GiB)", count=True, metavar="N"
    )
    verify: bool = verify_option()
    runtime: str = runtime_option()
    share_data: bool = share_data_option()
    report: str | None = report_option()
    quiet: bool = quiet_option()

    def __post_init__(self) -> None:
        require_valid(self)
        dense, default = self.form == "dense", type(self)
        if self.revert:
            for flag, given in (
                ("--form", self.form != default.form),
                ("--only", self.only),
                ("--skip", self.skip),
                ("--pointwise-only", self.pointwise_only),
            ):
                if given:
                    raise UsageError(f"--revert undoes a conversion as a whole; leave {flag} out")
        for flag, given in (("--strict", self.strict), ("--max-bytes", self.max_bytes != default.max_bytes)):
            if given and not dense:
                raise UsageError(f"{flag} is an option of --form dense")
        if dense and self.pointwise_only:
            raise UsageError("--pointwise-only is an option of --form matmul: a 1x1 Conv's dense matrix is no smaller")
        if (dense or self.revert) and len(self.sizes) > 1:
            raise UsageError("a model of one fixed size is made, so give --size once")
