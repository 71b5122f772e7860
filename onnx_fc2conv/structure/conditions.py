"""Conditions that are the same at every batch size and every image size, and why others are not.

Evaluating a condition at a few sizes proves nothing: ``height > 500`` is false at all of them and true at the next.
So no operator but one that selects or moves numbers may see a number that differs from size to size.
"""

from __future__ import annotations

from ..constants import Constants
from ..ops import Model, Op

SELECTING = frozenset("Cast Concat Flatten Gather Identity Reshape Slice Split Squeeze Transpose Unsqueeze".split())
OVERRIDABLE_FROM = 4  #: from this IR version on, an initializer that is an input too is only a default


def truth(name: str, model: Model, constants: Constants) -> bool | str:
    """The value of a condition, or in words why it is not one for all batch and image sizes.

    Raises:
        Unliftable: evaluating it would take too much memory.
    """
    cone = _cone(name, model)
    if isinstance(cone, str):
        return f"its condition '{name}' {cone}"
    settled, moved = set(model.constants), set[str]()
    for op in cone:
        fixed = {o for o in op.outputs if o and constants.fixed(o) is not None}
        selects = op.op_type in SELECTING and op.standard
        if op.op_type in ("Shape", "Size") and op.standard:
            moved |= {o for o in op.outputs if op.op_type == "Shape"}
            settled |= fixed
        elif all(n in settled for n in op.reads()):
            settled |= fixed
        elif selects and _moves_only(op, settled, moved):
            settled |= fixed
            moved |= set(op.outputs)
    if name not in settled:
        sources = [op.inputs[0] for op in cone if op.op_type in ("Shape", "Size") and op.outputs[0] not in settled]
        if not sources:
            return f"its condition '{name}' is computed in a way that is not evaluated here"
        return (
            f"its condition '{name}' follows from the shape of '{sources[0]}', so it can change with the input's size"
        )
    value = constants.fixed(name)
    if value is None or value.values.size != 1:
        return f"its condition '{name}' is not one constant"
    return bool(value.values.reshape(()))


def _moves_only(op: Op, settled: set[str], moved: set[str]) -> bool:
    """True if the node selects among numbers of a shape, by positions that do not depend on any size."""
    data = op.inputs if op.op_type == "Concat" else op.inputs[:1]
    others = [n for n in op.inputs[len(data) :] if n]
    return all(n in settled for n in others) and all(n in settled or n in moved for n in data)


def _cone(name: str, model: Model) -> list[Op] | str:
    """The nodes that a value is computed by, up to shapes and constants, in order; or why it is no constant."""
    inputs = {v.name for v in model.inputs}
    defaults = {v.name for v in model.proto.graph.input} if model.proto.ir_version >= OVERRIDABLE_FROM else set()
    found: dict[int, Op] = {}
    waiting, seen = [name], {name}
    while waiting:
        current = waiting.pop()
        if current in inputs:
            return (
                f"is an input of the model, '{current}'" if current == name else f"is computed from input '{current}'"
            )
        if current in defaults:
            return f"depends on '{current}', an input that callers may set"
        op = model.producer.get(current)
        if op is None or op.index in found:
            continue
        found[op.index] = op
        if op.op_type in ("Shape", "Size") and op.standard:
            continue
        new = [n for n in op.reads() if n not in seen]
        seen.update(new)
        waiting += new
    return [op for op in model.ops if op.index in found]
