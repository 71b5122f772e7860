"""What the explicit matrices are going to be, before any of them is made; and then they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx import NodeProto

from ... import shapes
from ...constants import Constants
from ...emitter import Emitter
from ...errors import Unliftable
from ...ops import Model, Op
from ..lowering import Lowering, Product
from ..selection import Selection
from .left import others
from .products import Known, is_product
from .steps import Multiplied, Step, roundings
from .vectors import Slot, Vectors
from .walk import Walk

#: bytes; a plan also knows each feature's scale and place, which takes long where such matrices have their features
HOPELESS = 2**40


@dataclass(frozen=True)
class Estimate:
    """A model as a chain of dense products, planned.

    Attributes:
        products: one for each Gemm that is made, in the order of the model; none if there is no convolution and no pool
            that takes means.
        bytes: of everything that is made: matrices, biases, and numbers that are spelled out for each feature.
        left: convolutions that stay, by title, and why.
    """

    products: list[Product]
    bytes: int
    left: dict[str, str]
    _vectors: Vectors | None = field(repr=False)

    def build(self) -> Lowering:
        """Make the matrices, one after the other, and the nodes that use them.

        Raises:
            Unliftable: they are too large for any machine.
        """
        lowering = Lowering(products=self.products, left=self.left)
        if self._vectors is None:
            if self.products:
                raise Unliftable(f"explicit matrices of {self.bytes} bytes and more are too large to be made")
            return lowering
        model = self._vectors.model
        lowering.roundings = roundings(_steps(self._vectors))
        emitter = Emitter(model, lowering.rewrite)
        renamed: dict[str, str] = {}
        for op in model.ops:
            slot = self._vectors.slots.get(op.index)
            if slot is not None:
                _write(emitter, op, slot, renamed)
                _rename(lowering.rewrite.replaced[op.index], renamed)
            elif any(name in renamed for name in op.inputs):
                node = _stored(model, op)
                _rename([node], renamed)
                lowering.rewrite.replaced[op.index] = [node]
        return lowering


def plan(model: Model, known: shapes.Shapes, constants: Constants, selection: Selection, strict: bool) -> Estimate:
    """Decide what becomes of every node, and what it costs; nothing large is read or made.

    Args:
        model: the model.
        known: its shapes, with every size fixed.
        constants: its constants.
        selection: which products are asked for.
        strict: whether nothing may be left but products with a matrix and elementwise nodes.

    Raises:
        UsageError: the selection names a node that there is not.
        Unliftable: the size of a map is not known, or what ``strict`` asks for cannot be.
    """
    selection.require_known(op for op in model.ops if is_product(op))
    walk = Walk(model, Known(known, constants), selection, strict)
    asked_for = list(walk.asked_for())
    walk.left |= others(model)
    total = sum(product.bytes_after for product in asked_for)
    if not asked_for or total > HOPELESS:
        return Estimate(asked_for, total, walk.left, None)
    walk.run()
    steps = _steps(walk.vectors)
    products = [step.product() for step in steps if isinstance(step, Multiplied) and not step.untouched]
    return Estimate(products, sum(step.bytes for step in steps), walk.left, walk.vectors)


def _steps(vectors: Vectors) -> list[Step]:
    """All steps, in order."""
    slots = [vectors.slots.get(op.index) for op in vectors.model.ops]
    return [step for slot in slots if slot for step in slot.steps]


def _write(emitter: Emitter, op: Op, slot: Slot, renamed: dict[str, str]) -> None:
    """Emit what takes the place of a node; its result keeps its name, or is read under another from here on."""
    emitter.begin(op)
    for step in slot.steps:
        step.write(emitter)
    result, output = slot.result, op.outputs[0]
    if result is None:
        if slot.stays:
            emitter.again(op, op.inputs, op.outputs)
        emitter.finish(named=False)
    elif len(slot.dims) != 1:
        emitter.finish(emitter.reshape(result.tensor, [0, *slot.dims]), named=False)
    else:
        emitter.finish(result.tensor, named=False)
        if result in slot.steps:
            result.tensor = output
        else:
            renamed[output] = result.tensor


def _stored(model: Model, op: Op) -> NodeProto:
    node = NodeProto()
    node.CopyFrom(model.proto.graph.node[op.index])
    return node


def _rename(nodes: list[NodeProto], renamed: dict[str, str]) -> None:
    """Let nodes read flat values under the name that they have, instead of through an Identity."""
    for node in nodes:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
