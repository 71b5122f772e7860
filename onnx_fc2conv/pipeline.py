"""The story on one screen: load, straighten, find, lift, free, verify, save."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from onnx import ModelProto

from . import head_form, heads, limits, model_io, shapes, tuned
from .assemble import assemble
from .atrous import made_dense
from .backbone import Baked, Readings, resolved, without
from .constants import Constants
from .conversion import Conversion, Sizes
from .draft import Draft
from .errors import BatchBaked, NothingToConvert, Unliftable, UsageError, VerificationFailed
from .geometry import METADATA_KEY, Geometry
from .handover import hand_over
from .head_form import PLAIN
from .lift import lift, lift_static
from .ops import Model
from .plan import Plan
from .report import Checked, Report, build
from .rewrite import Rewrite
from .saving import Saveable
from .settings import Settings, Size
from .structure import ANY_RANK, IMAGE_RANK, straighten

Progress = Callable[[str, int, int], None]  #: called with a check's name, the steps done, and their number


def no_progress(name: str, done: int, of: int) -> None:
    """Nobody waits."""


@dataclass
class Result(Saveable[Report]):
    """A conversion, and what was found, done and checked.

    Attributes:
        geometry: window, stride and grid of every output.
    """

    geometry: Geometry


def convert(source: Any, settings: Settings, progress: Progress = no_progress) -> Result:
    """Convert one model; nothing is written.

    Args:
        source: path, ModelProto or graphsurgeon Graph.
        settings: the options.
        progress: told about the checks.

    Raises:
        Fc2ConvError: one of its kinds.
    """
    return _converted(source, settings, progress)


def _converted(source: Any, settings: Settings, progress: Progress = no_progress, measure: bool = True) -> Result:
    model, name = model_io.load(source)
    draft = drafted(model, name, settings)
    conversion = draft.tried() if settings.tune else draft.finished()
    if settings.require_exact and conversion.verdict != "exact":
        raise conversion.not_exact()
    sizes, found = conversion.sizes(settings.sizes), None
    if settings.tune:
        what = (draft, conversion, settings.tune)
        found = tuned.fastest(*what, model.folder, progress) if measure else tuned.planned(*what)
        conversion = draft.finished(found.chosen or PLAIN)
    outcome = None
    if settings.verify:
        outcome = _checked(conversion, conversion.proto, model.folder, progress, sizes)
    report = build(conversion, sizes, outcome, hand_over(conversion, conversion.proto, sizes), found)
    return Result(
        conversion.proto,
        report,
        conversion.geometry,
        folder=model.folder,
        data_files=model.data_files,
        source=source,
        runtime=settings.runtime,
    )


def inspect(source: Any, settings: Settings) -> Report:
    """What ``convert`` would do: everything but the checks. Raises what ``convert`` would raise up to there."""
    report = _converted(source, replace(settings, verify=False), measure=False).report
    report.status = "would convert"
    return report


def verify(original: Any, converted: Any, settings: Settings, progress: Progress = no_progress) -> Report:
    """Check a converted model against its original, whoever converted or edited it.

    Raises:
        VerificationFailed: a check found a difference.
        Fc2ConvError: the original could not have been converted, or a file cannot be read.
    """
    draft = drafted(*model_io.load(original), settings)
    given, _ = model_io.load(converted)
    try:
        conversion = draft.finished(head_form.stored(given.proto))
    except head_form.Unfitting as e:
        raise VerificationFailed(f"structure: {e.reason}") from e
    sizes = conversion.sizes(settings.sizes)
    outcome = _checked(conversion, given.proto, given.folder, progress, sizes)
    return build(conversion, sizes, outcome, hand_over(conversion, given.proto, sizes))


def _checked(conversion: Conversion, proto: ModelProto, folder: str, progress: Progress, sizes: list[Sizes]) -> Checked:
    """All checks of a model against what the conversion should be."""
    from .verification import StaticVerifier, Verifier

    if conversion.plan.static:
        return StaticVerifier(conversion, proto, folder, progress).run()
    return Verifier(conversion, proto, folder, progress).run(sizes)


def prepare(model: Model, name: str, settings: Settings | None = None) -> Conversion:
    """Straighten, find, lift, assemble and free, without any check; the settings say which runtime is going to check.

    Raises:
        NothingToConvert, Unliftable, UnreadableModel
    """
    return drafted(model, name, settings or Settings()).finished()


def drafted(model: Model, name: str, settings: Settings) -> Draft:
    """The same up to where the heads are lifted and not put together yet."""
    straight = straighten(model, *((known_at_declared_sizes, ANY_RANK) if settings.static else (_known, IMAGE_RANK)))
    free, freed = shapes.with_free_batch(straight.model) if settings.dynamic_batch else (straight.model, None)
    try:
        known = resolved(lambda readings: followed(free, settings, readings, freed))
    except (NothingToConvert, Unliftable) as e:
        raise straight.explains(e) or e
    plan, rewrite = known.plan, known.rewrite
    found = {image.name: image.spatial for image in plan.images}
    if any(axes != found.get(name, axes) for layout in straight.layouts for name, axes in layout.items()):
        raise Unliftable(
            "branches hide which axes of the image are spatial, so what was decided by its shape is not sure"
        )
    if plan.dense is not None:
        rewrite.take(plan.dense.replaced, plan.dense.initializers)
    limits.split(plan, rewrite, settings.max_kernel, settings.max_channels)
    return Draft(name, settings, plan, rewrite, model.proto, assemble, straight.changes, known.changes, freed)


@dataclass(frozen=True)
class Followed:
    """What was found in a model none of whose nodes carries the trained size any more, and how they were rewritten."""

    plan: Plan
    rewrite: Rewrite
    changes: tuple[str, ...]


def followed(model: Model, settings: Settings | None, readings: Readings, freed: int | None = None) -> Followed:
    """Rewrite what carries the trained size until nothing does; ``freed`` is the batch that the model was made for."""
    changes: list[str] = []
    for _ in range(len(model.ops) + 1):
        try:
            plan, rewrite = _analyse(model, settings, readings, freed)
            return Followed(replace(plan, freed_batch=freed), rewrite, tuple(changes))
        except Baked as e:
            changes += [replacement.change for replacement in e.replacements.values()]
            model = without(model, e.replacements)
    raise Unliftable("rewriting nodes that carry the trained size does not come to an end")


def _known(model: Model) -> tuple[Constants, dict[str, list[int]]]:
    """The model's constants, and the axes of each image whose size they were evaluated at several values of."""
    declared = shapes.declared_batch(model)
    batch, other = shapes.PROBED_BATCHES
    at_other = None if declared is not None else shapes.infer(model, other)
    images, constants = heads.known(model, shapes.infer(model, declared or batch), at_other)
    return constants, {image.name: image.spatial for image in images}


