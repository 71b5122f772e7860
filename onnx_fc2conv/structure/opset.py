"""Opsets before 7, in which operators broadcast by attributes, raised to 7 by ONNX's own converter.

Weights do not go through it: it sees a model whose large initializers are only inputs of their shape.
"""

from __future__ import annotations

from onnx import ModelProto, helper, version_converter

from ..errors import Unliftable, UnreadableModel
from ..ops import STANDARD_DOMAINS, Model, captured
from .needed import replace_nodes

OLDEST = 7
SMALL = 4096  #: elements; larger initializers are never operands that the converter reads


def too_old(model: Model) -> bool:
    """True if the model imports an opset that is raised; versions below 1 do not exist."""
    return 0 < model.opset < OLDEST


def raise_to_oldest(proto: ModelProto) -> list[str]:
    """Convert the nodes to opset 7, in place; everything else stays.

    Raises:
        Unliftable: ONNX's converter does not convert the model.
        UnreadableModel: a name was lost on the way.
    """
    imported = next(o for o in proto.opset_import if o.domain in STANDARD_DOMAINS)
    old = imported.version
    try:
        raised = version_converter.convert_version(_skeleton(proto), OLDEST)
    except Exception as e:  # the converter raises what it finds
        raise Unliftable(f"opset {old} is older than {OLDEST}, and onnx.version_converter fails: {str(e)[:200]}") from e
    kept = {t.name for t in proto.graph.initializer}
    replace_nodes(proto.graph, raised.graph.node)
    proto.graph.initializer.extend(t for t in raised.graph.initializer if t.name not in kept)
    imported.version = OLDEST
    known = kept | {i.name for i in proto.graph.input} | {t.name for t in proto.graph.initializer}
    known |= {o for node in proto.graph.node for o in node.output}
    read = {n for node in proto.graph.node for n in {*node.input, *captured(node)} if n}
    lost = (read | {o.name for o in proto.graph.output}) - known
    if lost:
        raise UnreadableModel(f"onnx.version_converter lost the value '{min(lost)}' between opset {old} and {OLDEST}")
    return [f"opset {old}: raised to {OLDEST} by onnx.version_converter"]


def _skeleton(proto: ModelProto) -> ModelProto:
    graph = proto.graph
    skeleton = ModelProto(ir_version=proto.ir_version)
    skeleton.opset_import.extend(proto.opset_import)
    skeleton.graph.name = graph.name or "skeleton"
    skeleton.graph.node.extend(graph.node)
    skeleton.graph.input.extend(graph.input)
    skeleton.graph.output.extend(graph.output)
    listed = {i.name for i in graph.input}
    for tensor in graph.initializer:
        count = 1
        for d in tensor.dims:
            count *= d
        if count <= SMALL:
            skeleton.graph.initializer.append(tensor)
        if tensor.name not in listed:
            skeleton.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return skeleton
