"""A typed, read-only view of a model: nodes, constants, inputs. Hides graphsurgeon from every other room.

Also the names of the elementwise operators of the ONNX standard, which two rooms need: on a feature map they keep
the window positions apart, and on a lifted value they do the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from .errors import Contradiction, PositionDependent, Unliftable, UnreadableModel
from .nodes import subgraphs
from .places import Version
from .tensors import read

UNARY = frozenset(
    """Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid
    HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh
    Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu""".split()
)
BROADCASTING = frozenset(
    """Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Clip Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean
    Min Mod Mul Or PRelu Pow Sub Sum Where Xor""".split()
)
FULLY_CONNECTED = frozenset(
    """Gemm MatMul QGemm MatMulInteger QLinearMatMul FusedGemm FusedMatMul MatMulIntegerToFloat TransposeMatMul
    DynamicQuantizeMatMul MatMulNBits GemmFastGelu GemmFloat8 Einsum""".split()
)
VIEWS = frozenset("Flatten Reshape Squeeze Unsqueeze".split())
REDUCTIONS = frozenset(
    """ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare""".split()
)
STANDARD_DOMAINS = ("", "ai.onnx")
MULTIPLIED = {"QLinearMatMul": (0, 3), "QGemm": (0, 3)}  #: where an FC has its operands, if not at 0 and 1


@dataclass(eq=False)
class Array:
    """A constant: its dims are known, its values are read only when asked for.

    Attributes:
        name: the value's name in the model, for messages and for naming what is made from it.
        shape: dims.
        elem_type: ``TensorProto.DataType``.
        tensor: the TensorProto as stored, if there is one; its bytes may lie in another file.
        load: returns the values.
    """

    name: str
    shape: tuple[int, ...]
    elem_type: int
    load: Callable[[], np.ndarray] = field(repr=False)
    tensor: onnx.TensorProto | None = field(default=None, repr=False)

    @cached_property
    def values(self) -> np.ndarray:
        """The values. Reading them brings the whole tensor into memory."""
        return self.load()

    @classmethod
    def of(cls, name: str, values: np.ndarray) -> Array:
        """A constant made here."""
        values = np.asarray(values)
        elem_type = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
        return cls(name, values.shape, elem_type, lambda: values)

    @classmethod
    def stored(cls, tensor: onnx.TensorProto, folder: str) -> Array:
        """A constant of the model; external data is looked for in ``folder``."""
        return cls(tensor.name, tuple(tensor.dims), tensor.data_type, partial(read, tensor, folder), tensor)

    def with_dims(self, dims: Iterable[int]) -> onnx.TensorProto:
        """A tensor with other dims and the same bytes, which are not read where they are stored.

        Raises:
            UnreadableModel: they are dims of more or fewer values.
        """
        dims = tuple(dims)
        if prod(dims) != prod(self.shape):
            raise UnreadableModel(f"constant '{self.name}' has dims {list(self.shape)}, where {list(dims)} are needed")
        if self.tensor is None:
            return onnx.numpy_helper.from_array(self.values.reshape(dims))
        tensor = onnx.TensorProto()
        tensor.CopyFrom(self.tensor)
        del tensor.dims[:]
        tensor.dims.extend(dims)
        return tensor

    def ints(self) -> list[int]:
        """The values as a flat list of Python ints (axes, sizes, indices)."""
        return [int(v) for v in np.ravel(self.values)]


@dataclass(eq=False)
class Op:
    """One node, read-only.

    Attributes:
        index: position in the file.
        inputs, outputs: value names; ``""`` where an optional one is left out.
        since: opset version of the node's domain that the model imports.
        captured: names that subgraphs of this node read from outside.
    """

    index: int
    op_type: str
    name: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    since: int
    _attrs: dict[str, Any] = field(repr=False)
    captured: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.kind} '{self.name or next((o for o in self.outputs if o), '?')}'"

    @property
    def kind(self) -> str:
        """The op_type, with its domain unless that is the standard one."""
        return self.op_type if self.standard else f"{self.domain}.{self.op_type}"

    @property
    def standard(self) -> bool:
        """True for operators of the ONNX standard (the default domain)."""
        return self.domain in STANDARD_DOMAINS

    @property
    def attrs(self) -> dict[str, Any]:
        """All attributes that the node carries: ints, floats, strings, lists, Arrays."""
        return dict(self._attrs)

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute's value, or ``default`` where the node does not carry it."""
        return self._attrs.get(name, default)

    def refuse(self, reason: str) -> Unliftable:
        """The error that names this node; raise it."""
        return Unliftable(reason, str(self))

    def refuse_if(self, condition: object, reason: str) -> None:
        """Raise ``Unliftable`` with this reason if the condition holds."""
        if condition:
            raise self.refuse(reason)

    def contradict(self, reason: str) -> Contradiction:
        """The error that names this node as one that cannot run like this; raise it."""
        return Contradiction(reason, str(self))

    def contradict_if(self, condition: object, reason: str) -> None:
        """Raise ``Contradiction`` with this reason if the condition holds: the node cannot run like this."""
        if condition:
            raise self.contradict(reason)

    def fits_one_size(self, reason: str) -> PositionDependent:
        """The error that names this node as one that fits one size of its map only; raise it."""
        return PositionDependent(reason, str(self))

    @property
    def multiplied(self) -> list[int]:
        """Of an FC, the positions of the inputs that it multiplies."""
        count = len(self.inputs)
        if self.op_type == "Einsum":
            return list(range(count))
        return [i for i in MULTIPLIED.get(self.op_type, (0, 1)) if i < count]

    def reads(self) -> Iterable[str]:
        """Names of all values that the node needs, those of its subgraphs included."""
        yield from (name for name in self.inputs if name)
        yield from self.captured


