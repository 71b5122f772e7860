"""Seeded random values for all inputs of a model of which only the FC nodes are understood."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod

import numpy as np
from onnx import TensorProto, ValueInfoProto

from .. import dtypes
from ..errors import VerificationFailed
from ..open_sizes import channels, declared_size
from ..ops import UNARY, VIEWS, Op
from ..plan import Plan
from ..settings import Size
from .inputs import SCALES, SEED, Images
from .session import Feeds, RuntimeRefusal, Session

MOST_VALUES = 2**40  #: of one input; no memory holds more, and numpy does not say so

SIZES: tuple[Size, ...] = (
    (7,),
    (32,),
    (64,),
    (224,),
    (1,),
)  #: tried where a size is left open, until the original runs
CHOICES = 2  #: a whole number that is no pixel and chooses nothing is a flag
LOOKUPS = {"Gather": 0, "GatherElements": 0, "GatherND": 0, "OneHot": None}


class Inputs(Images):
    """Values of the types and shapes that the model declares; whole numbers that choose from a table stay inside it."""

    def __init__(self, plan: Plan, original: Session, sizes: Sequence[Size] = SIZES) -> None:
        """Find a size at which the original runs.

        Args:
            plan: the model.
            original: a session of it.
            sizes: tried for the open axes of every input behind the batch; a size that is too short starts again.

        Raises:
            VerificationFailed: it runs at none, or an input is no tensor of numbers.
        """
        self._plan, self._inputs = plan, plan.model.inputs
        self._rng, self._fine = np.random.default_rng(SEED), np.random.default_rng(SEED)
        self.scale, self.open_size = SCALES[0], sizes[0]
        for value in self._inputs:
            if (
                value.type.WhichOneof("value") != "tensor_type"
                or value.type.tensor_type.elem_type == TensorProto.STRING
            ):
                reason = f"input '{value.name}' is no tensor of numbers, so no values can be drawn"
                raise VerificationFailed(f"same size: {reason}; --no-verify skips the checks")
        symbolic = any(_is_open(v, 0) for v in self._inputs if v.type.tensor_type.shape.dim)
        self._batch_symbols = {v.type.tensor_type.shape.dim[0].dim_param for v in self._inputs if _is_open(v, 0)} - {""}
        ranked = [declared_size(v.type.tensor_type.shape.dim[0]) for v in self._inputs if v.type.tensor_type.shape.dim]
        self.batches = (1, 2) if symbolic else (next(iter(ranked), 1),)
        self._tables = {v.name: _choices(plan, v.name) for v in self._inputs}
        self._require_running(original, sizes)

    @property
    def sizes_are_open(self) -> bool:
        """Whether an axis other than the batch is left open."""
        return any(_is_open(v, i) for v in self._inputs for i in range(1, len(v.type.tensor_type.shape.dim)))

    def refused_at(self, original: Session, size: Size) -> RuntimeRefusal | None:
        """Go on with this size of the open axes, or say why the original does not run at it."""
        known, self.open_size = self.open_size, size
        try:
            original.run(self.draw())
        except RuntimeRefusal as e:
            self.open_size = known
            return e
        return None

    def _require_running(self, original: Session, sizes: Sequence[Size]) -> None:
        reason = ""
        for size in sizes if self.sizes_are_open else sizes[:1]:
            self.open_size = size
            try:
                original.run(self.draw())
                return
            except RuntimeRefusal as e:
                reason = str(e)
        raise VerificationFailed(
            f"same size: the original does not run on values that were drawn for its inputs ({reason}); "
            "--no-verify skips the checks"
        )

    def draw(self, sizes: object = None, batch: int | None = None, fine: float = 0.0) -> Feeds:
        """One set of inputs; at the smallest batch unless told otherwise."""
        batch = batch or self.batches[0]
        feeds = {}
        for value in self._inputs:
            tensor = value.type.tensor_type
            dims = [declared_size(d) or batch for d in tensor.shape.dim]
            named = [i for i, d in enumerate(tensor.shape.dim) if i and d.dim_param not in self._batch_symbols]
            sizes_ = itertools.cycle(self.open_size)
            for i in (i for i in named if _is_open(value, i)):
                count = channels(self._plan.model, value) if i == 1 else None
                dims[i] = count or next(sizes_)
            feeds[value.name] = self._drawn(value.name, dims, tensor.elem_type, fine)
        return feeds

    def _drawn(self, name: str, dims: Sequence[int], elem_type: int, fine: float = 0.0) -> np.ndarray:
        if prod(dims) > MOST_VALUES:
            raise MemoryError(f"input '{name}' is declared as {list(dims)}")
        dtype = dtypes.numpy_type(elem_type)
        if dtype.kind == "b":
            return np.asarray(self._rng.integers(0, 2, dims), dtype)
        if dtype.kind in "iu" and (dtype.itemsize > 1 or self._tables[name] is not None):
            return np.asarray(self._rng.integers(0, self._tables[name] or CHOICES, dims), dtype)
        return self._values(list(dims), dtype, fine)


def _is_open(value: ValueInfoProto, axis: int) -> bool:
    dims = value.type.tensor_type.shape.dim
    return len(dims) > axis and not declared_size(dims[axis])


def _choices(plan: Plan, name: str) -> int | None:
    """The size of the smallest table that an input chooses from, directly or behind a view or a cast."""
    names, found = [name], []
    seen = {name}
    while names:
        current = names.pop()
        for op in plan.model.consumers.get(current, ()):
            table = _table(plan, op, current)
            if table is not None:
                found.append(table)
            if (op.op_type in VIEWS or op.op_type in UNARY or op.op_type == "Transpose") and op.outputs[0] not in seen:
                seen.add(op.outputs[0])
                names.append(op.outputs[0])
    return min(found, default=None)


def _table(plan: Plan, op: Op, name: str) -> int | None:
    if op.op_type not in LOOKUPS or op.inputs[1:2] != [name]:
        return None
    shape = plan.shapes.of(op.inputs[0])
    axis = op.attr("axis", 0)
    return max(shape[axis], 1) if shape and prod(shape) else None
