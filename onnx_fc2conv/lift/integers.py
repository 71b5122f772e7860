"""Weights that are stored as integers and dequantised: the integers are rearranged, and stay integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ops import Array
from .rewriter import Rewriter

DEQUANTISING = ("DequantizeLinear", "com.microsoft.DequantizeLinear")


@dataclass(frozen=True, eq=False)
class Dequantised:
    """A constant that a DequantizeLinear makes: ``(integers - zero_point) * scale``.

    Attributes:
        integers: as stored.
        scale, zero_point: one value, or one along ``axis``.
        axis: of the dequantised constant.
        swapped: a Transpose behind the DequantizeLinear swaps the two axes.
        attrs: further attributes of the DequantizeLinear, and its domain unless that is the standard one.
    """

    integers: Array
    scale: Array
    zero_point: Array | None
    axis: int
    swapped: bool
    attrs: dict[str, Any]

    def arranged(
        self, op: Rewriter, arrange: Callable[[np.ndarray], np.ndarray], key: tuple[Any, ...], units: int, rows: int
    ) -> str | None:
        """The dequantised constant in another arrangement, whose first axis is ``rows`` times the units.

        Args:
            op: the node.
            arrange: moves and repeats entries.
            key: tells this arrangement from others.
            units: the constant's axis that holds the units.
            rows: how often the units are repeated.

        Returns:
            Its name, or ``None`` if the scale varies along another axis than the units.
        """
        per_tensor = int(np.prod(self.scale.shape)) == 1
        if not per_tensor and self.axis != units:
            return None
        values = self.integers.values
        integers = op.constant(arrange(values.T if self.swapped else values), self.integers.name, "integers", *key)
        parameters = [self.scale.name, *([self.zero_point.name] if self.zero_point else [])]
        if not per_tensor and rows > 1:
            parameters = [
                op.constant(np.tile(p.values, rows), p.name, "tiled", rows) for p in (self.scale, self.zero_point) if p
            ]
        axis = {} if per_tensor else {"axis": 0}
        return op.emit("DequantizeLinear", integers, *parameters, **self.attrs, **axis)


def dequantised(op: Rewriter, array: Array) -> Dequantised | None:
    """How a constant is stored as integers, or ``None`` if it is not."""
    made_by = op.producer(array.name)
    swapped = made_by is not None and made_by.kind == "Transpose"
    if made_by is not None and swapped:
        swapped = made_by.attr("perm", [1, 0]) == [1, 0]
        made_by = op.producer(made_by.inputs[0]) if swapped else None
    if made_by is None or made_by.kind not in DEQUANTISING or made_by.attr("block_size", 0) or len(array.shape) != 2:
        return None
    stored = [op.array(name) if name else None for name in (*made_by.inputs, "")[:3]]
    integers, scale, zero_point = stored
    if integers is None or scale is None or (zero_point is None and "".join(made_by.inputs[2:])):
        return None
    if len(integers.shape) != 2:
        return None
    axis = made_by.attr("axis", 1) % 2
    attrs = {k: v for k, v in made_by.attrs.items() if k not in ("axis", "block_size")}
    attrs |= {} if made_by.standard else {"domain": made_by.domain}
    return Dequantised(integers, scale, zero_point, 1 - axis if swapped else axis, swapped, attrs)
