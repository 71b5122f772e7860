"""Lifting: every head operator re-expressed so that it works on all window positions at once.

The rewriting is what ``vmap`` does to a function. One rule per operator, found in the registry; the files of this
folder are its families. Values go through the head in topological order; nothing here looks at more than one node.
"""

from __future__ import annotations

from onnx import NodeProto

from ..errors import Unliftable
from ..ops import Op, names_of
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
    unary,
    views,
)
from .joined import materialised
from .operands import resolve
from .registry import RULES, rule_for
from .rewriter import Rewriter
from .shared import Names, Repeated, RunTime, Shared, Side

__all__ = ["RULES", "lift"]

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
    if plan.model.opset < OLDEST_OPSET:
        raise Unliftable(
            f"opset {plan.model.opset} is older than {OLDEST_OPSET} and broadcasts differently; "
            "convert the model with onnx.version_converter first",
            str(plan.head[0]) if plan.head else None,
        )
    names = Names(names_of(plan.model))
    shared = Shared(plan, names)
    outputs = set(plan.model.outputs)
    starts: dict[str, Op] = {}
    for op in plan.head:
        start = next((starts[name] for name in op.reads() if name in starts), op)
        rewriter = Rewriter(op, shared, start)
        starts |= {name: start for name in op.outputs if name}
        results = _apply(rewriter, start, plan, shared)
        for name, value in zip(op.outputs, results, strict=False):
            if name:
                shared.rewrite.values[name] = _settle(rewriter, shared, name, value, name in outputs)
                _note_shape(shared, name, value)
        if rewriter.emitted and op.name:
            rewriter.emitted[-1].name = op.name
        shared.rewrite.replaced[op.index] = rewriter.emitted
    return shared.rewrite


def _apply(rewriter: Rewriter, start: Op, plan: Plan, shared: Shared) -> tuple[Windowed, ...]:
    op = rewriter.op
    rule = rule_for(op, start)
    op.refuse_if(op.captured, "contains a subgraph that reads the head")
    entry = RULES[op.kind]
    operands = [resolve(rewriter, name, plan, shared) for name in op.inputs]
    for i, operand in enumerate(operands):
        if isinstance(operand, RunTime) and entry.beside and (i > 1 or entry.family != "linear"):
            row = plan.constants.row(operand.name)
            operands[i] = operand = Repeated(rewriter.frozen(row)) if row else operand
        if isinstance(operand, RunTime) and entry.family != "view":
            raise op.refuse(f"its input '{operand.name}' is computed at run time, not a constant")
        if isinstance(operand, Side) and not entry.beside:
            raise op.refuse(f"its input '{operand.name}' is neither a constant nor computed from the image")
    if not entry.beside:
        operands = [materialised(rewriter, x) if isinstance(x, Windowed) else x for x in operands]
    if not entry.scaled:
        operands = [rewriter.read(x) if isinstance(x, Windowed) and x.affine else x for x in operands]
    try:
        results = rule(rewriter, *operands)
    except (TypeError, AttributeError, ValueError, IndexError, KeyError) as e:
        raise op.refuse(f"its operands or attributes are not of the kinds that are lifted ({e})") from e
    return results if isinstance(results, tuple) else (results,)


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
