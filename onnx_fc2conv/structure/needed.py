"""Which nodes have to be understood: those that image data flows through, and what they are computed from."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import GraphProto, NodeProto

from ..ops import STANDARD_DOMAINS, captured

IMAGE_RANK = 3  #: inputs of fewer axes hold no image
ANY_RANK = 0  #: where every input counts


def reads(node: NodeProto) -> set[str]:
    """Names of all values that a node needs, those of its subgraphs included."""
    return {name for name in node.input if name} | captured(node)


def needed(graph: GraphProto, rank: int = IMAGE_RANK) -> set[int]:
    """Positions of the nodes that image data reaches, and of all that such a node depends on.

    The shape of an image is not image data: what only ``Shape`` and ``Size`` lead to is not reached. Inputs of fewer
    axes than ``rank`` hold no image data.
    """
    operands = [reads(node) for node in graph.node]
    made_by = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    readers: dict[str, list[int]] = {}
    for i, names in enumerate(operands):
        node = graph.node[i]
        if node.op_type in ("Shape", "Size") and node.domain in STANDARD_DOMAINS:
            continue
        for name in names:
            readers.setdefault(name, []).append(i)
    constants = {t.name for t in graph.initializer}
    images = [v.name for v in graph.input if v.name not in constants and len(v.type.tensor_type.shape.dim) >= rank]
    reached: set[int] = set()
    while images:
        for i in readers.pop(images.pop(), ()):
            if i not in reached:
                reached.add(i)
                images += graph.node[i].output
    waiting = list(reached)
    while waiting:
        for name in operands[waiting.pop()]:
            i = made_by.get(name, -1)
            if i >= 0 and i not in reached:
                reached.add(i)
                waiting.append(i)
    return reached


def replace_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Give a graph other nodes, some of which may be its own."""
    copies = GraphProto()
    copies.node.extend(nodes)
    del graph.node[:]
    graph.node.extend(copies.node)


def prune(graph: GraphProto, candidates: Iterable[str]) -> None:
    """Take out what only made these values, as far as nobody reads them any more."""
    waiting = [name for name in candidates if name]
    made_by = {name: node for node in graph.node for name in node.output if name}
    uses: dict[str, int] = {}
    for names in (*(reads(node) for node in graph.node), [o.name for o in graph.output]):
        for name in names:
            uses[name] = uses.get(name, 0) + 1
    gone: set[str] = set()
    while waiting:
        name = waiting.pop()
        if uses.get(name) or name in gone:
            continue
        node = made_by.get(name)
        if node is None:
            gone.add(name)
        elif not any(uses.get(o) for o in node.output if o):
            gone |= {o for o in node.output if o}
            for read in reads(node):
                uses[read] -= 1
                waiting.append(read)
    if not gone:
        return
    listed = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    for field in (graph.initializer, graph.value_info):
        for i in reversed([i for i, entry in enumerate(field) if entry.name in gone]):
            del field[i]
    for i in reversed([i for i, t in enumerate(graph.sparse_initializer) if t.values.name in gone]):
        del graph.sparse_initializer[i]
    for i in reversed([i for i, v in enumerate(graph.input) if v.name in gone and v.name in listed]):
        del graph.input[i]
    for i in reversed([i for i, node in enumerate(graph.node) if any(o in gone for o in node.output)]):
        del graph.node[i]
