"""``If``: where its condition is a constant the taken branch is written out, else it is refused with the reason."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv.constants import Constants
from onnx_fc2conv.ops import view
from onnx_fc2conv.shapes import infer
from onnx_fc2conv.structure import branches, conditions, straighten

from ..networks import answers, integers, session
from .models import LINEAR, assert_converted, build, kinds, sparse

TRUE, FALSE = "c = Constant <value = bool {1}> ()\n", "c = Constant <value = bool {0}> ()\n"
IF = "If (c) <then_branch = th () => ({0}) {{ {1} }}, else_branch = el () => ({2}) {{ {3} }}>\n"
#: what exporters write for ``squeeze``: take the axis away if it has one element
SQUEEZE = """i = Constant <value_int = {axis}> ()
 one = Constant <value_int = 1> ()
 s = Shape(p)
 d = Gather <axis = 0> (s, i)
 c = Equal(d, one)
 ax = Constant <value_ints = [{axis}]> ()
 q = If (c) <then_branch = th () => (u) {{ u = Squeeze(p, ax) }}, else_branch = el () => (v) {{ v = Identity(p) }}>
"""


def squeezes(*axes: int) -> str:
    """One such ``If`` behind the other, each with names of its own."""
    text = ""
    for n, axis in enumerate(axes):
        step = SQUEEZE.format(axis=axis)
        names = {k: f"{k}{n}" for k in ("i", "one", "s", "d", "c", "ax", "u", "v")} | {"p": f"p{n}", "q": f"p{n + 1}"}
        text += re.sub(r"\b(i|one|s|d|c|ax|u|v|p|q)\b", lambda m, names=names: names[m[0]], step)
    return text


def if_(target: str, then: tuple[str, str], other: tuple[str, str]) -> str:
    """``target = If (c)`` with two branches, each an output name and its nodes."""
    return f"[if] {target} = " + IF.format(then[0], then[1], other[0], other[1])


HEAD_THEN, HEAD_ELSE = ("u", "t = MatMul(f, w)\n u = Add(t, b)"), ("v", "v = MatMul(f, w)")
CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "head, true": ("f = Flatten(map)\n" + TRUE + if_("y", HEAD_THEN, HEAD_ELSE), LINEAR, 0),
    "head, false": ("f = Flatten(map)\n" + FALSE + if_("y", HEAD_THEN, HEAD_ELSE), LINEAR, 0),
    "condition stored": (
        "f = Flatten(map)\n" + if_("y", HEAD_THEN, HEAD_ELSE), {**LINEAR, "c": np.array([True])}, 0),
    "condition computed": (
        "k = Constant <value_int = 3> ()\n m = Constant <value_int = 4> ()\n l = Less(k, m)\n c = Not(l)\n"
        "f = Flatten(map)\n" + if_("y", HEAD_THEN, HEAD_ELSE), LINEAR, 0),
    "backbone": (
        TRUE + if_("m", ("u", "u = Relu(map)"), ("v", "v = Neg(map)")) + "f = Flatten(m)\n y = Gemm(f, w, b)",
        LINEAR, 0),
    "names taken outside": (
        "t = Flatten(map)\n f = Identity(t)\n" + TRUE
        + if_("y", ("z", "z = MatMul(f, w)"), HEAD_ELSE).replace("z", "t_"), LINEAR, 0),
    "both branches and a third use the same names": (
        "f = Flatten(map)\n" + TRUE + if_("g", ("u", "u = MatMul(f, w)"), ("u", "u = Neg(f)"))
        + if_("y", ("u", "u = Neg(g)"), ("u", "u = Abs(g)")).replace("[if]", "[other]"), LINEAR, 0),
    "nested": (
        "f = Flatten(map)\n" + TRUE + if_("y", (
            "u", "h = Neg(f)\n u = If (c) <then_branch = a () => (r) { r = MatMul(h, w) },"
            " else_branch = b () => (r) { r = MatMul(f, w) }>"), HEAD_ELSE), LINEAR, 0),
    "rank decides": (
        "s = Shape(map)\n r = Size(s)\n four = Constant <value_int = 4> ()\n c = Equal(r, four)\n"
        + if_("f", ("u", "u = Flatten(map)"), ("v", "v = Identity(map)")) + "y = Gemm(f, w, b)", LINEAR, 0),
    "channels decide": (
        "s = Shape <start = 1, end = 2> (map)\n two = Constant <value_ints = [2]> ()\n c = Equal(s, two)\n"
        "f = Flatten(map)\n" + if_("y", HEAD_THEN, HEAD_ELSE), LINEAR, 0),
    "inside a branch that is a function's": ("f = Flatten(map)\n y = l.pick(f, w)", LINEAR, 1),
}  # fmt: skip
PICK = (
    '<domain: "l", opset_import: ["" : 17]> pick (p, q) => (o) { c = Constant <value = bool {0}> ()\n'
    " o = If (c) <then_branch = a () => (r) { r = Neg(p) }, else_branch = b () => (r) { r = MatMul(p, q) }> }"
)


@pytest.mark.parametrize("name", CASES)
def test_the_taken_branch_is_written_out(name: str) -> None:
    text, weights, library = CASES[name]
    result = assert_converted(build(text, weights, [PICK][:library]))
    assert "If" not in kinds(result.model)
    assert [line for line in result.report.restructured if line.startswith("If ")]


def test_what_only_the_condition_needed_is_gone() -> None:
    text = "k = Constant <value_int = 3> ()\n m = Constant <value_int = 4> ()\n c = Less(k, m)\n"
    text += "f = Flatten(map)\n other = Neg(f)\n z = Identity(k)\n"
    text += if_("y", HEAD_THEN, ("v", "n = Neg(other)\n v = MatMul(n, w2)"))
    model = build(text, {**LINEAR, "w2": (12, 3)}, outputs={"y": ["N", 3], "z": []})
    model.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.INT64
    result = fc2conv.convert(model)
    assert kinds(result.model) == ["Conv", "Constant", "Identity", "Conv", "Add"]
    assert {t.name for t in result.model.graph.initializer} == {"backbone", "w", "b"}
    assert result.report.restructured == ["If 'if': its condition is always true, then_branch written out"]


def test_squeezes_as_exporters_write_them() -> None:
    """The branches differ in rank, so the shapes behind one are known only once it is written out."""
    text = "p0 = GlobalAveragePool(map)\n" + squeezes(3, 2) + "y = Gemm(p2, w, b)"
    result = assert_converted_pool(build(text, {"w": (2, 3), "b": (3,)}))
    assert len(result.report.restructured) == 2
    assert kinds(result.model)[-1] == "Conv"


def assert_converted_pool(model: ModelProto) -> fc2conv.Result:
    """A mean of six values is not exact, so the package's own checks compare here."""
    result = fc2conv.convert(model)
    assert result.report.verified
    return result


