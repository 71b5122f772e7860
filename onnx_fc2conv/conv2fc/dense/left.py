"""Convolutions that no dense form is made of, and why."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto

from ...ops import Model, title
from ..convolution import CONVS
from .products import is_product
from .refused import reason_of


def others(model: Model) -> dict[str, str]:
    """Those of another kind, and those that stand inside of something else, by title, with the reason."""
    found = {str(op): reason_of(op) for op in model.ops if "Conv" in op.op_type and not is_product(op)}
    return found | dict(_hidden(model))


def _hidden(model: Model) -> Iterator[tuple[str, str]]:
    bodies = [(f"the function '{f.name}'", list(f.node)) for f in model.proto.functions]
    bodies += [(title(node), _inner(node)) for node in model.proto.graph.node]
    while bodies:
        place, nodes = bodies.pop(0)
        yield from ((title(node), f"stands inside of {place}") for node in nodes if node.op_type in CONVS)
        bodies += [(title(node), inner) for node in nodes if (inner := _inner(node))]


def _inner(node: NodeProto) -> list[NodeProto]:
    """The nodes of its subgraphs."""
    graphs = [g for a in node.attribute for g in (*([a.g] if a.HasField("g") else []), *a.graphs)]
    return [inner for graph in graphs for inner in graph.node]