@dataclass(eq=False)
class Model:
    """One model as the rooms see it. ``proto`` is never changed.

    Attributes:
        proto: the model; bytes of external data are not loaded.
        folder: where its external data lies.
        ops: the nodes in topological order.
        constants: initializers by name.
        inputs: graph inputs without those that are initializers.
        opset: version of the default domain.
        sorted: whether the file's own node order was topological.
        data_files: those with its external data, as they were when it was read; none for a model made from another.
    """

    proto: onnx.ModelProto
    folder: str
    ops: list[Op]
    constants: dict[str, Array]
    inputs: list[onnx.ValueInfoProto]
    opset: int
    sorted: bool
    data_files: dict[Path, Version] = field(default_factory=dict)

    @property
    def outputs(self) -> list[str]:
        """Names of the graph outputs, in order."""
        return [o.name for o in self.proto.graph.output]

    @cached_property
    def names(self) -> set[str]:
        """Names of all values and nodes."""
        graph = self.proto.graph
        parts = (graph.input, graph.output, graph.initializer, graph.value_info)
        found = {value.name for part in parts for value in part}
        found |= {t.values.name for t in graph.sparse_initializer}
        for op in self.ops:
            found |= {op.name, *op.outputs, *op.reads()}
        return found

    @cached_property
    def producer(self) -> dict[str, Op]:
        """The node that makes each value."""
        return {name: op for op in self.ops for name in op.outputs if name}

    @cached_property
    def consumers(self) -> dict[str, list[Op]]:
        """The nodes that read each value, subgraphs included."""
        found: dict[str, list[Op]] = {}
        for op in self.ops:
            for name in dict.fromkeys(op.reads()):
                found.setdefault(name, []).append(op)
        return found


def title(node: onnx.NodeProto) -> str:
    """How messages name a stored node, as ``str`` of its ``Op`` does: ``Gemm 'fc1'``."""
    kind = node.op_type if node.domain in STANDARD_DOMAINS else f"{node.domain}.{node.op_type}"
    return f"{kind} '{node.name or next((o for o in node.output if o), '?')}'"


def view(proto: onnx.ModelProto, folder: str) -> Model:
    """The typed view of a model.

    Raises:
        ValueError: the nodes form a cycle.
    """
    logger = gs.logger.G_LOGGER
    with logger.suppress(logger.CRITICAL + 1):  # its warnings about names and types would break the one-line rule
        graph = gs.import_onnx(proto)
    opsets = {o.domain: o.version for o in proto.opset_import}
    opset = opsets.get("", opsets.get("ai.onnx", 1))
    ops = [
        _op(i, node, opsets.get(node.domain or "", opset), captured(stored), folder)
        for i, (node, stored) in enumerate(zip(graph.nodes, proto.graph.node, strict=True))
    ]
    ordered = toposort(ops)
    constants = {t.name: Array.stored(t, folder) for t in proto.graph.initializer}
    inputs = [i for i in proto.graph.input if i.name not in constants]
    return Model(proto, folder, ordered, constants, inputs, opset, ordered == ops)


def captured(node: onnx.NodeProto) -> frozenset[str]:
    """Names that the subgraphs of a node read from outside of themselves."""
    found: set[str] = set()
    for graph in subgraphs(node):
        inner = {value.name for value in (*graph.input, *graph.initializer)}
        inner |= {t.values.name for t in graph.sparse_initializer} | {name for n in graph.node for name in n.output}
        read_inside = {name for n in graph.node for name in (*n.input, *captured(n))}
        found |= (read_inside | {o.name for o in graph.output}) - inner
    return frozenset(found - {""})


def _op(index: int, node: gs.Node, since: int, captured: frozenset[str], folder: str) -> Op:
    attrs: dict[str, Any] = {}
    for name, value in node.attrs.items():
        if isinstance(value, gs.Constant):
            lazy = value._values
            stored = isinstance(lazy, gs.ir.tensor.LazyValues)
            value = Array.stored(lazy.tensor, folder) if stored else Array.of(name, value.values)
        attrs[name] = value
    return Op(
        index,
        node.op,
        node.name or "",
        node.domain or "",
        [t.name for t in node.inputs],
        [t.name for t in node.outputs],
        since,
        attrs,
        captured,
    )


def toposort(ops: list[Op]) -> list[Op]:
    """Stable topological order, without recursion (graphs of tens of thousands of nodes are real).

    Raises:
        ValueError: the nodes form a cycle.
    """
    made_by = {name: i for i, op in enumerate(ops) for name in op.outputs if name}
    waiting: list[int] = []
    readers: dict[int, list[int]] = {}
    for i, op in enumerate(ops):
        needs = {made_by[name] for name in op.reads() if name in made_by}
        waiting.append(len(needs))
        for j in needs:
            readers.setdefault(j, []).append(i)
    ready = [i for i, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    done: list[Op] = []
    while ready:
        i = heapq.heappop(ready)
        done.append(ops[i])
        for j in readers.get(i, ()):
            waiting[j] -= 1
            if waiting[j] == 0:
                heapq.heappush(ready, j)
    if len(done) < len(ops):
        stuck = next(op for i, op in enumerate(ops) if waiting[i] > 0)
        raise ValueError(f"the nodes form a cycle through {stuck}")
    return done