def test_weights_of_a_branch_move_along() -> None:
    model = build("f = Flatten(map)\n" + TRUE + if_("y", HEAD_THEN, HEAD_ELSE))
    node = next(n for n in model.graph.node if n.op_type == "If")
    branch = next(a.g for a in node.attribute if a.name == "then_branch")
    branch.initializer.append(numpy_helper.from_array(np.full((12, 3), 2, np.float32), "w_inside"))
    branch.initializer.append(numpy_helper.from_array(np.full((3,), 5, np.float32), "b"))
    branch.node[0].input[1] = "w_inside"
    branch.initializer[1].name = branch.node[1].input[1] = "f_bias"
    branch.value_info.append(helper.make_tensor_value_info("t", 1, ["N", 3]))
    result = assert_converted(model)
    assert {t.name for t in result.model.graph.initializer} == {"backbone", "b", "w_inside", "f_bias"}


def test_a_branch_may_hand_out_what_it_captured() -> None:
    """onnxruntime loads no such file, so a twin without branches is the judge."""
    model = build("f = Flatten(map)\n g = Gemm(f, w, b)\n" + TRUE + if_("y", ("g", ""), ("v", "v = Neg(g)")))
    result = fc2conv.convert(model, verify=False)
    image = integers((2, 1, 10, 12), seed=3)
    found = session(result.model).run(["y"], {"x": image})[0]
    twin = build("f = Flatten(map)\n y = Gemm(f, w, b)")
    np.testing.assert_array_equal(found, answers(twin, image, (3, 2))["y"])


