"""Convolutions and their products: one Conv as a model, rewritten as the command does it, and two oracles.

Both are independent of the package: onnxruntime on the original, and a loop over the positions of the kernel. Weights
and maps are small integers, so that sums are exact in every element type and compared bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fc2conv import heads, model_io, pipeline, shapes, spatial
from onnx_fc2conv.assemble import assemble
from onnx_fc2conv.conv2fc import Lowering, Selection, matmul
from onnx_fc2conv.structure import ANY_RANK, straighten
from onnx_fc2conv.verification.runtime import Session
from tests.networks import integers

Feeds = dict[str, np.ndarray]
SYMBOLS = {1: ["L"], 2: ["H", "W"], 3: ["D", "H", "W"]}
IR = {7: 3, 8: 3, 9: 4}  #: of the time of an opset; in IR 3 every initializer is an input as well


@dataclass(frozen=True)
class Case:
    """One Conv.

    Attributes:
        window: kernel size.
        attrs: of the node; ``kernel_shape`` is left out.
        channels, units: in and out.
        dtype: of all values.
        size: smallest size that is run; others are larger.
    """

    window: tuple[int, ...] = (3, 3)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 2
    units: int = 3
    bias: bool = True
    opset: int = 17
    dtype: Any = np.float32
    size: tuple[int, ...] = (7, 6)

    def __str__(self) -> str:
        said = [f"{k}={v}".replace(" ", "") for k, v in self.attrs.items()]
        shown = ["x".join(map(str, self.window)), f"{self.channels}to{self.units}", *said, f"opset{self.opset}"]
        return "-".join([*shown, np.dtype(self.dtype).name, *([] if self.bias else ["nobias"])])

    @property
    def group(self) -> int:
        return int(self.attrs.get("group", 1))

    def weight(self) -> np.ndarray:
        return integers((self.units, self.channels // self.group, *self.window), 5, dtype=self.dtype)

    def constants(self) -> Feeds:
        found = {"w": self.weight()}
        return found | ({"b": integers((self.units,), 8, dtype=self.dtype)} if self.bias else {})

    def image(self, batch: int, size: Sequence[int], seed: int = 1) -> np.ndarray:
        return integers((batch, self.channels, *size), seed, dtype=self.dtype)

    def sizes(self) -> list[tuple[int, ...]]:
        """Several, of every remainder that a stride of up to 3 can leave."""
        return [tuple(n + more for n in self.size) for more in (0, 1, 2, 5)]

    def model(self, batch: int | str = "N", size: Sequence[int] | None = None) -> ModelProto:
        """The Conv as a model, of any size unless one is given."""
        node = helper.make_node("Conv", ["x", *self.constants()], ["y"], name="conv", **self.attrs)
        dims = [batch, self.channels, *(size or SYMBOLS[len(self.window)])]
        return model_of([node], {"x": dims}, self.constants(), self.opset, self.dtype)


def model_of(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    constants: Feeds,
    opset: int = 17,
    dtype: Any = np.float32,
    output: int | None = None,
) -> ModelProto:
    """A model with the output ``y``, of the inputs' type unless told otherwise."""
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    tensors = [numpy_helper.from_array(a, name) for name, a in constants.items()]
    ir = IR.get(opset, 10)
    listed = [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors] if ir == 3 else []
    rank = len(next(iter(inputs.values())))
    result = helper.make_tensor_value_info("y", output or elem, [None] * rank)
    values = [helper.make_tensor_value_info(n, elem, list(d)) for n, d in inputs.items()]
    graph = helper.make_graph(list(nodes), "g", [*values, *listed], [result], tensors)
    domains = {node.domain for node in nodes} - {""}
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def lowered(source: Any, selection: Selection | None = None) -> tuple[ModelProto, Lowering]:
    """The model, rewritten, and what is said of it."""
    model, _ = model_io.load(source)
    model = straighten(model, pipeline.known_at_declared_sizes, ANY_RANK).model
    known, other = shapes.at_two_batches(model)
    constants = heads.constants_of(model, known, other)
    lowering = matmul.lower(model, known, constants, selection or Selection())
    proto = assemble(model, lowering.rewrite)
    spatial.keep(proto)
    return proto, lowering


def product(source: Any) -> ModelProto:
    """The model, of which nothing may be left, in operators that ONNX has."""
    proto, lowering = lowered(source)
    assert lowering.left == {}
    assert lowering.products
    assert [n.op_type for n in proto.graph.node if "Conv" in n.op_type] == []
    assert {n.domain for n in proto.graph.node} <= {""}
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run(model: ModelProto, feeds: Feeds, default: bool = False) -> np.ndarray:
    """The first output in onnxruntime, without its graph optimisations, or with them."""
    return next(iter(Session(model, "", default).run(feeds).values()))


def compare(original: ModelProto, found: ModelProto, feeds: Sequence[Feeds]) -> None:
    """Equal bit for bit on each."""
    before, after = Session(original), Session(found)
    for given in feeds:
        (expected,), (y,) = before.run(given).values(), after.run(given).values()
        assert y.dtype == expected.dtype
        assert y.shape == expected.shape
        np.testing.assert_array_equal(y, expected)


def op_types(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def constant(model: ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)


def node_of(model: ModelProto, op_type: str) -> NodeProto:
    (node,) = [n for n in model.graph.node if n.op_type == op_type]
    return node


def by_hand(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, attrs: Mapping[str, Any]) -> np.ndarray:
    """The definition of a convolution with explicit pads: a loop over positions, units and taps."""
    rank, group = w.ndim - 2, attrs.get("group", 1)
    strides, dilations = (attrs.get(name, [1] * rank) for name in ("strides", "dilations"))
    pads = attrs.get("pads", [0] * 2 * rank)
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    size = [(x.shape[2 + i] - (w.shape[2 + i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(rank)]
    y = np.zeros((x.shape[0], w.shape[0], *size))
    block, columns = w.shape[1], w.shape[0] // group
    for k, *at in itertools.product(range(w.shape[0]), *map(range, size)):
        channels = slice(k // columns * block, (k // columns + 1) * block)
        for tap in itertools.product(*map(range, w.shape[2:])):
            cell = tuple(p * s + t * d for p, s, t, d in zip(at, strides, tap, dilations, strict=True))
            seen = x[(slice(None), channels, *cell)]
            y[(slice(None), k, *at)] += seen @ w[(k, slice(None), *tap)].astype(np.float64)
    return y if b is None else y + b.astype(np.float64).reshape(-1, *[1] * rank)


BFLOAT16 = TensorProto.BFLOAT16
