"""What all nodes of one conversion share: names, new constants, flattened windows; and operands that are not lifted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from ..emitter import Names
from ..ops import Array
from ..places import View
from ..plan import Plan
from ..rewrite import Rewrite, Windowed
from ..tensors import moved


@dataclass(frozen=True)
class RunTime:
    """An operand that does not depend on the image and is not a constant either (it depends on the batch size)."""

    name: str


@dataclass(frozen=True)
class Side:
    """An operand that depends on another input than an image: the same for every window.

    Attributes:
        name: value name.
        shape: at the trained size.
        elem_type: ``TensorProto.DataType``.
    """

    name: str
    shape: tuple[int, ...]
    elem_type: int


@dataclass(frozen=True)
class Repeated:
    """An operand that repeats one row for each image of the batch.

    Attributes:
        row: the row as a new constant ``[1, ..]``.
    """

    row: Array


class Shared:
    """What all rewriters of one conversion share.

    Attributes:
        runtime: name of the runtime that will check the conversion.
        made: names of new constants by what they hold, so that equal ones are made once.
        spent: the flattened windows by map and window.
        reshaped: for each reshaped value (by its tensor) the value that it was reshaped from.
    """

    def __init__(self, plan: Plan, names: Names) -> None:
        self.model, self.constants, self.shapes, self.causes = plan.model, plan.constants, plan.shapes, plan.causes
        self.names, self.runtime = names, plan.runtime
        self.rewrite = Rewrite()
        self.made: dict[tuple[Any, ...], str] = {}
        self.spent: dict[tuple[Any, ...], Windowed] = {}
        self.reshaped: dict[str, Windowed] = {}

    def with_dims(self, array: Array, dims: tuple[int, ...]) -> str:
        """The name of a constant with other dims and the same bytes; its own, if the dims are."""
        if tuple(dims) == array.shape:
            return array.name
        key = ("dims", array.name, tuple(dims))
        if key not in self.made:
            tensor = array.with_dims(dims)
            self._add(tensor, array.name, key)
            if array.tensor is not None:
                self.rewrite.same_bytes.add(tensor.name)
        return self.made[key]

    def moved(self, array: Array, view: View, dims: tuple[int, ...], key: tuple[Any, ...]) -> str | None:
        """The name of a large constant that lists the values of another in another order; ``None`` for a small one."""
        full_key = ("values", array.name, *key)
        if full_key not in self.made:
            tensor = moved(array.tensor, self.model.folder, view, dims) if array.tensor is not None else None
            if tensor is None:
                return None
            self._add(tensor, array.name, full_key)
        return self.made[full_key]

    def constant(self, values: np.ndarray, made_from: str, *key: Any) -> str:
        """The name of a new constant; equal keys share one."""
        full_key = ("values", made_from, *key) if key else ("ints", made_from, tuple(np.ravel(values).tolist()))
        if full_key not in self.made:
            self._add(numpy_helper.from_array(np.asarray(values, order="C")), made_from, full_key)
        return self.made[full_key]

    def _add(self, tensor: TensorProto, made_from: str, key: tuple[Any, ...]) -> None:
        tensor.name = self.names.fresh(f"{made_from}_lifted")
        self.rewrite.initializers.append(tensor)
        self.rewrite.made_from[tensor.name] = made_from
        self.made[key] = tensor.name