def known_at_declared_sizes(model: Model) -> tuple[Constants, dict[str, list[int]]]:
    """The same where no size changes: no axis has to be known for one of an image."""
    return heads.constants_of(model, *shapes.at_two_batches(model)), {}


def _analyse_static(model: Model, settings: Settings) -> tuple[Plan, Rewrite]:
    """Find and lift the FC nodes where no size changes.

    Where views only make sense for one image, and the model does not run on several, it is read as one for one image.
    """
    known, other = shapes.at_two_batches(model)
    runs = other is None or shapes.can_run(model, known)
    try:
        found = replace(heads.find_static(model, known, other), runtime=settings.runtime)
        return lift_static(found, one_image=runs)
    except BatchBaked:
        found = replace(heads.find_static(model, shapes.infer(model, 1), None), runtime=settings.runtime)
        return lift_static(found)


def _analyse(
    model: Model, settings: Settings | None = None, readings: Readings | None = None, freed: int | None = None
) -> tuple[Plan, Rewrite]:
    """Find and lift the heads.

    Where the batch is symbolic, shapes are inferred for two batch sizes, so that a number that contains the batch is
    told from a constant. Models whose exporter baked one image in (``Reshape[1, -1]``) only make sense at one.
    """
    if settings is not None and settings.static:
        return _analyse_static(model, settings)
    readings = readings or Readings()
    declared = shapes.declared_batch(model)
    if declared is not None:
        return _lifted(model, shapes.infer(model, declared), None, settings, readings)
    if freed is not None:  # numbers of a model for so many images make sense at so many first
        other = next(n for n in shapes.PROBED_BATCHES if n != freed)
        try:
            return _lifted(model, shapes.infer(model, freed), shapes.infer(model, other), settings, readings)
        except BatchBaked as e:
            raise Unliftable(f"{e.reason}, so the batch cannot be freed", e.node) from e
    batch, other = shapes.PROBED_BATCHES
    several = shapes.infer(model, batch)
    try:
        return _lifted(model, several, shapes.infer(model, other), settings, readings)
    except BatchBaked as e:
        if e.runs and shapes.can_run(model, several):
            raise  # the original runs on several images and mixes them
        return _lifted(model, shapes.infer(model, 1), shapes.infer(model, other), settings, readings)


def _lifted(
    model: Model, known: shapes.Shapes, other: shapes.Shapes | None, settings: Settings | None, readings: Readings
) -> tuple[Plan, Rewrite]:
    settings = settings or Settings()
    plan = heads.find(model, known, other, settings.global_pool == "keep", readings)
    plan = replace(plan, runtime=settings.runtime)
    if settings.stride is not None:
        plan = _denser(plan, settings.stride, known, other)
    try:
        return plan, lift(plan)
    except BatchBaked:
        raise
    except Unliftable as e:
        raise plan.instead or e


def _denser(plan: Plan, stride: Size, known: shapes.Shapes, other: shapes.Shapes | None) -> Plan:
    """The plan with maps of this effective stride. The denser backbone is read as any model is."""

    def find(model: Model) -> Plan:
        at_other = shapes.infer(model, other.batch) if other is not None else None
        return heads.find(model, shapes.infer(model, known.batch), at_other)

    return made_dense(plan, stride, find)


def read_geometry(path: Any) -> Geometry:
    """The geometry that a converted model carries in its ``metadata_props``.

    Args:
        path: of the file, of which nothing but the metadata is read, however large it is; or a ModelProto.

    Raises:
        UnreadableModel: no such file, or no ONNX model.
        UsageError: the model was not made by this tool, or its geometry is damaged.
    """
    given = isinstance(path, ModelProto)
    props = {p.key: p.value for p in reversed(path.metadata_props)} if given else model_io.metadata(path, METADATA_KEY)
    name = "the model" if given else f"'{path}'"
    if METADATA_KEY not in props:
        raise UsageError(f"{name} carries no geometry: it was not made by onnx-fc2conv, or its metadata was stripped")
    try:
        return Geometry.from_json(props[METADATA_KEY])
    except ValueError as e:
        raise UsageError(f"{name}: {e}") from e
