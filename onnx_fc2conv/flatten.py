"""Every spelling of "feature map becomes vector", recognised by what it does.

A view operator moves no value, it only renames positions. So it is run on an array of positions: ``arange`` shaped
like the value, for as many images as the batch has. If afterwards every image still owns one row, and all rows show
the same order, the operator is a view per image, whatever its spelling (``[0, -1]``, ``[-1, K]``, ``[N, K]``,
``Flatten(axis=-3)``, a shape computed at run time); if not, it mixes images and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def per_image(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The order of one image's values behind a view, given the positions before and after it.

    Args:
        before: positions with the batch as first axis.
        after: the same behind the view.

    Returns:
        Array shaped like one row of ``after``; its entries are flat positions inside one image of ``before``.

    Raises:
        ValueError: an image does not own exactly one row.
    """
    batch, size = before.shape[0], before[0].size
    rows = after.shape[0] if after.ndim else 1
    if rows != batch or after.ndim == 0:
        row = list(after.shape[1:])
        if rows % batch == 0:
            raise ValueError(f"turns one image into {rows // batch} rows of {row}, so rows would mix windows")
        raise ValueError(f"merges the images of a batch into {rows} row(s), so rows would mix windows")
    order: np.ndarray = after[0]
    if any(not np.array_equal(after[n], order + n * size) for n in range(batch)):
        raise ValueError("mixes the values of different images")
    return order


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
