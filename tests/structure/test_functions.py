"""Model-local functions: what image data flows through is written out, everything else stays what it was."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv.report import markdown, print_report
from onnx_fc2conv.structure import functions

from ..networks import answers, integers, session
from .models import LINEAR, assert_converted, build, kinds

V = 'opset_import: ["" : 17, "l" : 1]'
LIN = f'<domain: "l", {V}> lin (p, q, r) => (o) {{ [mul] t = MatMul(p, q)\n o = Add(t, r) }}'
FLAT = f'<domain: "l", {V}> flat (p, q, r) => (o) {{ t = Flatten(p)\n o = l.lin(t, q, r) }}'
LEAKY = f'<domain: "l", {V}> leaky <slope: float = 0.5> (p) => (o) {{ o = LeakyRelu <alpha: float = @slope> (p) }}'
CONV = f'<domain: "l", {V}> conv (p, k) => (o) {{ t = Conv(p, k)\n o = Relu(t) }}'
IDLE = f'<domain: "l", {V}> idle (p) => (o) {{ o = Neg(p) }}'
TWO = {"w": (12, 4), "b": (4,), "w2": (4, 3), "b2": (3,)}

CASES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "head": ("f = Flatten(map)\n[fc] y = l.lin(f, w, b)", LINEAR, [LIN]),
    "flattening and head": ("y = l.flat(map, w, b)", LINEAR, [LIN, FLAT]),
    "defined after its caller": ("y = l.flat(map, w, b)", LINEAR, [FLAT, LIN]),
    "called twice": ("h = l.flat(map, w, b)\n r = Relu(h)\n y = l.lin(r, w2, b2)", TWO, [LIN, FLAT]),
    "names taken outside": (
        "t = Flatten(map)\n o = l.lin(t, w, b)\n p = Relu(o)\n q = Identity(p)\n y = l.lin(q, w2, b2)",
        TWO,
        [LIN],
    ),
    "labelled names taken": (
        '"fc/t" = Flatten(map)\n [fc] "fc/o" = l.lin("fc/t", w, b)\n ["fc/mul"] y = Relu("fc/o")',
        LINEAR,
        [LIN],
    ),
    "backbone": ("m = l.conv(map, k)\n f = Flatten(m)\n y = Gemm(f, w, b)", {"k": (2, 2, 1, 1), **LINEAR}, [CONV]),
    "attribute": ("f = Flatten(map)\n g = Gemm(f, w, b)\n y = l.leaky <slope = 2.0> (g)", LINEAR, [LEAKY]),
    "default attribute": ("f = Flatten(map)\n g = Gemm(f, w, b)\n y = l.leaky(g)", LINEAR, [LEAKY]),
    "attribute handed on": (
        "f = Flatten(map)\n g = Gemm(f, w, b)\n y = l.outer <a = 4.0> (g)",
        LINEAR,
        [LEAKY, f'<domain: "l", {V}> outer <a> (p) => (o) {{ o = l.leaky <slope: float = @a> (p) }}'],
    ),
    "attribute left out": (
        "f = Flatten(map)\n y = l.gemm(f, w, b)",
        LINEAR,
        [f'<domain: "l", {V}> gemm <a> (p, q, r) => (o) {{ o = Gemm <alpha: float = @a> (p, q, r) }}'],
    ),
    "input left out": (
        "f = Flatten(map)\n y = l.gemm(f, w)",
        LINEAR,
        [f'<domain: "l", {V}> gemm (p, q, r) => (o) {{ o = Gemm(p, q, r) }}'],
    ),
    "input not used": (
        "f = Flatten(map)\n unused = Neg(b)\n y = l.some(f, w, unused)",
        LINEAR,
        [f'<domain: "l", {V}> some (p, q, r) => (o) {{ o = MatMul(p, q) }}'],
    ),
    "constant inside": (
        "f = Flatten(map)\n y = l.half(f, w)",
        LINEAR,
        [f'<domain: "l", {V}> half (p, q) => (o) {{ c = Constant <value_float = 0.5> ()\n'
         " t = MatMul(p, q)\n o = Mul(t, c) }"],
    ),
    "constant branch inside": (
        "f = Flatten(map)\n y = l.branch(f, w, b)",
        LINEAR,
        [f'<domain: "l", {V}> branch (p, q, r) => (o) {{ c = Constant <value = bool {{1}}> ()\n'
         " t = MatMul(p, q)\n"
         " o = If (c) <then_branch = th () => (u) { v = Add(t, r)\n u = Relu(v) },"
         " else_branch = el () => (u) { u = Neg(t) }> }"],
    ),
    "other opset, same operators": (
        "f = Flatten(map)\n y = l.lin(f, w, b)",
        LINEAR,
        [LIN.replace('"" : 17', '"" : 15')],
    ),
    "shape computed by a function": (
        "s = l.target(map)\n f = Reshape(map, s)\n y = Gemm(f, w, b)",
        LINEAR,
        [f'<domain: "l", {V}> target (p) => (o) {{ s = Shape <start = 0, end = 1> (p)\n'
         " k = Constant <value_ints = [-1]> ()\n o = Concat <axis = 0> (s, k) }"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_function_that_hides_the_head_is_written_out(name: str) -> None:
    text, weights, library = CASES[name]
    result = assert_converted(build(text, weights, library))
    assert not result.model.functions
    assert all(node.domain == "" for node in result.model.graph.node)
    names = [node.name for node in result.model.graph.node if node.name]
    assert len(names) == len(set(names))
    assert [line for line in result.report.restructured if line.startswith("l.")]
    assert sum("gone with its last call" in line for line in result.report.restructured) == len(library)


PAIR = f'<domain: "l", {V}> pair (p, q) => (p, o) {{ o = MatMul(p, q) }}'
BOTH = f'<domain: "l", {V}> both (p, q) => (o, n) {{ o = MatMul(p, q)\n n = Neg(o) }}'
TWINS = {
    "input handed out": (
        "f = Flatten(map)\n u, g = l.pair(f, w)\n h = Gemm(u, w, b)\n y = Add(h, g)",
        PAIR,
        "f = Flatten(map)\n g = MatMul(f, w)\n h = Gemm(f, w, b)\n y = Add(h, g)",
    ),
    "last output left out": ("f = Flatten(map)\n y = l.both(f, w)", BOTH, "f = Flatten(map)\n y = MatMul(f, w)"),
    "first output left out": (
        'f = Flatten(map)\n "", y = l.both(f, w)',
        BOTH,
        "f = Flatten(map)\n g = MatMul(f, w)\n y = Neg(g)",
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_what_onnxruntime_does_not_load_equals_a_twin_without_functions(name: str) -> None:
    text, function, twin = TWINS[name]
    result = fc2conv.convert(build(text, functions=[function]), verify=False)
    image = integers((2, 1, 10, 12), seed=3)
    found = session(result.model).run(["y"], {"x": image})[0]
    np.testing.assert_array_equal(found, answers(build(twin), image, (3, 2))["y"])


def test_every_change_is_listed() -> None:
    report = assert_converted(build("[fc] y = l.flat(map, w, b)", functions=[LIN, FLAT, IDLE])).report
    assert report.restructured == [
        "l.flat 'fc': function written out (3 nodes)",
        "function 'l.lin': gone with its last call",
        "function 'l.flat': gone with its last call",
    ]


def test_the_report_shows_the_changes_and_how_many_more_there_are() -> None:
    text = "f = Flatten(map)\n t0 = l.lin(f, w, b)\n"
    text += "\n".join(f"[n{i}] t{i + 1} = l.idle(t{i})" for i in range(11)) + "\n y = Identity(t11)"
    report = fc2conv.convert(build(text, functions=[LIN, IDLE])).report
    assert len(report.restructured) == 14
    stream = io.StringIO()
    print_report(report, stream)
    shown = [line.rstrip() for line in stream.getvalue().splitlines() if line.startswith("structure: ")]
    assert shown[1] == "structure: l.idle 'n0': function written out (1 node)"
    assert shown[8:] == ["structure: 6 more"]
    assert "* l.idle 'n10': function written out (1 node)" in markdown(report).splitlines()


def test_what_is_not_reached_stays_byte_for_byte() -> None:
    """A function that is never called, and calls that image data does not flow through."""
    text = "y = l.flat(map, w, b)\n shape = Shape(x)\n d = Cast <to = 1> (shape)\n z = l.idle(d)\n v = l.lin(w, w2, b2)"
    weights = {**LINEAR, "w2": (3, 3), "b2": (3,)}
    never = IDLE.replace("idle", "never")
    model = build(
        text,
        weights,
        [IDLE, LIN, FLAT, never],
        outputs={"y": ["N", 3], "z": [4], "v": [12, 3]},
    )
    result = fc2conv.convert(model)
    kept = [f.SerializeToString() for f in result.model.functions]
    assert kept == [model.functions[i].SerializeToString() for i in (0, 1, 3)]
    calls = [n.SerializeToString() for n in result.model.graph.node if n.domain == "l"]
    assert calls == [n.SerializeToString() for n in model.graph.node if n.op_type in ("idle", "lin")]


def test_a_model_with_nothing_to_change_is_not_touched() -> None:
    model = build(
        "f = Flatten(map)\n y = Gemm(f, w, b)\n z = l.idle(b)", functions=[IDLE], outputs={"y": ["N", 3], "z": [3]}
    )
    result = fc2conv.convert(model)
    assert result.report.restructured == []
    assert result.model.functions == model.functions
    assert result.model.graph.node[-1] == model.graph.node[-1]


def test_the_parts_of_a_function_keep_what_they_carry() -> None:
    text = "[act] m = l.idle(map)\n f = Flatten(m)\n y = Gemm(f, w, b)"
    model = build(text, functions=[IDLE])
    inner = model.functions[0].node[0]
    inner.doc_string, inner.name = "negates", "neg"
    inner.metadata_props.add(key="from", value="here")
    node = fc2conv.convert(model).model.graph.node[1]
    assert (node.op_type, node.name, node.doc_string) == ("Neg", "act/neg", "negates")
    assert list(node.metadata_props) == list(inner.metadata_props)


def test_a_domain_that_only_a_function_imports_is_imported() -> None:
    imports = V.replace("]", ', "com.microsoft" : 1]')
    fused = (
        f'<domain: "l", {imports}> fused (p, k) => (o) {{ o = com.microsoft.FusedConv <activation = "Relu"> (p, k) }}'
    )
    weights = {"k": (2, 2, 1, 1), **LINEAR}
    result = assert_converted(build("m = l.fused(map, k)\n f = Flatten(m)\n y = Gemm(f, w, b)", weights, [fused]))
    assert {o.domain: o.version for o in result.model.opset_import} == {"": 17, "l": 1, "com.microsoft": 1}


# -- refusals --------------------------------------------------------------------------------------------------------


def _chain(n: int, calls: int = 1) -> list[str]:
    """Functions that call each other so deep, each the next so often."""
    last = f'<domain: "l", {V}> f{n - 1} (p) => (o) {{ o = Relu(p) }}'
    steps = []
    for i in range(n - 1):
        body = "\n".join(f"t{k + 1} = l.f{i + 1}(t{k})" for k in range(calls))
        steps.append(f'<domain: "l", {V}> f{i} (t0) => (t{calls}) {{ {body} }}')
    return [*steps, last]


def _twice(m: ModelProto) -> None:
    m.functions.append(m.functions[0])


def _many_inputs(m: ModelProto) -> None:
    m.graph.node[-1].input.append("b")


def _many_outputs(m: ModelProto) -> None:
    m.graph.node[-1].output.append("more")


def _no_inputs(m: ModelProto) -> None:
    del m.graph.node[-1].input[1:]


def _nothing(m: ModelProto) -> None:
    pass


HEAD = "f = Flatten(map)\n[fc] y = l.lin(f, w, b)"
REFUSED: dict[str, tuple[list[str], Callable[[ModelProto], None], type[Exception], str]] = {
    "itself": (
        [LIN.replace("MatMul(p, q)", "l.lin(p, q, r)")],
        _nothing, fc2conv.UnreadableModel, "l.lin 'fc': function 'l.lin' calls itself"),
    "circle": (
        [LIN.replace("MatMul(p, q)", "l.flat(p, q, r)"), FLAT],
        _nothing, fc2conv.UnreadableModel, "calls itself"),
    "circle through a branch": (
        [f'<domain: "l", {V}> lin (p, q, r) => (o) {{ c = Constant <value = bool {{1}}> ()\n'
         " o = If (c) <then_branch = t () => (u) { u = l.lin(p, q, r) }, else_branch = e () => (u) { u = Neg(p) }> }"],
        _nothing, fc2conv.UnreadableModel, "calls itself"),
    "twice": ([LIN], _twice, fc2conv.UnreadableModel, "is defined twice"),
    "too many inputs": ([LIN], _many_inputs, fc2conv.UnreadableModel, "has 3 inputs, and the call 4"),
    "too many outputs": ([LIN], _many_outputs, fc2conv.UnreadableModel, "has 1 outputs, and the call 2"),
    "too few inputs": ([LIN], _no_inputs, fc2conv.Unliftable, "not a constant"),
    "reads what is outside": (
        [LIN.replace("Add(t, r)", "Add(t, w)")], _nothing, fc2conv.UnreadableModel, "reads 'w', which is not defined"),
    "defines a value twice": (
        [LIN.replace("o = Add(t, r)", "t = Add(t, r)\n o = Neg(t)")],
        _nothing, fc2conv.UnreadableModel, "defines its value 't' twice"),
    "no output": (
        [LIN.replace("=> (o)", "=> (none)")], _nothing, fc2conv.UnreadableModel, "does not define its output 'none'"),
    "other opset, other operator": (
        [LIN.replace('"" : 17', '"" : 12').replace("Add(t, r)", "Softmax(t)")],
        _nothing, fc2conv.Unliftable, "written for opset 12 of domain 'ai.onnx', the model imports 17, and MatMul"),
    "other version of an unknown domain": (
        [LIN.replace('"l" : 1', '"l" : 1, "m" : 1').replace("Add(t, r)", "m.Do(t, r)")],
        lambda m: m.opset_import.append(helper.make_opsetid("m", 2)),
        fc2conv.Unliftable, "the model imports 2, and Do differs"),
    "bomb": (
        [LIN.replace("MatMul(p, q)", "l.f0(p)"), *_chain(30, 4)],
        _nothing, fc2conv.Unliftable, "stand for more than"),
    "too deep": (
        [LIN.replace("MatMul(p, q)", "l.f0(p)"), *_chain(1001)],
        _nothing, fc2conv.Unliftable, "call each other 1002 levels deep"),
    "attribute of another type": (
        [LIN.replace("lin (p", "lin <a: int = 3> (p").replace("Add(t, r)", "LeakyRelu <alpha: float = @a> (t)")],
        _nothing, fc2conv.UnreadableModel, "attribute 'alpha' stands for 'a', which is INT and not FLOAT"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_out_is_refused(name: str) -> None:
    library, damage, kind, reason = REFUSED[name]
    model = build(HEAD, functions=library)
    damage(model)
    with pytest.raises(kind, match=re.escape(reason)):
        fc2conv.convert(model)


def test_a_function_with_the_name_of_an_operator_is_refused() -> None:
    model = build("f = Flatten(map)\n[fc] y = Gemm(f, w, b)")
    model.functions.append(parser.parse_function(LIN))
    model.functions[0].domain, model.functions[0].name = "", "Gemm"
    with pytest.raises(fc2conv.Unliftable, match="a function of the model and an operator of the standard"):
        fc2conv.convert(model)


def test_a_thousand_levels_are_written_out() -> None:
    """Loading a thousand takes onnxruntime seconds: what they come to is compared with the one node that they mean."""
    text = "r = {}(map)\n f = Flatten(r)\n y = Gemm(f, w, b)"
    result = fc2conv.convert(build(text.format("l.f0"), functions=_chain(1000)), verify=False)
    assert kinds(result.model) == ["Conv", "Relu", "Conv"]
    assert max(len(n.name) for n in result.model.graph.node) < 200
    image = {"x": integers((2, 1, 10, 12), seed=3)}
    (found,) = session(result.model).run(["y"], image)
    for same in (build(text.format("Relu")), build(text.format("l.f0"), functions=_chain(100))):
        (expected,) = session(assert_converted(same).model).run(["y"], image)
        np.testing.assert_array_equal(found, expected, strict=True)


def _swapped(outputs: Sequence[str]) -> Callable[..., Any]:
    def body(call: onnx.NodeProto, function: onnx.FunctionProto, names: Any) -> Any:
        wrong = onnx.FunctionProto()
        wrong.CopyFrom(function)
        wrong.output[:] = outputs
        return original(call, wrong, names)

    original = functions._body
    return body


def test_a_function_written_out_wrongly_is_caught_by_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original that the answers are compared with is the file as it was given, calls and all."""
    model = build("f = Flatten(map)\n y, z = l.both(f, w)", functions=[BOTH], outputs={"y": ["N", 3], "z": ["N", 3]})
    assert_converted(model, ["y", "z"])
    monkeypatch.setattr(functions, "_body", _swapped(["n", "o"]))
    with pytest.raises(fc2conv.VerificationFailed, match="same size"):
        fc2conv.convert(model)
