"""Nodes and constants of a head in another form, under names that nobody has yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto

from ..dtypes import numpy_type
from ..emitter import Emitter
from ..ops import Model
from ..rewrite import Rewrite
from ..taps import Along, side_by_side
from .products import Product


@dataclass(frozen=True)
class Origin:
    """A value from which the number of images and the size of the grid can be read.

    Attributes:
        tensor: its name.
        grid: its axes that are the grid's; axis 0 is the batch.
        one_cell: the grid is known to have one cell.
    """

    tensor: str
    grid: tuple[int, ...]
    one_cell: bool = False


class Writer(Emitter):
    """An emitter that also gives weights other dims, and lays windows out."""

    def __init__(self, model: Model, rewrite: Rewrite, own: set[str]) -> None:
        """Start on the heads of a model.

        Args:
            model: the original.
            rewrite: its lifted heads, which are changed in place.
            own: weights that nothing reads as they are any more.
        """
        nodes = [node for made in rewrite.replaced.values() for node in made]
        taken = {name for node in nodes for name in (node.name, *node.output)}
        super().__init__(model, rewrite, taken | {t.name for t in rewrite.initializers})
        self._stored = {t.name: t for t in rewrite.initializers}
        self._own, self._sizes = own, dict[Origin, str]()

    @property
    def nodes(self) -> list[NodeProto]:
        """What was emitted since ``begin``."""
        return self._nodes

    def dims_of(self, name: str) -> tuple[int, ...] | None:
        """Dims of a constant; ``None`` for what is none."""
        if name in self._stored:
            return tuple(self._stored[name].dims)
        array = self.model.constants.get(name)
        return None if array is None else array.shape

    def reshaped(self, name: str, dims: tuple[int, ...]) -> str:
        """A constant with other dims and the same bytes; a weight of the lift's own is not even copied."""
        before = self.dims_of(name)
        if before == dims:
            return name
        key = ("reshaped", name, *dims)
        if key not in self._made:
            assert before is not None
            tensor = self._stored.get(name)
            if tensor is None or name not in self._own:
                tensor = self._copied(name, tensor)
            del tensor.dims[:]
            tensor.dims.extend(dims)
            self._rewrite.kernel_dims[tensor.name] = before
            self._made[key] = tensor.name
        return self._made[key]

    def _copied(self, name: str, tensor: TensorProto | None) -> TensorProto:
        original, rewrite = tensor is None, self._rewrite
        if tensor is None:
            tensor = self.model.constants[name].tensor
            assert tensor is not None
        copy = TensorProto()
        copy.CopyFrom(tensor)
        copy.name = self.fresh(f"{name}_reshaped")
        rewrite.initializers.append(copy)
        rewrite.made_from[copy.name] = rewrite.made_from.get(name, name)
        if original or name in rewrite.same_bytes:
            rewrite.same_bytes.add(copy.name)
        self._stored[copy.name] = copy
        return copy

    def zero(self, elem_type: np.dtype) -> str:
        """A bias that adds nothing."""
        return self.constant(np.zeros(1, elem_type), "zero", ("zero", str(elem_type)))

    def type_of(self, name: str) -> np.dtype:
        """Element type of a constant of the heads."""
        if name in self._stored:
            return numpy_type(self._stored[name].data_type)
        return numpy_type(self.model.constants[name].elem_type)

    def windows(self, product: Product) -> tuple[str, Origin]:
        """The windows of a product: ``[N, C, taps, *grid]``; of one with a single tap ``[N, C, *grid]``, the map."""
        if product.taps == 1:
            return product.x, Origin(product.x, tuple(range(2, 2 + product.rank)), product.one_cell)
        x = self.unsqueeze(product.x, 2)
        block = 1
        for i in reversed(range(product.rank)):
            along = Along(product.window[i], product.dilations[i], 1)
            x = side_by_side(self, x, 3 + i, 2, along, block)
            block *= product.window[i]
        return x, Origin(x, tuple(range(3, 3 + product.rank)))

    def sizes(self, origin: Origin) -> str:
        """``[N, *grid]`` as a value."""
        if origin not in self._sizes:
            axes = self.ints((0, *origin.grid), "axes")
            self._sizes[origin] = self.emit("Gather", self.emit("Shape", origin.tensor), axes, axis=0)
        return self._sizes[origin]
