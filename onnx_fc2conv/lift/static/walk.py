"""Lifting where no size changes: every FC node becomes a Conv, and all around it stays as it is.

One pass over the nodes, in topological order. An FC takes the value in front of it as a value of one cell (``cells``)
and is lifted by its rule. What follows keeps that form as long as another FC is behind it and its rule applies; an
operator that has no rule, or whose rule refuses, is left alone and reads the restored value. So nothing is refused
here but the model that has no FC to convert.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from onnx import NodeProto

from ...emitter import Names
from ...errors import BatchBaked, NothingToConvert, Unliftable
from ...ops import VIEWS, Op
from ...plan import FeatureMap, Plan
from ...rewrite import Rewrite, Windowed
from ..applying import applied
from ..registry import RULES
from ..shared import Shared
from .cells import CellRewriter, restored
from .dynamic import DYNAMIC, quantised_dynamically
from .forms import Cell, Form, Operands

CONVS = frozenset("Conv ConvInteger QLinearConv".split())
POSITIONS = frozenset(("positions made by an FC", "pool over the window"))  #: families that are left as they are
#: families that do the same to a value whatever the sizes of its other axes are, and what they may then emit
ANY_SIZE = frozenset(("elementwise", "elementwise, broadcasting", "quantise", "linear", "quantised linear"))
FIXED_SIZE = frozenset("Reshape Expand Gather Slice Concat Shape MatMul Einsum AveragePool MaxPool".split())
FORMS: tuple[Form, ...] = ("carried", "last", "before last", "images", "blocks")  #: of an FC's operand, best first


def lift_static(plan: Plan, one_image: bool = True) -> tuple[Plan, Rewrite]:
    """Convert every FC node that can be.

    Args:
        plan: the head is the FC nodes that have a constant weight.
        one_image: leave alone what makes sense for a batch of one only.

    Returns:
        The plan with what was found (the maps and vectors that FC nodes read, all nodes that were replaced, the FC
        nodes that are left and why), and the rewrite, which holds no value: each has its old name and shape.

    Raises:
        NothingToConvert: there is none; the error names the first, and why.
        BatchBaked: a view makes sense for a batch of one only, and is not to be left alone.
    """
    walk = _walked(plan, _leading_to(plan))
    if walk.baked is not None and not one_image:
        raise walk.baked
    if not walk.converted:
        node, reason = next(iter((plan.left | walk.left).items()))
        raise NothingToConvert(f"no fully connected node can become a Conv: {reason}", node)
    used = walk.used()
    if used < walk.carried:  # what no FC reads in the end is better left alone
        walk = _walked(plan, used)
    rewrite = walk.finish()
    head = [op for op in plan.model.ops if op.index in rewrite.replaced]
    return replace(plan, maps=walk.cuts, cuts=list(walk.cuts), head=head, left=plan.left | walk.left), rewrite


def _walked(plan: Plan, leading: set[int]) -> _Walk:
    walk = _Walk(plan, leading)
    for op in plan.model.ops:
        walk.visit(op)
    return walk


class _Walk:
    """The pass, and what it has found so far.

    Attributes:
        cuts: the values that FC nodes, and views in front of them, read.
        left: FC nodes that stay as they are, and why.
        converted: how many became Convs.
        carried: positions of the nodes between them that are lifted.
        baked: the first view that makes sense for a batch of one only.
    """

    def __init__(self, plan: Plan, leading: set[int]) -> None:
        self._plan, self._leading = plan, leading
        self._shared = Shared(plan, Names(plan.model.names))
        self._products = {op.index for op in plan.head}
        self._forms: dict[int, Form] = {}
        self._cells: dict[str, Cell] = {}
        self._rewriters: dict[int, CellRewriter] = {}
        self.cuts: dict[str, FeatureMap] = {}
        self.left: dict[str, str] = {}
        self.converted = 0
        self.carried: set[int] = set()
        self.baked: BatchBaked | None = None

    def visit(self, op: Op) -> None:
        """Convert the node, carry its value on, or leave it."""
        if op.index in self._products:
            self._convert(op)
        elif op.index in self._leading:
            reads = [name for name in op.inputs if name in self._cells]
            starts = not reads and (op.op_type in VIEWS or op.op_type == "Transpose") and op.standard
            if any(self._cells[name].stays for name in reads) or starts:
                self._carry(op)

    # -- FC nodes ------------------------------------------------------------------------------------------------------

    def _convert(self, op: Op) -> None:
        reason, baked = "", None
        cells = any(name in self._cells and self._cells[name].stays for name in op.inputs)
        for form in FORMS if cells else FORMS[1:]:
            try:
                self._attempt(op, form)
            except Unliftable as e:
                reason = reason or e.reason
                baked = baked or (e if isinstance(e, BatchBaked) else None)
                continue
            self.converted += 1
            self._forms[op.index] = form
            return
        self.left[str(op)] = reason
        self.baked = self.baked or baked

    # -- what is between them ------------------------------------------------------------------------------------------

    def _carry(self, op: Op) -> None:
        try:
            self._attempt(op, "between")
        except BatchBaked as e:
            self.baked = self.baked or e
        except Unliftable:
            pass  # it stays as it is, and reads what it always read
        else:
            self.carried.add(op.index)

    def used(self) -> set[int]:
        """Of the nodes between, those whose lifted values an FC reads."""
        read, found = set[str](), set[int]()
        for op in reversed(self._plan.model.ops):
            carried = op.index in self.carried and any(name in read for name in op.outputs)
            found |= {op.index} if carried else set()
            if carried or self._forms.get(op.index) == "carried":
                read |= set(op.inputs)
        return found

    # -- both ----------------------------------------------------------------------------------------------------------

    def _attempt(self, op: Op, form: Form) -> None:
        """Lift one node, its operands in this form.

        Raises:
            Unliftable: that does not go; nothing has changed.
        """
        known = dict(self._shared.spent), dict(self._shared.reshaped)
        try:
            op.refuse_if(op.captured, "contains a subgraph")
            operands = Operands(self._plan, self._shared, self._cells, op, form)
            rewriter = CellRewriter(op, self._shared, op)
            rewriter.batch = operands.batch
            resolved = operands.resolved(rewriter)
            dynamic = op.kind == DYNAMIC
            results = (
                quantised_dynamically(rewriter, resolved[0]) if dynamic else applied(rewriter, op, resolved, self._plan)
            )
            cells = self._accepted(op, rewriter, operands, results)
        except Unliftable:
            self._shared.spent, self._shared.reshaped = known
            raise
        self._cells |= cells
        self._rewriters[op.index] = rewriter
        self.cuts |= {m.name: m for m in operands.opened if m.name not in self.cuts}

    def _accepted(
        self, op: Op, rewriter: CellRewriter, operands: Operands, results: tuple[Windowed, ...]
    ) -> dict[str, Cell]:
        """The results, if they are worth having.

        Raises:
            Unliftable: they are not: of more axes than the original's, or with a copy of the weights for each row.
        """
        is_product = op.index in self._products
        if is_product:
            convs = [node for node in rewriter.emitted if node.op_type in CONVS]
            groups = {a.i for node in convs for a in node.attribute if a.name == "group"}
            op.refuse_if(not groups, "is not lifted as a Conv")
            copies = groups != {1} and (operands.form != "blocks" or not operands.has_stack)
            op.refuse_if(copies, "would need a copy of its weights for each row")
        if operands.any_size:
            fixed = any(node.op_type in FIXED_SIZE for node in rewriter.emitted)
            op.refuse_if(fixed or RULES[op.kind].family not in ANY_SIZE, "reads a value of a size that is not known")
        cells = {}
        for name, value in zip(op.outputs, results, strict=False):
            if not name:
                continue
            flat = bool(value.unread or value.parts or len(value.features) == 1)
            stays = flat and operands.form not in ("images", "blocks")
            op.refuse_if(not is_product and not stays, "has several axes of features, so its own form is better")
            if not operands.any_size:
                self._require_shape(op, name, self._shape_of(value, operands))
            cells[name] = Cell(value, operands.batch, operands.any_size, stays, operands.rows)
            if not self._shared.shapes.elem_types.get(name):
                self._shared.shapes.elem_types[name] = value.elem_type
        return cells

    def _shape_of(self, value: Windowed, operands: Operands) -> tuple[int, ...]:
        """The shape that the value has once it is restored."""
        if operands.rows:
            return (operands.batch // prod(operands.rows), *operands.rows, *value.features)
        return value.layout.shape(value.features, operands.batch)

    def _require_shape(self, op: Op, name: str, found: tuple[int, ...]) -> None:
        """What was lifted has the shape that ONNX infers for the original, at both batch sizes."""
        known = self._shared.shapes.of(name)
        op.refuse_if(
            known is not None and known != found, "ONNX infers another shape for its result than a Conv would give"
        )
        other = self._plan.other_batch.of(name) if self._plan.other_batch else None
        same = other is None or (
            len(other) == len(found) and sum(a != b for a, b in zip(other, found, strict=True)) <= 1
        )
        op.refuse_if(not same, "has a result of which several dims follow the batch")

    # -- the end -------------------------------------------------------------------------------------------------------

    def finish(self) -> Rewrite:
        """Restore what other nodes and the outputs read, from the last node to the first."""
        rewrite, model = self._shared.rewrite, self._plan.model
        needed = set(model.outputs)
        for op in reversed(model.ops):
            rewriter = self._rewriters.get(op.index)
            wanted = [name for name in op.outputs if name in needed]
            if rewriter is None:
                unused = not any(name in model.consumers for name in op.outputs)
                needed |= set(op.reads()) if wanted or unused else set()
                continue
            if not all(self._restore(rewriter, name) for name in wanted if name in self._cells):
                rewrite.replaced[op.index] = [_original(self._plan, op)]
                needed |= set(op.reads())
                continue
            _name_like(op, rewriter.emitted)
            rewrite.replaced[op.index] = rewriter.emitted
            needed |= {name for node in rewriter.emitted for name in node.input}
        return rewrite

    def _restore(self, rewriter: CellRewriter, name: str) -> bool:
        """Emit what makes the plain value of a cell; false if the original node is as good."""
        cell, before = self._cells[name], len(rewriter.emitted)
        rewriter.batch = cell.batch
        self._shared.spent = {}  # what was made for nodes behind this one is not there yet
        if cell.rows:
            made = rewriter.shaped(cell.value.tensor, [-1, *cell.rows, *cell.value.features])
        else:
            made = restored(rewriter, cell.value)
        starts = not any(read in self._cells for read in rewriter.op.reads())
        if not before and (starts or len(rewriter.emitted) > 1):
            rewriter.emitted.clear()
            return False
        last = rewriter.emitted[-1]
        assert last.output[0] == made
        last.output[0] = name
        return True


def _leading_to(plan: Plan) -> set[int]:
    """The nodes whose value goes into an FC, through nothing but operators that have a rule."""
    products, wanted, found = {op.index for op in plan.head}, set[str](), set[int]()
    for op in reversed(plan.model.ops):
        entry = RULES.get(op.kind)
        passes = entry is not None and entry.rule is not None and entry.family not in POSITIONS
        if op.index in products:
            wanted |= set(op.inputs)
        elif (passes or op.kind == DYNAMIC) and any(name in wanted for name in op.outputs):
            found.add(op.index)
            wanted |= set(op.inputs)
    return found


def _original(plan: Plan, op: Op) -> NodeProto:
    node = NodeProto()
    node.CopyFrom(plan.model.proto.graph.node[op.index])
    return node


def _name_like(op: Op, emitted: list[NodeProto]) -> None:
    """Give the node that does the work the name of the one that it replaces."""
    if not op.name or not emitted:
        return
    same = [node for node in emitted if node.op_type in CONVS or node.op_type == op.op_type]
    (same or emitted)[-1].name = op.name
