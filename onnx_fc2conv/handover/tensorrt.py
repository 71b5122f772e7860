"""Where a model steps outside of what TensorRT's ONNX parser documents as supported: warnings, never refusals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onnx import ModelProto

from ..ops import STANDARD_DOMAINS
from .nodes import Node, nodes
from .operators import MADE, OPERAND, OPSETS, TYPES, UNSUPPORTED
from .restrictions import RESTRICTIONS


@dataclass(frozen=True)
class Finding:
    """One thing that is not documented as supported, and all nodes that need it; none if it is the model as a whole."""

    reason: str
    nodes: tuple[str, ...]


def findings(proto: ModelProto, folder: str = "", elem_types: Mapping[str, int] | None = None) -> list[Finding]:
    """What TensorRT does not document as supported, grouped by reason, in the order of the model.

    Args:
        proto: the model.
        folder: where its external data lies.
        elem_types: element types of values behind operators that ONNX's inference does not know.
    """
    found: dict[str, list[str]] = {}
    opset = next((o.version for o in proto.opset_import if o.domain in STANDARD_DOMAINS), 1)
    if opset not in OPSETS:
        found[f"the model is of opset {opset} ({OPSETS[0]} to {OPSETS[-1]} are documented)"] = []
    local = {(f.domain, f.name) for f in proto.functions}
    for node in nodes(proto, folder, elem_types or {}):
        if (node.proto.domain, node.proto.op_type) in local:
            continue  # the nodes of its body are looked at
        for reason in reasons(node):
            found.setdefault(reason, []).append(str(node))
    return [Finding(reason, tuple(named)) for reason, named in found.items()]


def reasons(node: Node) -> Iterator[str]:
    """What is not documented as supported in one node."""
    kind = node.kind
    if not node.standard:
        yield f"{kind} is an operator of another domain than ONNX's, which needs a plugin"
    elif kind in UNSUPPORTED:
        yield f"{kind} is not supported"
    elif kind not in TYPES:
        yield f"{kind} is not documented"
    else:
        undocumented = dict.fromkeys(t for t in _elem_types(node) if t not in TYPES[kind])
        for elem_type in undocumented:
            if elem_type == "double":
                yield "double is cast down to float"
            else:
                yield f"{kind} of {elem_type} is not documented"
        for restriction in RESTRICTIONS.get(kind, ()):
            if (restricted := restriction(node)) is not None:
                yield f"{kind} with {restricted}"


def _elem_types(node: Node) -> Iterator[str]:
    """The element types of the operands that the document's column speaks of, where they are known."""
    kind = node.kind
    names = [node.output(0)] if kind in MADE else [node.input(OPERAND.get(kind, 0))]
    if kind in ("Cast", "CastLike"):
        names.append(node.output(0))
    for name in names:
        elem_type = node.elem_type(name)
        if elem_type is not None:
            yield elem_type
