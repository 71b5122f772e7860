"""What a user needs to build an engine from the written model: shapes for the inputs, and what may not be supported."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from onnx import ModelProto

from ..conversion import MOST_NODES, Conversion, Sizes
from ..ops import title
from .operators import SOURCE
from .profile import Profile, arguments, assumed, profiles, unwritable
from .tensorrt import Finding, findings

__all__ = ["Finding", "HandOver", "Profile", "hand_over"]


@dataclass(frozen=True)
class HandOver:
    """The hand-over of one model to TensorRT.

    Attributes:
        source: the document that the check went by: version, document, commit, date.
        profiles: shapes of the dynamic inputs.
        arguments: the same as arguments of ``trtexec``; empty if there is nothing to say or no way to say it.
        notes: what to mind, in sentences.
        findings: what is not documented as supported.
    """

    source: dict[str, str]
    profiles: list[Profile]
    arguments: list[str]
    notes: list[str]
    findings: list[Finding]


def _dilated_pools(conversion: Conversion, proto: ModelProto) -> list[str]:
    """What to mind of the pools that were dilated to make answers denser; nothing if there are none."""
    if conversion.plan.dense is None:
        return []
    found = [
        title(node)
        for node in proto.graph.node
        if node.op_type in ("AveragePool", "LpPool", "MaxPool")
        and any(n != 1 for a in node.attribute if a.name == "dilations" for n in a.ints)
    ]
    if not found:
        return []
    named = f"{', '.join(found[:MOST_NODES])}{f' and {len(found) - MOST_NODES} more' if found[MOST_NODES:] else ''}"
    return [
        f"--stride has dilated pools, which TensorRT does not document: {named}; a larger stride "
        "may leave them as they were, and networks that stride by Convs alone need none"
    ]


def hand_over(conversion: Conversion, proto: ModelProto, sizes: list[Sizes]) -> HandOver:
    """The hand-over of a converted model.

    Args:
        conversion: how it was converted.
        proto: the model itself, which may have been edited since.
        sizes: the sizes that were asked for or verified.
    """
    stored = {t.name for t in proto.graph.initializer}
    declared = {i.name: list(i.type.tensor_type.shape.dim) for i in proto.graph.input if i.name not in stored}
    found = profiles(conversion, declared, sizes)
    notes = [*unwritable(found), *assumed(conversion, declared)]
    if found and conversion.phases:
        forms = dict.fromkeys(conversion.valid_sizes(name) for name in conversion.trained)
        notes.append(f"only sizes of the form {', '.join(forms)} are valid, and the engine takes those between too")
    notes += _dilated_pools(conversion, proto)
    known = dict(conversion.plan.shapes.elem_types)
    known |= {name: value.elem_type for name, value in conversion.rewrite.values.items()}
    return HandOver(
        asdict(SOURCE), found, arguments(found), notes, findings(proto, conversion.plan.model.folder, known)
    )
