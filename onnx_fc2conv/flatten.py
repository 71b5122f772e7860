"""Every spelling of "feature map becomes vector", recognised by what it does.

A view operator moves no value, it only renames positions. So it is run on an array of positions: ``arange`` shaped
like the value, for as many images as the batch has. If afterwards every image's values are still together, in the same
order for all, the operator is a view per image, whatever its spelling (``[0, -1]``, ``[-1, K]``, ``[N, K]``,
``Flatten(axis=-3)``, a shape computed at run time); if not, it mixes images and is refused. A view may also move or
merge the batch axis (``[N * rows, K]``) or drop it (one image as ``[K]``): the ``Layout`` keeps track of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from .ops import Op


def axes_of(op: Op, operand: list[int] | None, rank: int) -> list[int] | None:
    """The ``axes`` of Squeeze, Unsqueeze and the reductions (an attribute, later an input), all made >= 0."""
    axes = operand if operand is not None else op.attr("axes")
    return None if axes is None else sorted(int(a) + rank if a < 0 else int(a) for a in axes)


def apply_view(op: Op, positions: np.ndarray, operand: list[int] | None) -> np.ndarray:
    """The positions behind a Flatten, Reshape, Squeeze or Unsqueeze.

    Args:
        op: the node.
        positions: array shaped like the node's data input.
        operand: values of the second input (shape or axes), if the node has one.

    Raises:
        ValueError: the operator does not fit the shape.
    """
    if op.op_type == "Flatten":
        axis = op.attr("axis", 1)
        axis = axis + positions.ndim if axis < 0 else axis
        return positions.reshape(int(np.prod(positions.shape[:axis])), -1)
    if op.op_type == "Reshape":
        return positions.reshape(_target(op, positions.shape, operand))
    if op.op_type == "Unsqueeze":
        axes = axes_of(op, operand, positions.ndim + len(operand or op.attr("axes", ())))
        return np.expand_dims(positions, tuple(axes or ()))
    axes = axes_of(op, operand, positions.ndim)
    return np.squeeze(positions, None if axes is None else tuple(axes))


def target_of(op: Op, shape: Sequence[int], operand: list[int] | None) -> list[int]:
    """The shape behind a Flatten or Reshape.

    Args:
        op: the node.
        shape: of its data input.
        operand: values of its second input, if it has one.

    Raises:
        ValueError: the operator does not fit the shape.
    """
    if op.op_type == "Flatten":
        axis = op.attr("axis", 1) % len(shape)
        return [prod(shape[:axis]), prod(shape[axis:])]
    target = _target(op, tuple(shape), operand)
    given = prod(d for d in target if d != -1)
    if -1 in target:
        if target.count(-1) > 1 or not given or prod(shape) % given:
            raise ValueError(f"its target shape {target} does not fit its input {list(shape)}")
        return [prod(shape) // given if d == -1 else d for d in target]
    if given != prod(shape):
        raise ValueError(f"its target shape {target} does not fit its input {list(shape)}")
    return target


def _target(op: Op, shape: tuple[int, ...], operand: list[int] | None) -> list[int]:
    if operand is None:
        operand = op.attr("shape")
    if operand is None:
        raise ValueError("its target shape is not known before run time")
    if op.attr("allowzero", 0):
        return operand
    if any(d == 0 and i >= len(shape) for i, d in enumerate(operand)):
        raise ValueError(f"its target shape {operand} copies a dim that its input does not have")
    return [shape[i] if d == 0 else d for i, d in enumerate(operand)]


@dataclass(frozen=True)
class Layout:
    """Where the original keeps the batch of a head value; the features are all its other axes, in order.

    Attributes:
        before: number of feature axes in front of the batch axis, 0 as a rule (a Transpose may put it elsewhere);
            ``None`` where one image's batch axis has been reshaped away.
        merged: the first axis counts images times first features, ``N * features[0]`` rows.
    """

    before: int | None = 0
    merged: bool = False

    @property
    def plain(self) -> bool:
        """True for ``[N, *features]``."""
        return self.before == 0 and not self.merged

    def rank(self, features: tuple[int, ...]) -> int:
        """Rank of the original value."""
        return len(features) + (self.before is not None) - self.merged

    def shape(self, features: tuple[int, ...], batch: int) -> tuple[int, ...]:
        """Shape of the original value."""
        if self.before is None:
            return features
        if self.merged:
            return (batch * features[0], *features[1:])
        return (*features[: self.before], batch, *features[self.before :])

    def feature(self, axis: int) -> int | None:
        """Which feature axis an axis (>= 0) of the original value is; ``None`` for the one that holds the batch."""
        if self.before is None:
            return axis
        if self.merged:
            return axis if axis else None
        return None if axis == self.before else axis - (axis > self.before)

    def without(self, features: Sequence[int]) -> Layout:
        """The layout after these feature axes are dropped."""
        if self.before is None:
            return self
        return replace(self, before=self.before - sum(f < self.before for f in features))

    def positions(self, features: tuple[int, ...], batch: int) -> np.ndarray:
        """Positions (``n * size + k`` for the k-th feature of the n-th image), shaped like the original value."""
        flat = np.arange(batch * int(np.prod(features)), dtype=np.int64)
        if self.before in (None, 0):
            return flat.reshape(self.shape(features, batch))
        return np.moveaxis(flat.reshape(batch, *features), 0, self.before or 0)


def behind_view(after: np.ndarray, batch: int) -> tuple[Layout, np.ndarray]:
    """Where every image's values are behind a view.

    1. Some axis counts the images: the batch axis.
    2. There is one image, and no axis counts it.
    3. The first axis counts the rows of all images, each image's together.

    Args:
        after: the positions behind the view, as ``Layout.positions`` numbers them.
        batch: number of images.

    Returns:
        The layout, and one image's order: shaped like its features; entries are positions inside one image before.

    Raises:
        ValueError: an image's values are not together, or differ in order from another's.
    """
    size = after.size // batch
    if batch == 1 and after.shape[:1] != (1,):
        return Layout(None), after
    for axis in range(after.ndim):
        order = _order(np.moveaxis(after, axis, 0), size) if after.shape[axis] == batch else None
        if order is not None:
            return Layout(axis), order
    if after.ndim and after.shape[0] % batch == 0:
        order = _order(after.reshape(batch, after.shape[0] // batch, *after.shape[1:]), size)
        if order is not None:
            return Layout(merged=True), order
    if after.ndim and after.shape[0] < batch:
        raise ValueError(f"merges the images of a batch into {after.shape[0]} row(s), so rows would mix windows")
    raise ValueError("mixes the values of different images")


def _order(images: np.ndarray, size: int) -> np.ndarray | None:
    """What is common to all images (the first axis), or ``None`` if one is not like the first."""
    starts = np.arange(len(images)).reshape(-1, *[1] * (images.ndim - 1)) * size
    first: np.ndarray = images[0]
    return first if np.array_equal(images, first + starts) else None


def covers_map(op: Op, spatial: list[int]) -> bool:
    """True if a pool's one window is the whole map, without pads: then its stride means nothing.

    ``auto_pad=SAME_*`` pads nothing where the stride leaves no room for a second window.
    """
    kernel, rank = op.attr("kernel_shape"), len(spatial)
    single = all(s >= n for s, n in zip(op.attr("strides", [1] * rank), spatial, strict=False))
    unpadded = (single or op.attr("auto_pad", "NOTSET") in ("NOTSET", "VALID")) and not any(op.attr("pads") or ())
    undilated = all(d == 1 for d in op.attr("dilations", [1] * rank))
    return bool(kernel == spatial and max(spatial, default=1) > 1 and unpadded and undilated)


def unit_move(before: Sequence[int], after: Sequence[int]) -> list[int] | None:
    """The Transpose that a Reshape is in disguise, if all that it does is to put axes of size 1 elsewhere.

    tf2onnx writes the N,H,W,C -> N,C,H,W transpose of a one-channel image so.

    Args:
        before, after: shapes of the same rank, the batch first.

    Returns:
        ``perm``, or ``None`` if it does something else.
    """
    if len(before) != len(after) or before[0] != after[0]:
        return None
    wide = [[i for i in range(1, len(shape)) if shape[i] != 1] for shape in (before, after)]
    if [before[i] for i in wide[0]] != [after[i] for i in wide[1]]:
        return None
    units = iter(i for i in range(1, len(before)) if before[i] == 1)
    source = dict(zip(wide[1], wide[0], strict=True))
    return [0, *(source[i] if i in source else next(units) for i in range(1, len(after)))]
