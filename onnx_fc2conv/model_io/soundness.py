"""What other rooms take for granted of a model, held here once: text is text, attributes have their types.

Protobuf hands out bytes where a name is no UTF-8, and any type where an attribute says so; a runtime refuses both.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, defs

from ..errors import UnreadableModel, printable
from ..nodes import everywhere
from ..ops import STANDARD_DOMAINS, title

TYPES = {int(number): name for name, number in AttributeProto.AttributeType.items()}


def require_sound(proto: ModelProto, name: str) -> None:
    """Check names, texts and attribute types.

    Args:
        proto: the model.
        name: how messages call it.

    Raises:
        UnreadableModel: a text is no UTF-8, or an attribute is not of the type that its operator has.
    """
    for owner, text in _texts(proto):
        if not _is_text(text):
            shown = printable(text.decode("latin-1")) if isinstance(text, bytes) else "?"
            raise UnreadableModel(
                f"'{name}' is damaged: {owner} has the name or text '{shown[:80]}', which is no UTF-8"
            )
    opsets = {o.domain if o.domain not in STANDARD_DOMAINS else "": o.version for o in proto.opset_import}
    if "" not in opsets:
        raise UnreadableModel(f"'{name}' imports no version of the default operator set, which Conv and Gemm are of")
    for node in everywhere(proto.graph.node):
        _require_attributes(node, opsets[""])
        _require_operands(node, opsets[""])


def _is_text(text: object) -> bool:
    return isinstance(text, str)


def _texts(proto: ModelProto) -> Iterator[tuple[str, object]]:
    """Every text of the model, with what it belongs to."""
    own = ("producer_name", "producer_version", "domain", "doc_string")
    yield from (("the model", getattr(proto, field)) for field in own)
    yield from (("the model", text) for p in proto.metadata_props for text in (p.key, p.value))
    yield from (("an opset import", o.domain) for o in proto.opset_import)
    graphs = [proto.graph]
    for function in proto.functions:
        named = (function.name, function.domain, function.overload, function.doc_string)
        yield from (("a function", text) for text in (*named, *function.input))
        yield from (("a function", text) for text in (*function.output, *function.attribute))
        graphs.append(GraphProto(node=function.node))
    for graph in graphs:
        yield from (("a graph", text) for text in (graph.name, graph.doc_string))
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield from _of_value(value)
        for tensor in graph.initializer:
            yield from _of_tensor(tensor)
        for node in everywhere(graph.node):
            yield from _of_node(node)


def _of_value(value: ValueInfoProto) -> Iterator[tuple[str, object]]:
    yield from (("a value", text) for text in (value.name, value.doc_string))
    yield from (("a dim", d.dim_param) for d in value.type.tensor_type.shape.dim if d.HasField("dim_param"))


def _of_tensor(tensor: TensorProto) -> Iterator[tuple[str, object]]:
    yield from (("a tensor", text) for text in (tensor.name, tensor.doc_string))
    yield from (("a tensor", text) for entry in tensor.external_data for text in (entry.key, entry.value))


def _of_node(node: NodeProto) -> Iterator[tuple[str, object]]:
    yield from (("a node", text) for text in (node.name, node.op_type, node.domain, node.overload, node.doc_string))
    yield from (("a node", text) for text in (*node.input, *node.output))
    for attribute in node.attribute:
        yield from (("an attribute", text) for text in (attribute.name, attribute.ref_attr_name))
        if attribute.HasField("t"):
            yield from _of_tensor(attribute.t)
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for value in (*graph.input, *graph.output, *graph.value_info):
                yield from _of_value(value)
            for tensor in graph.initializer:
                yield from _of_tensor(tensor)


def _require_attributes(node: NodeProto, opset: int) -> None:
    known = _attribute_types(node.op_type, opset) if node.domain in STANDARD_DOMAINS else {}
    names = set[str]()
    for attribute in node.attribute:
        if attribute.name in names:
            raise UnreadableModel(f"its attribute '{attribute.name}' is given twice", title(node))
        names.add(attribute.name)
        if attribute.ref_attr_name:
            raise UnreadableModel(
                f"its attribute '{attribute.name}' refers to one of a function, and is in none", title(node)
            )
        wanted = known.get(attribute.name, attribute.type)
        if attribute.type != wanted:
            given = TYPES.get(attribute.type, str(attribute.type))
            raise UnreadableModel(
                f"its attribute '{attribute.name}' is {given}, and must be {TYPES[wanted]}", title(node)
            )


def _require_operands(node: NodeProto, opset: int) -> None:
    """A standard operator has the operands that it must have, and no more than it can have; of its results too."""
    schema = _schema(node.op_type, opset) if node.domain in STANDARD_DOMAINS else None
    if schema is None:
        return
    for i, operand in enumerate(schema.inputs):
        single = operand.option == defs.OpSchema.FormalParameterOption.Single
        if single and (i >= len(node.input) or not node.input[i]):
            raise UnreadableModel(f"its operand '{operand.name}' is missing", title(node))
    for kind, given, most in (("operands", node.input, schema.max_input), ("results", node.output, schema.max_output)):
        if len(given) > most:
            raise UnreadableModel(f"has {len(given)} {kind}, and can have {most}", title(node))
    if not any(node.output):
        raise UnreadableModel("has no result", title(node))


@lru_cache(maxsize=4096)
def _schema(op_type: str, opset: int) -> defs.OpSchema | None:
    """The definition of a standard operator, if it is known."""
    try:
        return defs.get_schema(op_type, opset, "")
    except defs.SchemaError:
        return None


@lru_cache(maxsize=4096)
def _attribute_types(op_type: str, opset: int) -> dict[str, int]:
    """The types of a standard operator's attributes; none where the operator is not known."""
    schema = _schema(op_type, opset)
    if schema is None:
        return {}
    return {name: int(getattr(a.type, "value", 0)) for name, a in schema.attributes.items()}
