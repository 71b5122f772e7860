"""Make the record of a conversion, at its end, while the original is at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from ..conversion import Conversion
from ..dtypes import numpy_type
from ..ops import FULLY_CONNECTED, Op, title
from ..places import brought_in, place_of
from ..plan import Plan
from ..rewrite import Rewrite
from . import moves
from .bits import bits, inside, is_repeated, listed, size_of, value_names, whole, with_data, without_data
from .left import is_typed, known
from .recipes import Recipe, divided, same_values
from .record import METADATA_KEY, Lost, Record, Run
from .skeleton import digest
from .sources import Source, joined

SMALL = 4096  #: bytes; tensors up to this size are stored where there is no recipe
LARGEST_STORED = 2**20  #: bytes of larger ones, all in all


def remember(conversion: Conversion) -> None:
    """Write what is needed to get the original back into the metadata of a converted model, in place.

    Nothing is written where it would be too much: then the head can still be found in the graph.

    Args:
        conversion: it, with the model that it was given as ``original``.
    """
    proto = conversion.proto
    kept = [prop for prop in proto.metadata_props if prop.key != METADATA_KEY]
    if len(kept) < len(proto.metadata_props):
        rest = ModelProto(metadata_props=kept)
        del proto.metadata_props[:]
        proto.metadata_props.extend(rest.metadata_props)
    record = _Recorder(conversion).record()
    text = record.to_text() if record is not None else None
    if text is not None:
        proto.metadata_props.add(key=METADATA_KEY, value=text)


class _Recorder:
    """One conversion under comparison."""

    def __init__(self, conversion: Conversion) -> None:
        self._conversion, self._folder = conversion, conversion.plan.model.folder
        self._original, self._proto = conversion.original, conversion.proto
        self._new = listed(self._proto)
        self._positions = {t.name: i for i, t in enumerate(self._proto.graph.initializer)}
        self._names = [t.name for t in self._new]
        self._made_from = _sources(conversion.rewrite, self._positions)
        self._factors = dict(_factors(conversion.plan))
        self._room = LARGEST_STORED
        self._made: list[int] = []

    def record(self) -> Record | None:
        """All of it; ``None`` if a weight of the original is not in the converted model and too large to store."""
        original, proto, frame = self._original, self._proto, ModelProto()
        _copy_fields(original, frame, ("graph", "functions"))
        _copy_fields(original.graph, frame.graph, ("node", "initializer", "sparse_initializer"))
        nodes = _common(original.graph.node, proto.graph.node, frame.graph.node)
        functions = _common(original.functions, proto.functions, frame.functions)
        sparse = _common(
            original.graph.sparse_initializer, proto.graph.sparse_initializer, frame.graph.sparse_initializer
        )
        initializers = self._initializers(frame.graph)
        self._made = self._unlike(nodes, initializers)
        weights = self._weights(frame)
        if weights is None:
            return None
        recipes, typed = weights
        guards = self._guards(recipes)
        facts = [*_lost(self._conversion)], _trained(self._conversion), _grids(self._conversion)
        skeleton = digest(proto, self._folder)
        return Record(skeleton, frame, nodes, initializers, functions, sparse, recipes, typed, guards, *facts)

    def _initializers(self, frame: GraphProto) -> list[Run]:
        """Those that the converted model has unchanged are named, of the others only the values are left out."""
        stored = self._proto.graph.initializer
        runs: list[Run] = []
        for tensor in self._original.graph.initializer:
            position = self._positions.get(tensor.name)
            if position is not None and stored[position] == tensor:
                _append(runs, position)
            else:
                _append(runs, -1)
                frame.initializer.append(without_data(tensor))
        return runs

    def _weights(self, frame: ModelProto) -> tuple[dict[int, Recipe], list[int]] | None:
        """A recipe for every tensor of the frame that does not keep its values there, and which have typed fields."""
        recipes: dict[int, Recipe] = {}
        typed: list[int] = []
        originals = {t.name: t for t in self._original.graph.initializer}
        initializers = len(frame.graph.initializer)
        names = value_names(frame)
        for i, bare in enumerate(listed(frame)):
            tensor = originals[bare.name] if i < initializers else bare
            recipe = self._recipe(tensor, names[i])
            if recipe is not None:
                recipes[i] = recipe
                if is_typed(tensor):
                    typed.append(i)
                bare.CopyFrom(without_data(tensor))
            elif not self._may_store(tensor):
                return None
            elif place_of(tensor) is not None:
                bare.CopyFrom(brought_in(tensor))
            elif tensor.data_location == TensorProto.EXTERNAL:
                values = bits(tensor, self._folder)
                bare.CopyFrom(without_data(tensor))
                bare.raw_data = b"" if values is None else values.tobytes()
            elif i < initializers:
                with_data(bare, tensor)
        return recipes, typed

    def _recipe(self, target: TensorProto, name: str) -> Recipe | None:
        made = self._made_from.get(name, [])
        if not made and size_of(target) <= SMALL:
            return None
        for source, _ in made:
            recipe = known(target, source, self._new, self._folder)
            if recipe is not None:
                return recipe
        for source, same in made:
            if same and source.fits(target, self._new) and self._conversion.plan.model.proto is self._original:
                values = source.bits(self._new, self._folder)
                return None if values is None else same_values(source, values)
        others = (Source((i,)) for i in self._made)
        for source in (*(source for source, _ in made), *others):
            if source.fits(target, self._new):
                recipe = self._by_moving(target, source, self._factors.get(name))
                if recipe is not None:
                    return recipe
        return None

    def _by_moving(self, target: TensorProto, source: Source, factor: float | None) -> Recipe | None:
        wanted, values = bits(target, self._folder), source.bits(self._new, self._folder)
        if wanted is None or values is None or wanted.size != values.size:
            return None
        dims = tuple(target.dims), self._kernel_dims(source)
        found = moves.find(wanted, dims[0], values, dims[1], source)
        dtype = numpy_type(target.data_type)
        if found is None and factor is not None and dtype.kind == "f":
            same = partial(nearly, dtype=dtype, divisor=factor)
            found = moves.find(wanted, dims[0], values, dims[1], source, same)
            found = divided(wanted, values, found, factor, dtype) if found is not None else None
        return found

    def _kernel_dims(self, source: Source) -> tuple[int, ...]:
        """Dims of a source; of a kernel that has other dims now those that show how its values moved."""
        if source.dims is None:
            name = self._names[source.positions[0]]
            if name in self._conversion.rewrite.kernel_dims:
                return self._conversion.rewrite.kernel_dims[name]
        return source.shape(self._new)

    def _may_store(self, tensor: TensorProto) -> bool:
        """Whether there is room for its values."""
        size = size_of(tensor) or tensor.ByteSize()
        self._room -= size if size > SMALL else 0
        return size <= SMALL or self._room >= 0

    def _unlike(self, nodes: list[Run], initializers: list[Run]) -> list[int]:
        """The tensors of the converted model that are not the original's: what the conversion made."""
        used, kept = _covered(initializers), _covered(nodes)
        position = len(self._proto.graph.initializer)
        for i, node in enumerate(self._proto.graph.node):
            count = sum(1 for _ in inside(node))
            used |= set(range(position, position + count)) if i in kept else set()
            position += count
        return [i for i in range(position) if i not in used]

    def _guards(self, recipes: dict[int, Recipe]) -> dict[int, str]:
        """Digests of what the conversion made and no recipe is about: were it changed, the original is another."""
        used = {i for recipe in recipes.values() for i in recipe.source.positions}
        values = {i: bits(self._new[i], self._folder) for i in self._made if i not in used}
        return {i: whole(found) for i, found in values.items() if found is not None}


