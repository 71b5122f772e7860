"""The checks. Each compares the converted model with the original's own nodes and can fail.

structure    the ONNX checker accepts it, onnxruntime loads it, no FC is left in the heads, spatial dims are free
same size    original and converted at the trained size (also with two images where the batch is dynamic)
grid law     predicted grid and stride against the shapes that come out
windows      the original head on every window of the enlarged feature map, against the converted grid
default run  the same, with the graph optimisations that users run with
image crops  the original on image crops: must agree if the model is exact, is measured if it is not
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import ModelProto

from .. import dtypes
from ..errors import VerificationFailed
from ..geometry import Grid
from ..heads import Plan
from ..lift import Rewrite
from ..ops import FULLY_CONNECTED
from .compare import error
from .oracle import Cell, Oracle, image_crop, sample_cells
from .runtime import Feeds, RuntimeRefusal, Session, one_line

Size = tuple[int, ...]
MAX_CELLS = 64  #: windows compared per size and output; larger grids are sampled
SCALES = (1.0, 16.0, 255.0)  #: input scales tried until the outputs depend on the input


@dataclass
class Check:
    """The outcome of one check at one size.

    Attributes:
        name: which check.
        size: input size in pixels, or ``None`` where it has none.
        passed: the verdict; ``None`` for a measurement that asserts nothing.
        cells: grid cells compared, and how many there are.
        error: largest error relative to the reference's scale, with the tolerance that it was held to.
        note: what else is worth saying.
    """

    name: str
    size: Size | None
    passed: bool | None
    cells: tuple[int, int] | None = None
    error: float | None = None
    tolerance: float | None = None
    note: str = ""


@dataclass
class Deviation:
    """How far answers are from the original on image crops, for a model that is not exact."""

    error: float
    agreement: float | None
    cells: int


@dataclass
class Outcome:
    """All checks, and the measured deviation where there is one."""

    checks: list[Check] = field(default_factory=list)
    deviation: dict[str, Deviation] = field(default_factory=dict)


Progress = Callable[[str, int, int], None]


class Verifier:
    """Runs the checks of one conversion. Every failure raises ``VerificationFailed`` with the check's name."""

    def __init__(
        self, plan: Plan, rewrite: Rewrite, converted: ModelProto, exact: bool, progress: Progress, folder: str | None = None
    ) -> None:
        """Prepare the checks.

        Args:
            plan, rewrite: of the original.
            converted: the model under test.
            exact: whether answers must also equal the original's on image crops.
            progress: called with a check's name, the steps done, and their number.
            folder: where the converted model's external data lies; default: where the original's does.
        """
        self.plan, self.rewrite, self.converted, self.exact = plan, rewrite, converted, exact
        self._folder = plan.model.folder if folder is None else folder
        self.values = {n: rewrite.values[n] for n in plan.model.outputs if n in rewrite.values}
        self.outcome = Outcome()
        self._progress = progress
        self._terms, self._nodes = _head_terms(plan, converted), len(plan.head)
        self._rng = np.random.default_rng(20160101)

    def run(self, sizes: list[Size]) -> Outcome:
        """All checks, cheapest first.

        Raises:
            VerificationFailed: a check found a difference, or onnxruntime cannot run what is to be checked.
        """
        steps = 4 + 3 * len(sizes)
        self._progress("structure", 0, steps)
        self._structure()
        try:
            self._load()
            self._progress("same size", 1, steps)
            self._same_size()
            self._progress("grid law", 2, steps)
            self._stride()
            for i, size in enumerate(sizes):
                self._at(size, lambda name, k, i=i: self._progress(name, 3 + 3 * i + k, steps))  # type: ignore[misc]
        except RuntimeRefusal as e:
            raise VerificationFailed(f"onnxruntime cannot run the check: {e}") from e
        self._progress("done", steps, steps)
        return self.outcome

    # -- structure -------------------------------------------------------------------------------------------------

    def _structure(self) -> None:
        structure(self.converted)
        cuts = set(self.plan.cuts)
        behind: set[str] = set()
        constant = {t.name for t in self.converted.graph.initializer}
        for node in self.converted.graph.node:
            if node.op_type == "Constant" or all(i in constant for i in node.input if i):
                constant |= set(node.output)
            if any(i in cuts or i in behind for i in node.input) and node.op_type not in ("Shape", "Size"):
                lifted = any(o in self.rewrite.values for o in node.output)
                if lifted and node.op_type in FULLY_CONNECTED:
                    raise VerificationFailed("structure: a fully connected node is left in the head", node.name)
                behind |= set(node.output)
        image = next(i for i in self.converted.graph.input if i.name == self.plan.image.name)
        dims = image.type.tensor_type.shape.dim
        if any(not dims[i].dim_param for i in self.plan.image.spatial):
            raise VerificationFailed(f"structure: input '{image.name}' still has a fixed spatial dim")
        self.outcome.checks.append(Check("structure", None, True, note="checker (full), no FC left, spatial dims free"))

    def _load(self) -> None:
        try:
            self.oracle = Oracle(self.plan)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"onnxruntime does not load the original model, so nothing can be checked: {e}") from e
        try:
            self.session = Session(self.converted, self._folder)
            self.default = Session(self.converted, self._folder, default=True)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"structure: onnxruntime does not load the converted model: {e}") from e
        self._scale = self._choose_scale()

    # -- inputs ----------------------------------------------------------------------------------------------------

    def _feeds(self, size: Size | None = None, batch: int | None = None, scale: float | None = None) -> Feeds:
        batch = batch or self._batch
        shape = list(self.plan.image.shape(batch))
        for position, n in zip(self.plan.image.spatial, size or (), strict=bool(size)):
            shape[position] = n
        elem_type = self.plan.shapes.elem_types[self.plan.image.name]
        dtype = dtypes.numpy_type(elem_type)
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            values = self._rng.integers(info.min, info.max, shape, endpoint=True)
        else:
            values = self._rng.uniform(-0.5, 1.5, shape) * (self._scale if scale is None else scale)
        return {self.plan.image.name: values.astype(dtype)}

    @property
    def _batch(self) -> int:
        dim = next(i for i in self.plan.model.inputs if i.name == self.plan.image.name).type.tensor_type.shape.dim[0]
        return dim.dim_value if dim.dim_value > 0 else 1

    @property
    def _dynamic_batch(self) -> bool:
        dim = next(i for i in self.plan.model.inputs if i.name == self.plan.image.name).type.tensor_type.shape.dim[0]
        return dim.dim_value <= 0

    def _choose_scale(self) -> float:
        for scale in SCALES:
            first, second = (self.oracle.original.run(self._feeds(scale=scale)) for _ in range(2))
            if all(not np.array_equal(first[n], second[n]) for n in self.values):
                return scale
        return 1.0

    # -- comparisons -----------------------------------------------------------------------------------------------

    def _tolerance(self, name: str, whole: bool = False) -> float:
        terms, nodes = self._terms, self._nodes
        if whole:
            terms, nodes = terms + _backbone_terms(self.plan), len(self.plan.model.ops)
        return dtypes.tolerance(self.values[name].elem_type, terms, nodes)

    def _compare(self, check: str, size: Size, found: Feeds, expected: Feeds, cells: tuple[int, int], whole: bool) -> None:
        worst, held = 0.0, 0.0
        for name, reference in expected.items():
            tolerance = self._tolerance(name, whole) if name in self.values else 0.0
            if name not in self.values and reference.dtype.kind == "f":
                tolerance = dtypes.tolerance(onnx.TensorProto.FLOAT, _backbone_terms(self.plan), len(self.plan.model.ops))
            if found[name].shape != reference.shape:
                raise VerificationFailed(f"{check}: output '{name}' has shape {found[name].shape}, expected {reference.shape}")
            e = error(found[name], reference)
            if not e <= tolerance:
                at = "x".join(map(str, size))
                raise VerificationFailed(f"{check}: output '{name}' at {at} differs by {e:.2g} of its scale, tolerance {tolerance:.2g}")
            worst, held = max(worst, e), max(held, tolerance)
        self.outcome.checks.append(Check(check, size, True, cells, worst, held))

    # -- the checks ------------------------------------------------------------------------------------------------

    def _same_size(self) -> None:
        trained = tuple(a.trained for a in self.plan.image.axes)
        for batch in (self._batch, 2) if self._dynamic_batch else (self._batch,):
            feeds = self._feeds(batch=batch)
            try:
                expected = self.oracle.original.run(feeds)
            except RuntimeRefusal:
                if batch == self._batch:
                    raise
                note = "the original declares a dynamic batch and runs with one image only"
                self.outcome.checks.append(Check("same size", trained, None, note=note))
                continue
            found = self.session.run(feeds)
            for name in self.values:
                if found[name].ndim == expected[name].ndim + len(trained) and found[name].size == expected[name].size:
                    found[name] = found[name].reshape(expected[name].shape)
            self._compare("same size", trained, found, expected, (1, 1), whole=True)
            self.outcome.checks[-1].note = f"batch {batch}"
            if self._scale_note(expected, feeds):
                self.outcome.checks[-1].note += "; an output hardly depends on the input, so this proves little"

    def _scale_note(self, expected: Feeds, feeds: Feeds) -> bool:
        other = self.oracle.original.run(self._feeds(batch=next(iter(feeds.values())).shape[0]))
        return any(np.array_equal(other[n], expected[n]) for n in self.values if expected[n].dtype.kind == "f")

    def _stride(self) -> None:
        """One stride more is one cell more, one pixel less is not: per axis, on the shapes that come out."""
        phase = any(c.kind == "phase" for c in self.plan.causes)
        trained = tuple(a.trained for a in self.plan.image.axes)
        strides = self.step()
        tried = 0
        for i, step in enumerate(strides):
            for grown in (step,) if phase or step == 1 else (step, step - 1):
                size = tuple(t + (grown if k == i else 0) for k, t in enumerate(trained))
                try:
                    found = self.session.run(self._feeds(size))
                except RuntimeRefusal as e:
                    if grown == step:
                        raise VerificationFailed(f"grid law: the converted model does not run at {size}: {e}") from e
                    continue
                self._require_grid(found, size)
                tried += 1
        note = f"effective stride {'x'.join(map(str, strides))} measured at {tried} sizes"
        self.outcome.checks.append(Check("grid law", None, True, note=note))

    def step(self) -> tuple[int, ...]:
        """The coarsest effective stride of any output, per axis."""
        grids = [v.grid for v in self.values.values()]
        return tuple(max(g.stride[i] for g in grids) for i in range(len(grids[0].stride)))

    def _require_grid(self, found: Feeds, size: Size) -> None:
        for name, value in self.values.items():
            predicted = value.grid.grid_size(size)
            shape = found[name].shape
            if shape[len(shape) - len(predicted) :] != predicted or shape[1 : -len(predicted)] != value.features:
                raise VerificationFailed(
                    f"grid law: output '{name}' at {'x'.join(map(str, size))} has shape {list(shape)}, "
                    f"predicted features {list(value.features)} and grid {list(predicted)}"
                )

    def _at(self, size: Size, progress: Callable[[str, int], None]) -> None:
        feeds = self._feeds(size)
        trained = self._feeds()
        progress("windows", 0)
        try:
            found = self.session.run(feeds)
        except RuntimeRefusal as e:
            raise VerificationFailed(f"windows: the converted model does not run at {size}: {e}") from e
        self._require_grid(found, size)
        self.outcome.checks.append(Check("grid law", size, True, note=self._grid_words(size)))
        maps = self.oracle.maps(feeds)
        for names in self._same_grid():
            grid = self.values[names[0]].grid.grid_size(size)
            cells = sample_cells(grid, MAX_CELLS, sum(grid))

            def answer(cell: Cell, names: list[str] = names) -> Feeds:
                return self.oracle.answer(tuple(names), maps, cell, trained)

            expected = self._stack(names, cells, answer)
            count = (len(cells), int(np.prod(grid)))
            self._compare("windows", size, _at_cells(found, names, cells), expected, count, whole=False)
            progress("default run", 1)
            optimised = self.default.run(feeds)
            self._compare("default run", size, _at_cells(optimised, names, cells), expected, count, whole=True)
            progress("image crops", 2)
            self._image_crops(size, feeds, found, names, cells, count)

    def _same_grid(self) -> list[list[str]]:
        """The outputs, grouped by grid: one cell then means the same window for all of a group."""
        groups: list[list[str]] = []
        for name, value in self.values.items():
            for group in groups:
                if value.grid.aligns_with(self.values[group[0]].grid):
                    group.append(name)
                    break
            else:
                groups.append([name])
        return groups

    def _grid_words(self, size: Size) -> str:
        grids = dict.fromkeys(v.grid.grid_size(size) for v in self.values.values())
        return ", ".join(f"{'x'.join(map(str, g))} = {int(np.prod(g))} windows" for g in grids)

    def _stack(self, names: list[str], cells: list[Cell], answer: Callable[[Cell], Feeds]) -> Feeds:
        answers = [answer(cell) for cell in cells]
        return {name: np.stack([a[name] for a in answers], -1) for name in names}

    def _image_crops(
        self, size: Size, feeds: Feeds, found: Feeds, names: list[str], cells: list[Cell], count: tuple[int, int]
    ) -> None:
        image = feeds[self.plan.image.name]
        grid: Grid = self.values[names[0]].grid

        def original(cell: Cell) -> Feeds:
            return self.oracle.original.run({self.plan.image.name: image_crop(self.plan, image, cell, grid.stride)})

        expected = self._stack(names, cells, original)
        at_cells = _at_cells(found, names, cells)
        if self.exact:
            self._compare("image crops", size, at_cells, expected, count, whole=True)
            return
        worst = 0.0
        for name in names:
            deviation = error(at_cells[name], expected[name])
            agreement = _agreement(at_cells[name], expected[name], self.values[name].features)
            known = self.outcome.deviation.get(name)
            if known is None or deviation > known.error:
                self.outcome.deviation[name] = Deviation(deviation, agreement, len(cells))
            worst = max(worst, deviation)
        self.outcome.checks.append(Check("image crops", size, None, count, worst, None, "measured, not asserted"))


