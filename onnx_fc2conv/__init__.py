"""Turn the fully connected heads of ONNX classifiers into equivalent convolutions that run at any input size.

>>> import onnx_fc2conv as fc2conv
>>> result = fc2conv.convert("in.onnx", sizes=[(512, 1024)])  # doctest: +SKIP
>>> result.geometry.grid_size((512, 1024))  # doctest: +SKIP
(13, 31)
>>> result.save("out.onnx")  # doctest: +SKIP

and back: convolutions as matrix products (``convolution_to_matmul``), and a conversion undone (``revert``).
"""

from __future__ import annotations

from collections.abc import Iterable

from ._version import __version__
from .errors import Fc2ConvError, NothingToConvert, Unliftable, UnreadableModel, UsageError, VerificationFailed
from .settings import ReverseSettings, Settings

TYPE_CHECKING = False  # ``typing`` takes longer than ``argparse``
if TYPE_CHECKING:
    from typing import Any

    from .findings import Finding, Findings
    from .geometry import Geometry, Grid
    from .pipeline import Result, read_geometry
    from .report import Report, ReverseReport
    from .reverse import Reversed
else:
    #: where the names are that need onnx or numpy, which a command's ``--help`` does not wait for (PEP 562)
    _PLACES = {
        "Finding": "findings",
        "Findings": "findings",
        "Geometry": "geometry",
        "Grid": "geometry",
        "Report": "report",
        "Result": "pipeline",
        "ReverseReport": "report",
        "Reversed": "reverse",
        "read_geometry": "pipeline",
    }

    def __getattr__(name: str) -> Any:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f".{_PLACES[name]}", __name__), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_PLACES})


__all__ = [
    "Fc2ConvError",
    "Finding",
    "Findings",
    "Geometry",
    "Grid",
    "NothingToConvert",
    "Report",
    "Result",
    "ReverseReport",
    "Reversed",
    "Unliftable",
    "UnreadableModel",
    "UsageError",
    "VerificationFailed",
    "__version__",
    "check",
    "convert",
    "convolution_to_matmul",
    "inspect",
    "read_geometry",
    "revert",
    "verify",
]


def convert(
    source: Any,
    *,
    sizes: Iterable[Iterable[int]] = (),
    global_pool: str = "window",
    stride: int | Iterable[int] | None = None,
    dynamic_batch: bool = False,
    output: str = "map",
    verify: bool = True,
    require_exact: bool = False,
    runtime: str = "onnxruntime",
    static: bool = False,
    max_kernel: int | None = None,
    max_channels: int | None = None,
    tune: int | None = None,
) -> Result:
    """Convert a model; the argument is never changed and nothing is written until ``Result.save``.

    Args:
        source: a path, an ``onnx.ModelProto``, or an ``onnx_graphsurgeon.Graph``.
        sizes: enlarged sizes of every image input, height first, to verify at; default: two, trained + n * stride.
        global_pool: ``"window"``: a pool over the whole map becomes one over the window; ``"keep"``: it stays global.
        stride: answers every so many pixels (8, or (8, 4), height first), which must divide the effective stride.
        dynamic_batch: free the batch axis too, wherever its size was written into the model.
        output: the form of each output: ``"map"``, ``[N, K, GH, GW]``; ``"rows"``, ``[N * GH * GW, K]``, images first,
            then the cells in row-major order; ``"mean"``, ``"max"``, all windows pooled to ``[N, K]``.
        verify: run the checks; without them the report says "NOT verified".
        require_exact: refuse models whose answers can differ from the original's on image crops.
        runtime: what runs the checks, ``"onnxruntime"`` or ``"reference"`` (slow; takes float64 and bfloat16 too).
        static: change no size: every FC becomes a Conv, and all inputs and outputs keep their names, types and shapes.
        max_kernel, max_channels: split every Conv into exact ones of at most such a kernel, and so many channels.
        tune: take that form of the heads which is fastest on onnxruntime with so many images; see ``report.tuning``.

    Returns:
        The converted model, the report, and the geometry of every output; of a static conversion, of none.

    Raises:
        UnreadableModel: the source is missing or damaged.
        NothingToConvert: no FC node stands behind a feature map; if ``static``, none can become a Conv.
        Unliftable: a node cannot be converted exactly; ``error.node`` and ``error.reason`` say which and why.
        VerificationFailed: a check found a difference.
        UsageError: an option does not fit the model.
    """
    from . import pipeline

    settings = Settings(
        sizes=tuple(tuple(s) for s in sizes),
        global_pool=global_pool,
        stride=_per_axis(stride),
        dynamic_batch=dynamic_batch,
        output=output,
        require_exact=require_exact,
        verify=verify,
        runtime=runtime,
        static=static,
        max_kernel=max_kernel,
        max_channels=max_channels,
        tune=tune,
    )
    return pipeline.convert(source, settings)


