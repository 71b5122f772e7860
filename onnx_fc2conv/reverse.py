"""The reverse direction on one screen: load, straighten, rewrite every convolution as a matrix product, verify."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from onnx import ModelProto

from . import head_form, heads, model_io, shapes, spatial
from ._version import __version__
from .assemble import assemble
from .constants import Constants
from .conv2fc import Lowering, Product, Selection, dense, matmul
from .conversion import Conversion
from .errors import NothingToConvert, Unliftable, UnreadableModel, UsageError
from .geometry import METADATA_KEY, Geometry
from .open_sizes import at_size, open_axes
from .ops import Model
from .pipeline import Progress, known_at_declared_sizes, no_progress
from .plan import Plan
from .report import Checked, LeftRow, ProductRow, ReverseReport, check_row, percent
from .saving import Saveable
from .settings import ReverseSettings, Size
from .shapes import Shapes
from .sizing import asked_or_known, guesses, image_of
from .structure import ANY_RANK, straighten

Announce = Callable[[ReverseReport], None]  #: called with the estimate of a dense form, before anything is allocated


def _announce_nothing(report: ReverseReport) -> None:
    pass


@dataclass
class Reversed(Saveable[ReverseReport]):
    """A rewritten model, and what was rewritten, what it costs, and what was checked."""


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
    report = _report(read, lowering, settings, outcome)
    return Reversed(
        proto,
        report,
        folder=given.folder,
        data_files=given.data_files,
        source=source,
        runtime=settings.runtime,
    )


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
    model, sizes = straight.model, asked_or_known(straight.model, settings.sizes)
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
    try:
        return shapes.infer(at_size(read.model, dict.fromkeys(open_, read.sizes[0])), 1)
    except UnreadableModel:  # the costs are not known then; the checks say whether it runs
        return None


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
    size = f"{largest.rows} x {largest.columns}"
    reason = (
        f"its matrix of {size} takes {largest.bytes_after} bytes, {percent(largest.zeros)} of it zeros; "
        f"all {len(products)} matrices take {total} bytes, over --max-bytes {limit}"
    )
    return Unliftable(reason, largest.node)


def _assembled(read: Read, lowering: Lowering) -> ModelProto:
    proto = assemble(read.model, lowering.rewrite)
    spatial.keep(proto)
    head_form.store(proto, head_form.PLAIN)
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
        read.sizes if settings.sizes else (*read.sizes, *guesses(read.model)),
        bool(settings.sizes),
        set(lowering.left),
        same_signature=not (read.sizes and not open_axes(read.model)),
        image=image_of(read.model),
    )
    return LoweredVerifier(conversion, proto, read.model.folder, progress, expected).run()


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
    found = image_of(read.model)
    if found is None:
        return None
    name, axes = found
    if name in open_axes(read.model):
        return list(read.sizes[0]) if read.sizes else None
    dims = next(v for v in read.model.inputs if v.name == name).type.tensor_type.shape.dim
    return [dims[axis].dim_value for axis in axes]


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
