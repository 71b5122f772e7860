"""The grid of all window positions of one output, and what its cells are worth in pixels of the input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor, lcm
from operator import index

import numpy as np

from . import pixels
from .axis import Axis
from .pixels import Mode, Numbers, Size
from .sizes import SizeLaw

NAMES = {1: "length,", 2: "height, width", 3: "depth, height, width"}  #: of the spatial axes, by their number


@dataclass(frozen=True)
class Grid:
    """All window positions of one output, per spatial axis. Terms as in Araujo, Norris, Sim (Distill, 2019).

    Pixel k is what lies between the coordinates k and k + 1. A box has all starts first, then all ends, which are not
    part of it any more: ``(y0, x0, y1, x1)``, as in ``image[y0:y1, x0:x1]``. Cell (i, j) belongs to the box of the
    trained size that starts at ``offset + (i, j) * stride``.

    Attributes:
        source: the graph input that the map is computed from; of inputs that must have one size, the first.
        trained_size: that input's trained size, in pixels.
        window: size of the window on the feature map, in cells; of several maps, on the one that the grid follows. Of a
            map that was made denser, it takes so many cells with others between them.
        stride: effective stride, in pixels; where the map was pooled whole, that of the map in front of the pool.
        laws: grid size as a function of the input size, per axis.
        field: receptive field size of one cell of that map, in pixels.
        padding: effective padding before the first pixel: how many pixels the first window reaches in front of the
            picture. Negative: so many pixels at its start are cropped away, and no answer depends on them.
        padding_after: effective padding behind the last pixel at the trained size: how many pixels the window reaches
            beyond the picture's end. Negative: so many pixels at the end are read by no cell.
        step: valid sizes are ``trained_size + n * step``, n from 0 on; 1 where any size from the trained one on is.
        global_context: a node in front of the map looks at the whole picture, or farther than these numbers follow (it
            resizes), so that an answer can depend on every pixel.
    """

    source: str
    trained_size: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    laws: tuple[SizeLaw, ...]
    field: tuple[int, ...]
    padding: tuple[int, ...]
    padding_after: tuple[int, ...]
    step: tuple[int, ...]
    global_context: bool = False

    @classmethod
    def over(cls, axes: tuple[Axis, ...], window: tuple[int, ...] = ()) -> Grid:
        """The grid of windows of the trained map's own size, slid over the map with these axes.

        Args:
            axes: of the map.
            window: how many of its cells a window takes, of those that it spans; default: all.
        """
        return cls(
            source=axes[0].source,
            trained_size=tuple(a.trained for a in axes),
            window=window or tuple(a.size for a in axes),
            stride=tuple(a.stride.numerator for a in axes),
            laws=tuple(a.law.then(1, 1 - a.size, 1) for a in axes),
            field=tuple(int(a.field) for a in axes),
            padding=tuple(int(a.padding) for a in axes),
            padding_after=tuple(floor(a.reach[1]) - a.trained for a in axes),
            step=(1,) * len(axes),
        )

    def aligns_with(self, other: Grid) -> bool:
        """True if both have the same cells at every input size, so that their values may meet in one node."""
        aligned = self.stride == other.stride or self.whole_image
        return (self.source, self.laws) == (other.source, other.laws) and aligned

    def every(self, ratio: tuple[int, ...]) -> Grid:
        """Every ``ratio``-th cell per axis, from the first on."""
        stride = tuple(s * r for s, r in zip(self.stride, ratio, strict=True))
        laws = tuple(law.then(1, r - 1, r) for law, r in zip(self.laws, ratio, strict=True))
        return replace(self, stride=stride, laws=laws)

    # -- what follows from the numbers -----------------------------------------------------------------------------

    @property
    def whole_image(self) -> bool:
        """True if there is one cell at every input size, because the map was pooled whole."""
        return all(law.is_constant for law in self.laws)

    @property
    def offset(self) -> tuple[int, ...]:
        """The pixel at which the box of the first cell starts: 0, for the first window is the trained input itself."""
        return (0,) * len(self.stride)

    @property
    def window_field(self) -> tuple[int, ...]:
        """Receptive field size of a whole window, in pixels: the trained size and the padding on both sides."""
        sides = zip(self.trained_size, self.padding, self.padding_after, strict=True)
        return tuple(sum(side) for side in sides)

    # -- sizes -----------------------------------------------------------------------------------------------------

    @property
    def smallest_size(self) -> tuple[int, ...]:
        """The smallest valid input size, in pixels: the trained one, at which the grid is one cell."""
        return self.trained_size

    def is_valid(self, size: Size) -> bool:
        """True for an input size that the output has a grid for: ``trained_size + n * step`` along each axis.

        Raises:
            ValueError: wrong number of axes.
        """
        rows = zip(self._pixels(size), self.trained_size, self.step, strict=True)
        return all(n >= t and (n - t) % s == 0 for n, t, s in rows)

    def grid_size(self, size: Size) -> tuple[int, ...]:
        """Window positions per axis for an input of ``size`` pixels.

        Raises:
            ValueError: wrong number of axes, smaller than the trained size, or not of the form that is valid.
        """
        size = self._pixels(size)
        if any(n < t for n, t in zip(size, self.trained_size, strict=True)):
            raise ValueError(f"size {size} is smaller than the trained size {self.trained_size}")
        if not self.is_valid(size):
            form = " x ".join(f"{t} + n*{s}" for t, s in zip(self.trained_size, self.step, strict=True))
            raise ValueError(f"size {size} is not of the form {form}; the next that is: {self.fitting(size)}")
        return tuple(law(n) for law, n in zip(self.laws, size, strict=True))

    def loses(self, size: Size) -> tuple[int, ...]:
        """Pixels per axis behind the box of the last cell, which no box covers.

        0 where it ends with the picture, or beyond it: a map leaves over pixels of the trained size if its windows do
        not fit, and the last box has those too.

        Raises:
            ValueError: as ``grid_size``.
        """
        cells = self.grid_size(size)
        ends = self.box(*(n - 1 for n in cells), size=size)[len(cells) :]
        return tuple(max(n - end, 0) for n, end in zip(self._pixels(size), ends, strict=True))

    def fitting(self, size: Size) -> tuple[int, ...]:
        """The smallest valid size from ``size`` on whose last box ends with the picture: what to pad a picture up to.

        There ``loses`` is 0.

        Raises:
            ValueError: wrong number of axes.
        """
        size = self._pixels(size)
        if self.whole_image:
            strides = self.step
        else:
            strides = tuple(lcm(s, t) for s, t in zip(self.stride, self.step, strict=True))
        grown = [max(n - t, 0) for n, t in zip(size, self.trained_size, strict=True)]
        return tuple(t + -(-g // s) * s for t, g, s in zip(self.trained_size, grown, strides, strict=True))

    # -- pixels of a cell ------------------------------------------------------------------------------------------

    def box(self, *cell: int, size: Size | None = None) -> tuple[int, ...]:
        """Input box of one grid cell in pixels: all starts, then all ends (``y0, x0, y1, x1``).

        Args:
            cell: its indices, from 0 on.
            size: the input's size in pixels, which is the box of an answer for the whole image.

        Raises:
            ValueError: wrong number of indices, a negative one, one beyond the grid of the size, or the answer is for
                the whole image and no size is given.
        """
        cell = self._checked(cell, size)
        if self.whole_image:
            return self._picture(size, "the answer is for the whole image", f"box{cell}")
        starts = tuple(i * s for i, s in zip(cell, self.stride, strict=True))
        return starts + tuple(y + t for y, t in zip(starts, self.trained_size, strict=True))

    def receptive_box(self, *cell: int, size: Size | None = None) -> tuple[int, ...]:
        """The pixels that the answer of one cell can depend on: no pixel outside of this box changes it.

        Not clipped: what lies outside of the picture is what nodes pad with. (Where a ``Pad`` does not pad with a
        constant, these are copies of other pixels.) Pixels inside need not all be read: dilations leave some out.

        Args:
            cell, size: as in ``box``.

        Raises:
            ValueError: as ``box``; or every pixel has a part in it (``global_context``) and no size is given.
        """
        cell = self._checked(cell, size)
        if self.whole_image or self.global_context:
            return self._picture(size, "the answer can depend on every pixel", f"receptive_box{cell}")
        starts = tuple(i * s - p for i, s, p in zip(cell, self.stride, self.padding, strict=True))
        return starts + tuple(y + f for y, f in zip(starts, self.window_field, strict=True))

    def center(self, *cell: int, size: Size | None = None) -> tuple[float, ...]:
        """The middle of a cell's box, in pixels. (The middle of the pixel k is at k + 0.5.)

        Raises:
            ValueError: as ``box``.
        """
        box = self.box(*cell, size=size)
        return tuple((a + b) / 2 for a, b in zip(box[: len(cell)], box[len(cell) :], strict=True))

    # -- cells of a box --------------------------------------------------------------------------------------------

    def cells(self, box: Numbers, mode: Mode = "overlapping", size: Size | None = None) -> tuple[slice, ...]:
        """Which cells belong to a box of the picture, as an index of the grid: ``boxes(size)[cells]``.

        The grid axes of a model's output are its last ones, so its answers there are ``output[(..., *cells)]``.

        Args:
            box: all starts, then all ends, in pixels, as ``box`` gives them; fractions of pixels may be.
            mode: ``"overlapping"``: cells whose box shares a part with it; ``"inside"``: whose box lies in it.
            size: the input's size in pixels, to which the slices are clipped; without it they may end beyond the grid,
                which numpy does not mind.

        Raises:
            ValueError: a box of another number of axes, an empty or infinite one, an unknown mode, a size that
                ``grid_size`` refuses, or the answer is for the whole image and no size is given.
        """
        rank = len(self.stride)
        starts, ends = pixels.sides(box, rank)
        length, stride = self.trained_size, self.stride
        if self.whole_image:
            reason = "the answer is for the whole image"
            length = stride = self._picture(size, reason, f"cells({tuple(box)})")[rank:]
        found = [pixels.cells(*row, mode) for row in zip(starts, ends, length, stride, strict=True)]
        limits = self.grid_size(size) if size is not None else (None,) * rank
        return tuple(pixels.clipped(a, b, n) for (a, b), n in zip(found, limits, strict=True))

    # -- whole grids -----------------------------------------------------------------------------------------------

    def boxes(self, size: Size) -> np.ndarray:
        """The boxes of all cells for an input of ``size`` pixels: int64, [*grid, 2 * axes], as ``box`` gives them.

        Raises:
            ValueError: as ``grid_size``.
        """
        cells = self.grid_size(size)
        found: np.ndarray = np.tile(pixels.positions(cells) * np.array(self.stride, np.int64), 2)
        found += np.array(self.box(*[0] * len(cells), size=size), np.int64)
        return found

    def centers(self, size: Size) -> np.ndarray:
        """The middles of all boxes for an input of ``size`` pixels: float64, [*grid, axes].

        Raises:
            ValueError: as ``grid_size``.
        """
        starts, ends = np.split(self.boxes(size), 2, -1)
        middles: np.ndarray = (starts + ends) / 2
        return middles

    # -- what is asked for must fit --------------------------------------------------------------------------------

    def _pixels(self, size: Size) -> tuple[int, ...]:
        if len(size) != len(self.trained_size):
            raise ValueError(f"size {tuple(size)} has {len(size)} axes, the model has {len(self.trained_size)}")
        return tuple(map(index, size))

    def _checked(self, cell: tuple[int, ...], size: Size | None) -> tuple[int, ...]:
        cell = tuple(map(index, cell))
        if len(cell) != len(self.stride):
            raise ValueError(f"cell {cell} has {len(cell)} indices, the grid has {len(self.stride)} axes")
        if any(i < 0 for i in cell):
            raise ValueError(f"cell {cell} has a negative index; cells are counted from 0")
        if size is not None and any(i >= n for i, n in zip(cell, self.grid_size(size), strict=True)):
            raise ValueError(f"cell {cell} is beyond the grid {self.grid_size(size)} of an input of {tuple(size)}")
        return cell

    def _picture(self, size: Size | None, reason: str, call: str) -> tuple[int, ...]:
        """The box of the whole picture, which has to be said how large it is."""
        if size is None:
            names = NAMES.get(len(self.stride), "..")
            raise ValueError(f"{reason}; give its size: {call[:-1].rstrip(',')}, size=({names}))")
        self.grid_size(size)
        return (*self.offset, *self._pixels(size))