def _per_axis(stride: int | Iterable[int] | None) -> tuple[int, ...] | None:
    if stride is None:
        return None
    return tuple(stride) if isinstance(stride, Iterable) else (stride,)


def inspect(
    source: Any,
    *,
    global_pool: str = "window",
    stride: int | Iterable[int] | None = None,
    dynamic_batch: bool = False,
    output: str = "map",
    runtime: str = "onnxruntime",
    static: bool = False,
    max_kernel: int | None = None,
    max_channels: int | None = None,
    tune: int | None = None,
) -> Report:
    """What ``convert`` would do, without running anything; raises what ``convert`` would raise up to there."""
    from . import pipeline

    settings = Settings(
        global_pool=global_pool,
        stride=_per_axis(stride),
        dynamic_batch=dynamic_batch,
        output=output,
        runtime=runtime,
        static=static,
        max_kernel=max_kernel,
        max_channels=max_channels,
        tune=tune,
    )
    return pipeline.inspect(source, settings)


def check(source: Any, *, size: Iterable[int] | None = None) -> Findings:
    """What breaks or lies in a model as it is, when the size of its image changes; nothing is converted.

    Args:
        source: a path, an ``onnx.ModelProto``, or an ``onnx_graphsurgeon.Graph``.
        size: the trained size in pixels, for a model whose input has none; default: the smallest that its FC nodes fit.

    Raises:
        NothingToConvert: there is no image input.
        Fc2ConvError: the model cannot be read.
    """
    from . import checkup

    return checkup.check(source, Settings(sizes=() if size is None else (tuple(size),)))


def verify(
    original: Any,
    converted: Any,
    *,
    sizes: Iterable[Iterable[int]] = (),
    global_pool: str = "window",
    stride: int | Iterable[int] | None = None,
    dynamic_batch: bool = False,
    output: str = "map",
    runtime: str = "onnxruntime",
    static: bool = False,
    max_kernel: int | None = None,
    max_channels: int | None = None,
) -> Report:
    """Check a converted model against its original.

    Args:
        original: path, ModelProto or Graph of the model before conversion.
        converted: the same of the model after it, whoever wrote or edited it since.
        sizes, global_pool, stride, dynamic_batch, output, runtime, static, max_kernel, max_channels: as in ``convert``.

    Raises:
        VerificationFailed: a check found a difference.
        Fc2ConvError: the original could not have been converted, or a file cannot be read.
    """
    from . import pipeline

    settings = Settings(
        sizes=tuple(tuple(s) for s in sizes),
        global_pool=global_pool,
        stride=_per_axis(stride),
        dynamic_batch=dynamic_batch,
        output=output,
        runtime=runtime,
        static=static,
        max_kernel=max_kernel,
        max_channels=max_channels,
    )
    return pipeline.verify(original, converted, settings)


