"""From what the rooms know to the rows of a Report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any, Protocol

from onnx import TensorShapeProto

from .._version import __version__
from ..conversion import Conversion, Sizes, text
from ..settings import Size
from . import tuning
from .data import (
    CauseRow,
    CheckRow,
    FindingRow,
    HandOverRow,
    HeadRow,
    ImageRow,
    LeftRow,
    NodeRow,
    OutputRow,
    ProfileRow,
    Report,
)
from .speed import SpeedRow

CONVS = frozenset("Conv ConvInteger QLinearConv".split())
_NO_IMAGE = ImageRow("", [], [], None, "", [])


class _Check(Protocol):
    name: str
    size: Size | None
    passed: bool | None
    cells: tuple[int, int] | None
    error: float | None
    tolerance: float | None
    note: str


class _Measured(Protocol):
    @property
    def error(self) -> float:
        """Relative to the output's scale."""

    @property
    def agreement(self) -> float | None:
        """Share of cells with the same highest class."""

    @property
    def cells(self) -> int:
        """How many were compared."""


class _Deviation(Protocol):
    @property
    def overall(self) -> _Measured:
        """All cells."""

    @property
    def interior(self) -> _Measured | None:
        """Cells whose box touches no border of the image."""

    @property
    def border(self) -> _Measured | None:
        """All others."""


class _Speed(Protocol):
    @property
    def size(self) -> Size: ...
    @property
    def answers(self) -> tuple[int, int]: ...
    @property
    def one_pass(self) -> float: ...
    @property
    def windows(self) -> float: ...
    @property
    def crops(self) -> float: ...


class Checked(Protocol):
    """What the checks found; ``verification.Outcome`` is one."""

    @property
    def runtime(self) -> str:
        """What ran the checks, with its version."""

    @property
    def checks(self) -> Sequence[_Check]:
        """All checks, in order."""

    @property
    def deviation(self) -> Mapping[str, _Deviation]:
        """Deviation from image crops by output, for models that are not exact."""

    @property
    def speed(self) -> Sequence[_Speed]:
        """What answers cost, for each grid."""


class _Profile(Protocol):
    @property
    def input(self) -> str: ...
    @property
    def min(self) -> tuple[int, ...]: ...
    @property
    def opt(self) -> tuple[int, ...]: ...
    @property
    def max(self) -> tuple[int, ...]: ...


class _Finding(Protocol):
    @property
    def reason(self) -> str: ...
    @property
    def nodes(self) -> tuple[str, ...]: ...


class HandedOver(Protocol):
    """What is to be said of the hand-over; ``handover.HandOver`` is one."""

    @property
    def source(self) -> dict[str, str]:
        """What the check went by."""

    @property
    def profiles(self) -> Sequence[_Profile]:
        """Shapes of the dynamic inputs."""

    @property
    def arguments(self) -> list[str]:
        """The same as arguments of ``trtexec``."""

    @property
    def notes(self) -> list[str]:
        """What to mind, in sentences."""

    @property
    def findings(self) -> Sequence[_Finding]:
        """What is not documented as supported."""


def build(
    conversion: Conversion,
    sizes: list[Sizes],
    outcome: Checked | None,
    given: HandedOver,
    tuned: tuning.Tuned | None = None,
) -> Report:
    """The report of a conversion.

    Args:
        conversion: what was built.
        sizes: input sizes that it was, or would be, verified at.
        outcome: what the checks found, or ``None`` if none was run.
        given: what is to be said of the hand-over to TensorRT.
        tuned: what was measured of the forms that the head can have, if that was asked for.
    """
    plan = conversion.plan
    images = _images(conversion, sizes)
    first = images[0] if images else _NO_IMAGE
    return Report(
        tool=f"onnx-fc2conv {__version__}",
        input=conversion.name,
        output=None,
        status="converted",
        verified=outcome is not None,
        runtime=outcome.runtime if outcome else None,
        image_input=first.name,
        trained_size=first.trained_size,
        sizes=first.sizes,
        valid_sizes=first.valid_sizes,
        verdict=None if plan.static else conversion.verdict,
        causes=[CauseRow(c.node, c.kind, c.detail) for c in plan.causes],
        restructured=list(conversion.restructured),
        unbaked=list(conversion.unbaked),
        deviation={name: _deviation(d) for name, d in (outcome.deviation if outcome else {}).items()},
        heads=_heads(conversion),
        maps=_maps(conversion),
        outputs=_outputs(conversion, [conversion.trained, *sizes]),
        checks=[check_row(c) for c in (outcome.checks if outcome else [])],
        geometry=conversion.geometry.to_dict(),
        images=images,
        handover=_handover(given),
        static=plan.static,
        stride=list(plan.dense.stride) if plan.dense else None,
        dense=list(plan.dense.changes) if plan.dense else [],
        dilations={
            name: list(m.dilations) for name, m in plan.maps.items() if m.dilations and name in _read(conversion)
        },
        left=[LeftRow(node, reason) for node, reason in plan.left.items()],
        speed=[_speed(s) for s in (outcome.speed if outcome else [])],
        form=conversion.form,
        tuning=tuning.row(tuned) if tuned is not None else None,
    )


