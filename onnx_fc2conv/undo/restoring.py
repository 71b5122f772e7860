"""Carry out a record: the original, from the converted model and what that says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from ..dtypes import numpy_type
from ..errors import UnreadableModel
from ..ops import Model
from ..places import place_of
from .bits import bits, listed, size_of, value_names, whole, with_data, without_data
from .left import left_where_it_is
from .recipes import Recipe
from .record import DAMAGE, METADATA_KEY, Lost, Record, Run, damaged
from .restored import IDENTICAL, RECORDED, SAMPLED, Edited, Restored, Row
from .skeleton import digest

LARGEST_TENSOR = 2**31 - 1  #: bytes; protobuf takes no larger field
HIDDEN = "a constant inside of a function or a branch"
MOST_NAMES = 4  #: that a note lists

TYPED: dict[int, tuple[str, Any]] = {
    TensorProto.FLOAT: ("float_data", np.float32),
    TensorProto.DOUBLE: ("double_data", np.float64),
    TensorProto.INT64: ("int64_data", np.int64),
    TensorProto.UINT64: ("uint64_data", np.uint64),
    TensorProto.UINT32: ("uint64_data", np.uint32),
    TensorProto.INT32: ("int32_data", np.int32),
    TensorProto.INT16: ("int32_data", np.int16),
    TensorProto.INT8: ("int32_data", np.int8),
    TensorProto.UINT16: ("int32_data", np.uint16),
    TensorProto.UINT8: ("int32_data", np.uint8),
    TensorProto.BOOL: ("int32_data", np.uint8),
    TensorProto.FLOAT16: ("int32_data", np.uint16),
    TensorProto.BFLOAT16: ("int32_data", np.uint16),
}  #: where a TensorProto has its values if not as raw bytes (onnx.proto, TensorProto)


def restore(model: Model) -> Restored | None:
    """The original of a converted model, as it was: nodes, names, weights, declared shapes, metadata.

    Args:
        model: the converted model; not changed.

    Returns:
        It, or ``None`` if the model does not say what it was made from.

    Raises:
        UsageError: what it says is damaged, or of a schema that this version does not know.
        Edited: its graph was edited after the conversion.
    """
    text = next((prop.value for prop in model.proto.metadata_props if prop.key == METADATA_KEY), None)
    if text is None:
        return None
    record = Record.from_text(text)
    if digest(model.proto, model.folder) != record.skeleton:
        raise Edited(
            "its graph was edited after the conversion, so what it says of its original does not hold any more"
        )
    try:
        return _Restoring(model, record).result()
    except (Edited, UnreadableModel):
        raise
    except DAMAGE as e:
        raise damaged(e) from e


@dataclass
class _Restoring:
    """One record being carried out."""

    model: Model
    record: Record
    sources: list[TensorProto] = field(init=False)
    changed: set[str] = field(default_factory=set)
    inexact: dict[str, str] = field(default_factory=dict)
    sampled: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.sources = listed(self.model.proto)

    def result(self) -> Restored:
        self._require_guarded()
        proto, record = ModelProto(), self.record
        proto.CopyFrom(record.frame)
        tensors, names = listed(proto), value_names(proto)
        for i, recipe in record.recipes.items():
            self._make(tensors[i], recipe, i in record.typed, names[i])
        for i, tensor in enumerate(tensors):
            if i not in record.recipes:
                _require_whole(tensor)
        mine, given = proto.graph, self.model.proto.graph
        _merge(mine.node, given.node, record.nodes)
        _merge(proto.functions, self.model.proto.functions, record.functions)
        _merge(mine.sparse_initializer, given.sparse_initializer, record.sparse)
        _merge(mine.initializer, given.initializer, record.initializers)
        rows = tuple(self._row(lost, proto) for lost in record.lost)
        return Restored(proto, RECORDED, record.trained, rows, tuple(self._notes(proto)), record.grids)

    def _require_guarded(self) -> None:
        for i, found in self.record.guards.items():
            values = bits(self.sources[i], self.model.folder)
            if values is None or whole(values) != found:
                name = self.sources[i].name
                raise Edited(
                    f"its tensor '{name}' was changed after the conversion, which the original has no place for"
                )

    def _make(self, target: TensorProto, recipe: Recipe, typed: bool, name: str) -> None:
        target.CopyFrom(without_data(target))
        source = recipe.source.tensors(self.sources)[0]
        fits = recipe.source.fits(target, self.sources) and size_of(target) <= LARGEST_TENSOR
        values = recipe.source.bits(self.sources, self.model.folder) if fits else None
        if values is None:
            raise ValueError(f"tensor '{target.name}' cannot be made")
        trusted = recipe.unchanged(values)
        if not trusted:
            if recipe.exactly and recipe.divisor is None:
                raise Edited(
                    f"its weight '{source.name}' was changed after the conversion, and it is not known how it moved"
                )
            self.changed.add(name or HIDDEN)
        elif not recipe.compares_all(values):
            self.sampled.add(name or HIDDEN)
        if recipe.divisor is not None and (not trusted or recipe.residual == b""):
            self.inexact[name or HIDDEN] = f"divided by the factor {recipe.divisor:g} that was folded into it"
        if recipe.source.dims is None and not recipe.moves and recipe.divisor is None:
            with_data(target, source)
            return
        if trusted and not typed and left_where_it_is(target, recipe, source, self.model.folder):
            return
        made = recipe.made(values, numpy_type(target.data_type), trusted)
        _fill(target, made, typed)

    def _row(self, lost: Lost, proto: ModelProto) -> Row:
        needed = _behind(lost.weight, proto)
        if needed == {lost.weight} and lost.weight not in {t.name for t in proto.graph.initializer}:
            needed.add(HIDDEN)  # it is one of what was written out
        how = [self.inexact[name] for name in needed if name in self.inexact]
        changed = any(name in self.changed for name in needed)
        same = SAMPLED if any(name in self.sampled for name in needed) else IDENTICAL
        text = how[0] if how else "the values that it has now" if changed else same
        return Row(lost.node, lost.replaced, lost.weight, lost.dims, text)

    def _notes(self, proto: ModelProto) -> Iterator[str]:
        if self.changed:
            names = sorted(self.changed)
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            shown = ", ".join(f"'{name}'" for name in names[:MOST_NAMES])
            yield f"changed after the conversion, so they come back as they are now: {shown}{more}"
        if self.inexact:
            yield f"not every bit could be had back of {', '.join(repr(name) for name in sorted(self.inexact))}"
        if any(_in_data_file(t) for t in listed(proto)):
            yield "weights that lay in a data file of the original lie in the converted model's"


def _in_data_file(tensor: TensorProto) -> bool:
    place = place_of(tensor)
    return tensor.data_location == TensorProto.EXTERNAL and (place is None or not place.inline)


def _merge(frame: Any, given: Any, runs: list[Run]) -> None:
    """Put a list together from what is stored, in order, and what the converted model has.

    Raises:
        ValueError: the runs are not about these lists.
    """
    stored = list(frame)
    if sum(count for _, count in runs) > len(stored) + len(given):
        raise ValueError("it lists more than there is")
    merged: list[Any] = []
    taken = 0
    for start, count in runs:
        if start < 0:
            merged += stored[taken : taken + count]
            taken += count
        elif start + count > len(given):
            raise ValueError("it lists more than there is")
        else:
            merged += given[start : start + count]
    if taken != len(stored) or len(merged) != sum(count for _, count in runs):
        raise ValueError("it lists more or less than it stores")
    copies = [type(item).FromString(item.SerializeToString()) for item in merged]
    del frame[:]
    frame.extend(copies)


def _fill(target: TensorProto, values: np.ndarray, typed: bool) -> None:
    if typed and target.data_type in TYPED:
        name, dtype = TYPED[target.data_type]
        getattr(target, name).extend(values.view(dtype).tolist())
    else:
        packed = numpy_helper.from_array(values.view(numpy_type(target.data_type)))
        target.raw_data = packed.raw_data


def _require_whole(tensor: TensorProto) -> None:
    """A tensor that is stored must have as many values as its dims say."""
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ValueError(f"tensor '{tensor.name}' cannot be stored outside")
    if any(d < 0 for d in tensor.dims):
        raise ValueError(f"tensor '{tensor.name}' has dims {list(tensor.dims)}")
    if size_of(tensor) > len(tensor.raw_data) + 8 * tensor.ByteSize():
        raise ValueError(f"tensor '{tensor.name}' has fewer values than its dims need")
    numpy_helper.to_array(tensor)


def _behind(name: str, proto: ModelProto) -> set[str]:
    """The names of the tensors that a weight is computed from, and its own."""
    producer: dict[str, NodeProto] = {o: n for n in proto.graph.node for o in n.output}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in found or not name:
            continue
        found.add(name)
        if name in producer:
            waiting += producer[name].input
    return found
