"""Features times a constant matrix, as a Conv.

``y = x @ W`` on every window of a map is one Conv whose kernel is the window: ``y[m] = sum_k x[k] W[k, m]``, and the
k-th feature of the flattened window is the map's value at the (c, dy, dx) that the flattening put there, so
``kernel[m, c, dy, dx] = W[k, m]``. Behind it the map has one cell per window, and every further product is a 1x1 Conv
(Sermanet et al., OverFeat, 2013; Long, Shelhamer, Darrell, Fully Convolutional Networks, 2015).

Where a value has several rows for each image, each row is multiplied on its own:

1. Rows that are the positions of an unread map, each listing the channels: a 1x1 Conv on the map, still unread.
2. Rows that are blocks of channels of an unread map: a Conv over the window with one group for each row.
3. Any other rows: a 1x1 Conv with one group for each row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations

import numpy as np

from ..errors import BatchBaked
from ..ops import Array
from ..places import View, scaled
from ..rewrite import Unread, Windowed
from .grids import ratio
from .integers import dequantised
from .rewriter import Rewriter
from .windows import conv_attrs


@dataclass(frozen=True, eq=False)
class Weight:
    """The constant of a product.

    Attributes:
        array: ``[K, M]``; several matrices ``[S, K, M]`` where ``which`` is given.
        transposed: the array is ``[M, K]`` instead.
        alpha: factor of all products.
        which: for each row of the value, the matrix that it is multiplied with.
        made_by: tells arrays of one name apart, where they are made of it in different ways.
        part: the first and behind the last of the features that it is meant for; all of them if ``None``.
    """

    array: Array
    transposed: bool = False
    alpha: float = 1.0
    which: np.ndarray | None = None
    part: tuple[int, int] | None = None
    made_by: tuple[object, ...] = ()

    @property
    def inputs(self) -> int:
        """K, the features that are summed."""
        if self.part is not None:
            return self.part[1] - self.part[0]
        return self.array.shape[-1 if self.transposed else -2]

    @property
    def units(self) -> int:
        """M, the features that come out."""
        return self.array.shape[-2 if self.transposed else -1]

    def matrices(self, values: np.ndarray, rows: int) -> np.ndarray:
        """The values of the array, or others in its place, as one ``[M, K]`` for each row."""
        stack = (values if values.ndim == 3 else values[None]).swapaxes(1, 2)
        stack = stack.swapaxes(1, 2) if self.transposed else stack
        chosen: np.ndarray = stack[np.zeros(rows, np.int64) if self.which is None else self.which]
        return chosen if self.part is None else chosen[:, :, slice(*self.part)]

    def shift(self, features: np.ndarray) -> np.ndarray:
        """``[rows, M]``: what a constant vector ``[rows, K]`` adds to each row's units, in float64."""
        matrices = self.matrices(self.array.values.astype(np.float64) * self.alpha, len(features))
        added: np.ndarray = np.einsum("rmk,rk->rm", matrices, features)
        return added


def times(op: Rewriter, x: Windowed, weight: Weight, bias: Array | None = None) -> Windowed:
    """``alpha * x @ W + bias`` along the last axis.

    Args:
        op: the node.
        x: the value; its last axis in the original must be one of features.
        weight: the constant.
        bias: one value per unit.

    Raises:
        Unliftable: the products would sum over the batch, sizes do not fit, or there is no Conv of this type.
    """
    _require_features_last(op, x)
    inputs = x.features[-1]
    op.refuse_if(weight.inputs != inputs, f"its weight takes {weight.inputs} features, and it is fed {inputs}")
    reason = op.fc_refusal(x.elem_type)
    op.refuse_if(reason, str(reason))
    whole = int(np.prod(x.features[:-1])) == 1
    return replace(_product(op, x, weight, bias), behind_fc=whole or x.behind_fc)


def _product(op: Rewriter, x: Windowed, weight: Weight, bias: Array | None) -> Windowed:
    if x.parts:
        return _over_parts(op, x, weight, bias)
    rows = x.features[:-1]
    count = int(np.prod(rows))
    if count > 1 and x.unread is not None and weight.which is None and x.affine is None:
        per_position = _on_positions(op, x, weight, bias)
        if per_position is not None:
            return per_position
    return op.reshape_features(_grouped(op, x, weight, bias, count), (*rows, weight.units))


