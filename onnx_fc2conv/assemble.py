"""The converted model: the original's own bytes, with the nodes of the heads exchanged.

Nodes, initializers and everything else that the heads do not touch are copied as they are. What only the replaced
nodes needed (old weights, the arithmetic of a target shape) goes; what was unused before stays unused.
"""

from __future__ import annotations

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from .ops import Model, Op
from .rewrite import Rewrite

INITIALIZERS_ARE_INPUTS = 3  #: up to this IR version every initializer must be listed as a graph input


def assemble(model: Model, rewrite: Rewrite) -> ModelProto:
    """A new ModelProto with the lifted heads; the original is not changed. Shapes are still the old ones.

    The constants that were made for it are handed over, so that no two copies of all of them are held.
    """
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    kept = _live(model, rewrite)
    del graph.node[:]
    graph.node.extend(node for node, _ in kept)
    needed = {name for _, reads in kept for name in reads} | set(model.outputs)
    unneeded = (set(model.consumers) | set(model.outputs)) - needed
    gone = {t.name for t in graph.initializer if t.name in unneeded}
    _exchange_initializers(graph, rewrite, gone, needed)
    _list_as_inputs(model, rewrite, graph, gone)
    _drop_stale_annotations(graph)
    return proto


def _live(model: Model, rewrite: Rewrite) -> list[tuple[NodeProto, list[str]]]:
    """Nodes in order, with what each reads; those that only replaced nodes used are left out.

    Raises:
        Unliftable: something outside of the heads needs the shape of a value of a head.
    """
    graph = model.proto.graph
    nodes: list[tuple[NodeProto, list[str], bool]] = []
    used_before = {*model.consumers, *model.outputs}
    stale: dict[str, Op] = {}  # values that follow from the shape of a value that is another one now
    for op in model.ops:
        if op.index in rewrite.replaced:
            nodes += [(n, [i for i in n.input if i], False) for n in rewrite.replaced[op.index]]
        else:
            unused_before = used_before.isdisjoint(op.outputs)
            lifted = any(name in rewrite.values for name in op.reads())
            stale |= {o: op for o in op.outputs if lifted}
            nodes.append((graph.node[op.index], list(op.reads()), unused_before and not lifted))
    needed = set(model.outputs)
    live: list[tuple[NodeProto, list[str]]] = []
    for node, reads, unused_before in reversed(nodes):
        if unused_before or any(o in needed for o in node.output):
            needed.update(reads)
            live.append((node, reads))
            for op in (stale[o] for o in node.output if o in stale):
                raise op.refuse("reads the shape of a value of the head, which has another one there")
    return live[::-1]


def _exchange_initializers(graph: GraphProto, rewrite: Rewrite, gone: set[str], needed: set[str]) -> None:
    kept: list[TensorProto] = [t for t in graph.initializer if t.name not in gone]
    made = [t for t in rewrite.initializers if t.name in needed]
    taken = {t.name for t in kept} | {o for n in graph.node for o in n.output}
    new_names: dict[str, str] = {}
    for tensor in made:
        old = rewrite.made_from[tensor.name]
        if old in gone and old not in taken:
            new_names[tensor.name] = old
            taken.add(old)
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in new_names:
                node.input[i] = new_names[name]
    _rename(made, new_names, rewrite)
    if gone:
        copies = [TensorProto.FromString(t.SerializeToString()) for t in kept]
        del graph.initializer[:]
        graph.initializer.extend(copies)
    rewrite.initializers.clear()
    made.reverse()
    while made:
        _hand_over(made, graph)


def _rename(made: list[TensorProto], new_names: dict[str, str], rewrite: Rewrite) -> None:
    for tensor in made:
        new_name = new_names.get(tensor.name, tensor.name)
        rewrite.made_from[new_name] = rewrite.made_from[tensor.name]
        rewrite.same_bytes |= {new_name} if tensor.name in rewrite.same_bytes else set()
        if tensor.name in rewrite.kernel_dims:
            rewrite.kernel_dims[new_name] = rewrite.kernel_dims[tensor.name]
        tensor.name = new_name


def _hand_over(tensors: list[TensorProto], graph: GraphProto) -> None:
    """The last of these becomes an initializer; no more than two copies of its bytes are held at any time.

    A message frees its bytes only when it goes as a whole, and copying one takes a third copy.
    """
    tensor = tensors.pop()
    data, rest = tensor.raw_data, TensorProto()
    tensor.ClearField("raw_data")
    rest.CopyFrom(tensor)
    del tensor
    stored = graph.initializer.add()
    stored.CopyFrom(rest)
    if data:
        stored.raw_data = data


def _list_as_inputs(model: Model, rewrite: Rewrite, graph: GraphProto, gone: set[str]) -> None:
    """Keep the listing of initializers among the inputs: required in IR 3, an offer to override them later."""
    listed = {i.name for i in model.proto.graph.input} & set(model.constants)
    inputs = [i for i in graph.input if i.name not in gone]
    present = {i.name for i in inputs}
    for tensor in graph.initializer:
        new = tensor.name not in present
        required = model.proto.ir_version <= INITIALIZERS_ARE_INPUTS
        if new and (required or rewrite.made_from.get(tensor.name) in listed):
            inputs.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    if len(inputs) != len(graph.input) or gone & listed:
        rest = GraphProto()
        rest.input.extend(inputs)
        del graph.input[:]
        graph.input.extend(rest.input)


def _drop_stale_annotations(graph: GraphProto) -> None:
    """Quantization annotations of values that are gone would make the file invalid."""
    present = {o for node in graph.node for o in node.output}
    present |= {i.name for i in graph.input} | {t.name for t in graph.initializer}
    kept = [a for a in graph.quantization_annotation if a.tensor_name in present]
    if len(kept) < len(graph.quantization_annotation):
        rest = GraphProto()
        rest.quantization_annotation.extend(kept)
        graph.ClearField("quantization_annotation")
        graph.quantization_annotation.extend(rest.quantization_annotation)