def structure(proto: ModelProto) -> None:
    """Accepted by the ONNX checker with full shape inference.

    Raises:
        VerificationFailed: it is not.
    """
    try:
        onnx.checker.check_model(_without_external(proto), full_check=True)
    except Exception as e:  # the checker raises several types
        raise VerificationFailed(f"structure: the ONNX checker rejects the converted model: {one_line(e)}") from e


def _without_external(proto: ModelProto) -> ModelProto:
    """A stand-in for the checker: external weights become inputs of their shape, since their files are not here."""
    external = [t for t in proto.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if not external:
        return proto
    stand_in = ModelProto()
    stand_in.CopyFrom(proto)
    names = {t.name for t in external}
    rest = [t for t in proto.graph.initializer if t.name not in names]
    listed = {i.name for i in proto.graph.input}
    del stand_in.graph.initializer[:]
    stand_in.graph.initializer.extend(rest)
    for t in external:
        if t.name not in listed:
            stand_in.graph.input.append(onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
    return stand_in


def _at_cells(found: Feeds, names: list[str], cells: list[Cell]) -> Feeds:
    return {name: np.stack([found[name][(..., *cell)] for cell in cells], -1) for name in names}


def _agreement(found: np.ndarray, expected: np.ndarray, features: tuple[int, ...]) -> float | None:
    """Share of cells whose highest class is the same, where the output looks like class scores."""
    if len(features) != 1 or features[0] < 2 or expected.dtype.kind != "f":
        return None
    return float(np.mean(found.argmax(1) == expected.argmax(1)))


def _head_terms(plan: Plan, converted: ModelProto) -> int:
    """Products in the longest chain of sums of the heads: the errors of consecutive FCs add up."""
    lifted = {o for op in plan.head for o in op.outputs}
    dims = {t.name: list(t.dims) for t in converted.graph.initializer}
    terms = 1
    for node in converted.graph.node:
        if node.op_type == "Conv" and any(o in lifted for o in node.output) and node.input[1] in dims:
            terms += int(np.prod(dims[node.input[1]][1:]))
    return terms


def _backbone_terms(plan: Plan) -> int:
    terms = 1
    for op in plan.model.ops:
        if "Conv" in op.op_type and len(op.inputs) > 1:
            shape = plan.shapes.of(op.inputs[3 if op.op_type == "QLinearConv" else 1]) if len(op.inputs) > 1 else None
            terms += int(np.prod(shape[1:])) if shape else 1
    return terms
