"""A network that is being written, node by node, and what is known of its values.

Weights and pixels are small integers. Every value carries a bound of its magnitude and the denominator that it is a
whole number of, so that it is known where the arithmetic is exact: there every bit of a conversion must be right, and
only there may stand what jumps (rounding, choosing, comparing).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

EXACT = {"float16": 2.0**10, "float32": 2.0**22, "float64": 2.0**50}  #: numerators below it are summed exactly
LARGEST = {"float16": 1e3, "float32": 1e6, "float64": 1e6}
WIDEST = 96  #: features; more only make everything slow
PIXEL = 2
MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Value:
    """A value with the batch in front.

    Attributes:
        name: its name.
        dims: its dims without the batch.
        bound: of its magnitude.
        parts: it is a whole number of 1/parts.
        exact: whether its type holds it exactly.
    """

    name: str
    dims: tuple[int, ...]
    bound: float
    parts: float = 1
    exact: bool = True

    @property
    def size(self) -> int:
        """Values for each image."""
        return math.prod(self.dims)


@dataclass
class Draft:
    """A network being written.

    Attributes:
        opset: version of the default domain.
        dtype: of its weights and images.
        batch: as declared; a name, a number, or ``None``.
        rng: what decides; each step has its own.
        nodes, arrays: of the graph.
        values: of the head so far.
        fcs: FC nodes in the head so far.
        made: nodes that ever were.
        moved: values that are others with their channels in another order, however that is written.
    """

    opset: int
    dtype: str
    batch: str | int | None
    rng: np.random.Generator
    nodes: list[NodeProto] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    values: list[Value] = field(default_factory=list)
    fcs: int = 0
    made: int = 0
    moved: dict[str, tuple[str, list[int]]] = field(default_factory=dict)

    @property
    def elem_type(self) -> int:
        """Its type as ONNX counts it."""
        return helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))

    def number(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def flag(self, of: int = 2) -> bool:
        """True once in so many times."""
        return self.number(1, of) == 1

    def pick(self, *choices: Any) -> Any:
        """One of several."""
        return choices[self.number(0, len(choices) - 1)]

    def put(self, kind: str, *inputs: str | Value, **attrs: Any) -> str:
        """Add a node with one result; ``Domain::Kind`` is one of another domain."""
        return self.put_many(kind, 1, *inputs, **attrs)[0]

    def put_many(self, kind: str, results: int, *inputs: str | Value, **attrs: Any) -> list[str]:
        """Add a node; the names of its results."""
        domain, _, op_type = kind.rpartition("::")
        self.made += 1
        names = [f"v{self.made}{chr(96 + i) if i else ''}" for i in range(results)]
        operands = [i.name if isinstance(i, Value) else i for i in inputs]
        node = helper.make_node(op_type, operands, names, name=f"{op_type}_{self.made}", domain=domain, **attrs)
        self.nodes.append(node)
        return names

    def array(self, values: Any, dtype: Any = None) -> str:
        """A constant: an initializer, now and then a node."""
        values = np.array(values, np.dtype(dtype or self.dtype), order="C")
        if self.flag(12):
            return self.put("Constant", value=numpy_helper.from_array(values))
        name = f"c{len(self.arrays)}"
        self.arrays[name] = values
        return name

    def ints(self, *shape: int, low: int = -2, high: int = 2) -> str:
        """Small integers of the network's type."""
        return self.array(self.rng.integers(low, high + 1, shape))

    def vector(self, *numbers: int) -> str:
        """Shapes, axes, indices."""
        return self.array(np.array(numbers, np.int64), np.int64)

    def fits(self, bound: float, parts: float = 1) -> bool:
        """Whether sums up to here are exact."""
        return bound * parts <= EXACT[self.dtype]

    def value(self, x: Value, name: str, dims: tuple[int, ...] | None = None, **changes: Any) -> Value | None:
        """What a node has made of a value; ``None`` where it grows too large."""
        made = replace(x, name=name, dims=x.dims if dims is None else dims, **changes)
        if made.bound > LARGEST[self.dtype] or made.size > WIDEST:
            return None
        return replace(made, exact=made.exact and self.fits(made.bound, made.parts))

    def with_axes(self, kind: str, x: Value | str, axes: list[int], **attrs: Any) -> str:
        """A node whose axes are an attribute or, later, an operand."""
        since = 13 if kind in ("ReduceSum", "Squeeze", "Unsqueeze") else 18
        if self.opset >= since:
            return self.put(kind, x, self.vector(*axes), **attrs)
        return self.put(kind, x, axes=axes, **attrs)

    def mark(self) -> tuple[Any, ...]:
        """Where it is, to go back to."""
        return len(self.nodes), dict(self.arrays), list(self.values), self.fcs

    def back_to(self, mark: tuple[Any, ...]) -> None:
        """Forget what was added since."""
        count, self.arrays, self.values, self.fcs = mark[0], dict(mark[1]), list(mark[2]), mark[3]
        del self.nodes[count:]


def finished(d: Draft, inputs: dict[str, list[Any]], outputs: list[Value], ir_version: int = 8) -> ModelProto:
    """The model, without what no output needs."""
    needed, nodes = {o.name for o in outputs}, list[NodeProto]()
    for node in reversed(d.nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.insert(0, node)
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info(n, d.elem_type, dims) for n, dims in inputs.items()],
        [helper.make_tensor_value_info(o.name, d.elem_type, [d.batch, *o.dims]) for o in outputs],
        [numpy_helper.from_array(v, n) for n, v in d.arrays.items() if n in needed],
    )
    opsets = [helper.make_opsetid("", d.opset)]
    if any(n.domain == MICROSOFT for n in nodes):
        opsets.append(helper.make_opsetid(MICROSOFT, 1))
    model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    return model


FLOAT, INT32, INT64, UINT32 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT32