def _sources(rewrite: Rewrite, positions: dict[str, int]) -> dict[str, list[tuple[Source, bool]]]:
    """By the name of each old constant what was made from it, and whether that has the very same bytes."""
    found: dict[str, list[tuple[Source, bool]]] = {}
    for name, old in rewrite.made_from.items():
        if name in positions:
            found.setdefault(old, []).append((Source((positions[name],)), name in rewrite.same_bytes))
    cut: dict[tuple[str, tuple[int, ...]], list[tuple[int, tuple[int, ...]]]] = {}
    for name, tile in rewrite.tiles.items():
        if name in positions:
            cut.setdefault((tile.of, tile.dims), []).append((positions[name], tile.starts))
    for (of, dims), parts in cut.items():
        old = rewrite.made_from.get(of, of)
        found.setdefault(old, []).append((joined(parts, dims), of in rewrite.same_bytes or of == old))
    return found


def _copy_fields(source: Any, target: Any, without: tuple[str, ...]) -> None:
    """Copy a message field by field, except for some."""
    for field, value in source.ListFields():
        if field.name in without:
            continue
        if isinstance(value, (bytes, str, int, float)):
            setattr(target, field.name, value)
        elif is_repeated(field):
            getattr(target, field.name).extend(value)
        else:
            getattr(target, field.name).CopyFrom(value)


