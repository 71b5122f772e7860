"""Nodes wherever they are in a model: in its graph, and in the graphs inside of nodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from onnx import GraphProto, NodeProto


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node carries in its attributes, not those inside of them."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def everywhere(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """These nodes in order, then those in their subgraphs, level by level."""
    waiting = deque(nodes)
    while waiting:
        node = waiting.popleft()
        yield node
        for graph in subgraphs(node):
            waiting += graph.node
