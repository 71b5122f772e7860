"""Random unpadded backbones at random strides against the original on image crops, bit for bit."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv

from ..networks import integers, session
from .oracle import on_crops

CHANNELS = 2


class Network:
    """An unpadded chain with branches, under construction; all values are whole numbers, or quarters of them."""

    def __init__(self, size: tuple[int, ...]) -> None:
        self.size, self.map, self.strides = size, size, (1,) * len(size)
        self.value, self.nodes, self.arrays = "x", [], dict[str, np.ndarray]()

    def put(self, op_type: str, *inputs: str, **attrs: Any) -> str:
        """Add a node; its output's name."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attrs))
        return name

    def weight(self, *shape: int) -> str:
        """A kernel of -1, 0 and 1."""
        name = f"w{len(self.arrays)}"
        self.arrays[name] = integers(shape, len(self.arrays) + 17, -1, 2)
        return name

    def slide(self, kind: str, kernel: tuple[int, ...], strides: tuple[int, ...], group: int) -> bool:
        """Slide something over the map; false if it is too small."""
        behind = tuple((n - k) // s + 1 for n, k, s in zip(self.map, kernel, strides, strict=True))
        if min(behind) < 1:
            return False
        if kind == "Conv":
            weight = self.weight(CHANNELS, CHANNELS // group, *kernel)
            self.value = self.put(kind, self.value, weight, strides=strides, group=group)
        elif kind == "branches":
            weight = self.weight(CHANNELS, CHANNELS, *kernel)
            pooled = self.put("MaxPool", self.value, kernel_shape=kernel, strides=strides)
            self.value = self.put("Sub", self.put("Conv", self.value, weight, strides=strides), pooled)
        else:
            self.value = self.put(kind, self.value, kernel_shape=kernel, strides=strides)
        self.map = behind
        self.strides = tuple(a * b for a, b in zip(self.strides, strides, strict=True))
        return True

    def model(self, opset: int) -> ModelProto:
        """The network with a head."""
        arrays = self.arrays | {
            "fc": integers((3, CHANNELS * prod(self.map)), 1, -1, 2),
            "bias": integers((3,), 2),
        }
        nodes = [
            *self.nodes,
            helper.make_node("Flatten", [self.value], ["f"]),
            helper.make_node("Gemm", ["f", "fc", "bias"], ["y"], transB=1),
        ]
        graph = helper.make_graph(
            nodes,
            "network",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", CHANNELS, *self.size])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
            [numpy_helper.from_array(v, k) for k, v in arrays.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@st.composite
def networks(draw: st.DrawFn) -> tuple[Network, int]:
    """A backbone of two or three sliding nodes, with something elementwise between them, and an opset."""
    rank = draw(st.sampled_from([1, 2, 2, 2, 3]))
    numbers = st.tuples(*[st.integers(1, 3)] * rank)
    found = Network(tuple(draw(st.integers(9, 14 if rank < 3 else 9)) for _ in range(rank)))
    for _ in range(draw(st.integers(2, 3 if rank < 3 else 2))):
        kind = draw(st.sampled_from(["Conv", "Conv", "MaxPool", "AveragePool", "branches"]))
        kernel = (2,) * rank if kind == "AveragePool" else draw(numbers)
        kernel = (2, 2, 1) if kind == "AveragePool" and rank == 3 else kernel
        assume(found.slide(kind, kernel, draw(numbers), draw(st.sampled_from([1, CHANNELS]))))
        if draw(st.booleans()):
            found.value = found.put("Relu", found.value)
    assume(max(found.strides) > 1)
    return found, draw(st.sampled_from([8, 9, 10, 13, 17, 19]))


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.data())
def test_every_answer_is_the_originals_on_its_crop(drawn: tuple[Network, int], data: st.DataObject) -> None:
    network, opset = drawn
    stride = tuple(data.draw(st.sampled_from(divisors(s)), label=f"of {s}") for s in network.strides)
    event(f"{'denser' if stride != network.strides else 'as it is'}, rank {len(stride)}")
    model = network.model(opset)
    result = fc2conv.convert(model, stride=stride, verify=False)
    assert result.report.verdict == "exact"
    assert result.geometry.stride == stride
    size = tuple(n + data.draw(st.integers(0, 5), label="grown") for n in network.size)
    image = integers((1, CHANNELS, *size), 5)
    (found,) = session(result.model).run(None, {"x": image})
    assert found.shape[2:] == result.geometry.grid_size(size)
    expected = on_crops(model, image, network.size, stride, range(2, 2 + len(stride)))
    np.testing.assert_array_equal(found[tuple(map(slice, expected.shape))], expected)