def branch_of(model: ModelProto, name: str = "then_branch") -> onnx.GraphProto:
    """A branch of the first ``If`` of the main graph."""
    node = next(n for n in model.graph.node if n.op_type == "If")
    return next(a.g for a in node.attribute if a.name == name)


def test_sparse_weights_of_a_branch_move_along_and_become_dense() -> None:
    model = build("f = Flatten(map)\n" + TRUE + if_("y", ("u", "u = MatMul(f, inside)"), HEAD_ELSE))
    branch_of(model).sparse_initializer.append(sparse(integers((12, 3), 5), "inside"))
    result = assert_converted(model)
    assert "sparse initializer 'inside' [12, 3]: made dense" in result.report.restructured
    assert not result.model.graph.sparse_initializer


def test_weights_of_a_branch_are_listed_as_inputs_where_the_ir_wants_it() -> None:
    model = build("f = Flatten(map)\n" + TRUE + if_("y", ("u", "u = MatMul(f, inside)"), ("v", "v = MatMul(f, w)")))
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    branch_of(model).initializer.append(numpy_helper.from_array(integers((12, 3), 5), "inside"))
    result = fc2conv.convert(model, verify=False)  # onnxruntime does not load the original
    listed = {i.name for i in result.model.graph.input}
    assert listed == {"x"} | {t.name for t in result.model.graph.initializer}
    assert "w" not in listed


def test_a_branch_may_hand_out_what_it_stores_and_one_value_twice() -> None:
    text = "f = Flatten(map)\n" + TRUE
    text += "m, n, k = If (c) <then_branch = th () => (u, u, kept) { u = MatMul(f, w) },"
    text += (
        " else_branch = el () => (p, q, r) { p = Neg(f)\n q = Neg(f)\n r = Neg(b) }>\n s = Add(m, n)\n y = Add(s, k)"
    )
    model = build(text)
    branch_of(model).initializer.append(numpy_helper.from_array(integers((3,), 9), "kept"))
    result = fc2conv.convert(model, verify=False)
    twin = build(
        "f = Flatten(map)\n u = MatMul(f, w)\n s = Add(u, u)\n y = Add(s, k)", {**LINEAR, "k": integers((3,), 9)}
    )
    image = integers((2, 1, 10, 12), seed=3)
    found = session(result.model).run(["y"], {"x": image})[0]
    np.testing.assert_array_equal(found, answers(twin, image, (3, 2))["y"])


def test_names_inside_of_branches_of_a_function() -> None:
    """Initializers and declared types of a subgraph are renamed with what reads them."""
    model = build("w_in = Flatten(map)\n y = l.pick(w_in, w)", functions=[PICK])
    branch = branch_of_function(model)
    branch.node[0].input[1] = "w_in"
    branch.initializer.append(numpy_helper.from_array(integers((12, 3), 9), "w_in"))
    branch.value_info.append(helper.make_tensor_value_info("w_in", 1, [12, 3]))
    annotation = branch.quantization_annotation.add(tensor_name="w_in")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w_in")
    result = fc2conv.convert(model, verify=False)
    image = integers((2, 1, 10, 12), seed=3)
    found = session(result.model).run(["y"], {"x": image})[0]
    twin = build("f = Flatten(map)\n y = MatMul(f, w)", {"w": integers((12, 3), 9)})
    np.testing.assert_array_equal(found, answers(twin, image, (3, 2))["y"])


def branch_of_function(model: ModelProto) -> onnx.GraphProto:
    """The branch that ``PICK`` takes."""
    node = next(n for n in model.functions[0].node if n.op_type == "If")
    return next(a.g for a in node.attribute if a.name == "else_branch")


def test_a_branch_off_the_path_stays_byte_for_byte() -> None:
    text = TRUE + if_("z", ("u", "u = Neg(b)"), ("v", "v = Abs(b)")) + "f = Flatten(map)\n y = Gemm(f, w, b)"
    model = build(text, outputs={"y": ["N", 3], "z": [3]})
    result = fc2conv.convert(model)
    assert result.report.restructured == []
    assert next(n for n in result.model.graph.node if n.op_type == "If") == model.graph.node[2]


# -- refusals --------------------------------------------------------------------------------------------------------

