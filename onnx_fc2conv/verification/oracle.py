"""The original's own nodes as the judge: its backbone on an enlarged image, its head on one window at a time.

Nothing here knows what the heads became. The original is cut at the feature maps that it flattens; the part in front
runs with free spatial dims, the part behind with the trained window, exactly as it was trained. The one thing shared
with the conversion: where a node carries the trained size and could not run at another, its replacement stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from time import perf_counter

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper

from ..geometry import Grid
from ..parts import cut
from ..plan import Plan
from .batches import ROOM, Batches, Same, picks
from .precise import Doubled
from .repeated import Repeated
from .session import Feeds, Runtime, Session

Cell = tuple[int, ...]


@dataclass(frozen=True)
class Answered:
    """The original head's answers at several cells.

    Attributes:
        answers: by output, the cells stacked last.
        seconds: that one of them takes alone.
    """

    answers: Feeds
    seconds: float


class Oracle:
    """Sessions of the original and of its two parts."""

    def __init__(self, plan: Plan, runtime: Runtime, original: ModelProto | None = None, default: bool = False) -> None:
        """Load the original and its backbone; heads are loaded when they are first asked for.

        Args:
            plan: what was understood of it; what is cut is the plan's model.
            original: the model as it was given, if the plan's is only equivalent to it.
            default: with all graph optimisations, as users run it.

        Raises:
            RuntimeRefusal: the runtime does not load the original or a part of it.
        """
        self._plan, self._load = plan, partial(runtime.load, default=default)
        model = plan.model
        given = original or model.proto
        self._whole, self._original = given, None if default else self._load(given, model.folder)
        self.map_outputs = [name for name in model.outputs if name in plan.maps and name in model.producer]
        self._inner = list(dict.fromkeys([*(c for c in plan.cuts if c in model.producer), *self.map_outputs]))
        self._sparse: Session | None = None
        self._backbone = self._front() if self._inner else None
        self._heads: dict[tuple[str, ...], Session] = {}
        self._doubled: dict[tuple[str, ...], Doubled] = {}

    @property
    def original(self) -> Session:
        """The whole original."""
        if self._original is None:
            self._original = self._load(self._whole, self._plan.model.folder)
        return self._batched(self._original)

    def release(self) -> None:
        """Let go of all sessions; what is asked for again is loaded again."""
        self._original = self._backbone = self._sparse = None
        self._heads.clear()
        self._doubled.clear()

    def _front(self) -> Session:
        plan, model = self._plan, self._plan.dense.model if self._plan.dense else self._plan.model
        free = {image.name: _untyped(plan, image.name) for image in plan.images}
        return self._load(cut(model, free, self._inner), plan.model.folder)

    def _batched(self, session: Session) -> Session:
        """The session, for any number of images where the original takes a fixed one; a head has no declared inputs."""
        batch = self._plan.freed_batch
        if batch is None:
            return session
        graph = self._whole.graph
        dims = {value.name: value.type.tensor_type.shape.dim for value in graph.input}
        batched = {name for name, d in dims.items() if d and d[0].dim_value == batch}
        return Repeated(session, batch, batched | {c for c in self._plan.cuts if self._plan.maps[c].dims[0] == "batch"})

    def maps(self, feeds: Feeds) -> Feeds:
        """The original's backbone on images of any size: the flattened maps, and the maps that are outputs.

        Where they were made denser, it is the denser backbone that makes them.
        """
        if self._inner and self._backbone is None:
            self._backbone = self._front()
        found = self._backbone.run(feeds, self._inner) if self._backbone else {}
        return found | {name: feeds[name] for name in self._plan.cuts if name not in found}

    def sparse_maps(self, feeds: Feeds) -> Feeds:
        """Of maps that were made denser the original's own, as its own backbone makes them."""
        names = [name for name in self._inner if self._plan.maps[name].dilations]
        if self._sparse is None:
            free = {image.name: _untyped(self._plan, image.name) for image in self._plan.images}
            self._sparse = self._load(cut(self._plan.model, free, names), self._plan.model.folder)
        return self._sparse.run(feeds, names)

    def _head(self, outputs: tuple[str, ...]) -> Session:
        if outputs not in self._heads:
            self._heads[outputs] = self._batched(self._load(self._part(outputs), self._plan.model.folder))
        return self._heads[outputs]

    def _part(self, outputs: tuple[str, ...]) -> ModelProto:
        return cut(self._plan.model, {name: _untyped(self._plan, name) for name in self._plan.cuts}, outputs)

    def answer(
        self, outputs: tuple[str, ...], maps: Feeds, cell: Cell, stride: tuple[int, ...], trained: Feeds
    ) -> Feeds:
        """The original head's outputs on the window at this cell.

        Args:
            outputs: names of outputs that share a grid.
            maps: enlarged feature maps.
            cell: window position; on a map of a finer stride than the grid's it is so many times further on.
            stride: effective stride of the grid, in pixels.
            trained: inputs of the trained size, for heads that ask for the input's shape.
        """
        return self._head(outputs).run(trained | self._windows(outputs, maps, cell, stride), list(outputs))

    def answers(
        self,
        outputs: tuple[str, ...],
        maps: Feeds,
        cells: list[Cell],
        stride: tuple[int, ...],
        trained: Feeds,
        axes: Mapping[str, int | None],
        same: Same,
    ) -> Answered:
        """The same at many cells, in batches where the head keeps the images of a batch apart.

        Args:
            outputs, maps, stride, trained: as ``answer`` takes them.
            cells: window positions.
            axes: of each output, the axis that counts images; ``None`` where it has none.
            same: whether answers from a batch are those of windows that were run alone.
        """
        head, chosen = self._head(outputs), picks(len(cells))

        def window(i: int) -> Feeds:
            return self._windows(outputs, maps, cells[i], stride)

        def run(windows: Feeds) -> Feeds:
            return head.run(trained | windows, list(outputs))

        windows = {i: window(i) for i in chosen}
        start = perf_counter()
        alone = {i: run(w) for i, w in windows.items()}
        seconds = (perf_counter() - start) / len(chosen)
        together: list[Feeds] = []
        if len(cells) > len(chosen) and self._takes_batches(head):
            batches = Batches(axes, ROOM // self._head_bytes(), same)
            together = batches.answers(run, window, alone, len(cells))
        answers = [alone[i] if i in alone else together[i] if together else run(window(i)) for i in range(len(cells))]
        return Answered({name: np.stack([a[name] for a in answers], -1) for name in outputs}, seconds)

    def _takes_batches(self, head: Session) -> bool:
        """Whether the head reads nothing but windows, and the first axis of each counts images."""
        cuts = [name for name in self._plan.cuts if name in head.inputs]
        maps = (self._plan.maps[name] for name in cuts)
        return (
            self._plan.freed_batch is None and set(cuts) == set(head.inputs) and all(m.dims[0] == "batch" for m in maps)
        )

    def _head_bytes(self) -> int:
        """Bytes of all values that the head computes of one window, and of the window."""
        names = {*self._plan.cuts, *(name for op in self._plan.head for name in op.outputs)}
        return 8 * sum(prod(self._plan.shapes.of(name) or ()) for name in names)

    def precise(
        self, outputs: tuple[str, ...], maps: Feeds, cell: Cell, stride: tuple[int, ...], trained: Feeds
    ) -> Feeds:
        """The same in double precision.

        Raises:
            RuntimeRefusal: ONNX's evaluator does not run this head in double precision.
        """
        if outputs not in self._doubled:
            self._doubled[outputs] = Doubled(self._part(outputs), self._plan.model.folder)
        windows = self._windows(outputs, maps, cell, stride)
        return self._doubled[outputs].run(trained | windows, list(outputs))

    def precise_whole(self, outputs: tuple[str, ...], feeds: Feeds) -> Feeds:
        """The whole original in double precision.

        Raises:
            RuntimeRefusal: ONNX's evaluator does not run it in double precision.
        """
        if () not in self._doubled:
            self._doubled[()] = Doubled(self._whole, self._plan.model.folder)
        return self._doubled[()].run(feeds, list(outputs))

    def _windows(self, outputs: tuple[str, ...], maps: Feeds, cell: Cell, stride: tuple[int, ...]) -> Feeds:
        windows = {}
        for name in (name for name in maps if name in self._head(outputs).inputs):
            source, value = self._plan.maps[name], maps[name]
            index: list[slice] = [slice(None)] * value.ndim
            rows = zip(source.spatial, source.axes, source.window, source.steps, strict=True)
            for (position, axis, n, k), i, s in zip(rows, cell, stride, strict=not source.pooled):
                start = i * int(s / axis.stride)
                index[position] = slice(start, start + (n - 1) * k + 1, k)
            windows[name] = np.ascontiguousarray(value[tuple(index)])
        return windows


def _untyped(plan: Plan, name: str) -> ValueInfoProto:
    rank = len(plan.maps[name].dims)
    return helper.make_tensor_value_info(name, plan.shapes.elem_types[name], [None] * rank)


def image_crops(plan: Plan, feeds: Feeds, grid: Grid, cell: Cell) -> Feeds:
    """The image crops of trained size that belong to a cell: the same of all inputs that the grid is over.

    Of inputs that it is not over, the first.
    """
    crops = {}
    for image in plan.images:
        over = image.axes[0].source == grid.source
        starts = [i * s for i, s in zip(cell, grid.stride, strict=True)] if over else [0] * len(image.axes)
        index: list[slice] = [slice(None)] * len(image.dims)
        for position, axis, start in zip(image.spatial, image.axes, starts, strict=True):
            index[position] = slice(start, start + axis.trained)
        crops[image.name] = np.ascontiguousarray(feeds[image.name][tuple(index)])
    return crops


def sample_cells(grid: tuple[int, ...], limit: int, seed: int) -> list[Cell]:
    """All cells of a small grid; of a large one the corners, the middles of the edges, and random others."""
    total = int(np.prod(grid))
    if total <= limit:
        return list(np.ndindex(*grid))
    chosen = dict.fromkeys(_landmarks(grid))
    rng = np.random.default_rng(seed)
    for flat in rng.permutation(total):
        if len(chosen) >= limit:
            break
        chosen[tuple(int(i) for i in np.unravel_index(flat, grid))] = None
    return list(chosen)


def _landmarks(grid: tuple[int, ...]) -> Iterator[Cell]:
    for ends in np.ndindex(*[3] * len(grid)):
        yield tuple((0, n // 2, n - 1)[e] for n, e in zip(grid, ends, strict=True))
