"""Seeded graphs of any number of nodes, for what grows with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

CHANNELS = 4
SIZE = 16  #: pixels, height and width
PER_BLOCK, PER_GATE = 4, 6  #: nodes


def residual(count: int, unsorted: bool = False) -> ModelProto:
    """Residual blocks of Conv, Relu, Conv and Add in front of a flattening and an FC; about ``count`` nodes.

    Args:
        count: of nodes.
        unsorted: whether the nodes stand in a random order, as some exporters leave them.
    """
    rng = np.random.default_rng(count)
    weights = {"kernel": small(rng, (CHANNELS, CHANNELS, 3, 3)), "fc": integers(rng, (CHANNELS * 16, 3))}
    value, nodes = "stem", [_conv("x", "stem", "stem_kernel", strides=[4, 4], pads=[0] * 4)]
    weights["stem_kernel"] = integers(rng, (CHANNELS, 3, 4, 4))
    for i in range((count - 3) // PER_BLOCK):
        nodes += [
            _conv(value, f"a{i}", "kernel"),
            helper.make_node("Relu", [f"a{i}"], [f"r{i}"], name=f"relu_{i}"),
            _conv(f"r{i}", f"b{i}", "kernel"),
            helper.make_node("Add", [f"b{i}", value], [f"s{i}"], name=f"add_{i}"),
        ]
        value = f"s{i}"
    nodes.append(helper.make_node("Flatten", [value], ["flat"], name="flatten"))
    nodes.append(helper.make_node("Gemm", ["flat", "fc"], ["y"], name="fc"))
    if unsorted:
        rng.shuffle(nodes)
    return _model(nodes, weights)


def many_weights(count: int) -> ModelProto:
    """The same with a weight and a bias of its own for every Conv."""
    model = residual(count)
    rng = np.random.default_rng(count)
    kept = [t for t in model.graph.initializer if t.name != "kernel"]
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] == "kernel":
            name = f"{node.name}_weight"
            kept.append(numpy_helper.from_array(small(rng, (CHANNELS, CHANNELS, 3, 3)), name))
            kept.append(numpy_helper.from_array(small(rng, (CHANNELS,)), f"{node.name}_bias"))
            node.input[1] = name
            node.input.append(f"{node.name}_bias")
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def gated(count: int) -> ModelProto:
    """Squeeze-and-excitation blocks, whose pools look like the start of a head at first."""
    rng = np.random.default_rng(count)
    weights = {"kernel": integers(rng, (CHANNELS, CHANNELS, 3, 3)), "fc": integers(rng, (CHANNELS * 16, 3))}
    weights |= {
        "stem_kernel": integers(rng, (CHANNELS, 3, 4, 4)),
        "gate": integers(rng, (CHANNELS, CHANNELS, 1, 1)) / 64,
    }
    value, nodes = "stem", [_conv("x", "stem", "stem_kernel", strides=[4, 4], pads=[0] * 4)]
    for i in range((count - 3) // PER_GATE):
        nodes += [
            _conv(value, f"a{i}", "kernel"),
            helper.make_node("GlobalAveragePool", [f"a{i}"], [f"p{i}"], name=f"pool_{i}"),
            _conv(f"p{i}", f"b{i}", "gate", pads=[0] * 4),
            helper.make_node("Sigmoid", [f"b{i}"], [f"g{i}"], name=f"sigmoid_{i}"),
            helper.make_node("Mul", [f"a{i}", f"g{i}"], [f"s{i}"], name=f"mul_{i}"),
            helper.make_node("Tanh", [f"s{i}"], [f"t{i}"], name=f"tanh_{i}"),
        ]
        value = f"t{i}"
    nodes.append(helper.make_node("Flatten", [value], ["flat"], name="flatten"))
    nodes.append(helper.make_node("Gemm", ["flat", "fc"], ["y"], name="fc"))
    return _model(nodes, weights)


GRAPHS: dict[str, Callable[[int], ModelProto]] = {
    "residual blocks": residual,
    "the same, unsorted": lambda count: residual(count, unsorted=True),
    "a weight and a bias for each Conv": many_weights,
    "squeeze-and-excitation blocks": gated,
}


def integers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Small integers, of which sums are exact in float32."""
    return rng.integers(-2, 3, shape).astype(np.float32)


def small(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Weights with which thousands of residual blocks do not overflow."""
    return integers(rng, shape) / np.float32(256)


def _conv(source: str, target: str, weight: str, **attributes: Any) -> NodeProto:
    given = {"pads": [1] * 4} | attributes
    return helper.make_node("Conv", [source, weight], [target], name=f"conv_{target}", **given)


def _model(nodes: list[NodeProto], weights: dict[str, np.ndarray]) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
