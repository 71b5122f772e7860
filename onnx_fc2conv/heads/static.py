"""Read-only: the fully connected nodes of a model whose size is to stay. What stands in front of them is not looked at.

There are no images here and no feature maps that grow, so nothing has to be understood but the FC nodes themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..constants import Constants
from ..errors import NothingToConvert
from ..nodes import everywhere
from ..ops import FULLY_CONNECTED, Model, Op, title
from ..plan import Plan
from ..shapes import Shapes
from .walk import HEAD_DOMAINS


def find_static(model: Model, shapes: Shapes, other_batch: Shapes | None) -> Plan:
    """The plan of a conversion that changes no size: its head is every FC node that depends on an input.

    Those among them that have no constant weight are in ``left``, with those inside of subgraphs and functions.

    Raises:
        NothingToConvert: the model has no FC node.
    """
    constants = Constants(model, shapes, other_batch)
    static = constants.static
    found = [op for op in model.ops if op.op_type in FULLY_CONNECTED and op.domain in HEAD_DOMAINS]
    found = [op for op in found if not all(name in static for name in op.reads())]
    left = {str(op): reason for op in found if (reason := _weightless(op, static))}
    head = [op for op in found if str(op) not in left]
    left |= dict(_hidden(model))
    if not head and not left:
        raise NothingToConvert("the model has no fully connected node")
    return Plan(model, shapes, constants, {}, {}, [], head, [], [], static=True, other_batch=other_batch, left=left)


def constants_of(model: Model, shapes: Shapes, other_batch: Shapes | None) -> Constants:
    """What is known of the model before run time at the sizes that it declares."""
    return Constants(model, shapes, other_batch)


def _weightless(op: Op, static: set[str]) -> str | None:
    if any(op.inputs[i] in static for i in op.multiplied):
        return None
    return "multiplies values that are all computed at run time, so it has no constant weight"


def _hidden(model: Model) -> Iterator[tuple[str, str]]:
    """FC nodes that stand inside of something else."""
    for node in model.proto.graph.node:
        for inner in (n for n in everywhere([node]) if n is not node and n.op_type in FULLY_CONNECTED):
            yield title(inner), f"stands inside of {title(node)}"
    functions = {(f.domain, f.name): f for f in model.proto.functions}
    waiting, seen = list(everywhere(model.proto.graph.node)), set[tuple[str, str]]()
    while waiting:
        call = waiting.pop()
        key = (call.domain, call.op_type)
        if key not in functions or key in seen:
            continue
        seen.add(key)
        body = list(everywhere(functions[key].node))
        waiting += body
        for node in body:
            if node.op_type in FULLY_CONNECTED:
                yield title(node), f"stands inside of the function '{call.op_type}'"
