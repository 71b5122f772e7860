"""Graphs that are odd and legal, or odd and loaded all the same: unsorted, nameless, with strange or equal names."""

from __future__ import annotations

import re

import pytest
from onnx import ModelProto

import onnx_fc2conv as fc2conv

from .models import LINEAR, assert_converted, build, kinds

V = 'opset_import: ["" : 17]'
LIN = f'<domain: "l", {V}> lin (p, q, r) => (o) {{ t = MatMul(p, q)\n o = Add(t, r) }}'
TEXT = "[flat] f = Flatten(map)\n [fc] g = Gemm(f, w, b)\n [act] y = Relu(g)"
STRANGE = ["größe", "模型", "a b", "a/b:0", "🙂", "\\", "'", "%s{}", "x" * 300]


def reversed_nodes(model: ModelProto) -> ModelProto:
    """The same graph, written from its end to its beginning."""
    nodes = list(model.graph.node)[::-1]
    copies = [type(n).FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return model


@pytest.mark.parametrize("functions", [[], [LIN]], ids=["flat", "with a function"])
def test_nodes_in_any_order(functions: list[str]) -> None:
    text = TEXT.replace("Gemm", "l.lin") if functions else TEXT
    model = reversed_nodes(build(text, LINEAR, functions))
    result = assert_converted(model)
    assert "Relu" in kinds(result.model)


def test_a_function_in_any_order() -> None:
    model = build(TEXT.replace("Gemm", "l.lin"), LINEAR, [LIN])
    body = model.functions[0]
    copies = [type(n).FromString(n.SerializeToString()) for n in list(body.node)[::-1]]
    del body.node[:]
    body.node.extend(copies)
    result = fc2conv.convert(model, verify=False)
    assert kinds(result.model) == kinds(fc2conv.convert(build(TEXT.replace("Gemm", "l.lin"), LINEAR, [LIN])).model)


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_strange_node_names(name: str) -> None:
    model = build(TEXT)
    model.graph.node[2].name = name
    result = assert_converted(model)
    assert name in [node.name for node in result.model.graph.node]


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_strange_value_names(name: str) -> None:
    model = build(TEXT)
    model.graph.node[1].output[0] = model.graph.node[2].input[0] = name
    model.graph.node[3].output[0] = model.graph.output[0].name = name + "!"
    assert_converted(model, [name + "!"])


def test_nodes_without_names() -> None:
    model = build(re.sub(r"\[\w+\] ", "", TEXT))
    model.graph.node[0].name = ""
    result = assert_converted(model)
    assert result.report.heads[0].nodes[1].node == "g"


def test_a_node_and_a_value_of_one_name() -> None:
    assert_converted(build("[f] f = Flatten(map)\n [y] y = Gemm(f, w, b)"))


def test_equal_node_names_are_refused_because_onnxruntime_refuses_them() -> None:
    model = build(TEXT.replace("[act]", "[fc]"))
    with pytest.raises(fc2conv.UnreadableModel, match="onnxruntime does not load the original model"):
        fc2conv.convert(model)


def test_equal_node_names_in_two_calls_become_two_names() -> None:
    """Legal inside of functions, and not once they are written out."""
    function = LIN.replace("t = MatMul", "[n] t = MatMul")
    text = "f = Flatten(map)\n [n] g = l.lin(f, w, b)\n [m] y = l.lin(g, w2, b2)"
    model = build(text, {**LINEAR, "w2": (3, 3), "b2": (3,)}, [function])
    names = [node.name for node in assert_converted(model).model.graph.node if node.name]
    assert len(names) == len(set(names))


def test_nodes_in_a_circle_are_refused() -> None:
    model = build(TEXT)
    model.graph.node[1].input[0] = "y"
    with pytest.raises(fc2conv.UnreadableModel, match="cycle"):
        fc2conv.convert(model)