def _require_features_last(op: Rewriter, x: Windowed) -> None:
    merged = x.layout.merged and len(x.features) == 1
    if merged or x.layout.before == len(x.features) > 0 or not x.features:
        reason = "sums over the batch axis, so it mixes the windows of different images"
        if merged and op.batch > 1:
            raise BatchBaked(reason, str(op.op))
        raise op.refuse(reason)


def _over_parts(op: Rewriter, x: Windowed, weight: Weight, bias: Array | None) -> Windowed:
    """The sum of the products over parts that stand side by side; the bias goes to the first."""
    start, total = 0, None
    for part in x.parts:
        stop = start + part.features[0]
        own = replace(weight, part=(start, stop))
        product = _grouped(op, part, own, bias if start == 0 else None, 1, ratio(part, x.grid))
        total = product.tensor if total is None else op.emit("Add", total, product)
        start = stop
    return x.spent(total or "", (weight.units,))


def _on_positions(op: Rewriter, x: Windowed, weight: Weight, bias: Array | None) -> Windowed | None:
    """Rows that are positions of the map: the product moves in front of the flattening."""
    found = rows_at_positions(x)
    if found is None or x.unread is None:
        return None
    channels, positions = found
    ones = (1,) * len(x.unread.window)
    dims = (weight.units, x.unread.channels, *ones)
    kernel = _kernel(op, weight, dims, channels, 1)
    tensor = op.emit("Conv", x, kernel, _bias(op, bias, weight, 1), group=1, **conv_attrs(ones))
    return at_positions(x, positions, tensor, weight.units)


def rows_at_positions(x: Windowed) -> tuple[np.ndarray, np.ndarray] | None:
    """Where the rows of an unread value are, if each lists the channels at one position of the map.

    Returns:
        The channel of each feature of a row, ``[K]``, and the position of each row, ``[rows, 1]``; ``None`` if the rows
        are something else.
    """
    if x.unread is None:
        return None
    cells = int(np.prod(x.unread.window))
    listed = x.unread.order.reshape(-1, x.features[-1])
    channels, positions = listed[0] // cells, listed[:, :1] % cells
    if not np.array_equal(listed, channels * cells + positions) or np.unique(channels).size < x.unread.channels:
        return None
    return channels, positions


def at_positions(x: Windowed, positions: np.ndarray, tensor: str, units: int) -> Windowed:
    """The unread value whose rows, at these positions, list the units of a map that a 1x1 Conv has made."""
    assert x.unread is not None
    cells = int(np.prod(x.unread.window))
    order = (positions + cells * np.arange(units)).reshape(*x.features[:-1], units)
    return replace(
        x, tensor=tensor, features=order.shape, unread=Unread(units, x.unread.window, order, x.unread.dilations)
    )


def _grouped(
    op: Rewriter, x: Windowed, weight: Weight, bias: Array | None, rows: int, strides: tuple[int, ...] = ()
) -> Windowed:
    """One group for each row; strides where the result's grid is coarser than the value's."""
    affine = x.affine
    x = replace(x, affine=None)
    order, window = _block_of_channels(x, rows), x.unread.window if x.unread else ()
    if order is None:
        x, window = op.reshape_features(op.read(x), (rows * weight.inputs,)), (1,) * x.grid_rank
        order = np.arange(weight.inputs)
    channels = (x.unread.channels if x.unread else x.features[0]) // rows
    dims = (rows * weight.units, channels, *window)
    scale = affine.scale.reshape(rows, 1, -1) if affine else None
    kernel = _kernel(op, weight, dims, order, rows, scale)
    shift = weight.shift(affine.shift.reshape(rows, -1)) if affine else None
    attrs = conv_attrs(window, x.unread.dilations if x.unread else ())
    attrs |= {"strides": list(strides)} if strides and not x.everywhere else {}
    tensor = op.emit("Conv", x, kernel, _bias(op, bias, weight, rows, shift), group=rows, **attrs)
    return x.spent(tensor, (rows * weight.units,))


def _block_of_channels(x: Windowed, rows: int) -> np.ndarray | None:
    """What each row lists of its block of channels, if that is the same for all rows; positions in the block."""
    if x.unread is None or x.unread.channels % rows:
        return None
    listed, size = x.unread.order.reshape(rows, -1), x.unread.size // rows
    starts = size * np.arange(rows)[:, None]
    inside = listed.min() >= 0 and bool(((listed - starts) >= 0).all() and ((listed - starts) < size).all())
    return listed[0] if inside and np.array_equal(listed, listed[0] + starts) else None


