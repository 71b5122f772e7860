"""Weights that were left in a file: it is known how they move, so nothing but a sample of them is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from ..dtypes import numpy_type
from ..places import RAW_DATA, Place, View, place_of, scaled
from ..tensors import moved, where
from .bits import bits, digest_of, sampled, size_of
from .moves import Move
from .recipes import Recipe, same_values
from .sources import Source

LARGEST_DIVIDED = 2**24  #: bytes; of larger weights that a factor was folded into, not every quotient is looked at


def known(target: TensorProto, source: Source, stored: list[TensorProto], folder: str) -> Recipe | None:
    """The recipe of a tensor whose bytes the converted model's has too, in the same place of the same file.

    Args:
        target: the original's.
        source: the converted model's.
        stored: the tensors that ``source`` is among.
        folder: where external data lies.
    """
    found = source.tensors(stored)[0]
    if source.dims is not None or TensorProto.EXTERNAL not in (target.data_location, found.data_location):
        return None
    if target.data_location != found.data_location or target.data_type != found.data_type:
        return None
    old, new = where(target, folder), where(found, folder)
    if old != replace(new, view=None, said=old.said, version=old.version):
        return None
    if new.view is None:
        values = bits(found, folder)
        return None if values is None else same_values(source, values)
    if new.view.factor != 1 and size_of(found) <= LARGEST_DIVIDED:
        return None  # every quotient is held against the original's
    back = Move.of(tuple(new.view.dims[a] for a in new.view.perm), tuple(int(i) for i in np.argsort(new.view.perm)))
    recipe = Recipe(source, back.dims, back.perm) if back.moves else Recipe(source)
    if new.view.factor != 1:
        recipe = replace(recipe, divisor=new.view.factor, residual=b"")
    return replace(recipe, digest=_sample(new, new.view, found))


def _sample(place: Place, view: View, tensor: TensorProto) -> str:
    """The digest that ``bits.sample`` will give of the values, once they are written."""
    dtype = numpy_type(tensor.data_type)
    move, count = Move(view.dims, view.perm), place.length // dtype.itemsize
    with open(place.open(), "rb", buffering=0) as f:

        def at(position: int) -> bytes:
            f.seek(place.offset + position * dtype.itemsize)
            return f.read(dtype.itemsize)

        def block(which: slice) -> np.ndarray:
            positions = move.at(np.arange(which.start, which.stop))
            values = np.frombuffer(b"".join(at(int(i)) for i in positions), dtype.newbyteorder("<"))
            return scaled(values, view.factor)

        return digest_of(block(which) for which in sampled(count))


def left_where_it_is(target: TensorProto, recipe: Recipe, source: TensorProto, folder: str) -> bool:
    """Make a tensor of the original of a large one that is in a file, without reading it; false if that cannot be.

    Args:
        target: it, with its dims.
        recipe: how it is made.
        source: the converted model's.
        folder: where external data lies.
    """
    plain = recipe.order is None and recipe.divisor is None and not recipe.residual
    if recipe.dims is None or not plain:
        return False
    perm = recipe.perm[::-1] if recipe.back else recipe.perm
    made = moved(source, folder, View(recipe.dims, perm), tuple(target.dims))
    if made is None:
        return False
    del target.external_data[:]
    target.data_location = made.data_location
    target.external_data.extend(made.external_data)
    return True


def is_typed(tensor: TensorProto) -> bool:
    """Whether a tensor of a model file has its values in a typed field."""
    place = place_of(tensor)
    if place is not None:
        return place.inline and place.field != RAW_DATA
    return not tensor.HasField("raw_data") and tensor.data_location != TensorProto.EXTERNAL
