"""What is known before any image is read: weights, however they are reached, and arithmetic on shapes.

Constant nodes and chains of view and shape operators are evaluated by ONNX's own reference evaluator, one node at
a time and only when somebody asks. A number that was computed from a ``Shape`` may depend on the batch size; each
is therefore evaluated for two batch sizes, and in the backbone for other image sizes, and only what agrees counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from .errors import Unliftable
from .inference import infer_node
from .ops import BROADCASTING, REDUCTIONS, UNARY, VIEWS, Array, Model, Op
from .shapes import SMALL, Shapes

FOLDABLE = (
    UNARY
    | BROADCASTING
    | REDUCTIONS
    | VIEWS
    | frozenset(
        """BatchNormalization Concat ConstantOfShape CumSum DequantizeLinear Einsum Expand EyeLike Gather GatherElements
        GatherND Gemm LayerNormalization LpNormalization MatMul Pad QuantizeLinear Range ScatterElements ScatterND Shape
        Size Slice Softmax Split Tile Transpose Trilu""".split()
    )
)
#: Operators that onnx.reference knows from a later opset only, which computes the same for what there was before.
EVALUATED_AS = {"BatchNormalization": 15, "DequantizeLinear": 19, "QuantizeLinear": 19}
ALIKE = frozenset(("com.microsoft.DequantizeLinear", "com.microsoft.QuantizeLinear"))  #: as those of opset 21
FOLDABLE_FROM = {"Softmax": 13}  #: operators that computed something else before, which onnx.reference does not know
MAX_ELEMENTS = 2**29
MAX_COMPARED = 2**24  #: elements of a constant that is evaluated at another size, for comparison only
TRAINED, OTHER_BATCH, OTHER_SIZES = 0, 1, 2  #: what shape arithmetic is evaluated for; the sizes count on from there


class Constants:
    """Lazy evaluation of the model's constants.

    Attributes:
        static: names of all values that do not depend on the image.
        measured: of those, the ones that come from a ``Shape``.
        any_batch: whether the batch is symbolic.
    """

    def __init__(
        self, model: Model, shapes: Shapes, other_batch: Shapes | None, other_sizes: Sequence[Shapes] = ()
    ) -> None:
        """Prepare the evaluation.

        Args:
            model: the model.
            shapes: shapes at the trained size.
            other_batch: the same for another batch size, where the batch is symbolic.
            other_sizes: the same for larger images.
        """
        self._model = model
        self._shapes = {TRAINED: shapes}
        if other_batch is not None:
            self._shapes[OTHER_BATCH] = other_batch
        self.any_batch = other_batch is not None
        self._sizes = list(range(OTHER_SIZES, OTHER_SIZES + len(other_sizes)))
        self._far = {p for p, other in zip(self._sizes, other_sizes, strict=True) if _is_far(model, shapes, other)}
        self._shapes |= dict(zip(self._sizes, other_sizes, strict=True))
        self._memo: dict[tuple[str, int], Array | None] = {}
        self.static = set(model.constants)
        self.measured: set[str] = set()
        self._classify()
        for probe in self._shapes:
            self._complete(probe)

    def _complete(self, probe: int) -> None:
        """Shapes that ONNX's inference left open, because a target shape is computed in a way that it does not follow.

        Node by node, with the values of the operands that are known here.
        """
        shapes = self._shapes[probe]
        for op in self._model.ops:
            if op.captured or all(shapes.of(name) is not None for name in op.outputs if name):
                continue
            types = {name: shapes.type_of(name) for name in op.inputs if name}
            given = {name: t for name, t in types.items() if t is not None}
            if len(given) < len(types):
                continue
            known = {name: self._value(name, probe) for name in given if name in self.static and _small(shapes, name)}
            data = {name: onnx.numpy_helper.from_array(a.values, name) for name, a in known.items() if a is not None}
            shapes.note(infer_node(op, self._model, given, data))

    def _classify(self) -> None:
        """Fill ``static`` (independent of the image) and ``measured`` (of those, what comes from a ``Shape``)."""
        for op in self._model.ops:
            shape_only = op.op_type in ("Shape", "Size") and op.standard
            random = op.op_type.startswith("Random") or op.op_type in ("Multinomial", "Bernoulli")
            if shape_only or (not random and all(name in self.static for name in op.reads())):
                names = {name for name in op.outputs if name}
                self.static |= names
                if shape_only or any(name in self.measured for name in op.reads()):
                    self.measured |= names

    def get(self, name: str) -> Array | None:
        """The constant behind a value, if it is one for every batch size; else ``None``."""
        return self._agreed(name, [OTHER_BATCH])

    def fixed(self, name: str) -> Array | None:
        """The constant behind a value, if it is one for every batch size and every image size; else ``None``."""
        return self._agreed(name, [OTHER_BATCH, *self._sizes])

    def any_batch_shapes(self) -> Shapes:
        """Shapes of which a dim that depends on the batch is ``None``, as one that is not known is."""
        known, other = self._shapes[TRAINED], self._shapes.get(OTHER_BATCH)
        if other is None:
            return known
        dims = {}
        for name, shape in known.dims.items():
            there = other.dims.get(name, ())
            same = len(there) == len(shape)
            dims[name] = tuple(d if same and d == there[i] else None for i, d in enumerate(shape))
        return Shapes(known.batch, dims, known.elem_types)

    def row(self, name: str) -> Array | None:
        """The constant ``[1, ..]`` that a value repeats for each image; ``None`` if it is no such value."""
        probes = [p for p in (TRAINED, OTHER_BATCH) if p in self._shapes]
        arrays = [self._value(name, p) for p in probes]
        rows = []
        for probe, array in zip(probes, arrays, strict=True):
            if array is None or array.shape[:1] != (self._shapes[probe].batch,):
                return None
            rows += list(array.values)
        if not rows or any(not np.array_equal(row, rows[0]) for row in rows):
            return None
        return Array.of(name, np.asarray(rows[0])[None])

    def _agreed(self, name: str, probes: list[int]) -> Array | None:
        """The value, if it is the same at all of these.

        A size at which it is not known is one that the model does not take, if it is known at one that is large enough
        to change every quotient.
        """
        first = self.at_trained_size(name)
        at_sizes = 0
        for probe in probes:
            other = first if first is None or probe not in self._shapes else self._value(name, probe)
            if other is None and first is not None and probe in self._sizes:
                continue
            at_sizes += probe in self._far
            if other is not first and (other is None or first is None or not _same(first, other)):
                return None
        return first if at_sizes or not any(p in self._sizes for p in probes) else None

    def same_at_every_size(self, name: str) -> bool:
        """True for a value that may depend on the batch, but not on the image's size."""
        return self._agreed(name, self._sizes) is not None

    def at_other_sizes(self, name: str) -> list[tuple[Shapes, Array | None]]:
        """The value at each of the other sizes, with the shapes that belong to it.

        A size at which it is not known is one that the model does not take, if it is known at another size. Where it is
        known at none of them, all are there.
        """
        found = [(self._shapes[probe], self._value(name, probe)) for probe in self._sizes]
        return [(shapes, value) for shapes, value in found if value is not None] or found

    def at_other_batch(self, name: str) -> tuple[int, Array] | None:
        """Another batch size and the value there; ``None`` where there is none, or it is not known."""
        value = self._value(name, OTHER_BATCH) if OTHER_BATCH in self._shapes else None
        return None if value is None else (self._shapes[OTHER_BATCH].batch, value)

    def at_trained_size(self, name: str) -> Array | None:
        """The constant behind a value at the main batch size; numbers may contain that batch size."""
        return self._value(name, TRAINED)

    def _value(self, name: str, probe: int) -> Array | None:
        """Depth-first with an explicit stack: chains in real files are longer than Python's."""
        stack = [name]
        while stack:
            current = stack[-1]
            if (current, probe) in self._memo:
                stack.pop()
                continue
            needs = [n for n in self._operands(current) if (n, probe) not in self._memo]
            if needs:
                stack += needs
            else:
                self._memo[current, probe] = self._evaluate(current, probe)
        return self._memo[name, probe]

    def _operands(self, name: str) -> list[str]:
        op = self._model.producer.get(name)
        if name not in self.static or op is None or op.op_type in ("Shape", "Size", "Constant"):
            return []
        return [n for n in op.inputs if n]

    def _evaluate(self, name: str, probe: int) -> Array | None:
        if name in self._model.constants:
            return self._model.constants[name]
        op = self._model.producer.get(name)
        if name not in self.static or op is None or not (op.standard or op.kind in ALIKE):
            return None
        if op.op_type == "Constant":
            return self._memo[name, 0] if (name, 0) in self._memo else _constant_node(op, name)
        older = op.standard and op.since < FOLDABLE_FROM.get(op.op_type, 0)
        if op.op_type not in FOLDABLE or older or op.captured:
            return None
        if op.op_type in ("Shape", "Size"):
            return self._shape_of(op, probe)
        operands = [self._memo[n, probe] if n else None for n in op.inputs]
        if any(n and a is None for n, a in zip(op.inputs, operands, strict=True)):
            return None
        if probe and all(
            a is (self._memo.get((n, 0)) if n else None) for n, a in zip(op.inputs, operands, strict=True)
        ):
            return self._value(name, 0)  # nothing in it depends on the batch: share the result
        return _fold(op, name, operands, self._shapes[probe], probe == TRAINED)

    def _shape_of(self, op: Op, probe: int) -> Array | None:
        dims = self._shapes[probe].of(op.inputs[0])
        if dims is None:
            return None
        if op.op_type == "Size":
            return Array.of(op.outputs[0], np.array(int(np.prod(dims)), np.int64))
        return Array.of(op.outputs[0], np.array(dims[slice(op.attr("start", 0), op.attr("end"))], np.int64))