BOTH = (("u", "u = MatMul(f, w)"), ("v", "v = MatMul(f, w)"))
REFUSED = {
    "batch": ("s = Shape <start = 0, end = 1> (map)\n k = Constant <value_ints = [1]> ()\n c = Equal(s, k)\n",
              "its condition 'c' follows from the shape of 'map', so it can change with the input's size"),
    "height": ("s = Shape <start = 2, end = 3> (map)\n k = Constant <value_ints = [3]> ()\n c = Equal(s, k)\n",
               "follows from the shape of 'map'"),
    "height, beyond every size that is tried": (
        "s = Shape <start = 2, end = 3> (map)\n k = Constant <value_ints = [100000]> ()\n c = Less(s, k)\n",
        "follows from the shape of 'map'"),
    "height, a remainder": (
        "s = Shape <start = 2, end = 3> (map)\n k = Constant <value_ints = [1]> ()\n m = Mod(s, k)\n c = Equal(m, k)\n",
        "follows from the shape of 'map'"),
    "an index that the height gives": (
        "s = Shape <start = 2, end = 3> (map)\n k = Constant <value_ints = [100000]> ()\n l = Div(s, k)\n"
        "t = Constant <value = bool[1] {0}> ()\n c = Gather(t, l)\n",
        "follows from the shape of 'map'"),
    "random": ("k = Constant <value_float = 1.0> ()\n m = RandomUniform <shape = [1]> ()\n c = Greater(m, k)\n",
               "its condition 'c' is computed in a way that is not evaluated here"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_condition_that_is_no_constant_is_refused_by_what_it_depends_on(name: str) -> None:
    condition, reason = REFUSED[name]
    with pytest.raises(fc2conv.Unliftable, match=re.escape(reason)) as caught:
        fc2conv.convert(build("f = Flatten(map)\n" + condition + if_("y", *BOTH)))
    assert caught.value.node == "If 'if'"


def test_a_condition_that_the_image_decides_is_named() -> None:
    condition = "m = ReduceMax <keepdims = 0> (map)\n k = Constant <value_float = 1.0> ()\n c = Greater(m, k)\n"
    model = view(build("f = Flatten(map)\n" + condition + if_("y", *BOTH)), "")
    straight = straighten(model, lambda m: (Constants(m, infer(m, 13), infer(m, 17)), [2, 3]))
    assert straight.model is model
    assert straight.reasons == {"If 'if'": "its condition 'c' is computed from input 'x'"}


def test_the_same_condition_in_the_backbone_is_refused_alike() -> None:
    condition, reason = REFUSED["height"]
    text = condition + if_("m", ("u", "u = Relu(map)"), ("v", "v = Neg(map)")) + "f = Flatten(m)\n y = Gemm(f, w, b)"
    with pytest.raises(fc2conv.Unliftable, match=re.escape(reason)):
        fc2conv.convert(build(text))


def test_a_condition_that_callers_set_is_refused() -> None:
    model = build("f = Flatten(map)\n" + if_("y", *BOTH), {**LINEAR, "c": np.array([True])})
    model.graph.input.append(helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [1]))
    with pytest.raises(fc2conv.Unliftable, match="depends on 'c', an input that callers may set"):
        fc2conv.convert(model)
    del model.graph.initializer[-1]
    with pytest.raises(fc2conv.Unliftable, match="its condition 'c' is an input of the model"):
        fc2conv.convert(model)


def nhwc(condition: str) -> ModelProto:
    """An image [N, 6, 4, 1] that a branch transposes; behind it a branch that the condition decides."""
    text = "f = Flatten(map)\n" + condition + if_("y", *BOTH)
    model = build(text)
    then, other = (f"{n} = Transpose <perm = [0, 3, 1, 2]> (x)" for n in "pq")
    first = parser.parse_graph(
        "g () => () {"
        + TRUE.replace("c =", "k =")
        + f"i = If (k) <then_branch = a () => (p) {{ {then} }}, else_branch = b () => (q) {{ {other} }}> }}"
    )
    model.graph.node[0].input[0] = "i"
    for node in reversed(first.node):
        model.graph.node.insert(0, node)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, ["N", 6, 4, 1]))
    return model


