"""The kernel as a matrix: as a constant wherever it is one, in the type that it is stored in.

What stands between the stored numbers and the Conv (a DequantizeLinear, a Cast) works on each number by itself, so it
works on the matrix as well: the stored numbers are laid out anew, and the nodes follow, with their axis where its
entries are now. What cannot be said like this is laid out by nodes, behind what computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...constants import Constants
from ...emitter import Emitter
from ...ops import STANDARD_DOMAINS, Array, Model, Op
from ...tensors import bytes_for
from ..convolution import Convolution
from .arrangement import Arrangement

SCALED = ("DequantizeLinear", "QuantizeLinear")
DOMAINS = (*STANDARD_DOMAINS, "com.microsoft")

Moved = tuple[Sequence[str], dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """A node that works on each number by itself.

    Attributes:
        op: the node.
        axes: for each axis of the kernel, the axis of the node's result that it is.
        parameters: its constant operands behind the first.
    """

    op: Op
    axes: tuple[int, ...]
    parameters: tuple[Array, ...]

    @property
    def per_tensor(self) -> bool:
        """True if it treats all numbers alike."""
        return not self.parameters or int(np.prod(self.parameters[0].shape)) == 1

    @property
    def axis(self) -> int:
        """The axis of the kernel that its parameters lie along."""
        return self.axes.index(self.op.attr("axis", 1) % len(self.axes))


@dataclass(frozen=True)
class Stored:
    """A kernel as it is stored.

    Attributes:
        array: the numbers.
        axes: for each axis of the kernel, the axis of ``array`` that it is.
        steps: what is done to them.
        made: whether ``array`` is no value of the model.
    """

    array: Array
    axes: tuple[int, ...]
    steps: tuple[Step, ...] = ()
    made: bool = False

    @property
    def bytes(self) -> int:
        """Of the numbers, and of the scales and zero points."""
        arrays = (self.array, *(p for step in self.steps for p in step.parameters))
        return sum(bytes_of(a) for a in arrays)


def bytes_of(array: Array) -> int:
    """Bytes that a constant takes."""
    return bytes_for(array.elem_type, int(np.prod(array.shape, dtype=object))) or 0


def find(model: Model, constants: Constants, name: str, rank: int) -> Stored | None:
    """What a kernel is stored as; ``None`` if it is computed at run time, or is better left to the nodes that do.

    Args:
        model: the model.
        constants: of it.
        name: of the kernel.
        rank: number of its axes.

    Raises:
        Unliftable: a constant would be too large to compute.
    """
    behind: list[tuple[Op, tuple[Array, ...]]] = []
    current = name
    while (op := model.producer.get(current)) is not None and (parameters := _follows(op, constants)) is not None:
        behind.append((op, parameters))
        current = op.inputs[0]
    if all(op.op_type in ("Identity", "Transpose") for op, _ in behind):
        behind, current = [], name
    array = None if dequantised(model, current) else constants.get(current)
    if array is None or len(array.shape) != rank:
        return None
    axes, steps = tuple(range(rank)), list[Step]()
    for op, parameters in behind:  # from the Conv on back
        if op.op_type == "Transpose":
            perm = op.attr("perm") or list(range(rank))[::-1]
            axes = tuple(perm[axis] for axis in axes)
        elif op.op_type != "Identity":
            steps.append(Step(op, axes, parameters))
    return Stored(array, axes, tuple(steps[::-1]))


def _follows(op: Op, constants: Constants) -> tuple[Array, ...] | None:
    """The constant parameters of a node that is followed towards the stored numbers; ``None`` if it is not."""
    if op.domain not in DOMAINS or op.op_type not in ("Identity", "Transpose", "Cast", *SCALED):
        return None
    names = [name for name in op.inputs[1:] if name]
    known = [array for name in names if (array := constants.get(name)) is not None]
    return tuple(known) if len(known) == len(names) else None


def dequantised(model: Model, name: str) -> bool:
    """True if integers would be lost in what is computed from them."""
    seen, waiting = set[int](), [name]
    while waiting:
        op = model.producer.get(waiting.pop())
        if op is not None and op.index not in seen:
            seen.add(op.index)
            if op.op_type == "DequantizeLinear":
                return True
            waiting += op.reads()
    return False


def matrix(emitter: Emitter, conv: Convolution, stored: Stored | None, arrangement: Arrangement) -> str:
    """Name of the kernel, laid out.

    Args:
        emitter: takes up the nodes and constants.
        conv: the convolution.
        stored: its kernel, if that is a constant.
        arrangement: how it is laid out.
    """
    after = None if stored is None else [_moved(emitter, conv, step, arrangement) for step in stored.steps]
    if stored is None or after is None or None in after:
        return _by_nodes(emitter, conv, arrangement)
    x = _laid_out(emitter, stored, arrangement)
    for step, moved in zip(stored.steps, after, strict=True):
        operands, attrs = moved or ((), {})
        x = emitter.emit(step.op.op_type, x, *operands, domain=step.op.domain, **attrs)
    return x


def _laid_out(emitter: Emitter, stored: Stored, arrangement: Arrangement) -> str:
    array, axes = stored.array, stored.axes
    if axes == tuple(sorted(axes)) and arrangement.same_bytes and not stored.made:
        return emitter.with_dims(array, arrangement.dims)
    key = ("kernel", array.name, array.elem_type, axes, arrangement.split, arrangement.perm, arrangement.dims)
    return emitter.constant(arrangement.applied(array.values.transpose(axes)), array.name, key)


def _moved(emitter: Emitter, conv: Convolution, step: Step, arrangement: Arrangement) -> Moved | None:
    """Operands and attributes of a node that works on the matrix; ``None`` if ONNX has no words for it."""
    op, names = step.op, step.op.inputs[1:]
    attrs = {key: value for key, value in op.attrs.items() if key not in ("axis", "block_size")}
    if block := op.attr("block_size", 0):
        if not arrangement.keeps_blocks(step.axis, block, (conv.units, conv.block)):
            return None
        by_name = {p.name: p for p in step.parameters}
        laid = [name and _blocks(emitter, by_name[name], step.axes, arrangement) for name in names]
        return laid, attrs | {"axis": arrangement.runs[step.axis], "block_size": block}
    if step.per_tensor:
        return names, attrs
    if step.axis not in arrangement.places:
        return None
    return names, attrs | {"axis": arrangement.places[step.axis]}


def _blocks(emitter: Emitter, parameter: Array, axes: tuple[int, ...], arrangement: Arrangement) -> str:
    key = ("blocks", parameter.name, axes, arrangement.perm)
    return emitter.constant(arrangement.of_blocks(parameter.values.transpose(axes)), parameter.name, key)


def _by_nodes(emitter: Emitter, conv: Convolution, arrangement: Arrangement) -> str:
    x = conv.weight
    if not arrangement.same_bytes:
        if arrangement.split != (conv.units, conv.block, *conv.window):
            x = emitter.reshape(x, arrangement.split)
        x = emitter.transpose(x, arrangement.perm)
    return emitter.reshape(x, arrangement.dims)
