"""What all nodes of one conversion share: names, new constants, flattened windows; and operands that are not lifted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..emitter import Names
from ..ops import Array
from ..plan import Plan
from ..rewrite import Rewrite, Windowed


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