def _is_far(model: Model, trained: Shapes, other: Shapes) -> bool:
    """True if some input is at least twice as large along an axis."""
    pairs = ((trained.of(v.name), other.of(v.name)) for v in model.inputs)
    return any(b >= 2 * a for small, large in pairs if small and large for a, b in zip(small, large, strict=False))


def _small(shapes: Shapes, name: str) -> bool:
    dims = shapes.of(name)
    return dims is not None and int(np.prod(dims, dtype=object)) <= SMALL


def _constant_node(op: Op, name: str) -> Array | None:
    value = op.attr("value")
    if isinstance(value, Array):
        return Array(name, value.shape, value.elem_type, value.load, value.tensor)
    for key, dtype in (
        ("value_int", np.int64),
        ("value_ints", np.int64),
        ("value_float", np.float32),
        ("value_floats", np.float32),
    ):
        if op.attr(key) is not None:
            return Array.of(name, np.array(op.attr(key), dtype))
    return None


def _fold(op: Op, name: str, operands: list[Array | None], shapes: Shapes, needed: bool) -> Array | None:
    """The value of a node; one that is only compared (not ``needed``) is left out if it is large."""
    size = shapes.of(name)
    if size is not None and not needed and np.prod(size, dtype=object) > MAX_COMPARED:
        return None
    if size is not None and np.prod(size, dtype=object) > MAX_ELEMENTS:
        raise Unliftable(f"it computes a constant of {np.prod(size, dtype=object)} elements", str(op))
    if op.op_type in ("Expand", "ConstantOfShape", "Pad", "Range", "Tile") and size is None:
        return None  # its size is unknown, so memory is not risked
    attrs = {k: onnx.numpy_helper.from_array(v.values) if isinstance(v, Array) else v for k, v in op.attrs.items()}
    try:
        node = helper.make_node(op.op_type, op.inputs, op.outputs, **attrs)
    except ValueError:  # an empty list, whose type nothing tells
        return None
    inputs = [onnx.ValueInfoProto(name=n) for n in dict.fromkeys(op.inputs) if n]
    graph = helper.make_graph([node], "constant", inputs, [onnx.ValueInfoProto(name=name)])
    since = max(op.since, EVALUATED_AS.get(op.op_type, 0)) if op.standard else 21
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", since)])
    feeds = {n: a.values for n, a in zip(op.inputs, operands, strict=True) if a is not None}
    try:
        (result,) = ReferenceEvaluator(proto).run(None, feeds)
    except Exception:  # the evaluator does not know this case: then it is not a known constant
        return None
    return Array.of(name, np.asarray(result))


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.elem_type == b.elem_type and np.array_equal(a.values, b.values)
