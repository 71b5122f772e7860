"""From what the rooms know to the rows of a Report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from onnx import TensorShapeProto

from .._version import __version__
from ..conversion import Conversion, Sizes, text
from ..settings import Size
from .data import CauseRow, CheckRow, HeadRow, ImageRow, LeftRow, NodeRow, OutputRow, Report

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


class _Deviation(Protocol):
    error: float
    agreement: float | None
    cells: int


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


def build(conversion: Conversion, sizes: list[Sizes], outcome: Checked | None) -> Report:
    """The report of a conversion.

    Args:
        conversion: what was built.
        sizes: input sizes that it was, or would be, verified at.
        outcome: what the checks found, or ``None`` if none was run.
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
        unbaked=[f"{op} -> {plan.unbaked[op.index].op_type}" for op in plan.model.ops if op.index in plan.unbaked],
        deviation={
            name: {"error": d.error, "agreement": d.agreement, "cells": d.cells}
            for name, d in (outcome.deviation if outcome else {}).items()
        },
        heads=_heads(conversion),
        outputs=_outputs(conversion, [conversion.trained, *sizes]),
        checks=[_check(c) for c in (outcome.checks if outcome else [])],
        geometry=conversion.geometry.to_dict(),
        images=images,
        static=plan.static,
        left=[LeftRow(node, reason) for node, reason in plan.left.items()],
    )


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


def _shape(dims: Iterable[TensorShapeProto.Dimension]) -> list[str]:
    return [d.dim_param or (str(d.dim_value) if d.HasField("dim_value") else "?") for d in dims]


def _check(check: _Check) -> CheckRow:
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
    return [HeadRow(cut, list(plan.maps[cut].shape(plan.shapes.batch)[1:]), rows[cut]) for cut in plan.cuts]