def _read(conversion: Conversion) -> set[str]:
    """The maps that heads read, or that are outputs."""
    return {*conversion.plan.cuts, *conversion.map_outputs}


def _speed(s: _Speed) -> SpeedRow:
    answers, timed = s.answers
    per_pass = answers / max(s.one_pass, 1e-9)
    return SpeedRow(list(s.size), answers, timed, s.windows * per_pass, s.crops * per_pass)


def _handover(given: HandedOver) -> HandOverRow:
    return HandOverRow(
        source=given.source,
        profile=[ProfileRow(p.input, list(p.min), list(p.opt), list(p.max)) for p in given.profiles],
        arguments=given.arguments,
        notes=given.notes,
        unsupported=[FindingRow(f.reason, list(f.nodes)) for f in given.findings],
    )


def _deviation(d: _Deviation) -> dict[str, Any]:
    parts = {"interior": d.interior, "border": d.border}
    return _measured(d.overall) | {name: _measured(part) for name, part in parts.items() if part is not None}


def _measured(m: _Measured) -> dict[str, Any]:
    return {"error": m.error, "agreement": m.agreement, "cells": m.cells}


def _images(conversion: Conversion, sizes: list[Sizes]) -> list[ImageRow]:
    declared = {i.name: i.type.tensor_type.shape.dim for i in conversion.proto.graph.input}
    sources = {image.name: image.axes[0].source for image in conversion.plan.images}
    return [
        ImageRow(
            name,
            _shape(declared[name]),
            list(conversion.trained[source]),
            None if name == source else source,
            conversion.valid_sizes(source),
            [list(s[source]) for s in sizes],
        )
        for name, source in sources.items()
    ]


def _maps(conversion: Conversion) -> dict[str, list[str]]:
    declared = {o.name: o.type.tensor_type.shape.dim for o in conversion.proto.graph.output}
    return {name: _shape(declared[name]) for name in conversion.map_outputs}


def _shape(dims: Iterable[TensorShapeProto.Dimension]) -> list[str]:
    return [d.dim_param or (str(d.dim_value) if d.HasField("dim_value") else "?") for d in dims]


def check_row(check: _Check) -> CheckRow:
    """One check as a row."""
    cells, total = check.cells or (None, None)
    size = list(check.size) if check.size else None
    return CheckRow(check.name, size, check.passed, cells, total, check.error, check.tolerance, check.note)


def _outputs(conversion: Conversion, sizes: list[Sizes]) -> list[OutputRow]:
    declared = {o.name: o.type.tensor_type.shape.dim for o in conversion.proto.graph.output}
    return [
        OutputRow(
            name,
            _shape(declared[name]),
            list(grid.window),
            list(grid.stride),
            list(grid.field),
            {text(size): list(grid.grid_size(size)) for size in (s[grid.source] for s in sizes)},
            grid.whole_image,
            *(astuple(conversion.forms[name]) if name in conversion.forms else ("map", name)),
        )
        for name, grid in conversion.geometry.outputs.items()
    ]


def _heads(conversion: Conversion) -> list[HeadRow]:
    """The nodes of the heads, grouped by the feature map that they read."""
    plan = conversion.plan
    owner = {cut: cut for cut in plan.cuts}
    rows: dict[str, list[NodeRow]] = {cut: [] for cut in plan.cuts}
    for op in plan.head:
        cut = next((owner[name] for name in op.reads() if name in owner), plan.cuts[0])
        owner |= {name: cut for name in op.outputs if name}
        new = conversion.rewrite.replaced[op.index]
        kernels = [list(a.ints) for n in new if n.op_type in CONVS for a in n.attribute if a.name == "kernel_shape"]
        label = op.name or next(o for o in op.outputs if o)
        rows[cut].append(NodeRow(label, op.kind, [n.op_type for n in new], kernels[0] if kernels else None))
    return [HeadRow(cut, list(plan.sparse.maps[cut].shape(plan.shapes.batch)[1:]), rows[cut]) for cut in plan.cuts]
