"""From node to node: which step takes its place, or why it stays on the original form of its values."""

from __future__ import annotations

from collections.abc import Iterator

from ... import dtypes
from ...errors import Unliftable
from ...ops import Model, Op
from ..convolution import CONVS
from ..lowering import Product
from ..selection import Selection
from . import elementwise, joining, moves, products
from .elementwise import ELEMENTWISE
from .linear import Linear
from .products import Known
from .reading import Reading
from .refused import reason_of
from .steps import Activated, Flattened, Multiplied, Step
from .vectors import Vector, Vectors

#: what a dense form is made for; sums, and FC nodes, become matrices beside one of these only
ASKED_FOR = CONVS | {"AveragePool", "FusedConv", "ConvTranspose", "GlobalAveragePool"}
SPATIAL_DIMS = 3  #: dims, without the first, of a picture
GEMM_TYPES = frozenset(("float16", "float32", "float64", "bfloat16"))


class Walk:
    """All nodes of a model, in order.

    Attributes:
        vectors: the flat values.
        left: convolutions that stay, by title, and why.
    """

    def __init__(self, model: Model, known: Known, selection: Selection, strict: bool) -> None:
        self.model, self.known, self.selection, self.strict = model, known, selection, strict
        self.vectors = Vectors(model, known, strict)
        self.left: dict[str, str] = {}
        self._reasons: dict[str, str] = {}

    def run(self) -> None:
        """Visit every node that an output depends on, and that depends on an input.

        Raises:
            Unliftable: the size of a map is not known, or with ``strict``, a node is no product and not elementwise.
        """
        for op in self._needed():
            usual = (op.standard or products.is_product(op)) and not op.captured and not self._more_outputs(op)
            if not (usual and self._visit(op)):
                self._stay(op)
            for name in set(op.outputs) & set(self.model.outputs):
                self.vectors.close(op, name)
        self.vectors.prune()

    def _needed(self) -> list[Op]:
        needed, found, static = set(self.model.outputs), list[Op](), self.known.constants.static
        for op in reversed(self.model.ops):
            if needed.intersection(op.outputs):
                needed.update(op.reads())
                found += [] if all(name in static for name in op.outputs if name) else [op]
        return found[::-1]

    def _more_outputs(self, op: Op) -> bool:
        """True if more than the first output is used, of a node that has no place for more in another form."""
        used = any(name and (name in self.model.consumers or name in self.model.outputs) for name in op.outputs[1:])
        return used and op.op_type != "Split"

    def _visit(self, op: Op) -> bool:
        """Give a node a step, or a reading; False if it stays."""
        if op.op_type in products.RULES:
            return self._product(op)
        if op.op_type in moves.VIEWS:
            dims = moves.view_of(op, self.known)
            if dims is None or self.vectors.of(op.inputs[0]) is None:
                return False
            self.vectors.view(op, dims)
            return True
        if op.op_type in moves.MOVES or op.op_type == "Pad":
            return self._moved(op)
        if op.op_type == "Concat":
            return joining.side_by_side(self.vectors, op)
        return self._scaled(op) or (op.op_type in ELEMENTWISE and elementwise.on_flat(self.vectors, op))

    def _stay(self, op: Op) -> None:
        """A node stays; with ``strict``, only one that computes each feature by itself may."""
        if self.strict and not (op.standard and op.op_type in ELEMENTWISE | moves.VIEWS | moves.MOVES):
            raise op.refuse(self._reasons.get(str(op)) or reason_of(op))

    # -- products ------------------------------------------------------------------------------------------------------

    def asked_for(self) -> Iterator[Product]:
        """What the products that a dense form is made for cost, if nothing is folded into them; from the shapes alone.

        Raises:
            Unliftable: the size of a map is not known.
        """
        for op in self._needed():
            linear = self._linear(op) if op.op_type in ASKED_FOR and products.is_product(op) else None
            if linear is not None:
                elem_type = self.known.shapes.elem_types[op.inputs[0]]
                base = Flattened(linear.rows, elem_type, op.inputs[0], (linear.rows,))
                yield Multiplied(linear.columns, elem_type, op, linear, base, Reading()).product()

    def _linear(self, op: Op) -> Linear | None:
        """The matrix that a node is; ``None`` if it stays, for a reason that is noted."""
        reason = self.selection.reason_to_leave(op, False) or self._reason_to_leave(op)
        if reason is None:
            try:
                products.activation(op)
                return products.RULES[op.op_type](op, self.known)
            except Unliftable as e:
                reason = e.reason
        self._reasons[str(op)] = reason
        self.left |= {str(op): reason} if "Conv" in op.op_type else {}
        return None

    def _product(self, op: Op) -> bool:
        linear, name = self._linear(op), op.inputs[0]
        if linear is None:
            return False
        vector = self.vectors.of(name)
        assert vector is not None
        if not self.strict and _is_costly(linear, vector, op):
            return False
        if vector.reading.repeats:
            self.vectors.flat(op, name)
            vector = self.vectors.of(name)
            assert vector is not None
        elem_type = self.known.shapes.elem_types[name]
        step = Multiplied(linear.columns, elem_type, op, linear, vector.base, vector.reading, carried=vector.carried)
        kind, attributes = products.activation(op)
        if kind:
            self.vectors.place(op, vector.base)
        last: Step = Activated(step.size, elem_type, step, kind, attributes) if kind else step
        self.vectors.compute(op, last, self.known.dims(op.outputs[0]))
        return True

    def _reason_to_leave(self, op: Op) -> str | None:
        """Why a product cannot be one with an explicit matrix, apart from what its own rule says.

        Raises:
            Unliftable: the size of its map is not known.
        """
        name = op.inputs[0]
        if self.known.shapes.of(name) is None or self.known.shapes.of(op.outputs[0]) is None:
            if "Conv" in op.op_type:
                raise op.refuse("the size of its map is not known, and its matrix is for one size; give it with --size")
            return "the size of its input is not known"
        elem_type = dtypes.name_of(self.known.shapes.elem_types.get(name, 0))
        if elem_type not in GEMM_TYPES:
            return f"computes with {elem_type}"
        if self.vectors.of(name) is None:
            return "its input is constant, or has no row for each image"
        return None

    # -- values that are only read differently -------------------------------------------------------------------------

    def _moved(self, op: Op) -> bool:
        vector = self.vectors.of(op.inputs[0])
        try:
            found = None if vector is None else moves.places_of(op, self.model, self.known)
        except Unliftable:
            return False
        if vector is None or found is None:
            return False
        alone = self.vectors.alone(op.inputs[0]) and len(found) == 1
        for output, (places, dims, fill) in zip(op.outputs, found, strict=False):
            if output:
                reading = vector.reading.moved(places, fill)
                self.vectors.reads(op, output, Vector(vector.base, dims, reading, alone, vector.carried))
        return True

    def _scaled(self, op: Op) -> bool:
        shape = self.known.shapes.of(op.outputs[0])
        if not shape or dtypes.name_of(self.known.shapes.elem_types.get(op.outputs[0], 0)) not in GEMM_TYPES:
            return False
        dims = shape[1:]
        found = moves.affine_of(op, self.known, dims)
        vector = self.vectors.of(found[0]) if found else None
        if found is None or vector is None or len(vector.dims) != len(dims):
            return False
        name, scale, shift = found
        reading = vector.reading
        if vector.dims != dims:
            reading = reading.moved(elementwise.spread(vector.dims, dims))
        carried = vector.carried + sum(
            products.stored_bytes(a, None) for n in op.inputs if n and (a := self.known.constants.get(n)) is not None
        )
        after = Vector(vector.base, dims, reading.scaled(scale, shift), self.vectors.alone(name), carried)
        self.vectors.reads(op, op.outputs[0], after)
        return True


def _is_costly(linear: Linear, vector: Vector, op: Op) -> bool:
    """True for what is no FC over all features, and does not stand between such: on each token, or inside of a norm."""
    norm = op.op_type.startswith("Reduce") and len(vector.dims) < SPATIAL_DIMS and not vector.base.computed
    return linear.tokens > 1 or norm
