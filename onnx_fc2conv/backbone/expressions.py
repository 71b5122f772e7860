"""Sizes that follow the image's, as nodes: ``Shape`` of a value that has the size, or arithmetic on that of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ..geometry import Axis, SizeLaw
from ..ops import Op
from ..plan import Dim, FeatureMap, Merged
from .registry import Trace
from .unbaked import Replacement


class Expressions:
    """Nodes in front of a node that compute its operands from the sizes of values that are there by then."""

    def __init__(self, op: Op, near: FeatureMap, trace: Trace) -> None:
        """Start with none.

        Args:
            op: the node that is replaced.
            near: its data input, whose axes are looked at first.
            trace: knows the other maps.
        """
        self._op, self._near, self._trace = op, near, trace
        self._base = next(name for name in op.outputs if name)
        self._nodes: list[NodeProto] = []
        self._initializers: list[TensorProto] = []
        self._shapes: dict[str, str] = {}

    def replace(self, node: NodeProto, change: str) -> None:
        """Let this node, behind the expressions, take the place of the original's."""
        self._trace.unbaked[self._op.index] = Replacement([*self._nodes, node], change, self._initializers)

    def constant(self, values: np.ndarray) -> str:
        """A new initializer."""
        name = self._trace.fresh(f"{self._base}_constant")
        self._initializers.append(numpy_helper.from_array(values, name))
        return name

    def vector(self, entries: Sequence[Dim]) -> str:
        """The entries as one vector of int64; a constant where none of them follows the image's size."""
        pieces: list[list[int] | str] = []
        for entry in entries:
            if not isinstance(entry, int):
                pieces.append(self.size(entry))
            elif pieces and isinstance(pieces[-1], list):
                pieces[-1].append(entry)
            else:
                pieces.append([entry])
        names = [p if isinstance(p, str) else self.constant(np.array(p, np.int64)) for p in pieces]
        return names[0] if len(names) == 1 else self._emit("Concat", *names, axis=0)

    def size(self, dim: Dim) -> str:
        """The name of a vector with one number, the size of this dim."""
        if isinstance(dim, int):
            return self.constant(np.array([dim], np.int64))
        if isinstance(dim, Merged):
            first, *rest = (self.size(part) for part in dim.parts)
            for other in rest:
                first = self._emit("Mul", first, other)
            return first
        for value in (self._near, *reversed(self._trace.maps.values())):
            if dim in value.dims:
                return self._of(value.name, value.dims.index(dim))
        assert isinstance(dim, Axis)
        for place, own in enumerate(self._near.dims):
            if isinstance(own, Axis) and (own.source, own.index) == (dim.source, dim.index):
                times, by = max(dim.size // own.size, 1), max(own.size // dim.size, 1)
                if own.law.then(times, 0, by) == dim.law:
                    return self._times(self._of(self._near.name, place), times, 0, by)
        image = self._trace.maps[dim.source]
        return self._law(self._of(image.name, image.spatial[dim.index]), dim.law)

    def _law(self, name: str, law: SizeLaw) -> str:
        for mul, add, div in law.steps:
            name = self._times(name, mul, add, div)
        return name

    def _times(self, name: str, mul: int, add: int, div: int) -> str:
        """``(n * mul + add) // div``; all sizes are positive, so truncation is floor."""
        for op_type, number, neutral in (("Mul", mul, 1), ("Add", add, 0), ("Div", div, 1)):
            if number != neutral:
                name = self._emit(op_type, name, self.constant(np.array([number], np.int64)))
        return name

    def _of(self, value: str, place: int) -> str:
        if value not in self._shapes:
            self._shapes[value] = self._emit("Shape", value)
        return self._emit("Gather", self._shapes[value], self.constant(np.array([place], np.int64)), axis=0)

    def _emit(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = self._trace.fresh(f"{self._base}_{op_type.lower()}")
        self._nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name


def in_words(dim: Dim) -> str:
    """A dim as messages write it: ``height//8``."""
    names = ("height", "width")
    if isinstance(dim, Merged):
        words = [in_words(part) for part in dim.parts]
        return "*".join(f"({word})" if " " in word or "/" in word else word for word in words)
    if not isinstance(dim, Axis):
        return str(dim)
    return dim.law.expression(names[dim.index] if dim.index < len(names) else f"size {dim.index}")
