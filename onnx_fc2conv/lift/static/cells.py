"""Values of one cell: what an FC reads, as a Conv takes it, and back, where no size changes.

There is one window, the whole of what an FC sees, so the grid axes all have size 1 and a Reshape is what spends a
window. A value comes in one of these forms:

1. A map ``[N, C, *spatial]`` that a view turns into a vector: read as it is.
2. A vector ``[N, K]``: ``[N, K, 1, 1]``.
3. Rows of features ``[N, T, K]``: ``[N, K, 1, T]``, and ``[N, a, b, K]``: ``[N, K, a, b]``. An FC along the last axis
   is a 1x1 Conv there. So is one with its weight on the left, along the axis before the last: ``[N, K, T]`` becomes
   ``[N, K, 1, T]``.
4. Rows that have a matrix each: ``[N, T * K, 1, 1]``, of which the Conv makes groups.
5. Rows counted as images: ``[N * T, K, 1, 1]``.

Forms 2 and 3 take Unsqueeze and Transpose only, so they hold whatever the other axes' sizes are.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from ...flatten import Layout
from ...geometry import Grid, SizeLaw
from ...rewrite import Unread, Windowed
from ..joined import materialised
from ..rewriter import Rewriter

ONE = SizeLaw(((0, 1, 1),))  #: the size of a grid axis, whatever the input's size
RANKS = range(3, 6)  #: of values that are read as maps: a Conv slides over one to three axes


def grid(rank: int) -> Grid:
    """One cell on so many axes."""
    ones = (1,) * rank
    none = (0,) * rank
    return Grid("", ones, ones, ones, (ONE,) * rank, ones, none, none, ones)


class CellRewriter(Rewriter):
    """A node under conversion where the grid has one cell."""

    def _flatten_windows(self, x: Windowed) -> Windowed:
        assert x.unread is not None
        size = x.unread.size
        shape = self.constant(np.array([0, size, *[1] * x.grid_rank], np.int64), "shape")
        return x.spent(self.emit("Reshape", x, shape), (size,))

    _cut_windows = _flatten_windows

    def _reshape(self, x: Windowed, front: list[int]) -> str:
        return self.emit("Reshape", x, self.constant(np.array([*front, *[1] * x.grid_rank], np.int64), "shape"))

    def reshaped_from(self, x: Windowed) -> Windowed | None:
        """The value that this one was reshaped from, if it was."""
        return self._shared.reshaped.get(x.tensor)

    def unsqueezed(self, tensor: str, axes: list[int]) -> str:
        """A value with axes of size 1 put in."""
        return self._with_axes("Unsqueeze", tensor, axes)

    def squeezed(self, tensor: str, axes: list[int]) -> str:
        """A value with axes of size 1 taken out."""
        return self._with_axes("Squeeze", tensor, axes)

    def _with_axes(self, op_type: str, tensor: str, axes: list[int]) -> str:
        if not axes:
            return tensor
        if self.since < 13:
            return self.emit(op_type, tensor, axes=axes)
        return self.emit(op_type, tensor, self.constant(np.array(axes, np.int64), "axes"))

    def shaped(self, tensor: str, shape: list[int]) -> str:
        """A value in another shape."""
        return self.emit("Reshape", tensor, self.constant(np.array(shape, np.int64), "shape"))


# -- there -------------------------------------------------------------------------------------------------------------


def as_map(name: str, features: tuple[int, ...], elem_type: int) -> Windowed:
    """Form 1: a value ``[N, C, *spatial]`` of which a view makes something else."""
    order = np.arange(prod(features), dtype=np.int64).reshape(features)
    return Windowed(name, features, elem_type, grid(len(features) - 1), Unread(features[0], features[1:], order))


def as_vector(op: CellRewriter, name: str, features: tuple[int, ...], elem_type: int, rank: int = 2) -> Windowed:
    """Form 2, or a single vector ``[K]`` without a batch axis; on ``rank`` grid axes."""
    vector = Windowed(name, features, elem_type, grid(rank))
    return op.once(("vector", name, rank), lambda: vector.on(op.unsqueezed(name, list(range(2, 2 + rank)))))


def as_single(op: CellRewriter, name: str, features: tuple[int, ...], elem_type: int) -> Windowed:
    """A vector ``[K]``: no axis counts images."""
    value = Windowed(name, features, elem_type, grid(2), layout=Layout(None))
    return op.once(("single", name), lambda: value.on(op.unsqueezed(name, [0, 2, 3])))


def as_rows(op: CellRewriter, name: str, features: tuple[int, ...], elem_type: int, last: bool = True) -> Windowed:
    """Form 3: the summed axis is the last one, or the one before it.

    Raises:
        Unliftable: the value has no such axis behind the first, or too many.
    """
    rank = 1 + len(features)
    op.refuse_if(rank not in RANKS, f"its input '{name}' has {rank} axes")
    summed = len(features) - 1 if last else len(features) - 2
    others = [f for f in range(len(features)) if f != summed]
    window = tuple(features[f] for f in others)
    size = features[summed]
    order = np.moveaxis(np.arange(prod(features), dtype=np.int64).reshape(size, *window), 0, summed)
    unit = [] if len(window) > 1 else [1]
    value = Windowed("", features, elem_type, grid(len(window) + len(unit)), Unread(size, (*unit, *window), order))

    def made() -> Windowed:
        if not unit:
            return value.on(_transposed(op, name, [0, 1 + summed, *(1 + f for f in others)]))
        if not last:
            return value.on(op.unsqueezed(name, [2]))
        return value.on(_transposed(op, op.unsqueezed(name, [1]), [0, 3, 1, 2]))

    return op.once(("rows", name, last), made)


def as_blocks(op: CellRewriter, name: str, features: tuple[int, ...], elem_type: int) -> Windowed:
    """Form 4."""
    size = prod(features)
    order = np.arange(size, dtype=np.int64).reshape(features)
    value = Windowed("", features, elem_type, grid(2), Unread(size, (1, 1), order))
    return op.once(("blocks", name), lambda: value.on(op.shaped(name, [0, size, 1, 1])))


def as_images(op: CellRewriter, name: str, features: tuple[int, ...], elem_type: int) -> Windowed:
    """Form 5."""
    size = features[-1]
    value = Windowed("", (size,), elem_type, grid(2))
    return op.once(("images", name), lambda: value.on(op.shaped(name, [-1, size, 1, 1])))


def as_unread(x: Windowed) -> Windowed:
    """A spent vector as a map of one cell: what a view makes of that is only another order of its channels."""
    if x.unread is not None or x.parts or len(x.features) != 1:
        return x
    size = x.features[0]
    return replace(x, unread=Unread(size, (1,) * x.grid_rank, np.arange(size, dtype=np.int64)))


def _transposed(op: CellRewriter, tensor: str, perm: list[int]) -> str:
    return tensor if perm == sorted(perm) else op.emit("Transpose", tensor, perm=perm)


# -- and back ----------------------------------------------------------------------------------------------------------


def restored(op: CellRewriter, x: Windowed) -> str:
    """The value as the original has it; a new tensor, made by the last node that was emitted."""
    x = op.read(x) if x.affine else materialised(op, x)
    made = len(op.emitted)
    if x.unread is not None:
        tensor, dims = _in_order(op, x, x.unread)
    else:
        source = op.reshaped_from(x)
        tensor, dims = (source or x).tensor, [*(source or x).features, *[1] * x.grid_rank]
    tensor = _viewed(op, tensor, dims, x)
    return tensor if len(op.emitted) > made else op.emit("Identity", tensor)


def _in_order(op: CellRewriter, x: Windowed, unread: Unread) -> tuple[str, list[int]]:
    """The unread value with its features in the order in which the original lists them, and its dims but the batch."""
    dims = [unread.channels, *unread.window]
    positions = np.arange(unread.size).reshape(dims)
    listed = unread.order.ravel()
    others = list(range(2, 1 + len(dims)))
    for place in range(len(dims)):  # where the channels belong; a Transpose is right whatever the axes' sizes are
        moved = np.moveaxis(positions, 0, place)
        if np.array_equal(listed, moved.ravel()):
            perm = [0, *others[:place], 1, *others[place:]]
            return _transposed(op, x.tensor, perm), list(moved.shape)
    flat = op.shaped(x.tensor, [0, unread.size]) if unread.window else x.tensor
    return op.emit("Gather", flat, op.constant(listed.astype(np.int64), "order"), axis=1), [listed.size]


def _viewed(op: CellRewriter, tensor: str, dims: list[int], x: Windowed) -> str:
    layout, features = x.layout, list(x.features)
    if layout.merged:
        return op.shaped(tensor, [-1, *features[1:]])
    dropped = _superfluous(dims, features)
    if layout.before is None:
        return op.shaped(tensor, features) if dropped is None else op.squeezed(tensor, [0, *dropped])
    tensor = op.shaped(tensor, [0, *features]) if dropped is None else op.squeezed(tensor, dropped)
    if layout.before == 0:
        return tensor
    before = layout.before
    return op.emit("Transpose", tensor, perm=[*range(1, before + 1), 0, *range(before + 1, 1 + len(features))])


def _superfluous(dims: list[int], features: list[int]) -> list[int] | None:
    """The axes of size 1 that these dims, behind the batch axis, have and the features have not; ``None`` if that is
    not all that differs."""
    dropped, wanted = [], list(features)
    for axis, n in enumerate(dims, 1):
        if wanted and n == wanted[0]:
            wanted.pop(0)
        elif n == 1:
            dropped.append(axis)
        else:
            return None
    return None if wanted else dropped
