"""Nodes: lost, replaced by their neighbours in the manual, or with their operands in another order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, helper

from .edits import constant, copied, edited, insert_before, title, values, with_values
from .registry import Wrong, mistake

ACTIVATIONS = frozenset(
    "Relu LeakyRelu PRelu Sigmoid Tanh Softmax LogSoftmax Clip Log LRN Mul Add BatchNormalization".split()
)
TWINS = {
    "Relu": "Abs",
    "Sigmoid": "HardSigmoid",
    "Tanh": "Sigmoid",
    "Softmax": "LogSoftmax",
    "MaxPool": "AveragePool",
    "AveragePool": "MaxPool",
    "GlobalAveragePool": "GlobalMaxPool",
    "ReduceMean": "ReduceMax",
    "ReduceMax": "ReduceMin",
    "Add": "Sub",
    "Sub": "Add",
    "Mul": "Add",
    "ArgMax": "ArgMin",
}
ORDERED = frozenset("Sub Div Concat Pow Greater Less".split())
BROADCAST = frozenset("Add Mul Sub Div PRelu".split())


@mistake("an activation, scale or shift dropped", "nodes")
def dropped(model: ModelProto) -> Iterator[Wrong]:
    """What a node does is not done."""
    for i, node in enumerate(model.graph.node):
        if node.op_type in ACTIVATIONS and len(node.output) == 1:
            new = helper.make_node("Identity", [node.input[0]], list(node.output), name=node.name)
            yield title(node), edited(model, lambda m, i=i, new=new: m.graph.node[i].CopyFrom(new))  # type: ignore[misc]


@mistake("another operator", "nodes")
def confused(model: ModelProto) -> Iterator[Wrong]:
    """The neighbour in the manual."""
    for i, node in enumerate(model.graph.node):
        if node.op_type in TWINS:
            copy = copied(model)
            copy.graph.node[i].op_type = TWINS[node.op_type]
            yield f"{title(node)} as {TWINS[node.op_type]}", copy


@mistake("operands in another order", "nodes")
def reordered(model: ModelProto) -> Iterator[Wrong]:
    """First and last operand change places."""
    for i, node in enumerate(model.graph.node):
        if node.op_type in ORDERED and len(node.input) > 1:
            copy = copied(model)
            copy.graph.node[i].input[:] = [node.input[-1], *node.input[1:-1], node.input[0]]
            yield title(node), copy


@mistake("another branch", "nodes")
def other_branch(model: ModelProto) -> Iterator[Wrong]:
    """An operand is read twice, and the other not at all."""
    for i, node in enumerate(model.graph.node):
        if node.op_type in ORDERED | {"Add", "Mul"} and len(node.input) > 1:
            copy = copied(model)
            copy.graph.node[i].input[:] = [node.input[0]] * len(node.input)
            yield title(node), copy


@mistake("outputs of a Split swapped", "nodes")
def parts_swapped(model: ModelProto) -> Iterator[Wrong]:
    """Of a node with several outputs the first two."""
    for i, node in enumerate(model.graph.node):
        if node.op_type == "Split" and len(node.output) > 1:
            copy = copied(model)
            copy.graph.node[i].output[:] = [node.output[1], node.output[0], *node.output[2:]]
            yield title(node), copy


@mistake("a constant not reshaped", "nodes")
def not_reshaped(model: ModelProto) -> Iterator[Wrong]:
    """``[1, K, 1, 1]`` stays ``[K]``, which stands along the image's width."""
    for node, name in _constants(model):
        found = values(model, name)
        if found is not None and found.ndim > 1 and found.size > 1:
            yield f"constant of {title(node)}", with_values(model, name, found.reshape(-1))


@mistake("one unit's constant for all", "nodes")
def constant_of_one(model: ModelProto) -> Iterator[Wrong]:
    """Scales, shifts, slopes: the first unit's stands for every unit."""
    for node, name in _constants(model):
        found = values(model, name)
        if found is not None and found.size > 1:
            yield f"constant of {title(node)}", with_values(model, name, np.full_like(found, found.flat[0]))


@mistake("a bound changed", "nodes")
def bound(model: ModelProto) -> Iterator[Wrong]:
    """Clip's limits are halved."""
    for node in model.graph.node:
        for name in node.input[1:] if node.op_type == "Clip" else ():
            found = values(model, name)
            if found is not None:
                yield f"'{name}' of {title(node)}", with_values(model, name, found / found.dtype.type(2))


@mistake("a statistic of another channel", "nodes")
def statistics(model: ModelProto) -> Iterator[Wrong]:
    """Scale, shift, mean or variance of a normalisation, rolled by one channel."""
    for node in model.graph.node:
        for name in node.input[1:] if node.op_type in ("BatchNormalization", "LayerNormalization") else ():
            found = values(model, name)
            if found is not None and found.size > 1:
                yield f"'{name}' of {title(node)}", with_values(model, name, np.roll(found, 1))


@mistake("other features selected", "nodes")
def selected(model: ModelProto) -> Iterator[Wrong]:
    """The indices of a Gather in the reverse order."""
    for node in model.graph.node:
        found = values(model, node.input[1]) if node.op_type == "Gather" else None
        if found is not None and found.size > 1:
            yield title(node), with_values(model, node.input[1], found[::-1])


@mistake("channels of the image reversed", "nodes")
def channels_reversed(model: ModelProto) -> Iterator[Wrong]:
    """BGR for RGB."""
    for image in model.graph.input:
        dims = image.type.tensor_type.shape.dim
        if len(dims) > 2 and dims[1].dim_value > 1:
            copy = copied(model)
            order = constant(copy, "reversed", list(range(dims[1].dim_value))[::-1])
            node = helper.make_node("Gather", [image.name, order], [f"{image.name}_bgr"], axis=1)
            _read_instead(copy, image.name, node)
            yield f"input '{image.name}'", copy


@mistake("a dtype downcast", "nodes")
def downcast(model: ModelProto) -> Iterator[Wrong]:
    """A value goes through half precision; not where it is quantised, whose steps are coarser than that."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return
    for i, node in enumerate(model.graph.node):
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            copy = copied(model)
            there = helper.make_node("Cast", [node.input[0]], ["half"], to=10)
            insert_before(copy, i, 0, there, helper.make_node("Cast", ["half"], ["whole"], to=1))
            yield f"input of {title(node)}", copy


def _read_instead(model: ModelProto, name: str, node: NodeProto) -> None:
    for reader in model.graph.node:
        reader.input[:] = [node.output[0] if i == name else i for i in reader.input]
    model.graph.node.insert(0, node)


def _constants(model: ModelProto) -> Iterator[tuple[NodeProto, str]]:
    for node in model.graph.node:
        for name in node.input if node.op_type in BROADCAST else ():
            if values(model, name) is not None:
                yield node, name
