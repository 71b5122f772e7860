"""The story on one screen: load, find, lift, free, verify, save."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnx import ModelProto

from . import heads, model_io, shapes, spatial
from ._version import __version__
from .assemble import assemble
from .errors import Unliftable, UsageError, VerificationFailed
from .geometry import METADATA_KEY, Geometry
from .heads import Plan
from .lift import Rewrite, lift
from .ops import Model
from .report import CauseRow, CheckRow, HeadRow, NodeRow, OutputRow, Report, Verdict
from .settings import Settings, Size

if TYPE_CHECKING:
    from .verify import Outcome

Progress = Callable[[str, int, int], None]


def _no_progress(name: str, done: int, of: int) -> None:
    pass


@dataclass
class Result:
    """A conversion.

    Attributes:
        model: the converted model; the bytes of external data stay in the original's files.
        report: what was found, done and checked.
        geometry: window, stride and grid of every output.
    """

    model: ModelProto
    report: Report
    geometry: Geometry
    _folder: str = field(repr=False, default="")
    _source: Any = field(repr=False, default=None)

    def save(self, path: Any) -> None:
        """Write the model: all of it, or nothing.

        Raises:
            UsageError: the target cannot be written, or is the input itself.
            VerificationFailed: what lies on the disk is not accepted by onnxruntime.
        """
        target = model_io.Target.of(path, self._source)
        with model_io.staged(target, self.model, self._folder) as staged:
            if self.report.verified:
                from .verify import RuntimeRefusal, Session

                try:
                    Session(str(staged), default=True)
                except RuntimeRefusal as e:
                    raise VerificationFailed(f"structure: onnxruntime does not load the written file: {e}") from e
        self.report.output = str(path)


def convert(source: Any, settings: Settings, progress: Progress = _no_progress, status: str = "converted") -> Result:
    """Convert one model.

    Args:
        source: path, ModelProto or graphsurgeon Graph.
        settings: the options.
        progress: called with a stage's name, the steps done, and their number.
        status: ``"would convert"`` to stop before the checks (inspection).

    Raises:
        Fc2ConvError: one of its kinds; nothing was written.
    """
    model, name = model_io.load(source)
    plan, rewrite = analyse(model)
    converted = assemble(plan, rewrite)
    geometry = spatial.free(converted, plan, rewrite)
    verdict = verdict_of(plan)
    if settings.require_exact and verdict != "exact":
        blamed = next(c for c in plan.causes if c.kind != "phase")
        raise Unliftable(f"the model is not exact but {verdict} ({blamed.detail}), and exactness was required", blamed.node)
    sizes = _sizes(plan, geometry, settings.sizes)
    outcome = None
    if settings.verify and status == "converted":
        from .verify import Verifier

        outcome = Verifier(plan, rewrite, converted, verdict == "exact", progress).run(sizes)
    report = _report(name, plan, rewrite, converted, geometry, verdict, sizes, outcome)
    report.status = "would convert" if status == "would convert" else "converted"
    return Result(converted, report, geometry, model.folder, source)


def verify(original: Any, converted: Any, settings: Settings, progress: Progress = _no_progress) -> Report:
    """Check a converted model against its original, whoever converted or edited it.

    Raises:
        VerificationFailed: a check found a difference.
        Fc2ConvError: the original could not have been converted, or a file cannot be read.
    """
    from .verify import Verifier

    model, _ = model_io.load(original)
    plan, rewrite = analyse(model)
    geometry = spatial.free(assemble(plan, rewrite), plan, rewrite)
    given, name = model_io.load(converted)
    sizes = _sizes(plan, geometry, settings.sizes)
    verdict = verdict_of(plan)
    outcome = Verifier(plan, rewrite, given.proto, verdict == "exact", progress, given.folder).run(sizes)
    return _report(name, plan, rewrite, given.proto, geometry, verdict, sizes, outcome)


def analyse(model: Model) -> tuple[Plan, Rewrite]:
    """Find and lift the heads.

    Where the batch is symbolic, shapes are inferred for two batch sizes, so that a number that contains the batch is
    told from a constant. Models whose exporter baked one image in (``Reshape[1, -1]``) only make sense at one.

    Raises:
        NothingToConvert, Unliftable, UnreadableModel
    """
    declared = shapes.declared_batch(model)
    if declared is not None:
        plan = heads.find(model, shapes.infer(model, declared), None)
        return plan, lift(plan)
    try:
        plan = heads.find(model, shapes.infer(model, 2), shapes.infer(model, 3))
        return plan, lift(plan)
    except Unliftable:
        plan = heads.find(model, shapes.infer(model, 1), shapes.infer(model, 3))
        return plan, lift(plan)


def verdict_of(plan: Plan) -> Verdict:
    """``exact`` only if no node of the backbone pads and none looks beyond its window."""
    kinds = {c.kind for c in plan.causes}
    return "global context" if "global context" in kinds else "padded" if "padding" in kinds else "exact"


def _step(geometry: Geometry) -> tuple[int, ...]:
    grids = list(geometry.outputs.values())
    return tuple(max(g.stride[i] for g in grids) for i in range(len(grids[0].stride)))


def _aligned_only(plan: Plan) -> bool:
    return any(c.kind == "phase" for c in plan.causes)


def _sizes(plan: Plan, geometry: Geometry, asked: tuple[Size, ...]) -> list[Size]:
    """Default sizes (two, growing differently per axis), or the asked ones if the model can have them."""
    trained = tuple(a.trained for a in plan.image.axes)
    step = _step(geometry)
    if not asked:
        growths = ((1, 3, 2), (4, 2, 1))
        return [tuple(t + g * s for t, g, s in zip(trained, growth, step, strict=False)) for growth in growths]
    for size in asked:
        text = "x".join(map(str, size))
        if len(size) != len(trained):
            raise UsageError(f"size {text} has {len(size)} axes, input '{plan.image.name}' has {len(trained)} spatial ones")
        if any(n < t for n, t in zip(size, trained, strict=True)):
            raise UsageError(f"size {text} is smaller than the trained size {'x'.join(map(str, trained))}")
        if _aligned_only(plan) and any((n - t) % s for n, t, s in zip(size, trained, step, strict=True)):
            cause = next(c for c in plan.causes if c.kind == "phase")
            raise UsageError(f"size {text} is not of the form {_valid_sizes(plan, geometry)}, which is needed: {cause.detail}", cause.node)
    return list(asked)


def _valid_sizes(plan: Plan, geometry: Geometry) -> str:
    parts = [f"{a.trained} + n*{s}" for a, s in zip(plan.image.axes, _step(geometry), strict=True)]
    if _aligned_only(plan):
        return " x ".join(parts)
    return "any from " + "x".join(str(a.trained) for a in plan.image.axes) + " on (no pixel is left over at " + " x ".join(parts) + ")"


def _report(
    name: str,
    plan: Plan,
    rewrite: Rewrite,
    converted: ModelProto,
    geometry: Geometry,
    verdict: Verdict,
    sizes: list[Size],
    outcome: Outcome | None,
) -> Report:
    shapes_ = {
        o.name: [d.dim_param or (str(d.dim_value) if d.HasField("dim_value") else "?") for d in o.type.tensor_type.shape.dim]
        for o in converted.graph.output
    }
    trained = [a.trained for a in plan.image.axes]
    outputs = [
        OutputRow(
            output,
            shapes_[output],
            list(grid.window),
            list(grid.stride),
            list(grid.field),
            {"x".join(map(str, s)): list(grid.grid_size(s)) for s in [tuple(trained), *sizes]},
        )
        for output, grid in geometry.outputs.items()
    ]
    checks = [
        CheckRow(c.name, list(c.size) if c.size else None, c.passed, *(c.cells or (None, None)), c.error, c.tolerance, c.note)
        for c in (outcome.checks if outcome else [])
    ]
    deviation = outcome.deviation if outcome else {}
    return Report(
        tool=f"onnx-fc2conv {__version__}",
        input=name,
        output=None,
        status="converted",
        verified=outcome is not None,
        image_input=plan.image.name,
        trained_size=trained,
        sizes=[list(s) for s in sizes],
        valid_sizes=_valid_sizes(plan, geometry),
        verdict=verdict,
        causes=[CauseRow(c.node, c.kind, c.detail) for c in plan.causes],
        deviation={n: {"error": d.error, "agreement": d.agreement, "cells": d.cells} for n, d in deviation.items()},
        heads=_heads(plan, rewrite),
        outputs=outputs,
        checks=checks,
        geometry=geometry.to_dict(),
    )


def _heads(plan: Plan, rewrite: Rewrite) -> list[HeadRow]:
    """The nodes of the heads, grouped by the feature map that they read."""
    owner = {cut: cut for cut in plan.cuts}
    rows: dict[str, list[NodeRow]] = {cut: [] for cut in plan.cuts}
    for op in plan.head:
        cut = next(owner[name] for name in op.reads() if name in owner)
        owner |= {name: cut for name in op.outputs if name}
        new = rewrite.replaced[op.index]
        kernel = next((list(a.ints) for n in new for a in n.attribute if n.op_type == "Conv" and a.name == "kernel_shape"), None)
        label = op.name or next(o for o in op.outputs if o)
        rows[cut].append(NodeRow(label, op.kind, [n.op_type for n in new], kernel))
    return [HeadRow(cut, list(plan.maps[cut].shape(plan.shapes.batch)[1:]), rows[cut]) for cut in plan.cuts]


def read_geometry(path: Any) -> Geometry:
    """The geometry that a converted model carries in its ``metadata_props``; weights are not read.

    Raises:
        UnreadableModel: no such file, or no ONNX model.
        UsageError: the model was not made by this tool, or its geometry is damaged.
    """
    proto = path if isinstance(path, ModelProto) else model_io.parse(path)
    for prop in proto.metadata_props:
        if prop.key == METADATA_KEY:
            try:
                return Geometry.from_json(prop.value)
            except ValueError as e:
                raise UsageError(f"'{path}': {e}") from e
    raise UsageError(f"'{path}' carries no geometry: it was not converted by onnx-fc2conv, or its metadata was stripped")