def _common(original: Iterable[Any], converted: Iterable[Any], frame: Any) -> list[Run]:
    """The original's items as runs of the converted model's; what that does not have goes to the frame."""
    places: dict[bytes, list[int]] = {}
    for i, item in enumerate(converted):
        places.setdefault(_key(item), []).append(i)
    runs: list[Run] = []
    for item in original:
        found = places.get(_key(item))
        if found:
            _append(runs, found.pop(0))
        else:
            _append(runs, -1)
            frame.append(item)
    return runs


def _key(item: Any) -> bytes:
    return hashlib.sha256(item.SerializeToString(deterministic=True)).digest()


def _append(runs: list[Run], position: int) -> None:
    """One item more; -1 for one that is stored."""
    if runs and (runs[-1][0] == position == -1 or (runs[-1][0] != -1 and position == sum(runs[-1]))):
        runs[-1] = (runs[-1][0], runs[-1][1] + 1)
    else:
        runs.append((position, 1))


def _covered(runs: list[Run]) -> set[int]:
    return {i for start, count in runs if start >= 0 for i in range(start, start + count)}


def _factors(plan: Plan) -> Iterator[tuple[str, float]]:
    """Factors that an FC has for its constants, which the conversion multiplies with them."""
    for op in plan.head:
        for i, factor in ((0, op.attr("alpha")), (1, op.attr("alpha")), (2, op.attr("beta"))):
            if factor not in (None, 0, 1) and i < len(op.inputs):
                yield op.inputs[i], float(factor)


def nearly(a: np.ndarray, b: np.ndarray, dtype: np.dtype, divisor: float) -> bool:
    """Whether values are others times a factor, but for rounding."""
    eps = float(np.finfo(dtype).eps)
    with np.errstate(all="ignore"):
        quotients, values = a.view(dtype).astype(np.float64) / divisor, b.view(dtype).astype(np.float64)
        close: np.ndarray = np.abs(quotients - values) <= 2 * eps * np.abs(values) + np.finfo(dtype).tiny
    return bool((close | (quotients == values) | np.isnan(values) & np.isnan(quotients)).all())


def _lost(conversion: Conversion) -> Iterator[Lost]:
    """The FC nodes that the conversion has replaced."""
    for op in conversion.plan.model.ops:
        nodes = conversion.rewrite.replaced.get(op.index, [])
        if op.op_type in FULLY_CONNECTED and nodes:
            name, dims = _weight(conversion.plan, op)
            yield Lost(str(op), tuple(title(n) for n in nodes if _is_product(n)), name, dims)


def _weight(plan: Plan, op: Op) -> tuple[str, tuple[int, ...]]:
    """The constant that an FC multiplies with, and its dims."""
    for i in reversed(op.multiplied):
        array = plan.constants.get(op.inputs[i])
        if array is not None:
            return op.inputs[i], array.shape
    return "", ()


def _is_product(node: NodeProto) -> bool:
    return node.op_type in ("Conv", "ConvInteger", "QLinearConv", "FusedConv", "Gemm")


def _trained(conversion: Conversion) -> dict[str, tuple[int | None, ...]]:
    """Dims of the original's inputs, with the trained size where they say none."""
    graph, images = conversion.original.graph, {image.name: image for image in conversion.plan.images}
    stored = {t.name for t in graph.initializer}
    found: dict[str, tuple[int | None, ...]] = {}
    for value in graph.input:
        if value.name in stored or not value.type.HasField("tensor_type"):
            continue
        dims = [d.dim_value if d.dim_value > 0 else None for d in value.type.tensor_type.shape.dim]
        if value.name in images:
            image = images[value.name]
            for position, axis in zip(image.spatial, image.axes, strict=True):
                dims[position] = axis.trained
        found[value.name] = tuple(dims)
    return found


def _grids(conversion: Conversion) -> dict[str, int]:
    """The grid axes of the converted model's outputs."""
    return {
        value.name: conversion.rewrite.values[value.name].grid_rank
        if value.name in conversion.geometry.outputs and value.name not in conversion.forms
        else 0
        for value in conversion.original.graph.output
    }