def _kernel(
    op: Rewriter,
    weight: Weight,
    dims: tuple[int, ...],
    order: np.ndarray,
    rows: int,
    scale: np.ndarray | None = None,
) -> str:
    """The weight as a kernel of these dims.

    Args:
        op: the node.
        weight: the constant.
        dims: of the kernel.
        order: where in a row's block each of its features is.
        rows: rows for each image.
        scale: ``[rows, 1, K]``, of the features.
    """
    array, size = weight.array, int(np.prod(dims[1:]))
    in_order = np.array_equal(order, np.arange(size))
    stored = dequantised(op, array) if scale is None else None
    as_stored = weight.transposed and weight.alpha == 1 and not weight.part and rows == 1 and in_order
    if as_stored and scale is None and stored is None:
        return op.with_dims(array, dims)
    which = None if weight.which is None else weight.which.tobytes()
    factors = None if scale is None else scale.tobytes()
    key = (weight.transposed, weight.alpha, dims, order.tobytes(), which, weight.part, weight.made_by, factors)
    arrange = partial(_arranged, weight=weight, dims=dims, order=order, rows=rows, scale=scale)
    if stored is not None and weight.alpha == 1 and np.unique(order).size == order.size == size:
        integers = stored.arranged(op, arrange, key, 0 if weight.transposed else 1, rows)
        if integers is not None:
            return integers
    view = view_of(weight, dims, order) if scale is None and stored is None and rows == 1 else None
    moved = op.moved(array, view, dims, key) if view is not None else None
    if moved is not None:
        return moved
    return op.constant(arrange(scaled(array.values, weight.alpha)), array.name, *key)


def view_of(weight: Weight, dims: tuple[int, ...], order: np.ndarray) -> View | None:
    """How a matrix is listed as a kernel, where that takes no more than its axes in another order.

    Args:
        weight: the matrix.
        dims: of the kernel, units first.
        order: where in the window each feature is.
    """
    if len(weight.array.shape) != 2 or weight.which is not None or weight.part is not None:
        return None
    features, first = dims[1:], 1 if weight.transposed else 0
    places = np.arange(int(np.prod(features))).reshape(features)
    for axes in permutations(range(len(features))):
        if np.array_equal(places.transpose(axes).ravel(), order.ravel()):
            listed = tuple(features[a] for a in axes)
            perm = tuple(axes.index(a) + first for a in range(len(features)))
            if weight.transposed:
                return View((weight.units, *listed), (0, *perm), weight.alpha)
            return View((*listed, weight.units), (len(listed), *perm), weight.alpha)
    return None


def _arranged(
    values: np.ndarray, weight: Weight, dims: tuple[int, ...], order: np.ndarray, rows: int, scale: np.ndarray | None
) -> np.ndarray:
    """Values in place of the weight's, as a kernel; without a scale they are only moved and repeated."""
    matrices = weight.matrices(values, rows)
    if scale is not None:
        matrices = (matrices * scale).astype(values.dtype)
    size = int(np.prod(dims[1:]))
    if np.array_equal(order, np.arange(size)):
        return matrices.reshape(dims)
    kernel = np.zeros((*matrices.shape[:2], size), matrices.dtype)
    if np.unique(order).size == order.size:
        kernel[:, :, order.ravel()] = matrices
    else:  # a feature that is listed twice is multiplied by the sum of its weights
        np.add.at(kernel.transpose(2, 0, 1), order.ravel(), matrices.transpose(2, 0, 1))
    return kernel.reshape(dims)


def _bias(op: Rewriter, bias: Array | None, weight: Weight, rows: int, shift: np.ndarray | None = None) -> str | None:
    """One value for each row and unit; ``shift`` ``[rows, M]`` is added to it."""
    units, name = weight.units, bias.name if bias is not None else f"{weight.array.name}_shift"
    if shift is None and bias is None:
        return None
    if bias is not None and shift is None and rows == 1 and bias.shape in ((units,), (1, units)):
        return op.with_dims(bias, (units,))
    dtype = bias.values.dtype if bias is not None else weight.array.values.dtype
    values = np.tile(np.broadcast_to(bias.values.ravel(), (units,)), rows) if bias is not None else np.zeros(1, dtype)
    if shift is not None:
        values = (values.astype(np.float64) + shift.ravel()).astype(dtype)
    return op.constant(values, name, "bias", rows * units, values.tobytes())
