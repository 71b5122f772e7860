"""The elements of a tensor in a file, listed in another order, in blocks: at about the speed of memory.

A transposed matrix is the hard case. Read row by row it is written a few bytes at a time, all over the file; written
row by row it is read so. So a strip of columns is turned in memory: it is read in blocks of rows that fit the cache,
each copied once to a place where its rows do not start at multiples of a power of two (where they would all compete for
the same few lines of the cache), and from there to the strip, which is written in one piece.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from math import prod

import numpy as np
from onnx import helper

from ..places import Place, View, scaled

STRIP = 2**25  #: bytes that are turned in memory and written at once
TILE = 2**18  #: bytes that fit the cache
PADDING = 64  #: bytes between the rows of a tile: a line of the cache

Index = tuple["int | slice", ...]


def moved(place: Place, view: View, elem_type: int) -> Iterator[np.ndarray]:
    """The values of a view of a tensor, flat, in blocks; each is to be used before the next is asked for.

    Args:
        place: where the stored values are; raw, and of a type whose elements are whole bytes.
        view: what is to be listed.
        elem_type: ``TensorProto.DataType``.
    """
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type)).newbyteorder("<")
    if not prod(view.dims):
        return
    start = place.offset - place.offset % mmap.ALLOCATIONGRANULARITY
    with open(place.open(), "rb") as f:
        size = place.offset + place.length - start
        mapped = mmap.mmap(f.fileno(), size, access=mmap.ACCESS_READ, offset=start)  # goes with the last view of it
    dims, perm = merged(view.dims, view.perm)
    stored = np.frombuffer(mapped, dtype, prod(dims), place.offset - start).reshape(dims)
    room = np.empty(0, dtype)
    for index in _strips(dims, perm, dtype.itemsize):
        part = stored[index]
        room = np.empty(part.size, dtype) if room.size < part.size else room
        _turn(part, room[: part.size].reshape([part.shape[a] for a in perm]), perm, mapped)
        yield scaled(room[: part.size], view.factor)


def merged(dims: tuple[int, ...], perm: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same permutation of as few axes as there can be."""
    kept = [a for a in range(len(dims)) if dims[a] != 1]
    groups: list[list[int]] = []
    for axis in (a for a in perm if dims[a] != 1):
        if groups and kept.index(axis) == kept.index(groups[-1][-1]) + 1:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    in_source = sorted(groups)
    return tuple(prod(dims[a] for a in g) for g in in_source), tuple(in_source.index(g) for g in groups)


def _strips(dims: tuple[int, ...], perm: tuple[int, ...], itemsize: int) -> Iterator[Index]:
    """What is turned at once, as an index into the stored values, in the order in which it is written."""
    listed = [dims[a] for a in perm]
    lead = 0
    while lead < len(listed) - 1 and prod(listed[lead + 1 :]) * itemsize > STRIP:
        lead += 1
    step = max(1, STRIP // max(1, prod(listed[lead + 1 :]) * itemsize))
    for front in np.ndindex(*listed[:lead]):
        for start in range(0, listed[lead] if listed else 1, step):
            index: list[int | slice] = [slice(None)] * len(dims)
            for axis, i in zip(perm, front, strict=False):
                index[axis] = slice(i, i + 1)
            if listed:
                index[perm[lead]] = slice(start, start + step)
            yield tuple(index)


def _turn(part: np.ndarray, turned: np.ndarray, perm: tuple[int, ...], mapped: mmap.mmap) -> None:
    """Write a part of the stored values with its axes in another order; pages that are done with are let go."""
    if part.ndim < 2:
        turned[...] = part
        return
    into = turned.transpose(np.argsort(perm))
    rows = max(1, TILE // (part[:1].nbytes or 1))
    tile = np.empty((min(rows, len(part)), *part.shape[1:-1], part.shape[-1] + PADDING // part.itemsize), part.dtype)
    for start in range(0, len(part), rows):
        block = part[start : start + rows]
        copied = tile[: len(block), ..., : part.shape[-1]]
        copied[...] = block
        into[start : start + rows] = copied
        _let_go(mapped)


def _let_go(mapped: mmap.mmap) -> None:
    """Tell the system that no page of the file is needed now, so that what was read does not count as memory in use."""
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is not None:
        mapped.madvise(advice)
