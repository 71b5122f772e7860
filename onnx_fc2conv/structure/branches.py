"""``If`` nodes that image data flows through and whose condition is a constant: the taken branch is written out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from ..constants import Constants
from ..errors import UnreadableModel
from ..ops import STANDARD_DOMAINS, Model, title
from .conditions import truth
from .names import Copies, Names
from .needed import IMAGE_RANK, needed, prune, reads, replace_nodes

REPEATING = {
    "Loop": "it repeats its body, and repetitions are not written out",
    "Scan": "it carries a state from step to step, and steps are not written out",
}
INITIALIZERS_ARE_INPUTS = 3  #: up to this IR version every initializer must be listed as a graph input


Known = Callable[[Model], tuple[Constants, dict[str, list[int]]]]
"""Evaluates a model's constants at several batch and image sizes, and says which axes of the image it varied."""


@dataclass(frozen=True)
class Decisions:
    """What becomes of the nodes with subgraphs that image data flows through.

    Attributes:
        taken: by position, the branch that a node always takes, or in words why that is not known.
        layout: the spatial axes of each image, if a branch was decided by a shape.
    """

    taken: dict[int, bool | str]
    layout: dict[str, list[int]] | None = None

    @property
    def known(self) -> bool:
        """True if there is a branch to write out."""
        return any(isinstance(taken, bool) for taken in self.taken.values())


def decide(model: Model, known: Known, rank: int = IMAGE_RANK) -> Decisions:
    """Decide what can be decided now: by shapes only where nothing else is left, because branches may hide shapes.

    Args:
        model: the model.
        known: asked only if there is an ``If``.
        rank: inputs of fewer axes hold no image.

    Raises:
        UnreadableModel: an ``If`` has no condition.
    """
    nodes = model.proto.graph.node
    found = [i for i in sorted(needed(model.proto.graph, rank)) if nodes[i].domain in STANDARD_DOMAINS]
    repeating: dict[int, bool | str] = {i: REPEATING[nodes[i].op_type] for i in found if nodes[i].op_type in REPEATING}
    conditions = {i: _condition(nodes[i]) for i in found if nodes[i].op_type == "If"}
    if not conditions:
        return Decisions(repeating)
    constants, layout = known(model)
    plain = [i for i, name in conditions.items() if name not in constants.measured]
    first = Decisions({i: truth(conditions[i], model, constants) for i in plain})
    if first.known:
        return first
    measured = Decisions({i: truth(name, model, constants) for i, name in conditions.items() if i not in plain})
    return Decisions(repeating | first.taken | measured.taken, layout if measured.known else None)


def _condition(node: NodeProto) -> str:
    if len(node.input) != 1 or not node.input[0]:
        raise UnreadableModel("it has no condition", title(node))
    return str(node.input[0])


def inline(proto: ModelProto, decided: dict[int, bool | str]) -> list[str]:
    """Write out the taken branches, in place.

    Args:
        proto: the model.
        decided: the branch that each ``If`` takes, by position.

    Returns:
        One line for each ``If`` that is gone.

    Raises:
        UnreadableModel: a branch is missing, or has other outputs than its node.
    """
    graph = proto.graph
    names, changes = Names(graph), []
    nodes: list[NodeProto] = []
    read: set[str] = set()
    for i, node in enumerate(graph.node):
        taken = decided.get(i)
        if not isinstance(taken, bool):
            nodes.append(node)
            continue
        which = "then_branch" if taken else "else_branch"
        read |= reads(node)
        written = _written_out(node, which, proto, names)
        changes.append(f"{title(node)}: its condition is always {str(taken).lower()}, {which} written out")
        nodes += written
    replace_nodes(graph, nodes)
    prune(graph, read)
    return changes


def _written_out(node: NodeProto, which: str, proto: ModelProto, names: Names) -> list[NodeProto]:
    branch = next((a.g for a in node.attribute if a.name == which and a.HasField("g")), None)
    if branch is None or branch.input or len(branch.output) < len(node.output):
        raise UnreadableModel(f"its {which} is missing, or does not fit its outputs", title(node))
    names.release(node)
    copies = Copies(names)
    made = {o for n in branch.node for o in n.output if o}
    values: dict[str, str] = {}
    passed: list[tuple[str, str]] = []
    for inner, outer in zip((o.name for o in branch.output), node.output, strict=False):
        if outer and inner in made and inner not in values:
            values[inner] = outer
        elif outer:  # the branch hands out what it captured, what it stores, or one value twice
            passed.append((inner, outer))
    stored = [t.name for t in branch.initializer] + [t.values.name for t in branch.sparse_initializer]
    values |= {name: copies.value(name) for name in stored}
    written = copies.nodes(branch.node, values)
    for inner, outer in passed:
        written.append(helper.make_node("Identity", [values.get(inner, inner)], [outer], name=names.node("Identity")))
    _move_tensors(branch, values, proto)
    _move_annotations(branch, values, set(node.output), proto.graph)
    return written


def _move_tensors(branch: GraphProto, values: dict[str, str], proto: ModelProto) -> None:
    graph = proto.graph
    moved: list[TensorProto] = []
    for tensor in branch.initializer:
        moved.append(graph.initializer.add())
        moved[-1].CopyFrom(tensor)
        moved[-1].name = values[tensor.name]
    for sparse in branch.sparse_initializer:
        copy = graph.sparse_initializer.add()
        copy.CopyFrom(sparse)
        copy.values.name = values[sparse.values.name]
    if proto.ir_version <= INITIALIZERS_ARE_INPUTS:
        graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in moved)


def _move_annotations(branch: GraphProto, values: dict[str, str], outputs: set[str], graph: GraphProto) -> None:
    """Declared types move along; what was declared of the outputs held for both branches and may say less."""
    for i in reversed([i for i, v in enumerate(graph.value_info) if v.name in outputs]):
        del graph.value_info[i]
    known = {v.name for v in graph.value_info} | {o.name for o in graph.output}
    for value in branch.value_info:
        name = values.get(value.name, "")
        if name and name not in known:
            copy = graph.value_info.add()
            copy.CopyFrom(value)
            copy.name = name
