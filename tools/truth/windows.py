"""Answers on the windows of an enlarged image: the exact ones, the original's, and the converted model's.

Where a conversion is exact a window is a crop of the image, else one of the feature map, which the original's own
backbone makes of the image, in double precision for the exact answer. Nothing of it comes from the converted model.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

import numpy as np
from onnx import ModelProto, ValueInfoProto
from onnx.helper import tensor_dtype_to_np_dtype

import onnx_fc2conv as fc2conv

from .doubled import Exact, NotEvaluated, Values
from .parts import cut
from .single import Runs, Single

Cell = tuple[int, ...]
Looked = tuple[Values, tuple[Values, Values]]  #: exact, and in the model's own precision: as written, optimised


@dataclass(frozen=True)
class Pair:
    """A model and what it was converted to, whoever did that.

    Attributes:
        original, converted: the models, all tensors inside.
        geometry: of the converted model.
        exact: cells are the original on image crops.
        maps: the feature maps that heads stand behind.
        load: what runs the models in their own precision.
    """

    original: ModelProto
    converted: ModelProto
    geometry: fc2conv.Geometry
    exact: bool
    maps: tuple[str, ...]
    load: Callable[[ModelProto], Runs] = Single

    @classmethod
    def of(cls, original: ModelProto) -> Pair:
        """Convert a model; raises what ``fc2conv.convert`` raises."""
        result = fc2conv.convert(original, verify=False)
        maps = tuple(dict.fromkeys(head.feature_map for head in result.report.heads))
        return cls(original, result.model, result.geometry, result.report.verdict == "exact", maps)


@dataclass(frozen=True)
class Answer:
    """One output in one cell, or at the trained size: exact, and both ways of each model."""

    name: str
    exact: np.ndarray
    original: tuple[np.ndarray, ...]
    converted: tuple[np.ndarray, ...]


def at_trained_size(pair: Pair, batch: int, random: np.random.Generator) -> Iterator[Answer]:
    """Every output, of one batch of random images.

    Raises:
        NotEvaluated: one of both does not run, or not in double precision.
    """
    feeds = {v.name: drawn(v, sizes_of(v, batch), random) for v in inputs_of(pair.original)}
    originals, converted = pair.load(pair.original).run(feeds), pair.load(pair.converted).run(feeds)
    for name, exact in Exact(pair.original).run(feeds).items():
        answers = tuple(c[name].reshape(exact.shape) for c in converted)
        yield Answer(name, exact, tuple(o[name] for o in originals), answers)


def in_cells(pair: Pair, batch: int, cells: int, random: np.random.Generator) -> Iterator[Answer]:
    """Every output that has a grid, in so many cells of the grid of one enlarged image.

    Raises:
        NotEvaluated: there is no such image, or the windows of it cannot be told from the original alone.
    """
    inputs = inputs_of(pair.original)
    if len(inputs) != 1:
        raise NotEvaluated("several inputs")
    try:
        grid = pair.geometry.grid
    except ValueError as e:
        raise NotEvaluated("outputs with different grids") from e
    if grid.whole_image:
        raise NotEvaluated("one answer whatever the size is")
    axes, sizes = _freed(inputs[0], inputs_of(pair.converted)[0]), sizes_of(inputs[0], batch)
    for n, axis, stride, step in zip((1, 2, 1), axes, grid.stride, grid.step, strict=False):
        sizes[axis] += n * lcm(stride, step)
    image = drawn(inputs[0], sizes, random)
    converted = pair.load(pair.converted).run({inputs[0].name: image})
    counts = grid.grid_size(tuple(sizes[a] for a in axes))
    look = image_crops(pair, image, axes) if pair.exact else map_crops(pair, image, axes, counts)
    for cell in _sample(counts, cells, random):
        place: Any = (..., *cell)
        exact, originals = look(cell)
        for name, true in exact.items():
            if converted[0][name].ndim == true.ndim + len(counts):
                answers = tuple(c[name][place] for c in converted)
                yield Answer(name, true, tuple(o[name] for o in originals), answers)


def image_crops(pair: Pair, image: np.ndarray, axes: list[int]) -> Callable[[Cell], Looked]:
    """The original on the crop of the image that a cell belongs to."""
    (value,) = inputs_of(pair.original)
    exact, single, grid = Exact(pair.original), pair.load(pair.original), pair.geometry.grid

    def look(cell: Cell) -> Looked:
        box = grid.box(*cell)
        feeds = {value.name: _part(image, axes, box[: len(cell)], box[len(cell) :])}
        return exact.run(feeds), single.run(feeds)

    return look


def map_crops(pair: Pair, image: np.ndarray, axes: list[int], counts: Cell) -> Callable[[Cell], Looked]:
    """The original's head on a window of the feature map that the original's backbone makes of the image."""
    if len(pair.maps) != 1:
        raise NotEvaluated("heads over several feature maps")
    (name,), (value,) = pair.maps, inputs_of(pair.original)
    backbone = cut(pair.original, [value.name], [name])
    head = cut(pair.original, [name], [o.name for o in pair.original.graph.output])
    runs = pair.load(backbone)
    trained = _part(image, axes, [0] * len(axes), pair.geometry.grid.trained_size)
    window = runs.run({value.name: trained})[0][name].shape
    maps = [Exact(backbone).run({value.name: image}), *runs.run({value.name: image})]
    along = [i for i, (a, b) in enumerate(zip(window, maps[0][name].shape, strict=True)) if a != b]
    found = [maps[0][name].shape[i] - window[i] + 1 for i in along]
    if sorted(found) != sorted(counts):
        raise NotEvaluated("the grid is not that of the windows of one feature map")
    turned = found != list(counts)  # the map has its width first
    exact, single = Exact(head), pair.load(head)

    def look(cell: Cell) -> Looked:
        starts = cell[::-1] if turned else cell
        ends = [a + window[i] for a, i in zip(starts, along, strict=True)]
        feeds = [{name: _part(values[name], along, starts, ends)} for values in maps]
        return exact.run(feeds[0]), single.run(*feeds[1:])

    return look


def inputs_of(model: ModelProto) -> list[ValueInfoProto]:
    """The inputs that are no initializers."""
    stored = {t.name for t in model.graph.initializer}
    return [v for v in model.graph.input if v.name not in stored]


def sizes_of(value: ValueInfoProto, batch: int) -> list[int]:
    """The declared shape of an input, with a batch where dims are open."""
    return [d.dim_value or batch for d in value.type.tensor_type.shape.dim]


def drawn(value: ValueInfoProto, sizes: list[int], random: np.random.Generator) -> np.ndarray:
    """Normally distributed values for an input."""
    dtype = np.dtype(tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    if dtype not in (np.float32, np.float16):
        raise NotEvaluated(f"an input of {dtype}")
    return random.standard_normal(sizes).astype(dtype)


def _freed(before: ValueInfoProto, after: ValueInfoProto) -> list[int]:
    """The axes of an input whose size the conversion has freed."""
    dims = zip(before.type.tensor_type.shape.dim, after.type.tensor_type.shape.dim, strict=True)
    return [i for i, (a, b) in enumerate(dims) if a.dim_value and not b.dim_value]


def _sample(counts: Cell, cells: int, random: np.random.Generator) -> list[Cell]:
    """The corners first, then others."""
    corners = list(dict.fromkeys(itertools.product(*((0, n - 1) for n in counts))))
    inner = [c for c in itertools.product(*map(range, counts)) if c not in corners]
    random.shuffle(inner)
    return [*corners, *inner][: max(cells, 1)]


def _part(values: np.ndarray, axes: list[int], starts: Sequence[int], ends: Sequence[int]) -> np.ndarray:
    index = [slice(None)] * values.ndim
    for axis, a, b in zip(axes, starts, ends, strict=True):
        index[axis] = slice(a, b)
    return np.ascontiguousarray(values[tuple(index)])
