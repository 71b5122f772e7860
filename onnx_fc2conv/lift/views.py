"""View operators inside the head: they move no value, so they change the listed order or the shape of the features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import BatchBaked
from ..flatten import Layout, apply_view, behind_view
from ..rewrite import Windowed
from .registry import lifts
from .rewriter import Operand, Rewriter


@lifts("Flatten", "Reshape", "Squeeze", "Unsqueeze", family="view", scaled=True)
def lift_view(op: Rewriter, x: Windowed, _: Operand = None) -> Windowed:
    """A view that keeps every image's values together; judged by what it does to positions, not by its spelling."""
    layout, order = _viewed(op, x)
    if x.unread:
        affine = x.affine.listed(order) if x.affine else None
        return replace(x.reordered(x.unread.order.ravel()[order]).placed(layout), affine=affine)
    return op.reshape_features(x, order.shape).placed(layout)


def _viewed(op: Rewriter, x: Windowed) -> tuple[Layout, np.ndarray]:
    """Where the values of an image are behind the view.

    Raises:
        BatchBaked: it can be applied to one image only.
        Unliftable: it mixes images.
    """
    runs = False
    try:
        after = apply_view(op.op, x.layout.positions(x.features, op.batch), op.view_operand())
        runs = True
        return behind_view(after, op.batch)
    except ValueError as e:
        if op.batch > 1 and _fits_one_image(op, x):
            raise BatchBaked(str(e), str(op.op), runs) from e
        raise op.refuse(str(e)) from e


def _fits_one_image(op: Rewriter, x: Windowed) -> bool:
    try:
        behind_view(apply_view(op.op, x.layout.positions(x.features, 1), op.view_operand()), 1)
    except ValueError:
        return False
    return True


@lifts("Transpose", family="view")
def lift_transpose(op: Rewriter, x: Windowed) -> Windowed:
    """Permutes the axes."""
    return transpose(op, x, op.attr("perm") or list(reversed(range(x.rank))))


def transpose(op: Rewriter, x: Windowed, perm: list[int]) -> Windowed:
    """Permutes the original's axes; where the batch goes is noted, the lifted value keeps it first."""
    places = [x.layout.feature(p) for p in perm]
    order = [p for p in places if p is not None]
    if x.layout.before is None:
        return one_image(op, op.permute(x, order))
    batch = places.index(None)
    if x.layout.merged:
        op.refuse_if(batch != 0, f"perm {perm} moves rows of several images away from the first axis")
        return op.permute(x, [0, *order])
    return op.permute(x, order).placed(Layout(batch))


def one_image(op: Rewriter, x: Windowed) -> Windowed:
    """Where there is one image and its batch axis was lost sight of, a first axis of size 1 is as good as one."""
    if x.features[:1] != (1,):
        return x
    if x.unread is not None:
        return x.reordered(x.unread.order[0]).placed(Layout())
    return op.reshape_features(x, x.features[1:]).placed(Layout())


@lifts("Expand", family="view")
def lift_expand(op: Rewriter, x: Windowed, _: Operand) -> Windowed:
    """Repeats features of size 1; the batch must stay as it is."""
    target = op.view_operand() or []
    if op.batch == 1 and x.layout.plain and len(target) == x.rank and target[0] > 1:
        x = op.reshape_features(op.read(x), (1, *x.features)).placed(Layout(None))  # the one image counts as a feature
    before = x.layout.shape(x.features, op.batch)
    after = np.broadcast_shapes(before, tuple(target))
    added = len(after) - len(before)
    op.refuse_if(x.layout.merged and (added or after[0] != before[0]), "repeats rows of several images")
    layout = x.layout if x.layout.before is None else Layout(x.layout.before + added, x.layout.merged)
    places = [layout.feature(axis) for axis in range(len(after))]
    rows = [n for n, place in zip(after, places, strict=True) if place is None and not layout.merged]
    op.refuse_if(rows not in ([], [op.batch]), "repeats the images of the batch")
    features = tuple(int(n) for n, place in zip(after, places, strict=True) if place is not None)
    features = (*x.features[: layout.merged], *features)
    x = op.reshape_features(op.read(x), (*[1] * added, *x.features))
    shape = op.constant(np.array([1, *features, *[1] * x.grid_rank], np.int64), "shape")
    return x.spent(op.emit("Expand", x, shape), features).placed(layout)
