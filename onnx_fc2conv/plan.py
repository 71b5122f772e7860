"""What was understood of the original: its feature maps, where they are flattened, and the nodes behind that.

Data only. The rooms that find it, lift it, declare its shapes and check it all read this one page.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Literal

from onnx import NodeProto, TensorProto

from .constants import Constants
from .errors import Unliftable
from .geometry import Axis
from .ops import Model, Op
from .shapes import Shapes


@dataclass(frozen=True)
class Part(Axis):
    """The rows of one of a fixed number of parts that a map is cut into; what has a weight for each contradicts it."""


@dataclass(frozen=True)
class Merged:
    """Several dims in one axis, the first of them the slowest: rows of tokens, blocks, a map as a list of positions.

    Attributes:
        parts: at least two, none of them ``Merged`` or 1, and no two numbers side by side.
    """

    parts: tuple[Literal["batch"] | int | Axis, ...]


Dim = Literal["batch"] | int | Axis | Merged  #: the batch, a number of features, a spatial axis, or several of them
Dims = tuple[Dim, ...]
Kind = Literal["padding", "global context", "phase"]


@dataclass(frozen=True)
class FeatureMap:
    """A value that still has its spatial axes.

    Attributes:
        name: value name in the model.
        dims: one entry per axis of the tensor.
        pooled: the spatial axes that it has no more, because the map was pooled whole along them.
        dilations: of a map that was made denser, per spatial axis how many of its cells one of the original's is worth;
            empty where it is the original's own.
    """

    name: str
    dims: Dims
    pooled: tuple[Axis, ...] = ()
    dilations: tuple[int, ...] = ()

    @cached_property
    def spatial(self) -> list[int]:
        """Positions of the spatial axes, ordered by ``Axis.index``."""
        found = [(d.index, i) for i, d in enumerate(self.dims) if isinstance(d, Axis)]
        return [i for _, i in sorted(found)]

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The spatial axes, ordered by ``Axis.index``."""
        return tuple(d for i in self.spatial if isinstance(d := self.dims[i], Axis))

    @property
    def steps(self) -> tuple[int, ...]:
        """``dilations``, written out."""
        return self.dilations or (1,) * len(self.axes)

    @property
    def window(self) -> tuple[int, ...]:
        """Cells of the original's map at the trained size: what one window takes of this one, every ``steps``-th."""
        return tuple(-(-a.size // k) for a, k in zip(self.axes, self.steps, strict=True))

    @property
    def covered(self) -> tuple[Axis, ...]:
        """The spatial axes without the cells at their ends that no window of the trained size reaches.

        Such are left where the trained size is no whole number of strides: windows that began there would lie beyond
        the image. At the trained size there is one window.
        """
        return tuple(
            replace(a, law=a.law.then(1, -n, 1)) if n else a for a, n in zip(self.axes, self.spare, strict=True)
        )

    @property
    def spare(self) -> tuple[int, ...]:
        """How many cells ``covered`` leaves out, per spatial axis."""
        rows = zip(self.axes, self.window, self.steps, strict=True)
        return tuple(0 if k == 1 else a.size - (w - 1) * k - 1 for a, w, k in rows)

    def shape(self, batch: int) -> tuple[int, ...]:
        """Static shape at the trained size."""
        return tuple(size(d, batch) for d in self.dims)


def size(dim: Dim, batch: int) -> int:
    """Number of elements along a dim at the trained size."""
    if isinstance(dim, Merged):
        return prod(size(part, batch) for part in dim.parts)
    return batch if dim == "batch" else dim.size if isinstance(dim, Axis) else dim


def parts_of(dim: Dim) -> list[Axis]:
    """The spatial axes that a dim is, or that are parts of it."""
    return [part for part in (dim.parts if isinstance(dim, Merged) else (dim,)) if isinstance(part, Axis)]


def follows(dim: Dim) -> bool:
    """True for a dim that is another one at another size of the image."""
    if isinstance(dim, Merged):
        return any(follows(part) for part in dim.parts)
    return isinstance(dim, Axis) and not dim.law.is_constant


@dataclass(frozen=True)
class Cause:
    """A node because of which the map is not what the original computes on an image crop.

    ``padding``: it pads the borders. ``global context``: it looks beyond its window. ``phase``: harmless at
    sizes of the form trained + n * stride, not in between.
    """

    node: str
    kind: Kind
    detail: str


@dataclass(frozen=True)
class Dense:
    """What making the maps denser has done to the backbone.

    Attributes:
        stride: the one that was asked for, in pixels per axis.
        sparse: the plan without it: the original's own maps.
        model: the denser backbone alone, from the images to the maps.
        replaced: for each node that is another one now (by its position in the file) what takes its place.
        initializers: new constants.
        kept: positions of the nodes that only have other attributes now.
        changes: what was done, one line per node.
    """

    stride: tuple[int, ...]
    sparse: Plan
    model: Model
    replaced: dict[int, list[NodeProto]]
    initializers: list[TensorProto]
    kept: frozenset[int]
    changes: tuple[str, ...]

    @property
    def names(self) -> set[str]:
        """Names of the new values and nodes."""
        nodes = [node for made in self.replaced.values() for node in made]
        return {t.name for t in self.initializers} | {n for node in nodes for n in (node.name, *node.output)}


@dataclass
class Plan:
    """What the rest of the pipeline works on.

    Attributes:
        model: the original.
        shapes: static shapes at the trained size.
        constants: what is known before run time.
        maps: every feature map by name, the image inputs included.
        shadows: dims of values shaped like a map that are none.
        cuts: names of the maps that are flattened, in order of use.
        head: the head's nodes, in topological order.
        causes: why the maps differ from what the original computes on an image crop; empty if they do not.
        images: the image inputs that are freed, as maps of themselves, in the order of the model.
        instead: what to say should a view be refused in the head that the backbone did not take.
        runtime: name of the runtime that will check the conversion, a value of ``settings.RUNTIMES``.
        freed_batch: how many images the original takes at a time, where the converted model takes any number.
        static: no size changes: there are no images, and the head is every FC node.
        other_batch: the shapes at another batch size, where the batch is symbolic; only if ``static``.
        left: FC nodes that stay as they are, and why; only if ``static``.
        dense: how the maps were made denser, if they were; then ``maps`` are those.
    """

    model: Model
    shapes: Shapes
    constants: Constants
    maps: dict[str, FeatureMap]
    shadows: dict[str, Dims]
    cuts: list[str]
    head: list[Op]
    causes: list[Cause]
    images: list[FeatureMap]
    instead: Unliftable | None = None
    runtime: str = "onnxruntime"
    freed_batch: int | None = None
    static: bool = False
    other_batch: Shapes | None = None
    left: dict[str, str] = field(default_factory=dict)
    dense: Dense | None = None

    @property
    def sparse(self) -> Plan:
        """The plan as it is where no map is made denser."""
        return self if self.dense is None else self.dense.sparse

    @property
    def tied(self) -> dict[str, list[FeatureMap]]:
        """The image inputs by the one whose size they have: those whose values meet share one."""
        found: dict[str, list[FeatureMap]] = {}
        for image in self.images:
            found.setdefault(image.axes[0].source, []).append(image)
        return found
