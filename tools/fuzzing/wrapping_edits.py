"""What happens around a model: branches and functions about its nodes, what the tool itself writes beside it, texts."""

from __future__ import annotations

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from .edits import NAMES, Rng, a_node, edits, pick


@edits
def odd_metadata(rng: Rng, model: ModelProto) -> None:
    """What the tool writes beside a model, made up or damaged."""
    keys = ["onnx_fc2conv.geometry", "onnx_fc2conv.original", "onnx_fc2conv.output_forms", "anything"]
    props = [p for p in model.metadata_props if p.key in keys]
    if not props:
        value = pick(
            rng, ("", "{}", "[]", "null", '{"schema":1}', '{"schema":1,"outputs":{}}', "{" * 9999, "\0", "1e999")
        )
        model.metadata_props.add(key=pick(rng, keys), value=value)
        return
    prop = pick(rng, props)
    text = prop.value
    what, at = int(rng.integers(5)), int(rng.integers(len(text) + 1))
    if what == 0:
        prop.value = text[:at]
    elif what == 1:
        prop.value = text[:at] + pick(rng, ("0", "-1", "9" * 30, "null", "[", "\\u0000", "x", "1e400")) + text[at + 1 :]
    elif what == 2:
        digits = [i for i, c in enumerate(text[:3000]) if c.isdigit()] or [0]
        place = pick(rng, digits)
        prop.value = text[:place] + pick(rng, "0123456789") + text[place + 1 :]
    elif what == 3:
        del model.metadata_props[:]
    else:
        model.metadata_props.append(prop)


@edits
def names_in_documents(rng: Rng, model: ModelProto) -> None:
    """Texts that are long or odd."""
    model.doc_string = pick(rng, NAMES)
    model.producer_name = pick(rng, NAMES)
    model.graph.name = pick(rng, NAMES)
    a_node(rng, model).doc_string = pick(rng, NAMES)


@edits
def if_around(rng: Rng, model: ModelProto) -> None:
    """The end of the graph goes into an ``If``, up to very deep."""
    graph = model.graph
    if not graph.node or len(graph.output) != 1:
        return
    depth = int(pick(rng, (1, 2, 5, 40, 200, 1200)))
    constant = helper.make_tensor("condition", TensorProto.BOOL, [], [bool(rng.integers(2))])
    last = NodeProto()
    last.CopyFrom(graph.node[-1])
    outputs = list(last.output)
    inner = GraphProto(name="inner", node=[last], output=[ValueInfoProto(name=o) for o in outputs])
    if depth > 2:  # written by hand: each level would be copied by every one around it
        depth = min(depth, 90)
    for level in range(depth):
        made = NodeProto(op_type="If", input=["condition"], output=outputs, name=f"if{level}")
        for name in ("then_branch", "else_branch") if level < 2 else ("then_branch",):
            made.attribute.add(name=name, type=AttributeProto.GRAPH).g.CopyFrom(inner)
        inner = GraphProto(name=f"g{level}", node=[made], output=[ValueInfoProto(name=o) for o in outputs])
    graph.node[-1].CopyFrom(inner.node[0])
    graph.initializer.append(constant)


@edits
def function_around(rng: Rng, model: ModelProto) -> None:
    """A node goes into a function, which may call itself, or have the wrong operands."""
    node = a_node(rng, model)
    inner = NodeProto()
    inner.CopyFrom(node)
    if rng.integers(4) == 0:
        inner.op_type, inner.domain = "Inside", "made.up"
    arguments = [n for n in dict.fromkeys(node.input) if n]
    if rng.integers(4) == 0:
        arguments = arguments[:-1]
    f = helper.make_function("made.up", "Inside", arguments, list(node.output), [inner], list(model.opset_import))
    model.functions.append(f)
    if rng.integers(5):
        model.opset_import.add(domain="made.up", version=1)
    node.op_type, node.domain = "Inside", "made.up"
    node.input[:] = arguments
    del node.attribute[:]
