"""Random models of vectors, maps and tokens: products, views, joins, branches and outputs in between, all exact.

Each is converted without a change of size, whole and split, and compared bit for bit with the original.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.ops import FULLY_CONNECTED

from ..networks import IR_VERSION, integers, session
from .test_static import signature

SHAPES: list[tuple[str | int, ...]] = [("N", 2, 3, 2), ("N", 4, 3), ("N", 6), ("N", 2, 2, 2, 3), (2, 6), (1, 2, 4, 4)]
PRODUCTS = 4  #: more would leave the numbers that float32 holds exactly
END = 2**31 - 1


@dataclass
class Draft:
    """A model that grows by one random node after the other.

    Attributes:
        values: every value with its dims behind the batch; nodes read one of the last three.
    """

    rng: np.random.Generator
    opset: int
    values: list[tuple[str, tuple[int, ...]]]
    nodes: list[NodeProto] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    products: int = 0

    def constant(self, values: Any) -> str:
        name = f"c{len(self.arrays)}"
        self.arrays[name] = np.asarray(values)
        return name

    def node(self, op_type: str, *inputs: str, **attrs: Any) -> str:
        output = f"v{len(self.nodes)}"
        named = self.rng.random() < 0.8
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=f"n{output}" if named else "", **attrs))
        return output

    def weights(self, *dims: int) -> str:
        return self.constant(self.rng.integers(-1, 2, dims).astype(np.float32))

    def small(self, *dims: int) -> str:
        return self.constant(self.rng.integers(1, 3, dims).astype(np.float32))

    def with_ints(self, op_type: str, value: str, key: str, ints: list[int], **attrs: Any) -> str:
        """An operator whose list of integers was an attribute before opset 13."""
        if self.opset < 13:
            return self.node(op_type, value, **{key: ints}, **attrs)
        return self.node(op_type, value, self.constant(np.array(ints)), **attrs)


Dims = tuple[int, ...]
Step = Callable[[Draft, str, Dims], tuple[str, Dims] | None]


def matmul(d: Draft, x: str, dims: Dims) -> tuple[str, Dims] | None:
    if d.products == PRODUCTS:
        return None
    d.products += 1
    units = int(d.rng.integers(2, 6))
    return d.node("MatMul", x, d.weights(dims[-1], units)), (*dims[:-1], units)


def gemm(d: Draft, x: str, dims: Dims) -> tuple[str, Dims] | None:
    if d.products == PRODUCTS or len(dims) > 1:
        return None
    d.products += 1
    units, swap = int(d.rng.integers(2, 6)), int(d.rng.integers(2))
    w = d.weights(units, *dims) if swap else d.weights(*dims, units)
    return d.node("Gemm", x, w, d.small(units), transB=swap, alpha=float(d.rng.integers(1, 3))), (units,)


def activation(d: Draft, x: str, dims: Dims) -> tuple[str, Dims] | None:
    return d.node(str(d.rng.choice(["Relu", "Neg", "Abs"])), x), dims


def constant(d: Draft, x: str, dims: Dims) -> tuple[str, Dims] | None:
    c = d.small(dims[-1]) if d.rng.random() < 0.5 else d.small(*dims)
    return d.node(str(d.rng.choice(["Add", "Mul", "Sub"])), x, c), dims


def flatten(d: Draft, x: str, dims: Dims) -> tuple[str, Dims] | None:
    return d.node("Flatten", x), (int(np.prod(dims)),)


def reshape(d: Draft, x: str, dims: Dims) -> tuple[str, Dims] | None:
    size = int(np.prod(dims))
    first = int(d.rng.choice([n for n in range(1, size + 1) if size % n == 0]))
    target = (first, size // first) if d.rng.random() < 0.7 else (size,)
    return d.node("Reshape", x, d.constant(np.array([int(d.rng.choice([0, -1])), *target]))), target


def transpose(d: Draft, x: str, dims: Dims) -> tuple[str, Dims] | None:
    order = [int(i) for i in d.rng.permutation(len(dims))]
    return d.node("Transpose", x, perm=[0, *(i + 1 for i in order)]), tuple(dims[i] for i in order)


def join(d: Draft, x: str, dims: Dims) -> tuple[str, Dims] | None:
    alike = [name for name, other in d.values if other == dims]
    other = str(d.rng.choice(alike))
    if d.rng.random() < 0.5:
        return d.node("Sub", x, other), dims
    axis = int(d.rng.integers(len(dims)))
    return d.node("Concat", x, other, axis=axis + 1), tuple(n * 2 if i == axis else n for i, n in enumerate(dims))


def cut(d: Draft, x: str, dims: Dims) -> tuple[str, Dims] | None:
    if dims[-1] == 1:
        return None
    after = (*dims[:-1], dims[-1] - 1)
    if d.opset < 10:
        return d.node("Slice", x, starts=[1], ends=[END], axes=[len(dims)]), after
    return d.node("Slice", x, *(d.constant(np.array([n])) for n in (1, END, len(dims)))), after


def unsqueeze(d: Draft, x: str, dims: Dims) -> tuple[str, Dims] | None:
    return None if len(dims) > 3 else (d.with_ints("Unsqueeze", x, "axes", [1]), (1, *dims))


def summed(d: Draft, x: str, dims: Dims) -> tuple[str, Dims] | None:
    return None if len(dims) == 1 else (d.with_ints("ReduceSum", x, "axes", [1], keepdims=0), dims[1:])


STEPS: list[Step] = [
    *(matmul, matmul, gemm, activation, constant, flatten, reshape, transpose, join, join, cut, unsqueeze, summed)
]


def random_model(seed: int) -> ModelProto:
    """A model whose last node is a product, with some values in between as further outputs."""
    rng = np.random.default_rng(seed)
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    d = Draft(rng, int(rng.choice([9, 11, 13, 17])), [("x", tuple(int(n) for n in shape[1:]))])
    for _ in range(int(rng.integers(3, 11))):
        value, dims = d.values[-1 - int(rng.integers(min(3, len(d.values))))]
        made = STEPS[int(rng.integers(len(STEPS)))](d, value, dims)
        d.values += [made] if made else []
    value, dims = d.values[-1]
    outputs = [d.node("MatMul", value, d.weights(dims[-1], 3)), *(v for v, _ in d.values[1:] if rng.random() < 0.12)]
    graph = helper.make_graph(
        d.nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(outputs)],
        [numpy_helper.from_array(a, name) for name, a in d.arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", d.opset)], ir_version=IR_VERSION)
    found = session(model).get_outputs()
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(o.name, TensorProto.FLOAT, o.shape) for o in found)
    return model


@pytest.mark.parametrize("limits", [{}, {"max_kernel": 2, "max_channels": 3}], ids=["whole", "split"])
@pytest.mark.parametrize("seed", range(120))
def test_random_model(seed: int, limits: dict[str, int]) -> None:
    original = random_model(seed)
    result = fc2conv.convert(original, static=True, verify=seed % 20 == 0, **limits)
    onnx.checker.check_model(result.model, full_check=True)
    assert signature(result.model) == signature(original)
    assert not [n.name for n in result.model.graph.node if n.op_type in FULLY_CONNECTED]
    dims = [d.dim_value for d in original.graph.input[0].type.tensor_type.shape.dim]
    for batch in (1, 2, 5) if dims[0] == 0 else (dims[0],):
        x = integers((batch, *dims[1:]), seed=seed)
        expected = session(original).run(None, {"x": x})
        for reference, found in zip(expected, session(result.model).run(None, {"x": x}), strict=True):
            np.testing.assert_array_equal(found, reference)


def test_random_models_are_of_many_kinds() -> None:
    kinds = {n.op_type for seed in range(120) for n in random_model(seed).graph.node}
    assert {"MatMul", "Gemm", "Reshape", "Transpose", "Concat", "Slice", "Flatten", "Unsqueeze", "ReduceSum"} <= kinds
