"""Elementwise operators of one operand: they do to a lifted value, read or unread, what they do to the vector."""

from __future__ import annotations

from dataclasses import replace

from ..ops import UNARY, Array
from ..rewrite import Windowed
from .registry import lifts
from .rewriter import Operand, Rewriter


@lifts(*UNARY, family="elementwise", beside=True)
def lift_unary(op: Rewriter, x: Windowed) -> Windowed:
    """The same operator with the same attributes, on all windows at once, or on each of several parts."""
    elem_type = op.out_type()
    if x.parts:
        return replace(x, parts=tuple(part.on(op.again(part), elem_type) for part in x.parts), elem_type=elem_type)
    return x.on(op.again(x), elem_type)


@lifts("Dropout", family="elementwise")
def lift_dropout(op: Rewriter, x: Windowed, ratio: Operand = None, training: Operand = None) -> tuple[Windowed, ...]:
    """At inference Dropout passes its input on, and its mask is all true."""
    op.refuse_if(op.attr("is_test", 1) == 0, "is in training mode")
    if training is not None:
        op.refuse_if(not isinstance(training, Array) or bool(training.values.ravel()[0]), "is in training mode")
    extras: list[Array | None] = []
    if op.since >= 12 and (ratio is not None or training is not None):
        extras = [e if isinstance(e, Array) else None for e in (ratio, training)]
        extras = extras if extras[1] is not None else extras[:1]
    outputs = 2 if len(op.op.outputs) > 1 and op.op.outputs[1] else 1
    first = op.again(x, *extras, outputs=outputs)
    if outputs == 1:
        return (x.on(first),)
    return x.on(first), x.on(op.emitted[-1].output[1], op.out_type(1))