def convolution_to_matmul(
    source: Any,
    *,
    form: str = "matmul",
    sizes: Iterable[Iterable[int]] = (),
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    pointwise_only: bool = False,
    strict: bool = False,
    max_bytes: int = ReverseSettings.max_bytes,
    verify: bool = True,
    runtime: str = "onnxruntime",
) -> Reversed:
    """Rewrite every convolution as a product with a matrix, in standard operators; the argument is never changed.

    ``y = W x + b`` over the patches of a map, or over the whole map, is what a convolution computes (Ma and Lu, "An
    Equivalence of Fully Connected Layer and Convolutional Layer", 2017).

    Args:
        source: a path, an ``onnx.ModelProto``, or an ``onnx_graphsurgeon.Graph``.
        form: ``"matmul"``: patches ``[N, OH, OW, kh * kw * C]`` times the kernel as a matrix ``[kh * kw * C, K]``;
            sizes that are dynamic stay dynamic. ``"dense"``: the map as one vector ``[N, C * H * W]``, times the
            explicit doubly block Toeplitz matrix ``[C * H * W, K * OH * OW]``, at one size; poolings that average,
            normalisations and other affine nodes too, so that what is left is a chain of Gemm and activations.
        sizes: of the image inputs in pixels, height first, where the model leaves them open: what ``"matmul"`` is
            verified at (default: what is known, or found by trying), and the one that ``"dense"`` is made for (default:
            the trained size that a model converted by this package carries).
        only, skip: names of nodes, which may hold ``*`` and ``?``.
        pointwise_only: rewrite 1x1 convolutions only.
        strict: with ``"dense"``, refuse a model that has another node between image and outputs, such as a MaxPool.
        max_bytes: with ``"dense"``, the most that all matrices may take.
        verify: run the checks; without them the report says "NOT verified".
        runtime: what runs the checks, ``"onnxruntime"`` or ``"reference"`` (onnx.reference).

    Returns:
        The model and the report: matrix, multiplications and bytes of each node, and what was left as it is and why.

    Raises:
        UnreadableModel: the source is missing or damaged.
        NothingToConvert: there is no convolution, or none can be rewritten; ``error.reason`` says why.
        Unliftable: a dense matrix is over ``max_bytes``, or a node is not what ``strict`` asks for.
        VerificationFailed: a check found a difference.
        UsageError: an option does not fit the model.
    """
    from . import reverse

    settings = ReverseSettings(
        form=form,
        sizes=tuple(tuple(s) for s in sizes),
        only=tuple(only),
        skip=tuple(skip),
        pointwise_only=pointwise_only,
        strict=strict,
        max_bytes=max_bytes,
        verify=verify,
        runtime=runtime,
    )
    return reverse.to_matmul(source, settings)


def revert(
    source: Any, *, size: Iterable[int] | None = None, verify: bool = True, runtime: str = "onnxruntime"
) -> Reversed:
    """Undo ``convert``: heads are Flatten and Gemm again, of the same bits, and sizes are the trained ones.

    What the original was is read from the converted model's ``metadata_props``; where that was stripped, from the graph
    itself: a Conv whose kernel covers its map, and 1x1 Convs behind it.

    Args:
        source: a path, an ``onnx.ModelProto``, or an ``onnx_graphsurgeon.Graph``; never changed.
        size: the trained size in pixels, where the graph alone leaves several.
        verify: run the checks; without them the report says "NOT verified".
        runtime: what runs the checks, ``"onnxruntime"`` or ``"reference"`` (onnx.reference).

    Raises:
        UnreadableModel: the source is missing or damaged.
        NothingToConvert: nothing in the model is, or looks like, a converted head.
        Unliftable: a node behind such a head cannot be taken back exactly.
        VerificationFailed: a check found a difference.
        UsageError: what the model says of its original is damaged, or the size does not fit.
    """
    from . import reverting

    sizes = () if size is None else (tuple(size),)
    return reverting.revert(source, ReverseSettings(revert=True, sizes=sizes, verify=verify, runtime=runtime))
