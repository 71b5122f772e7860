"""One spatial axis of a value, followed through the backbone: its size, stride, receptive field and padding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from .sizes import SizeLaw


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
        padding: effective padding before the first pixel, in pixels.
    """

    source: str
    index: int
    trained: int
    law: SizeLaw = SizeLaw()
    stride: Fraction = Fraction(1)
    field: Fraction = Fraction(1)
    padding: Fraction = Fraction(0)

    @property
    def size(self) -> int:
        """Size at the trained input size."""
        return self.law(self.trained)

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
        law = self.law.then(factor, add, 1)
        return Axis(self.source, self.index, self.trained, law, self.stride / factor, self.field, self.padding)

    def constant(self, size: int) -> Axis:
        """Behind an operator whose result has this size whatever the input's size is."""
        return Axis(
            self.source, self.index, self.trained, self.law.then(0, size, 1), self.stride, self.field, self.padding
        )
