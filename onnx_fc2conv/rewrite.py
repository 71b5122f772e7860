"""What a lift gives: values of the head for all window positions at once, and the nodes that compute them.

A head value ``[N, d1, .., dr]`` of the original becomes ``[N, d1, .., dr, *grid]``: the grid axes trail, so axis
numbers >= 0 keep their meaning. Where the original keeps its batch elsewhere, the lifted value still has it first.
Right behind the flattening a value is still *unread*: the feature map itself plus a pending window and the order in
which the vector lists the window's values. Elementwise operators commute with windowing and act on the map; the first
FC spends the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import NodeProto, TensorProto

from .flatten import Layout
from .geometry import Grid


@dataclass(frozen=True, eq=False)
class Unread:
    """A pending window over a map ``[N, channels, *spatial]``.

    Attributes:
        channels: channels of the map.
        window: window size per spatial axis.
        order: shaped like one row of the value; entry = flat (C, *window) position of that feature.
        dilations: cells of the map from one value of the window to the next, per spatial axis; empty for 1.
    """

    channels: int
    window: tuple[int, ...]
    order: np.ndarray
    dilations: tuple[int, ...] = ()

    @property
    def steps(self) -> tuple[int, ...]:
        """``dilations``, written out."""
        return self.dilations or (1,) * len(self.window)

    @property
    def in_map_order(self) -> bool:
        """True if the features are the window's values, each once, in C, H, W order."""
        return np.array_equal(self.order.ravel(), np.arange(self.size))

    @property
    def size(self) -> int:
        """Values in one window."""
        return self.channels * int(np.prod(self.window))


@dataclass(frozen=True, eq=False)
class Affine:
    """A pending scale and shift of each feature: ``x * scale + shift``. Both float64, shaped like one row."""

    scale: np.ndarray
    shift: np.ndarray

    def then(self, scale: np.ndarray | float, shift: np.ndarray | float) -> Affine:
        """Followed by another scale and shift, which broadcast to the features."""
        return Affine(self.scale * scale, self.shift * scale + shift)

    def listed(self, order: np.ndarray) -> Affine:
        """For features listed in another order; entries are flat positions in the present one."""
        return Affine(self.scale.ravel()[order], self.shift.ravel()[order])


@dataclass(frozen=True, eq=False)
class Windowed:
    """A head value, lifted.

    Attributes:
        tensor: value name in the converted model.
        features: the original value's dims without the batch.
        elem_type: ``TensorProto.DataType``.
        grid: the window positions.
        unread: the pending window, or ``None`` once spent.
        layout: where the original value keeps the batch; the lifted value has it first, whatever this says.
        affine: of an unread value, what is still to be done to each feature; the FC behind it takes it in.
        parts: values whose features stand side by side in this one, which is not computed yet (it has no tensor).
        everywhere: the value is the same for all windows; its grid axes have size 1.
        behind_fc: an FC over all features stands in front of it, so they are no positions of the map any more.
    """

    tensor: str
    features: tuple[int, ...]
    elem_type: int
    grid: Grid
    unread: Unread | None = None
    layout: Layout = field(default_factory=Layout)
    affine: Affine | None = None
    parts: tuple[Windowed, ...] = ()
    everywhere: bool = False
    behind_fc: bool = False

    @property
    def rank(self) -> int:
        """Rank of the original value."""
        return self.layout.rank(self.features)

    @property
    def grid_rank(self) -> int:
        """Number of grid axes."""
        return len(self.grid.window)

    def on(self, tensor: str, elem_type: int | None = None) -> Windowed:
        """The same windows and features, with other values."""
        return replace(self, tensor=tensor, elem_type=self.elem_type if elem_type is None else elem_type)

    def spent(self, tensor: str, features: tuple[int, ...], elem_type: int | None = None) -> Windowed:
        """A value whose window is spent, with these features; the batch stays where it is."""
        elem_type = self.elem_type if elem_type is None else elem_type
        return replace(
            self,
            tensor=tensor,
            features=features,
            elem_type=elem_type,
            unread=None,
            affine=None,
            parts=(),
            everywhere=False,
        )

    def placed(self, layout: Layout) -> Windowed:
        """The same value, of which the original keeps the batch elsewhere."""
        return replace(self, layout=layout)

    def on_grid(self, grid: Grid) -> Windowed:
        """The same value, with its cells on this grid."""
        return replace(self, grid=grid)

    def reordered(self, order: np.ndarray) -> Windowed:
        """Still unread, the features listed in another order or in part."""
        assert self.unread is not None
        return replace(self, features=order.shape, unread=replace(self.unread, order=order))


@dataclass(frozen=True)
class Tile:
    """A part of a constant: the constant's name and dims, and where along each of its axes the part starts."""

    of: str
    dims: tuple[int, ...]
    starts: tuple[int, ...]


@dataclass
class Rewrite:
    """The lifted heads.

    Attributes:
        replaced: for each node of the head (by its position in the file) the nodes that take its place.
        initializers: new constants; each may take the name of the one it is made from, if that is gone in the end.
        made_from: the old constant's name for each new initializer.
        same_bytes: the new initializers that are old ones with other dims.
        tiles: what each initializer is a part of that was cut into several.
        values: every lifted value by its name in the original.
        additions: of a Conv that was split into a sum, how many additions a summand goes through.
        kernel_dims: of initializers that were given other dims, those that they had as kernels.
    """

    replaced: dict[int, list[NodeProto]] = field(default_factory=dict)
    initializers: list[TensorProto] = field(default_factory=list)
    made_from: dict[str, str] = field(default_factory=dict)
    same_bytes: set[str] = field(default_factory=set)
    tiles: dict[str, Tile] = field(default_factory=dict)
    values: dict[str, Windowed] = field(default_factory=dict)
    additions: int = 0
    kernel_dims: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def copy(self) -> Rewrite:
        """The same, of which the nodes, constants and lists are its own."""
        return replace(
            self,
            replaced={i: [NodeProto.FromString(n.SerializeToString()) for n in ns] for i, ns in self.replaced.items()},
            initializers=[copied(t) for t in self.initializers],
            made_from=dict(self.made_from),
            same_bytes=set(self.same_bytes),
            tiles=dict(self.tiles),
            values=dict(self.values),
            kernel_dims=dict(self.kernel_dims),
        )

    def take(self, replaced: Mapping[int, Sequence[NodeProto]], initializers: Iterable[TensorProto]) -> None:
        """Take up copies of nodes and new constants that were made elsewhere."""
        self.replaced |= {
            i: [NodeProto.FromString(n.SerializeToString()) for n in nodes] for i, nodes in replaced.items()
        }
        made = [TensorProto.FromString(t.SerializeToString()) for t in initializers]
        self.initializers += made
        self.made_from |= {t.name: t.name for t in made}


def copied(tensor: TensorProto) -> TensorProto:
    """A tensor of its own, with the same values."""
    copy = TensorProto()
    copy.CopyFrom(tensor)
    return copy
