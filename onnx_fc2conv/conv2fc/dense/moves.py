"""Operators that move features, and operators that scale and shift them: a matrix beside them can take both in.

Where a feature comes from is found by running the node itself on positions, so no spelling of it has to be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from onnx import NodeProto, ValueInfoProto, helper
from onnx.reference import ReferenceEvaluator

from ...ops import Model, Op
from .products import Known
from .reading import NOTHING

VIEWS = frozenset("Dropout Flatten Identity Reshape Squeeze Unsqueeze".split())
MOVES = frozenset("DepthToSpace Expand Gather Slice SpaceToDepth Split Tile Transpose".split())
ARITHMETIC = frozenset("Add Div Mul Sub".split())

Numbers = np.ndarray


def view_of(op: Op, known: Known) -> tuple[int, ...] | None:
    """Dims, without the first, behind a view that keeps each row's values together; ``None`` if it is none.

    The order of a tensor's values is that of its rows, so a view keeps them together if it keeps their number.
    """
    before, after = known.shapes.of(op.inputs[0]), known.shapes.of(op.outputs[0])
    if not before or not after or before[0] != after[0]:
        return None
    if op.op_type == "Dropout" and len(op.inputs) > 2 and op.inputs[2]:
        training = known.constants.get(op.inputs[2])
        if training is None or training.values.any():
            return None
    return after[1:]


def places_of(op: Op, model: Model, known: Known) -> list[tuple[Numbers, tuple[int, ...], float]] | None:
    """Of each output, the position inside of its row that every feature has before, its dims, and what pads are.

    ``None`` if the node mixes rows, or does not only move features.
    """
    if op.op_type == "Pad":
        return _padded(op, known)
    shape = known.shapes.of(op.inputs[0])
    feeds = {name: known.constants.get(name) for name in op.inputs[1:] if name}
    if not shape or any(value is None for value in feeds.values()):
        return None
    rows, size = (1 if shape[0] == 1 else 2), prod(shape[1:])
    positions = np.arange(rows * size).reshape(rows, *shape[1:])
    node = NodeProto()
    node.CopyFrom(model.proto.graph.node[op.index])
    operands = {op.inputs[0]: positions, **{name: a.values for name, a in feeds.items() if a is not None}}
    try:
        found = _run(node, op.since, operands)
    except Exception:  # it does not run on so many rows, or the evaluator does not know it
        return None
    starts = np.arange(rows)[:, None] * size
    for after in found:
        flat = after.reshape(rows, -1) if after.ndim and after.shape[0] == rows else None
        if flat is None or not np.array_equal(flat, flat[:1] + starts) or flat.max(initial=-1) >= rows * size:
            return None
    return [(after[0].ravel(), after.shape[1:], 0.0) for after in found]


def _run(node: NodeProto, since: int, operands: dict[str, Numbers]) -> list[Numbers]:
    inputs = [ValueInfoProto(name=name) for name in operands]
    graph = helper.make_graph([node], "moves", inputs, [ValueInfoProto(name=name) for name in node.output])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", since)])
    return [np.asarray(value) for value in ReferenceEvaluator(proto).run(None, operands)]


def _padded(op: Op, known: Known) -> list[tuple[Numbers, tuple[int, ...], float]] | None:
    shape = known.shapes.of(op.inputs[0])
    pads, axes, value = known.numbers(op, 1, "pads"), known.numbers(op, 3, "axes"), known.stored(op, 2)
    mode = op.attr("mode", "constant")
    if not shape or not pads or mode not in ("constant", b"constant"):
        return None
    rank = len(shape)
    chosen = [a % rank for a in (axes if axes is not None else range(rank))]
    if len(pads) != 2 * len(chosen):
        return None
    widths = [(0, 0)] * rank
    for axis, before, after in zip(chosen, pads[: len(chosen)], pads[len(chosen) :], strict=True):
        widths[axis] = (before, after)
    if any(widths[0]) or any(n < 0 for pair in widths for n in pair):
        return None
    fill = float(value.values.ravel()[0]) if value is not None else float(op.attr("value", 0.0))
    positions = np.pad(np.arange(prod(shape[1:])).reshape(shape[1:]), widths[1:], constant_values=NOTHING)
    return [(positions.ravel(), positions.shape, fill)]


def affine_of(op: Op, known: Known, dims: Sequence[int]) -> tuple[str, Numbers | None, Numbers | None] | None:
    """What a node scales, the scale and the shift of each feature behind it; ``None`` if it does something else.

    Args:
        op: the node.
        known: the model's shapes and constants.
        dims: of its result, without the first.
    """
    found: tuple[str, Numbers | None, Numbers | None] | None = None
    if op.op_type == "BatchNormalization":
        found = _normalised(op, known, dims)
    elif op.op_type == "Neg":
        found = op.inputs[0], np.array(-1.0), None
    elif op.op_type in ARITHMETIC:
        found = _arithmetic(op, known, len(dims) + 1)
    if found is None:
        return None
    name, *numbers = found
    if any(n is not None and not _fits(n, (1, *dims)) for n in numbers):
        return None
    spread = [None if n is None else np.broadcast_to(n, (1, *dims)).ravel() for n in numbers]
    if any(n is not None and not np.isfinite(n).all() for n in spread):
        return None
    return name, spread[0], spread[1]


def _fits(numbers: Numbers, shape: tuple[int, ...]) -> bool:
    """True if numbers broadcast to a shape, and to no larger one."""
    try:
        return np.broadcast_shapes(numbers.shape, shape) == shape
    except ValueError:
        return False


def _normalised(op: Op, known: Known, dims: Sequence[int]) -> tuple[str, Numbers, Numbers] | None:
    """A BatchNormalization with the statistics that it stores."""
    stored = [known.constants.get(name) for name in op.inputs[1:5]]
    if op.attr("training_mode", 0) or not op.attr("spatial", 1) or len(stored) < 4:
        return None
    scale, bias, mean, variance = (None if a is None else a.values.astype(np.float64) for a in stored)
    if scale is None or bias is None or mean is None or variance is None:
        return None
    shape = (-1, *[1] * (len(dims) - 1))
    if len({n.shape for n in (scale, bias, mean, variance)}) > 1:
        return None
    with np.errstate(all="ignore"):  # what is not finite is not folded
        factor = scale / np.sqrt(variance + op.attr("epsilon", 1e-5))
    return op.inputs[0], factor.reshape(shape), (bias - mean * factor).reshape(shape)


def _arithmetic(op: Op, known: Known, rank: int) -> tuple[str, Numbers | None, Numbers | None] | None:
    """A sum, difference, product or quotient of a value and a constant."""
    static = [known.constants.get(name) for name in op.inputs]
    which = 0 if static[0] is not None else 1
    constant = static[which]
    if constant is None or len(constant.shape) > rank or (len(constant.shape) == rank and constant.shape[0] != 1):
        return None
    with np.errstate(all="ignore"):
        numbers = constant.values.astype(np.float64)
        name = op.inputs[1 - which]
        if op.op_type == "Add":
            return name, None, numbers
        if op.op_type == "Mul":
            return name, numbers, None
        if op.op_type == "Sub":
            return (name, None, -numbers) if which else (name, np.array(-1.0), numbers)
        return (name, 1 / numbers, None) if which else None
