"""The grid of all window positions over one feature map."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .axis import Axis
from .sizes import SizeLaw


@dataclass(frozen=True)
class Grid:
    """All window positions over one feature map, per spatial axis.

    Attributes:
        source: the graph input that the map is computed from; of inputs that must have one size, the first.
        trained_size: that input's trained size, in pixels.
        window: size of the window on the feature map, in cells.
        stride: effective stride, in pixels; where the map was pooled whole, that of the map in front of the pool.
        laws: grid size as a function of the input size, per axis.
        field: receptive field size of one map cell, in pixels.
        padding: effective padding before the first pixel, in pixels.
    """

    source: str
    trained_size: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    laws: tuple[SizeLaw, ...]
    field: tuple[int, ...]
    padding: tuple[int, ...]

    @classmethod
    def over(cls, axes: tuple[Axis, ...]) -> Grid:
        """The grid of windows of the trained map's own size, slid over the map with these axes."""
        window = tuple(a.size for a in axes)
        laws = tuple(a.law.then(1, 1 - w, 1) for a, w in zip(axes, window, strict=True))
        return cls(
            axes[0].source,
            tuple(a.trained for a in axes),
            window,
            tuple(a.stride.numerator for a in axes),
            laws,
            tuple(int(a.field) for a in axes),
            tuple(int(a.padding) for a in axes),
        )

    def aligns_with(self, other: Grid) -> bool:
        """True if both have the same cells at every input size, so that their values may meet in one node."""
        aligned = self.stride == other.stride or self.whole_image
        return (self.source, self.laws) == (other.source, other.laws) and aligned

    @property
    def whole_image(self) -> bool:
        """True if there is one cell at every input size, because the map was pooled whole."""
        return all(law.is_constant for law in self.laws)

    def every(self, ratio: tuple[int, ...]) -> Grid:
        """Every ``ratio``-th cell per axis, from the first on."""
        stride = tuple(s * r for s, r in zip(self.stride, ratio, strict=True))
        laws = tuple(law.then(1, r - 1, r) for law, r in zip(self.laws, ratio, strict=True))
        return replace(self, stride=stride, laws=laws)

    def grid_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Window positions per axis for an input of ``size`` pixels.

        Raises:
            ValueError: wrong number of axes, or the input is smaller than the trained size.
        """
        if len(size) != len(self.trained_size):
            raise ValueError(f"size {size} has {len(size)} axes, the model has {len(self.trained_size)}")
        if any(n < t for n, t in zip(size, self.trained_size, strict=True)):
            raise ValueError(f"size {size} is smaller than the trained size {self.trained_size}")
        return tuple(law(n) for law, n in zip(self.laws, size, strict=True))

    def box(self, *cell: int, size: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Input box of one grid cell in pixels: all starts, then all ends (``y0, x0, y1, x1``).

        Args:
            cell: its indices.
            size: the input's size in pixels, which is the box of an answer for the whole image.

        Raises:
            ValueError: wrong number of indices, or the answer is for the whole image and no size is given.
        """
        if len(cell) != len(self.stride):
            raise ValueError(f"cell {cell} has {len(cell)} indices, the grid has {len(self.stride)} axes")
        if self.whole_image and size is None:
            raise ValueError("the answer is for the whole image; give its size: box(0, 0, size=(height, width))")
        if self.whole_image and size is not None:
            return (0,) * len(size) + size
        starts = tuple(i * s for i, s in zip(cell, self.stride, strict=True))
        return starts + tuple(y + t for y, t in zip(starts, self.trained_size, strict=True))
