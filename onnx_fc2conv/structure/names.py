"""Copies of nodes in another scope: what they define gets a free name, what they read is connected.

Functions and branches both end up as copies of their nodes in the main graph. There every name must be defined once,
subgraphs included, because a subgraph sees the names around it.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from ..errors import UnreadableModel
from ..nodes import everywhere, subgraphs
from ..ops import title

DEEPEST = 32  #: subgraphs inside of each other
LONGEST_NAME = 120  #: characters; deep nesting would else spell out every level in every name


def require_shallow(proto: ModelProto) -> None:
    """Refuse what could not be read back from a file: protobuf nests no more than 100 messages.

    Raises:
        UnreadableModel: subgraphs lie inside of each other too deep.
    """
    graphs = [proto.graph]
    for _ in range(DEEPEST + 1):
        graphs = [inner for graph in graphs for node in graph.node for inner in subgraphs(node)]
        if not graphs:
            return
    raise UnreadableModel(f"its subgraphs lie more than {DEEPEST} deep inside of each other")


def defined(graph: GraphProto) -> Iterator[str]:
    """Names that a graph defines itself; its subgraphs are not looked into."""
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (tensor.values.name for tensor in graph.sparse_initializer)
    yield from (name for node in graph.node for name in node.output if name)


class Names:
    """Which names of values and of nodes a graph uses, at any depth, and new ones that it does not."""

    def __init__(self, graph: GraphProto) -> None:
        self._values: Counter[str] = Counter()
        self._nodes: Counter[str] = Counter()
        self._last: dict[str, int] = {}
        self._count(graph, 1)

    def _count(self, graph: GraphProto, by: int) -> None:
        for scope in (graph, *(g for node in everywhere(graph.node) for g in subgraphs(node))):
            for name in defined(scope):
                self._values[name] += by
            for node in scope.node:
                self._nodes[node.name] += by

    def release(self, node: NodeProto) -> None:
        """Forget what the subgraphs of a node use: the node is going."""
        for graph in subgraphs(node):
            self._count(graph, -1)

    def value(self, wanted: str) -> str:
        """A free name for a value, the wanted one if it is free."""
        return self._take(self._values, wanted)

    def node(self, wanted: str) -> str:
        """A free name for a node, the wanted one if it is free."""
        return self._take(self._nodes, wanted)

    def _take(self, taken: Counter[str], wanted: str) -> str:
        name = wanted
        while taken[name] > 0:
            self._last[wanted] = self._last.get(wanted, 1) + 1
            name = f"{wanted}_{self._last[wanted]}"
        taken[name] += 1
        return name


class Copies:
    """Copies nodes into the scope of a node that they take the place of."""

    def __init__(self, names: Names, label: str = "", attributes: Mapping[str, AttributeProto] | None = None) -> None:
        """Prepare the copying.

        Args:
            names: of the graph that the copies go to.
            label: put in front of every name; names are kept where they are free if it is empty.
            attributes: what the attributes of a function stand for.
        """
        self._names, self._label = names, label
        self._attributes = attributes or {}

    def labelled(self, name: str) -> str:
        """The name as it is wanted in the new scope; it may be taken there."""
        long = f"{self._label}/{name}" if self._label else name
        return long if len(long) <= LONGEST_NAME else name

    def value(self, name: str) -> str:
        """A free name for a value of the copied scope."""
        return self._names.value(self.labelled(name))

    def nodes(self, nodes: Iterable[NodeProto], values: MutableMapping[str, str]) -> list[NodeProto]:
        """The copies, in order.

        Args:
            nodes: of one scope.
            values: what the names of that scope are called in the new one; is completed by what the nodes define.
        """
        nodes = list(nodes)
        for name in (o for node in nodes for o in node.output if o):
            if name not in values:
                values[name] = self.value(name)
        return [self._node(node, values) for node in nodes]

    def _node(self, node: NodeProto, values: MutableMapping[str, str]) -> NodeProto:
        new = NodeProto()
        new.CopyFrom(node)
        new.input[:] = [values.get(name, name) for name in node.input]
        new.output[:] = [values.get(name, name) for name in node.output]
        if node.name:
            new.name = self._names.node(self.labelled(node.name))
        del new.attribute[:]
        for attribute in node.attribute:
            known = self._resolved(attribute, node)
            if known is None:
                continue  # an attribute that the call left out: the operator's default holds
            if known is attribute:
                known = AttributeProto()
                known.CopyFrom(attribute)
                if attribute.HasField("g"):
                    known.g.CopyFrom(self._graph(attribute.g, values))
                for i, graph in enumerate(attribute.graphs):
                    known.graphs[i].CopyFrom(self._graph(graph, values))
            new.attribute.append(known)
        return new

    def _resolved(self, attribute: AttributeProto, node: NodeProto) -> AttributeProto | None:
        """What an attribute stands for: itself, or what the call gives for a reference."""
        if not attribute.ref_attr_name:
            return attribute
        given = self._attributes.get(attribute.ref_attr_name)
        if given is None:
            return None
        if attribute.type and attribute.type != given.type:
            kinds = [AttributeProto.AttributeType.Name(a.type) for a in (given, attribute)]
            raise UnreadableModel(
                f"attribute '{attribute.name}' stands for '{given.name}', which is {kinds[0]} and not {kinds[1]}",
                title(node),
            )
        renamed = AttributeProto()
        renamed.CopyFrom(given)
        renamed.name = attribute.name
        return renamed

    def _graph(self, graph: GraphProto, outer: MutableMapping[str, str]) -> GraphProto:
        own = {name: self.value(name) for name in dict.fromkeys(defined(graph))}
        values = ChainMap(own, outer)
        new = GraphProto()
        new.CopyFrom(graph)
        del new.node[:]
        for value in (*new.input, *new.output, *new.value_info, *new.initializer):
            value.name = values.get(value.name, value.name)
        for sparse in new.sparse_initializer:
            sparse.values.name = values.get(sparse.values.name, sparse.values.name)
        for annotation in new.quantization_annotation:
            annotation.tensor_name = values.get(annotation.tensor_name, annotation.tensor_name)
            for entry in annotation.quant_parameter_tensor_names:
                entry.value = values.get(entry.value, entry.value)
        new.node.extend(self._node(node, values) for node in graph.node)
        return new
