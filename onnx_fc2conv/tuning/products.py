"""Which Convs of a lifted head are products of windows with a constant matrix.

Such a Conv has one group and stride 1 and pads nothing, so its result at a grid cell is the kernel as a matrix
``[M, C * taps]`` times the window there as a vector. A grouped Conv has a matrix for each group, and a strided one
leaves cells out; both stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from onnx import NodeProto, TensorProto, helper

from ..ops import STANDARD_DOMAINS, UNARY
from ..plan import Plan
from ..rewrite import Rewrite
from ..tensors import read

WEIGHT_AT = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}


@dataclass(frozen=True)
class Product:
    """One Conv.

    Attributes:
        node: the node.
        weight: name of its kernel, a constant.
        dims: of the kernel, ``[M, C, *window]``.
        dilations: cells of the map from one tap to the next, per spatial axis.
        one_cell: whether its result is known to have one cell.
    """

    node: NodeProto
    weight: str
    dims: tuple[int, ...]
    dilations: tuple[int, ...]
    one_cell: bool

    @property
    def x(self) -> str:
        """Name of its input."""
        return str(self.node.input[0])

    @property
    def window(self) -> tuple[int, ...]:
        """Cells of the map that it sees, per spatial axis."""
        return self.dims[2:]

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.dims) - 2

    @property
    def taps(self) -> int:
        """Cells in a window."""
        return prod(self.window)

    @property
    def units(self) -> int:
        """Features that come out."""
        return self.dims[0]

    @property
    def summed(self) -> int:
        """Features that go in, each cell of the window counted."""
        return prod(self.dims[1:])


def find(plan: Plan, rewrite: Rewrite) -> dict[str, Product]:
    """The products of the heads, by the name of their result."""
    nodes = [node for index in walked(plan, rewrite) for node in rewrite.replaced[index]]
    stored = {t.name: t for t in rewrite.initializers}
    cells = _Cells(nodes, stored, plan.model.folder) if plan.static else None
    found: dict[str, Product] = {}
    for node in nodes:
        weight = _weight(node)
        dims = _dims(weight, stored, plan) if weight else None
        if weight is None or dims is None or 0 in dims or not _is_plain(node):
            continue
        one_cell = cells is not None and cells.is_one(node.output[0])
        if cells is None or one_cell:
            dilations = tuple(_ints(node, "dilations")) or (1,) * (len(dims) - 2)
            found[node.output[0]] = Product(node, weight, dims, dilations, one_cell)
    return found


def same_everywhere(dims: tuple[int, ...], rank: int) -> bool:
    """Whether a constant that is combined with ``[N, K, *grid]`` is the same for all images and cells.

    Args:
        dims: of the constant.
        rank: number of grid axes.
    """
    return len(dims) <= 2 + rank and all(n == 1 for i, n in enumerate(reversed(dims)) if i != rank)


def walked(plan: Plan, rewrite: Rewrite) -> list[int]:
    """The nodes of the original that the heads replace, by position, in topological order."""
    backbone = set(plan.dense.replaced) if plan.dense else set[int]()
    return [op.index for op in plan.model.ops if op.index in rewrite.replaced and op.index not in backbone]


def _weight(node: NodeProto) -> str | None:
    at = WEIGHT_AT.get(node.op_type)
    if at is None or node.domain not in STANDARD_DOMAINS or len(node.input) <= at:
        return None
    return str(node.input[at])


def _dims(name: str, stored: Mapping[str, TensorProto], plan: Plan) -> tuple[int, ...] | None:
    """Dims of a constant whose bytes can be given other dims."""
    if name in stored:
        return tuple(stored[name].dims)
    array = plan.model.constants.get(name)
    return array.shape if array is not None and array.tensor is not None else None


def _is_plain(node: NodeProto) -> bool:
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    pads = any(attrs.get("pads", ())) or attrs.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    return not pads and attrs.get("group", 1) == 1 and set(attrs.get("strides", (1,))) == {1}


def _ints(node: NodeProto, name: str) -> Sequence[int]:
    return next((list(a.ints) for a in node.attribute if a.name == name), [])


class _Cells:
    """Which values of a head have one cell, where no size changes: tokens lie on the axes of a grid too."""

    def __init__(self, nodes: Iterable[NodeProto], stored: Mapping[str, TensorProto], folder: str) -> None:
        self._producer = {name: node for node in nodes for name in node.output}
        self._stored, self._folder = stored, folder

    def is_one(self, name: str) -> bool:
        """Whether it is sure that a value has one cell."""
        while (node := self._producer.get(name)) is not None:
            if _weight(node) is not None:
                if any(n > 1 for n in _ints(node, "kernel_shape")):
                    return True  # without sizes that change, a window is all that there is
            elif node.op_type in ("Reshape", "Unsqueeze"):
                return self._ends_in_ones(node)
            elif node.op_type not in UNARY:
                return False
            name = node.input[0]
        return False

    def _ends_in_ones(self, node: NodeProto) -> bool:
        """Whether it gives a vector axes of one entry."""
        numbers = _ints(node, "axes")
        if len(node.input) > 1 and node.input[1] in self._stored:
            numbers = [int(n) for n in read(self._stored[node.input[1]], self._folder)]
        if node.op_type == "Unsqueeze":
            return bool(numbers) and list(numbers) == list(range(2, 2 + len(numbers)))
        return len(numbers) > 2 and set(numbers[2:]) == {1}
