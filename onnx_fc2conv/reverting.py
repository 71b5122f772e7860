"""The way back on one screen: load, restore what was converted, verify."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import heads, model_io, shapes, undo
from .conversion import Conversion, text
from .errors import UsageError
from .geometry import Geometry
from .ops import Model, view
from .pipeline import Progress, no_progress
from .plan import Plan
from .report import Checked, RestoredRow, ReverseReport
from .reverse import Reversed, written
from .rewrite import Rewrite
from .settings import ReverseSettings
from .sizing import GUESSES, image_of


def revert(source: Any, settings: ReverseSettings, progress: Progress = no_progress) -> Reversed:
    """Take back what ``onnx-fc2conv`` did to one model; nothing is written.

    Args:
        source: path, ModelProto or graphsurgeon Graph.
        settings: the options.
        progress: told about the checks.

    Raises:
        Fc2ConvError: one of its kinds.
    """
    given, name = model_io.load(source)
    restored = _restored(given, settings)
    outcome = _checked(given, name, restored, settings, progress) if settings.verify else None
    report = _report(name, restored, outcome)
    return Reversed(
        restored.proto,
        report,
        folder=given.folder,
        data_files=given.data_files,
        source=source,
        runtime=settings.runtime,
    )


def inspect(source: Any, settings: ReverseSettings) -> ReverseReport:
    """What ``revert`` would do; nothing is run."""
    given, name = model_io.load(source)
    report = _report(name, _restored(given, settings), None)
    report.status = "would rewrite"
    return report


def _restored(given: Model, settings: ReverseSettings) -> undo.Restored:
    """From the record that the model carries, or, where there is none that holds, from its graph."""
    note: tuple[str, ...] = ()
    try:
        restored = undo.restore(given)
    except undo.Edited as e:
        restored, note = None, (str(e),)
    if restored is not None:
        _require_size(restored, settings)
        return restored
    found = undo.found(given, settings.sizes)
    return replace(found, notes=(*note, *found.notes))


def _require_size(restored: undo.Restored, settings: ReverseSettings) -> None:
    """Refuse a size that is not the recorded one.

    Raises:
        UsageError: it is asked for.
    """
    images = [dims for dims in restored.trained.values() if len(dims) > 2]
    for size in settings.sizes:
        if not any(size in (dims[2:], dims[1:-1]) for dims in images):
            known = ", ".join(f"[{text(tuple(d or 0 for d in dims))}]" for dims in images)
            raise UsageError(
                f"size {text(size)} is not the one that the model was trained at: {known}; leave --size out"
            )


def _checked(
    given: Model, name: str, restored: undo.Restored, settings: ReverseSettings, progress: Progress
) -> Checked:
    """The converted model and the one that came back, on the same inputs of the trained size."""
    from .verification import Expected, LoweredVerifier

    model = view(restored.proto, given.folder)
    known, other = shapes.at_two_batches(model)
    constants = heads.constants_of(model, known, other)
    plan = Plan(model, known, constants, {}, {}, [], model.ops, [], [], runtime=settings.runtime)
    conversion = Conversion(name, plan, Rewrite(), restored.proto, Geometry({}), given.proto)
    expected = Expected(GUESSES, left=None, same_signature=False, grids=restored.grids, image=image_of(model))
    return LoweredVerifier(conversion, restored.proto, given.folder, progress, expected).run()


def _report(name: str, restored: undo.Restored, outcome: Checked | None) -> ReverseReport:
    rows = [RestoredRow(r.node, list(r.replaced), r.weight, list(r.dims), r.how) for r in restored.rows]
    sizes = {n: "x".join(str(d or "?") for d in dims) for n, dims in restored.trained.items()}
    trained = ", ".join(f"'{n}' [{dims}]" for n, dims in sizes.items())
    notes = (f"the original is {restored.source}; its inputs: {trained}", *restored.notes)
    return written(name, "reverted", outcome, restored=rows, notes=list(notes))
