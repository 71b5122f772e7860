"""How much arithmetic stands behind an answer: what tolerances and sample sizes are derived from."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from onnx import TensorProto

from ..conversion import Conversion
from ..dtypes import STEPS
from ..ops import FULLY_CONNECTED, Op
from ..plan import Plan

MAX_CELLS = 1024
POOLS = frozenset(("AveragePool", "LpPool", "MaxPool"))


@dataclass(frozen=True)
class Budget:
    """What one check may spend on answers of the original.

    Attributes:
        work: multiplications in all.
        min_cells: answers that are compared whatever they cost.
        pool, node: multiplications that take as long as one result of a pool, and as calling a node.
    """

    work: int
    min_cells: int
    pool: int = 0
    node: int = 0


#: by runtime; onnx.reference was measured at some 2**27.5 multiplications a second, with pools that are Python loops
BUDGETS = {"onnxruntime": Budget(2**33, 64), "reference": Budget(2**29, 9, pool=2**11, node=2**12)}


QUANTISING = frozenset("QuantizeLinear QLinearConv QLinearMatMul QGemm".split())


@dataclass(frozen=True)
class Steps:
    """Which rounding to steps a part of a model does.

    Attributes:
        nodes: nodes that quantise.
        values: values behind a sum that they quantise for one answer; others are equal to the last bit.
        coarsest, finest: their steps, relative to a range; 0 where there is none.
    """

    nodes: int
    values: int
    coarsest: float
    finest: float

    @classmethod
    def of(cls, ops: list[Op], plan: Plan) -> Steps:
        """The steps of these nodes; those that quantise constants do not count."""
        static = plan.constants.static
        found = [op for op in ops if _quantises(op) and op.outputs[0] not in static]
        steps = [STEPS.get(plan.shapes.elem_types.get(op.outputs[0], 0), STEPS[TensorProto.UINT8]) for op in found]
        summed = _behind_sums(ops)
        values = sum(_results(op, plan) for op in found if op.index in summed) // max(plan.shapes.batch, 1)
        return cls(len(found), values, max(steps, default=0.0), min(steps, default=0.0))


def _behind_sums(ops: list[Op]) -> set[int]:
    """The nodes that sum, and all that depend on one of them."""
    names, found = set[str](), set[int]()
    for op in ops:
        if op.op_type in FULLY_CONNECTED or "Conv" in op.op_type or any(name in names for name in op.reads()):
            names |= set(op.outputs)
            found.add(op.index)
    return found


def _quantises(op: Op) -> bool:
    return op.op_type in QUANTISING or op.op_type.startswith("QLinear")


class Bounds:
    """Sums and multiplications of a model, from static shapes.

    Attributes:
        head_terms, head_nodes: products in all sums of the heads, one after the other, and their nodes.
        all_terms, all_nodes: the same with the backbone.
        head_steps, all_steps: what is quantised in the heads, and in the whole model.
        in_integers: whether a runtime may compute some of it in integers once it is optimised: it quantises, or has
            weights that are stored as integers (onnxruntime 1.32 makes a product with int8 weights a MatMulNBits, which
            quantises the other operand too).
    """

    def __init__(self, conversion: Conversion) -> None:
        plan = conversion.plan
        head = {op.index for op in plan.head}
        terms = {op.index: _terms(op, plan) for op in plan.model.ops}
        self.head_terms = sum(terms[i] for i in head)
        added = conversion.rewrite.additions * len(head)
        self.head_nodes = len(head) + added
        self.all_terms = sum(terms.values())
        self.all_nodes = len(plan.model.ops) + added
        self.head_steps = Steps.of(plan.head, plan)
        self.all_steps = Steps.of(plan.model.ops, plan)
        self.in_integers = self.all_steps.nodes > 0 or any(op.op_type == "DequantizeLinear" for op in plan.model.ops)
        self._budget = budget = BUDGETS[plan.runtime]
        work = {op.index: _work(terms[op.index], op, plan, budget) for op in plan.model.ops}
        self._head_work = sum(work[i] for i in head)
        self._all_work = sum(work.values())

    def window_cells(self) -> int:
        """How many windows a check may run the original head on."""
        return self._limit(self._head_work)

    def crop_cells(self) -> int:
        """How many image crops a check may run the whole original on."""
        return self._limit(self._all_work)

    def _limit(self, work: int) -> int:
        return min(max(self._budget.work // max(work, 1), self._budget.min_cells), MAX_CELLS)


def _work(terms: int, op: Op, plan: Plan, budget: Budget) -> int:
    """Multiplications that one run of this node costs, or is worth."""
    return (terms + (budget.pool if op.op_type in POOLS else 0)) * _results(op, plan) + budget.node


def _terms(op: Op, plan: Plan) -> int:
    """Products in one sum of this node."""
    if op.op_type == "Einsum":
        return max((prod(plan.shapes.of(name) or ()) for name in op.inputs if name in plan.constants.static), default=1)
    if op.op_type in FULLY_CONNECTED:
        shape = plan.shapes.of(op.inputs[0])
        return (shape[0] if op.attr("transA", 0) else shape[-1]) if shape else 1
    if "Conv" in op.op_type and len(op.inputs) > 1:
        shape = plan.shapes.of(op.inputs[3 if op.op_type == "QLinearConv" else 1])
        return prod(shape[1:]) if shape else 1
    return 0


def _results(op: Op, plan: Plan) -> int:
    shape = plan.shapes.of(op.outputs[0]) if op.outputs else None
    return prod(shape) if shape else 1
