"""What a node reads where no size changes: cells, constants, and values that are brought into the form of a cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal, NoReturn

from ...ops import VIEWS, Array, Op
from ...plan import FeatureMap, Plan
from ...rewrite import Windowed
from ..operands import resolve
from ..rewriter import Operand
from ..shared import Shared, Side
from .cells import RANKS, CellRewriter, as_blocks, as_images, as_map, as_rows, as_single, as_unread, as_vector

Form = Literal["between", "carried", "last", "before last", "blocks", "images"]

UNKNOWN = (7, 11, 13, 17, 19, 23, 29)  #: stand for the sizes of axes that differ from run to run
MAX_POSITIONS = 2**24  #: values of a map that a view is judged on


@dataclass(frozen=True)
class Cell:
    """A value of the original in the form in which a Conv takes it.

    Attributes:
        value: the value of one cell.
        batch: the size of its first axis, at the batch size that shapes were inferred for.
        any_size: some of its features' dims differ from run to run, and what stands there is an example.
        stays: it can be read in this form; else it is only restored.
        rows: where rows were counted as images, the dims between the first and the last axis.
    """

    value: Windowed
    batch: int
    any_size: bool = False
    stays: bool = True
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Known:
    """What is known of a value's shape: the first axis is taken for the batch.

    Attributes:
        batch: size of the first axis, at the batch size that shapes were inferred for.
        features: the other dims; examples where they differ from run to run.
        any_size: some do.
    """

    batch: int
    features: tuple[int, ...]
    any_size: bool


def known(plan: Plan, name: str) -> Known | None:
    """What is known of a value's shape; ``None`` if that is not even its rank, or it is a scalar."""
    dims = plan.shapes.dims.get(name)
    other = plan.other_batch.dims.get(name) if plan.other_batch else dims
    if not dims or other is None or len(other) != len(dims) or len(dims) > 1 + len(UNKNOWN):
        return None
    differ = [d is None or d != o for d, o in zip(dims, other, strict=True)]
    features = tuple(
        UNKNOWN[i] if unsure or d is None else d for i, (d, unsure) in enumerate(zip(dims[1:], differ[1:], strict=True))
    )
    return Known(dims[0] or 1, features, any(differ[1:]) or dims[0] is None)


