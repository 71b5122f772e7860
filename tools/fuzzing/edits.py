"""What happens to models: each edit changes one thing that a careless exporter, or an attacker, might have changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, defs, helper

Rng = np.random.Generator
Edit = Callable[[Rng, ModelProto], None]
EDITS: dict[str, Edit] = {}

DIMS = (0, 1, 2, 3, 5, -1, -2, 255, 2**16, 2**31 - 1, 2**31, 2**32 + 1, 2**40, 2**62, 2**63 - 1, -(2**63))
NUMBERS = (0, 1, 2, 3, -1, -2, 7, 64, 1000, 2**31 - 1, -(2**31), 2**32, 2**63 - 1, -(2**63))
FLOATS = (0.0, 1.0, -1.0, 0.5, 2.0, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"))
NAMES = (
    "",
    " ",
    "x" * 3000,
    "a\nb",
    "\x1b[31mred",
    "../../etc",
    "%s%n",
    "{0}",
    "ü模型",
    "a/b:0",
    "[0m",
    "\0",
    "-",
    "'",
)


def edits(function: Edit) -> Edit:
    """Register an edit."""
    EDITS[function.__name__] = function
    return function


def pick(rng: Rng, choices: Any) -> Any:
    """One of several; ``None`` of none."""
    return choices[int(rng.integers(len(choices)))] if len(choices) else None


def a_node(rng: Rng, model: ModelProto) -> NodeProto:
    """One of the nodes; a new one if there is none."""
    found: NodeProto | None = pick(rng, model.graph.node)
    return found or model.graph.node.add(op_type="Relu")


def value_names(model: ModelProto) -> list[str]:
    """Every value that has a name."""
    graph = model.graph
    found = [i.name for i in graph.input] + [t.name for t in graph.initializer]
    return found + [o for n in graph.node for o in n.output] or [""]


def some_info(rng: Rng, model: ModelProto) -> ValueInfoProto:
    """An input, an output, or one of the values in between that are declared."""
    graph = model.graph
    row = pick(rng, [r for r in (graph.input, graph.input, graph.output, graph.value_info) if r])
    found: ValueInfoProto = pick(rng, row) if row is not None else graph.input.add()
    return found


@edits
def declared_dim(rng: Rng, model: ModelProto) -> None:
    """Another dim of an input, an output or a declared value."""
    shape = some_info(rng, model).type.tensor_type.shape
    dim = pick(rng, shape.dim) if shape.dim else shape.dim.add()
    if rng.integers(3) == 0:
        dim.dim_param = pick(rng, ("N", "height", "", "batch", *NAMES))
    elif rng.integers(2) and dim.dim_value > 0:
        dim.dim_value = max(dim.dim_value + int(rng.integers(-2, 3)), 0)
    else:
        dim.dim_value = pick(rng, DIMS)


@edits
def declared_rank(rng: Rng, model: ModelProto) -> None:
    """An axis more, one fewer, two that are swapped, or no shape at all."""
    kind = some_info(rng, model).type
    dims = kind.tensor_type.shape.dim
    what = int(rng.integers(4))
    if what == 0:
        dims.add(dim_value=pick(rng, DIMS))
    elif what == 1 and dims:
        del dims[int(rng.integers(len(dims)))]
    elif what == 2 and len(dims) > 1:
        swapped = list(reversed([d.dim_value for d in dims]))
        for d, n in zip(dims, swapped, strict=True):
            d.dim_value = n
    else:
        kind.tensor_type.ClearField("shape")


@edits
def declared_type(rng: Rng, model: ModelProto) -> None:
    """Another element type, or no tensor."""
    kind = some_info(rng, model).type
    if rng.integers(4):
        kind.tensor_type.elem_type = int(pick(rng, [*TensorProto.DataType.values(), 99, -1]))
    elif rng.integers(2):
        kind.sequence_type.elem_type.tensor_type.elem_type = 1
    else:
        kind.Clear()


@edits
def missing_declaration(rng: Rng, model: ModelProto) -> None:
    """An input, an output or an initializer that is not there."""
    row = pick(rng, [r for r in (model.graph.input, model.graph.output, model.graph.initializer) if r])
    if row is not None:
        del row[int(rng.integers(len(row)))]


@edits
def doubled_declaration(rng: Rng, model: ModelProto) -> None:
    """One that is there twice, or is something else besides."""
    graph = model.graph
    what = int(rng.integers(5))
    if what == 0 and graph.output:
        graph.output.append(pick(rng, graph.output))
    elif what == 1 and graph.input:
        graph.output.append(pick(rng, graph.input))
    elif what == 2 and graph.initializer:
        t = pick(rng, graph.initializer)
        graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
    elif what == 3 and graph.node:
        graph.output.append(ValueInfoProto(name=pick(rng, value_names(model))))
    elif graph.initializer:
        graph.initializer.append(pick(rng, graph.initializer))


@edits
def renamed_value(rng: Rng, model: ModelProto) -> None:
    """A value has an odd name, wherever it is used."""
    old, new = pick(rng, value_names(model)), pick(rng, (*NAMES, *value_names(model)))
    graph = model.graph
    for info in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        if info.name == old:
            info.name = new
    for node in graph.node:
        node.input[:] = [new if n == old else n for n in node.input]
        node.output[:] = [new if n == old else n for n in node.output]


@edits
def renamed_node(rng: Rng, model: ModelProto) -> None:
    """A node has no name, an odd one, or another's."""
    a_node(rng, model).name = pick(rng, (*NAMES, *(n.name for n in model.graph.node)))


