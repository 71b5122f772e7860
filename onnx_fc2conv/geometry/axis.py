"""One spatial axis of a value, followed through the backbone: its size, stride, receptive field and padding.

Formulas as in Araujo, Norris, Sim (Distill, 2019): cell i of the axis depends on pixels from ``i * stride - padding``
on, ``field`` of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from .sizes import IDENTITY, SizeLaw


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a value in the backbone, traced from the input that it comes from.

    Attributes:
        source: name of the graph input; of inputs that must have one size, the first.
        index: which of its spatial axes, in the order in which the first sliding operator takes them.
        trained: the input's trained size along it, in pixels.
        law: this value's size along it.
        stride: effective stride in pixels: what one step along this axis is worth.
        field: receptive field size in pixels.
        padding: effective padding before the first pixel, in pixels; negative where pixels are cropped away.
    """

    source: str
    index: int
    trained: int
    law: SizeLaw = IDENTITY
    stride: Fraction = Fraction(1)
    field: Fraction = Fraction(1)
    padding: Fraction = Fraction(0)

    @property
    def size(self) -> int:
        """Size at the trained input size."""
        return self.law(self.trained)

    @property
    def reach(self) -> tuple[Fraction, Fraction]:
        """The pixels that all cells of the trained size depend on together, from the first to behind the last."""
        return -self.padding, (self.size - 1) * self.stride - self.padding + self.field

    def window_op(self, kernel: int, stride: int, pad_before: int, add: int) -> Axis:
        """Behind a sliding-window operator whose output size is ``(n + add) // stride``."""
        return Axis(
            self.source,
            self.index,
            self.trained,
            self.law.then(1, add, stride),
            self.stride * stride,
            self.field + (kernel - 1) * self.stride,
            self.padding + pad_before * self.stride,
        )

    def scaled(self, factor: int, add: int = 0) -> Axis:
        """Behind an operator that makes ``factor`` cells of each (upsampling), plus ``add`` cells."""
        return replace(self, law=self.law.then(factor, add, 1), stride=self.stride / factor)

    def constant(self, size: int) -> Axis:
        """Behind an operator whose result has this size whatever the input's is: each cell depends on all before it."""
        start, end = self.reach
        return replace(self, law=self.law.then(0, size, 1), field=end - start)

    def joined(self, other: Axis) -> Axis:
        """Where this axis meets another of the same cells: a cell depends on what either does, and what lies between.

        The field is the hull of both: branches that pad or crop unequally may look to different sides.
        """
        start = min(-self.padding, -other.padding)
        end = max(self.field - self.padding, other.field - other.padding)
        return replace(self, field=end - start, padding=-start)
