"""A model with the nodes exchanged that carried the trained size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from ..errors import Fc2ConvError
from ..ops import Model, view

INITIALIZERS_ARE_INPUTS = 3  #: up to this IR version every initializer must be listed as a graph input


@dataclass(frozen=True)
class Replacement:
    """What takes the place of a node.

    Attributes:
        nodes: the last one makes the node's own outputs.
        initializers: constants of theirs.
        change: what was done, in one line.
    """

    nodes: list[NodeProto]
    change: str
    initializers: list[TensorProto] = field(default_factory=list)


class Baked(Fc2ConvError):
    """Nodes that carry the trained size were found: the model has to be looked at again without them.

    Attributes:
        replacements: what takes their place, by position in the file.
    """

    def __init__(self, replacements: Mapping[int, Replacement]) -> None:
        super().__init__("carries the trained size")
        self.replacements = replacements


def without(model: Model, replacements: Mapping[int, Replacement]) -> Model:
    """A new model with these nodes replaced; what only they needed (old shapes, and their arithmetic) is gone."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    kept = _live(model, replacements)
    needed = {name for _, reads in kept for name in reads} | set(model.outputs)
    gone = {t.name for t in graph.initializer if t.name in model.consumers and t.name not in needed}
    nodes = [NodeProto.FromString(node.SerializeToString()) for node, _ in kept]
    made = [t for r in replacements.values() for t in r.initializers]
    tensors = [TensorProto.FromString(t.SerializeToString()) for t in graph.initializer if t.name not in gone] + made
    inputs = [ValueInfoProto.FromString(i.SerializeToString()) for i in graph.input if i.name not in gone]
    if model.proto.ir_version <= INITIALIZERS_ARE_INPUTS:
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in made]
    for field_, values in (("node", nodes), ("initializer", tensors), ("input", inputs)):
        graph.ClearField(field_)
        getattr(graph, field_).extend(values)
    return view(proto, model.folder)


def _live(model: Model, replacements: Mapping[int, Replacement]) -> list[tuple[NodeProto, list[str]]]:
    """The nodes in topological order, with what each reads, without those that only replaced nodes used."""
    nodes: list[tuple[NodeProto, list[str], bool]] = []
    for op in model.ops:
        if op.index in replacements:
            nodes += [(node, [name for name in node.input if name], False) for node in replacements[op.index].nodes]
        else:
            unused_before = not any(o in model.consumers or o in model.outputs for o in op.outputs)
            nodes.append((model.proto.graph.node[op.index], list(op.reads()), unused_before))
    needed = set(model.outputs)
    live = []
    for node, reads, unused_before in reversed(nodes):
        if unused_before or any(o in needed for o in node.output):
            needed.update(reads)
            live.append((node, reads))
    return live[::-1]