@edits
def edge_moved(rng: Rng, model: ModelProto) -> None:
    """A node reads another value: maybe one of its own results."""
    node = a_node(rng, model)
    if node.input:
        node.input[int(rng.integers(len(node.input)))] = pick(rng, (*value_names(model), "nowhere", ""))


@edits
def edge_count(rng: Rng, model: ModelProto) -> None:
    """A node with an operand or result more or fewer, or with two swapped."""
    node = a_node(rng, model)
    row = node.input if rng.integers(3) else node.output
    what = int(rng.integers(4))
    if what == 0:
        row.append(pick(rng, (*value_names(model), "", "more")))
    elif what == 1 and row:
        del row[int(rng.integers(len(row)))]
    elif what == 2:
        row[:] = list(reversed(row))
    else:
        del row[:]


@edits
def node_order(rng: Rng, model: ModelProto) -> None:
    """Two nodes have changed places, or one stands there twice, or is not there."""
    nodes = list(model.graph.node)
    if not nodes:
        return
    a, b = int(rng.integers(len(nodes))), int(rng.integers(len(nodes)))
    what = int(rng.integers(3))
    if what == 0:
        nodes[a], nodes[b] = nodes[b], nodes[a]
    elif what == 1:
        nodes.insert(b, nodes[a])
    else:
        del nodes[a]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


ALL_OPS = sorted({s.name for s in defs.get_all_schemas()})


@edits
def another_operator(rng: Rng, model: ModelProto) -> None:
    """A node is another operator, or of another domain."""
    node = a_node(rng, model)
    if rng.integers(4):
        node.op_type = pick(rng, (*ALL_OPS, "", "Nonsense", "Relu", "Conv", "Gemm", "Flatten"))
    else:
        node.domain = pick(rng, ("ai.onnx", "com.microsoft", "ai.onnx.ml", "my.own", "ai.onnx.training", "\n"))


@edits
def node_put_between(rng: Rng, model: ModelProto) -> None:
    """A node more on an edge, of any operator with one operand."""
    node = a_node(rng, model)
    if not node.input:
        return
    at = int(rng.integers(len(node.input)))
    ops = "Relu Neg Identity Flatten Transpose Shape Softmax Sqrt Squeeze NonZero GlobalAveragePool ArgMax Size Dropout"
    kind = str(
        pick(
            rng,
            (ops + " IsNaN Not LpNormalization SequenceConstruct SplitToSequence DynamicQuantizeLinear Erf").split(),
        )
    )
    made = helper.make_node(kind, [node.input[at]], ["put_between"])
    node.input[at] = "put_between"
    nodes = list(model.graph.node)
    nodes.insert(nodes.index(node), made)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@edits
def attribute_value(rng: Rng, model: ModelProto) -> None:
    """Another value of an attribute."""
    node = pick(rng, [n for n in model.graph.node if n.attribute])
    a = pick(rng, node.attribute) if node is not None else None
    if a is None:
        return
    if a.type == AttributeProto.INT:
        a.i = pick(rng, NUMBERS) if rng.integers(2) else a.i + int(rng.integers(-2, 3))
    elif a.type == AttributeProto.FLOAT:
        a.f = pick(rng, FLOATS)
    elif a.type == AttributeProto.STRING:
        a.s = pick(rng, (b"", b"SAME_UPPER", b"VALID", b"\xff\xfe", b"linear", b"x" * 1000))
    elif a.type == AttributeProto.INTS:
        what = int(rng.integers(4))
        if what == 0 or not a.ints:
            a.ints.append(pick(rng, NUMBERS))
        elif what == 1:
            del a.ints[-1]
        else:
            at = int(rng.integers(len(a.ints)))
            a.ints[at] = pick(rng, NUMBERS) if what == 2 else a.ints[at] + int(rng.integers(-1, 3))


@edits
def attribute_row(rng: Rng, model: ModelProto) -> None:
    """An attribute of another type, one that is missing, there twice, unknown or another operator's."""
    node = a_node(rng, model)
    what = int(rng.integers(5))
    if what == 0 and node.attribute:
        pick(rng, node.attribute).type = int(pick(rng, [*AttributeProto.AttributeType.values(), 77]))
    elif what == 1 and node.attribute:
        del node.attribute[int(rng.integers(len(node.attribute)))]
    elif what == 2 and node.attribute:
        node.attribute.append(pick(rng, node.attribute))
    elif what == 3:
        name = pick(
            rng, "axis axes keepdims transA transB alpha beta group perm allowzero to kernel_shape pads".split()
        )
        value = pick(rng, (0, 1, -1, 0.5, [0], [1, -1], [0, 0, 1, 1], "text", 2**62))
        node.attribute.append(helper.make_attribute(name, value))
    elif node.attribute:
        pick(rng, node.attribute).ref_attr_name = "outer"


@edits
def operator_set(rng: Rng, model: ModelProto) -> None:
    """Another version, one that is declared twice or not at all."""
    what = int(rng.integers(4))
    if what == 0 or not model.opset_import:
        model.opset_import.add(domain=pick(rng, ("", "ai.onnx", "com.microsoft", "x")), version=pick(rng, NUMBERS))
    elif what == 1:
        del model.opset_import[int(rng.integers(len(model.opset_import)))]
    else:
        versions = (*range(1, 28), *NUMBERS)
        pick(rng, model.opset_import).version = pick(rng, versions)


@edits
def format_version(rng: Rng, model: ModelProto) -> None:
    """Another version of the file format."""
    model.ir_version = int(pick(rng, (*range(0, 14), 2**31, -1)))