def test_a_branch_that_hides_the_layout_is_written_out_first() -> None:
    """The axes of the image are not known before; a condition on its height must not pass for a constant."""
    channels = "s = Shape <start = 3, end = 4> (x)\n k1 = Constant <value_ints = [1]> ()\n c = Equal(s, k1)\n"
    result = fc2conv.convert(nhwc(channels))
    assert len(result.report.restructured) == 2
    assert "If" not in kinds(result.model)
    for axis in (1, 2):
        height = channels.replace("start = 3, end = 4", f"start = {axis}, end = {axis + 1}")
        with pytest.raises(fc2conv.Unliftable, match="follows from the shape of 'x'"):
            fc2conv.convert(nhwc(height))


def test_shapes_decide_nothing_where_the_layout_stays_hidden() -> None:
    """The same with a first branch that a shape decides: it would be taken for the trained size only."""
    channels = "s = Shape <start = 3, end = 4> (x)\n k1 = Constant <value_ints = [1]> ()\n c = Equal(s, k1)\n"
    model = nhwc(channels)
    text = "e = Shape <start = 1, end = 2> (x)\n six = Constant <value_ints = [6]> ()\n k = Equal(e, six)"
    del model.graph.node[0]
    for node in reversed(parser.parse_graph("g () => () {" + text + "}").node):
        model.graph.node.insert(0, node)
    with pytest.raises(fc2conv.Fc2ConvError, match="hide which axes of the image are spatial"):
        fc2conv.convert(model)


def test_a_loop_is_refused_by_name() -> None:
    text = "n = Constant <value_int = 1> ()\n" + TRUE + "f = Flatten(map)\n"
    body = "bd (int64 i, bool k, float[N, 12] v) => (bool k, float[N, 12] u) { u = Neg(v) }"
    text += f"[loop] y0 = Loop (n, c, f) <body = {body}>\n"
    text += "y = Gemm(y0, w, b)"
    with pytest.raises(fc2conv.Unliftable, match=r"^Loop 'loop': .+; it repeats its body"):
        fc2conv.convert(build(text))


def test_an_if_without_a_condition_is_no_model() -> None:
    model = build("f = Flatten(map)\n" + TRUE + if_("y", *BOTH))
    next(n for n in model.graph.node if n.op_type == "If").input[0] = ""
    with pytest.raises(fc2conv.UnreadableModel, match="its operand 'cond' is missing"):
        fc2conv.convert(model)


def test_an_if_without_the_taken_branch_is_no_model() -> None:
    model = build("f = Flatten(map)\n" + TRUE + if_("y", *BOTH))
    node = next(n for n in model.graph.node if n.op_type == "If")
    node.attribute[0].name = "no_branch"
    with pytest.raises(fc2conv.UnreadableModel, match="its then_branch is missing"):
        fc2conv.convert(model)


@pytest.mark.parametrize("depth", [20, 200, 2000])
def test_branches_nested_deep_end_in_one_line_or_are_right(depth: int) -> None:
    """Protobuf reads no more than 100 messages inside of each other; what was built in memory can be deeper."""
    inner = parser.parse_graph("g () => (r) { r = MatMul(f, w) }")
    model = build("f = Flatten(map)\n" + TRUE)
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], name="if"))
    node = model.graph.node[-1]
    for _ in range(depth - 1):
        for branch in ("then_branch", "else_branch"):
            attribute = node.attribute.add(name=branch, type=onnx.AttributeProto.GRAPH)
            attribute.g.CopyFrom(inner)
        attribute = node.attribute[0]
        attribute.g.node[0].CopyFrom(helper.make_node("If", ["c"], ["r"]))
        node = attribute.g.node[0]
    for branch in ("then_branch", "else_branch"):
        node.attribute.add(name=branch, type=onnx.AttributeProto.GRAPH).g.CopyFrom(inner)
    if depth == 20:
        assert len(assert_converted(model).report.restructured) == depth
        return
    with pytest.raises(fc2conv.Fc2ConvError) as caught:
        fc2conv.convert(model)
    assert "\n" not in str(caught.value)


def test_the_wrong_branch_is_caught_by_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original that the answers are compared with is the file as it was given, branches and all."""
    model = build("f = Flatten(map)\n" + TRUE + if_("y", HEAD_THEN, HEAD_ELSE))
    monkeypatch.setattr(branches, "truth", lambda *_: not conditions.truth(*_))
    with pytest.raises(fc2conv.VerificationFailed, match="same size"):
        fc2conv.convert(model)
