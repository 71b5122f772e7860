"""Convolutions that are not rewritten, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import NodeProto

from ...nodes import subgraphs
from ...ops import Model, Op, title

REWRITTEN = frozenset(("Conv", "ConvInteger", "QLinearConv", "com.microsoft.FusedConv"))

REASONS = {
    "ConvTranspose": "is a transposed convolution: its products overlap in the result and are added up there",
    "DeformConv": "takes its map at positions that are computed at run time",
}


def is_rewritten(op: Op) -> bool:
    """True for an operator that becomes a product."""
    return (op.op_type if op.standard else op.kind) in REWRITTEN


def others(model: Model) -> dict[str, str]:
    """The convolutions of a model that are never rewritten, by title, with the reason."""
    found = {str(op): _reason(op) for op in model.ops if "Conv" in op.op_type and not is_rewritten(op)}
    for op in model.ops:
        for node in _inside([model.proto.graph.node[op.index]]):
            found[title(node)] = f"lies in the body of {op}, which is rewritten only where it can be written out"
    for function in model.proto.functions:
        called = [n for n in (*function.node, *_inside(function.node)) if "Conv" in n.op_type]
        for node in called:
            found[title(node)] = f"lies in the function '{function.name}', which could not be written out"
    return found


def _reason(op: Op) -> str:
    known = REASONS.get(op.op_type) if op.standard else None
    return known or f"{op.kind} is no convolution of the ONNX standard, which lays out its map in another way"


def _inside(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The convolutions in the bodies of nodes, however deep."""
    for node in nodes:
        for graph in subgraphs(node):
            yield from (n for n in graph.node if "Conv" in n.op_type)
            yield from _inside(graph.node)