@dataclass
class Operands:
    """The operands of one node, in one form.

    Attributes:
        batch, any_size: as of a ``Cell``, of what they make.
        rows: the rows that were counted as images.
        opened: the values that were brought into the form of a cell.
    """

    plan: Plan
    shared: Shared
    cells: Mapping[str, Cell]
    op: Op
    form: Form
    batch: int = 1
    any_size: bool = False
    rows: tuple[int, ...] = ()
    opened: list[FeatureMap] = field(default_factory=list)

    def __post_init__(self) -> None:
        read = [self.cells[name] for name in self.op.inputs if self._is_cell(name)]
        data = [name for name in self.op.inputs if name and name not in self.plan.constants.static]
        if read:
            self.batch = read[0].batch
            self.any_size = any(cell.any_size for cell in read)
        elif data:
            found = known(self.plan, data[0])
            self.batch = found.batch if found and found.features else 1
            self.rows = found.features[:-1] if found and self.form == "images" else ()
            self.batch *= prod(self.rows)

    @property
    def has_stack(self) -> bool:
        """True if a constant that is multiplied is a stack of matrices, not one."""
        shapes = [self.plan.shapes.of(self.op.inputs[i]) for i in self.op.multiplied if self._is_static(i)]
        return any(len(shape) > 2 and prod(shape[:-2]) > 1 for shape in shapes if shape)

    def _is_static(self, i: int) -> bool:
        return self.op.inputs[i] in self.plan.constants.static

    def _is_cell(self, name: str) -> bool:
        return self.form in ("between", "carried") and name in self.cells and self.cells[name].stays

    def resolved(self, rewriter: CellRewriter) -> list[Operand]:
        """What the node's rule is given.

        Raises:
            Unliftable: a value has no such form.
        """
        return [self._operand(rewriter, i, name) for i, name in enumerate(self.op.inputs)]

    def _operand(self, rewriter: CellRewriter, i: int, name: str) -> Operand:
        if self._is_cell(name):
            value = self.cells[name].value
            views = self.op.op_type in VIEWS or self.op.op_type == "Transpose"
            return as_unread(value) if views else value
        if not name or name in self.plan.constants.static:
            return resolve(rewriter, name, self.plan, self.shared)
        if self.form == "between":
            return self._beside(rewriter, i, name)
        if i in self.op.multiplied:
            return self._opened(rewriter, name)
        side = resolve(rewriter, name, self.plan, self.shared)
        if isinstance(side, Side) and side.shape in ((), (1,)) and self.op.op_type == "MatMulInteger":
            return Array(name, side.shape, side.elem_type, self._at_run_time)  # a zero point is read by its name only
        return side

    def _at_run_time(self) -> NoReturn:
        raise self.op.refuse("has an operand that is computed at run time")

    def _beside(self, rewriter: CellRewriter, i: int, name: str) -> Operand:
        """A value that no FC has made: a map that a view begins with, or something beside a cell."""
        with_cells = [self.cells[n].value for n in self.op.inputs if self._is_cell(n)]
        shape = self.plan.shapes.of(name)
        if with_cells and shape in ((), (1,)):
            return resolve(rewriter, name, self.plan, self.shared)
        found = known(self.plan, name)
        if found is None or found.any_size:
            raise rewriter.refuse(f"the shape of its input '{name}' is not known")
        if with_cells:
            rewriter.refuse_if(len(found.features) != 1, f"its input '{name}' has several axes")
            return as_vector(rewriter, name, found.features, self._type(name), with_cells[0].grid_rank)
        size = max(found.batch, 1) * prod(found.features)
        possible = min(found.features, default=0) > 0 and size <= MAX_POSITIONS
        rewriter.refuse_if(i > 0 or 1 + len(found.features) not in RANKS or not possible, "begins with no map")
        self.opened.append(FeatureMap(name, ("batch", *found.features)))
        return as_map(name, found.features, self._type(name))

    def _opened(self, rewriter: CellRewriter, name: str) -> Windowed:
        """The value that an FC reads."""
        rewriter.refuse_if(self.form == "carried", "reads no cell")
        found, elem_type = known(self.plan, name), self._type(name)
        if found is None:
            raise rewriter.refuse(f"the shape of its input '{name}' is not known")
        features, rank = found.features, 1 + len(found.features)
        self.any_size = found.any_size
        if rank == 1:
            rewriter.refuse_if(self.form != "last", "reads a vector")
            return self._noted(name, as_single(rewriter, name, (found.batch,), elem_type), (found.batch,))
        if rank == 2:
            rewriter.refuse_if(self.form != "last", f"sums over the first axis of '{name}', which is the batch")
            return self._noted(name, as_vector(rewriter, name, features, elem_type), features)
        if self.form in ("last", "before last"):
            return self._noted(name, as_rows(rewriter, name, features, elem_type, self.form == "last"), features)
        rewriter.refuse_if(found.any_size, f"the shape of its input '{name}' is not known")
        counted = self.form == "images" and self.op.op_type == "Einsum"
        rewriter.refuse_if(counted, "names its axes, so it takes no other number of them")
        form = as_blocks if self.form == "blocks" else as_images
        return self._noted(name, form(rewriter, name, features, elem_type), features)

    def _noted(self, name: str, value: Windowed, features: tuple[int, ...]) -> Windowed:
        self.opened.append(FeatureMap(name, ("batch", *(features[-1:] if self.any_size else features))))
        return value

    def _type(self, name: str) -> int:
        elem_type = self.plan.shapes.elem_types.get(name, 0)
        if not elem_type:
            raise self.op.refuse(f"the element type of its input '{name}' is not known")
        return elem_type
