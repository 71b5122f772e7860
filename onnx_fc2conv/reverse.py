"""The reverse direction on one screen: load, straighten, rewrite every convolution as a matrix product, verify."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from onnx import ModelProto

from . import findings, heads, model_io, shapes, spatial
from ._version import __version__
from .assemble import assemble
from .constants import Constants
from .conv2fc import Lowering, Product, Selection, dense, matmul
from .conversion import DEFAULT_GROWTHS, Conversion, text
from .errors import NothingToConvert, Unliftable, UsageError
from .geometry import METADATA_KEY, Geometry
from .open_sizes import at_size, open_axes
from .ops import FULLY_CONNECTED, Model
from .pipeline import Progress, known_at_declared_sizes, no_progress
from .plan import Plan
from .report import Checked, LeftRow, ProductRow, ReverseReport, check_row
from .saving import save
from .settings import ReverseSettings, Size
from .shapes import Shapes
from .structure import ANY_RANK, straighten

#: tried where nothing is known of the size; not square, so that swapped axes show
GUESSES: tuple[Size, ...] = ((32, 48), (64, 96), (7, 9), (128, 96), (224, 256), (256, 320), (28, 28), (512, 512))

Announce = Callable[[ReverseReport], None]  #: called with the estimate of a dense form, before anything is allocated


def _announce_nothing(report: ReverseReport) -> None:
    pass


@dataclass
class Reversed:
    """A rewritten model.

    Attributes:
        model: the model; the bytes of external data stay in the original's files.
        report: what was rewritten, what it costs, and what was checked.
    """

    model: ModelProto
    report: ReverseReport
    _folder: str = field(repr=False, default="")
    _source: Any = field(repr=False, default=None)
    _runtime: str = field(repr=False, default="onnxruntime")

    def save(self, path: Any) -> None:
        """Write the model: all of it, or nothing.

        Raises:
            UsageError: the target cannot be written, or is the input itself.
            VerificationFailed: what lies on the disk is not accepted by the runtime that checked the model.
        """
        save(path, self.model, self.report, self._folder, self._source, self._runtime)


def to_matmul(
    source: Any, settings: ReverseSettings, progress: Progress = no_progress, announce: Announce = _announce_nothing
) -> Reversed:
    """Rewrite the convolutions of one model; nothing is written.

    Args:
        source: path, ModelProto or graphsurgeon Graph.
        settings: the options.
        progress: told about the checks.
        announce: told what the matrices of a dense form are going to be.

    Raises:
        Fc2ConvError: one of its kinds.
    """
    given, name = model_io.load(source)
    read = _read(given, name, settings)
    lowering = _lowered(read, settings, announce)
    proto = _assembled(read, lowering)
    outcome = _checked(read, lowering, proto, settings, progress) if settings.verify else None
    return Reversed(proto, _report(read, lowering, settings, outcome), given.folder, source, settings.runtime)


def inspect(source: Any, settings: ReverseSettings, announce: Announce = _announce_nothing) -> ReverseReport:
    """What ``to_matmul`` would do; no matrix of a dense form is built."""
    given, name = model_io.load(source)
    read = _read(given, name, settings)
    lowering = _estimated(read, settings) if settings.form == "dense" else _lowered(read, settings, announce)
    report = _report(read, lowering, settings, None)
    report.status = "would rewrite"
    return report


@dataclass(frozen=True)
class Read:
    """A model that is understood as far as its convolutions need.

    Attributes:
        name: in messages.
        original: the model as it was given.
        model: the same, straightened, and of one size where one is needed.
        shapes, other: of all values, at one batch size and, where the batch is symbolic, at another.
        constants: what is known before run time.
        sizes: of the open axes, to check at; the known one first.
        restructured: what was straightened.
    """

    name: str
    original: ModelProto
    model: Model
    shapes: Shapes
    other: Shapes | None
    constants: Constants
    sizes: tuple[Size, ...]
    restructured: tuple[str, ...]


def _read(given: Model, name: str, settings: ReverseSettings) -> Read:
    straight = straighten(given, known_at_declared_sizes, ANY_RANK)
    model, sizes = straight.model, _sizes(straight.model, settings)
    if settings.form == "dense" and open_axes(model):
        if not sizes:
            first, axes = next(iter(open_axes(model).items()))
            raise UsageError(
                f"--form dense makes a model of one size, and input '{first}' leaves {len(axes)} open; give --size"
            )
        model = at_size(model, dict.fromkeys(open_axes(model), sizes[0]))
    known, other = shapes.at_two_batches(model)
    constants = heads.constants_of(model, known, other)
    return Read(name, given.proto, model, known, other, constants, sizes, straight.changes)


def _sizes(model: Model, settings: ReverseSettings) -> tuple[Size, ...]:
    """The sizes that were asked for; else the trained one that the model carries, and two larger ones."""
    open_ = open_axes(model)
    if settings.sizes:
        if not open_:
            raise UsageError("--size: every size of the model is fixed; leave it out")
        for size in settings.sizes:
            for name, axes in open_.items():
                if len(axes) != len(size):
                    raise UsageError(f"size {text(size)} has {len(size)} axes, input '{name}' leaves {len(axes)} open")
        return settings.sizes
    props = {p.key: p.value for p in model.proto.metadata_props}
    if not open_ or METADATA_KEY not in props:
        return ()
    try:
        grids = list(Geometry.from_json(props[METADATA_KEY]).outputs.values())
    except ValueError:
        return ()  # it is a hint, no more: the sizes that are tried then do as well
    if not grids:
        return ()
    steps = (s if s % least == 0 else least for s, least in zip(grids[0].stride, grids[0].step, strict=True))
    return _grown(grids[0].trained_size, tuple(steps))


def _grown(trained: Size, step: Size) -> tuple[Size, ...]:
    """The trained size, and two that are whole strides larger."""
    grown = (tuple(t + g * s for t, g, s in zip(trained, growth, step, strict=False)) for growth in DEFAULT_GROWTHS)
    return trained, *grown


def _selection(settings: ReverseSettings) -> Selection:
    return Selection(settings.only, settings.skip, settings.pointwise_only)


def _lowered(read: Read, settings: ReverseSettings, announce: Announce) -> Lowering:
    if settings.form == "matmul":
        at = _at_known_size(read)
        return _required(matmul.lower(read.model, read.shapes, read.constants, _selection(settings), at))
    estimate = dense.plan(read.model, read.shapes, read.constants, _selection(settings), settings.strict)
    expected = _required(Lowering(products=estimate.products, left=estimate.left))
    announce(_report(read, expected, settings, None))
    if estimate.bytes > settings.max_bytes:
        raise _too_large(estimate.products, estimate.bytes, settings.max_bytes)
    return estimate.build()


def _at_known_size(read: Read) -> Shapes | None:
    """Shapes at the size that costs are counted at; ``None`` if it is the declared one, or not known."""
    open_ = open_axes(read.model)
    if not open_ or not read.sizes:
        return None
    return shapes.infer(at_size(read.model, dict.fromkeys(open_, read.sizes[0])), 1)


def _estimated(read: Read, settings: ReverseSettings) -> Lowering:
    estimate = dense.plan(read.model, read.shapes, read.constants, _selection(settings), settings.strict)
    if estimate.bytes > settings.max_bytes:
        raise _too_large(estimate.products, estimate.bytes, settings.max_bytes)
    return _required(Lowering(products=estimate.products, left=estimate.left))


def _required(lowering: Lowering) -> Lowering:
    if lowering.products:
        return lowering
    for node, reason in lowering.left.items():
        raise NothingToConvert(f"no convolution can be rewritten: {reason}", node)
    raise NothingToConvert("the model has no convolution")


def _too_large(products: Sequence[Product], total: int, limit: int) -> Unliftable:
    largest = max(products, key=lambda p: p.bytes_after)
    reason = (
        f"its matrix of {largest.rows} x {largest.columns} takes {largest.bytes_after} bytes, {largest.zeros:.1%} of "
        f"it zeros; all {len(products)} matrices take {total} bytes, over --max-bytes {limit}"
    )
    return Unliftable(reason, largest.node)


def _assembled(read: Read, lowering: Lowering) -> ModelProto:
    proto = assemble(read.model, lowering.rewrite)
    spatial.keep(proto)
    if read.sizes and not open_axes(read.model):
        _forget_geometry(proto)
    return proto


def _forget_geometry(proto: ModelProto) -> None:
    """A model of one size has no grid any more."""
    kept = [p for p in proto.metadata_props if p.key != METADATA_KEY]
    copies = ModelProto(metadata_props=kept)
    del proto.metadata_props[:]
    proto.metadata_props.extend(copies.metadata_props)


def _checked(
    read: Read, lowering: Lowering, proto: ModelProto, settings: ReverseSettings, progress: Progress
) -> Checked:
    from .verification import Expected, LoweredVerifier

    plan = Plan(read.model, read.shapes, read.constants, {}, {}, [], read.model.ops, [], [], runtime=settings.runtime)
    rewrite = replace(lowering.rewrite, additions=lowering.roundings)
    conversion = Conversion(read.name, plan, rewrite, proto, Geometry({}), read.original)
    expected = Expected(
        read.sizes or _guesses(read),
        bool(settings.sizes),
        set(lowering.left),
        same_signature=not (read.sizes and not open_axes(read.model)),
    )
    return LoweredVerifier(conversion, proto, read.model.folder, progress, expected).run()


def _guesses(read: Read) -> tuple[Size, ...]:
    """Sizes to try where none is known: the one that FC nodes fit first, if there are any."""
    open_ = open_axes(read.model)
    if not open_ or not any(op.op_type in FULLY_CONNECTED for op in read.model.ops):
        return GUESSES
    name, axes = next(iter(open_.items()))
    try:
        fitting = findings.guess_size(at_size(read.model, {}), name, axes, 1)
    except UsageError:
        return GUESSES
    return (tuple(fitting), *GUESSES)


def _report(read: Read, lowering: Lowering, settings: ReverseSettings, outcome: Checked | None) -> ReverseReport:
    return written(
        read.name,
        settings.form,
        outcome,
        products=_rows(lowering.products),
        size=_known_size(read),
        restructured=list(read.restructured),
        left=[LeftRow(node, reason) for node, reason in lowering.left.items()],
    )


def _known_size(read: Read) -> list[int] | None:
    """The size that costs are counted at, of the first image; ``None`` if it is not known."""
    if open_axes(read.model):
        return list(read.sizes[0]) if read.sizes else None
    dims = ([d.dim_value for d in v.type.tensor_type.shape.dim[2:]] for v in read.model.inputs)
    return next((found for found in dims if found), None)


def written(name: str, form: str, outcome: Checked | None, **rows: Any) -> ReverseReport:
    """A report of a model that was rewritten in some form, with these rows and no others."""
    return ReverseReport(
        tool=f"onnx-conv2fc {__version__}",
        input=name,
        output=None,
        status="rewritten",
        form=form,
        verified=outcome is not None,
        runtime=outcome.runtime if outcome else None,
        checks=[check_row(c) for c in (outcome.checks if outcome else [])],
        **rows,
    )


def _rows(products: Iterable[Product]) -> list[ProductRow]:
    return [ProductRow(**asdict(p) | {"to": list(p.to)}) for p in products]
