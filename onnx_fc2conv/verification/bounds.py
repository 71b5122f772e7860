"""How much arithmetic stands behind an answer: what tolerances and sample sizes are derived from."""

from __future__ import annotations

from math import prod

from ..conversion import Conversion
from ..ops import FULLY_CONNECTED, Op
from ..plan import Plan

WORK = 2**33  #: multiplications that one check may spend on answers of the original
MIN_CELLS, MAX_CELLS = 64, 1024


class Bounds:
    """Sums and multiplications of a model, from static shapes.

    Attributes:
        head_terms, head_nodes: products in all sums of the heads, one after the other, and their nodes.
        all_terms, all_nodes: the same with the backbone.
    """

    def __init__(self, conversion: Conversion) -> None:
        plan = conversion.plan
        head = {op.index for op in plan.head}
        terms = {op.index: _terms(op, plan) for op in plan.model.ops}
        self.head_terms = sum(terms[i] for i in head)
        self.head_nodes = len(head)
        self.all_terms = sum(terms.values())
        self.all_nodes = len(plan.model.ops)
        work = {op.index: terms[op.index] * _results(op, plan) for op in plan.model.ops}
        self._head_work = sum(work[i] for i in head)
        self._all_work = sum(work.values())

    def window_cells(self) -> int:
        """How many windows a check may run the original head on."""
        return _limit(self._head_work)

    def crop_cells(self) -> int:
        """How many image crops a check may run the whole original on."""
        return _limit(self._all_work)


def _limit(work: int) -> int:
    return min(max(WORK // max(work, 1), MIN_CELLS), MAX_CELLS)


def _terms(op: Op, plan: Plan) -> int:
    """Products in one sum of this node."""
    if op.op_type in FULLY_CONNECTED and len(op.inputs) > 1:
        shape = plan.shapes.of(op.inputs[1])
        return (shape[1] if op.attr("transB", 0) else shape[0]) if shape and len(shape) == 2 else 1
    if "Conv" in op.op_type and len(op.inputs) > 1:
        shape = plan.shapes.of(op.inputs[3 if op.op_type == "QLinearConv" else 1])
        return prod(shape[1:]) if shape else 1
    return 0


def _results(op: Op, plan: Plan) -> int:
    shape = plan.shapes.of(op.outputs[0]) if op.outputs else None
    return prod(shape) if shape else 1
