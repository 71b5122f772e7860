"""Lifting: every head operator re-expressed so that it works on all window positions at once.

The rewriting is what ``vmap`` does to a function. One rule per operator, found in the registry; the files of this
folder are its families. Values go through the head in topological order; nothing here looks at more than one node.
"""

from __future__ import annotations

from onnx import NodeProto

from ..emitter import Names
from ..errors import Unliftable
from ..ops import Op
from ..plan import Plan
from ..rewrite import Rewrite, Windowed
from . import (
    broadcast,
    decoder,
    einsum,
    linear,
    microsoft,
    norm,
    pointwise,
    pool,
    quantised,
    reduce,
    refused,
    select,
    static,
    unary,
    views,
)
from .applying import applied
from .joined import materialised
from .operands import resolve
from .registry import RULES
from .rewriter import Rewriter
from .shared import Shared

__all__ = ["RULES", "lift", "lift_static"]

FAMILIES = (
    broadcast,
    decoder,
    einsum,
    linear,
    microsoft,
    norm,
    pointwise,
    pool,
    quantised,
    reduce,
    refused,
    select,
    unary,
    views,
)  #: importing them fills RULES
OLDEST_OPSET = 7


def lift(plan: Plan) -> Rewrite:
    """Lift all heads.

    Raises:
        Unliftable: a node of a head has no rule, or its rule refuses; the error names the node and the reason.
    """
    _require_opset(plan)
    names = Names(plan.model.names | (plan.dense.names if plan.dense else set()))
    shared = Shared(plan, names)
    outputs = set(plan.model.outputs)
    starts: dict[str, Op] = {}
    for op in plan.head:
        start = next((starts[name] for name in op.reads() if name in starts), op)
        rewriter = Rewriter(op, shared, start)
        starts |= {name: start for name in op.outputs if name}
        operands = [resolve(rewriter, name, plan, shared) for name in op.inputs]
        results = applied(rewriter, start, operands, plan)
        for name, value in zip(op.outputs, results, strict=False):
            if name:
                shared.rewrite.values[name] = _settle(rewriter, shared, name, value, name in outputs)
                _note_shape(shared, name, value)
        if rewriter.emitted and op.name:
            rewriter.emitted[-1].name = op.name
        shared.rewrite.replaced[op.index] = rewriter.emitted
    return shared.rewrite


def lift_static(plan: Plan, one_image: bool = True) -> tuple[Plan, Rewrite]:
    """Lift the FC nodes where no size changes; the plan comes back with what was found. See ``static``.

    Raises:
        NothingToConvert: no FC node can be lifted.
        BatchBaked: unless views that make sense for ``one_image`` only are left alone: there is one.
        Unliftable: the opset is too old.
    """
    _require_opset(plan)
    return static.lift_static(plan, one_image)


def _require_opset(plan: Plan) -> None:
    if plan.model.opset < OLDEST_OPSET:
        raise Unliftable(
            f"opset {plan.model.opset} is older than {OLDEST_OPSET} and broadcasts differently; "
            "convert the model with onnx.version_converter first",
            str(plan.head[0]) if plan.head else None,
        )


def _note_shape(shared: Shared, name: str, value: Windowed) -> None:
    """Behind an operator that ONNX does not know its inference stops; what was lifted is known."""
    if shared.shapes.of(name) is None:
        shared.shapes.dims[name] = value.layout.shape(value.features, shared.shapes.batch)
    if not shared.shapes.elem_types.get(name):
        shared.shapes.elem_types[name] = value.elem_type


def _settle(rewriter: Rewriter, shared: Shared, name: str, value: Windowed, is_output: bool) -> Windowed:
    """Give the result the original's name where it can carry it: a graph output must, a spent value may."""
    if is_output:
        value = materialised(rewriter, value)
    if is_output and not value.layout.plain:
        final = value.on(rewriter.as_original(rewriter.read(value)))
        _rename(rewriter.emitted, final.tensor, name)
        return value
    final = rewriter.read(value) if is_output else value
    made_here = any(final.tensor in node.output for node in rewriter.emitted)
    if is_output and not made_here:
        final = final.on(rewriter.emit("Identity", final))
        made_here = True
    if not made_here or final.unread is not None:
        return value
    _rename(rewriter.emitted, final.tensor, name)
    shared.spent = {k: v.on(name) if v.tensor == final.tensor else v for k, v in shared.spent.items()}
    shared.reshaped = {name if k == final.tensor else k: v for k, v in shared.reshaped.items()}
    if value.unread is not None:  # one whose window is a single cell is its own flattened vector
        return value.on(name) if value.tensor == final.tensor else value
    return final.on(name)


def _rename(nodes: list[NodeProto], old: str, new: str) -> None:
    """Rename a value in these nodes."""
    for node in nodes:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
