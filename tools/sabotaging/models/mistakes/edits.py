"""Edits of a model, from which mistakes are put together. Each changes the model that it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

CONVS = frozenset("Conv ConvInteger QLinearConv".split())
PRODUCTS = CONVS | {"Gemm", "MatMul"}
Array = NDArray[Any]


def copied(model: ModelProto) -> ModelProto:
    """A model that may be changed."""
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def edited(model: ModelProto, edit: Callable[[ModelProto], None]) -> ModelProto:
    """A copy that was changed."""
    copy = copied(model)
    edit(copy)
    return copy


def title(node: NodeProto) -> str:
    """How a node is called in tables."""
    return f"{node.op_type} '{node.name or node.output[0]}'"


def tensor(model: ModelProto, name: str) -> TensorProto | None:
    """An initializer, or the value of a Constant node."""
    found: list[TensorProto] = [t for t in model.graph.initializer if t.name == name]
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            found += [a.t for a in node.attribute if a.name == "value"]
    return found[0] if found else None


def values(model: ModelProto, name: str) -> Array | None:
    """A constant's values, to be changed; None if it is none."""
    found = tensor(model, name)
    return None if found is None else numpy_helper.to_array(found).copy()


def replace_values(model: ModelProto, name: str, new: Array) -> None:
    """Give a constant other values."""
    found = tensor(model, name)
    assert found is not None
    found.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(new), found.name))


def with_values(model: ModelProto, name: str, new: Array) -> ModelProto:
    """A copy in which a constant has other values."""
    return edited(model, lambda copy: replace_values(copy, name, new))


def constant(model: ModelProto, name: str, new: Any, dtype: Any = np.int64) -> str:
    """Add a constant and return its name."""
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(new, dtype), name))
    return name


def weights(model: ModelProto, kinds: frozenset[str] = PRODUCTS) -> Iterator[tuple[str, str, Array]]:
    """Of each node of these kinds its title, and name and values of its weight."""
    seen = set()
    for node in model.graph.node:
        if node.op_type not in kinds:
            continue
        for name in node.input[: 4 if node.op_type == "QLinearConv" else 2]:
            source = dequantised(model, name)
            found = values(model, source)
            if found is not None and found.ndim > 1 and source not in seen:
                seen.add(source)
                yield title(node), source, found


def dequantised(model: ModelProto, name: str) -> str:
    """The constant of integers behind a DequantizeLinear, or the value itself."""
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] == name:
            return str(node.input[0])
    return name


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    """Set an attribute; None removes it."""
    kept = [a for a in node.attribute if a.name != name]
    new = [] if value is None else [helper.make_attribute(name, value)]
    del node.attribute[:]
    node.attribute.extend([*kept, *new])


def with_attribute(model: ModelProto, index: int, name: str, value: Any) -> ModelProto:
    """A copy in which one node has another attribute."""
    return edited(model, lambda copy: set_attribute(copy.graph.node[index], name, value))


def rank_of(model: ModelProto, output: str) -> int:
    """Of a graph output, as it is declared."""
    declared = next(o for o in model.graph.output if o.name == output)
    return len(declared.type.tensor_type.shape.dim)


def element_type(model: ModelProto, output: str) -> int:
    """Of a graph output, as it is declared."""
    declared = next(o for o in model.graph.output if o.name == output)
    return int(declared.type.tensor_type.elem_type)


def behind(model: ModelProto, name: str, inner: str) -> int:
    """Let what computes a value write another one, which all other nodes read; the place for a node that writes it."""
    index = next(i for i, n in enumerate(model.graph.node) if name in n.output)
    maker = model.graph.node[index]
    maker.output[list(maker.output).index(name)] = inner
    for node in model.graph.node:
        node.input[:] = [inner if i == name else i for i in node.input]
    return index + 1


def insert_behind(model: ModelProto, name: str, *nodes: NodeProto) -> None:
    """Put nodes between a value and what computes it: the first reads ``name + '_right'``, the last writes ``name``."""
    index = behind(model, name, f"{name}_right")
    for i, node in enumerate(nodes):
        model.graph.node.insert(index + i, node)


def insert_before(model: ModelProto, index: int, place: int, *nodes: NodeProto) -> None:
    """Put nodes between a node and one of its inputs: the last writes what the node reads from now on."""
    model.graph.node[index].input[place] = nodes[-1].output[0]
    for i, node in enumerate(nodes):
        model.graph.node.insert(index + i, node)
