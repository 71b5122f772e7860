"""By which permutation of its axes a tensor became another one: found by trying, held against every bit.

What an FC's weight goes through on its way to a kernel is a matrix transposed (``transB=0``), features in another
order (H, W, C), or both, so it is a permutation of the axes of the kernel ``[M, C, h, w]``, or of the weight where that
has more of them. Where features are listed in no such order (a channel shuffle behind the flattening), the columns of
both are matched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from math import prod

import numpy as np

from .bits import sample, whole
from .recipes import Recipe, packed_order
from .sources import Source

MOST_AXES = 6  #: 720 permutations
LARGEST_MATCHED = 2**27  #: elements; the columns of a larger matrix are not matched
PROBED = 64  #: elements of a large tensor that are compared before all are
LARGE = 4096  #: elements; comparing all of fewer is quicker than finding out which to probe

Same = Callable[[np.ndarray, np.ndarray], bool]


@dataclass(frozen=True)
class Move:
    """``source.reshape(dims).transpose(perm)``, no axis of size 1, and no two of them side by side in both."""

    dims: tuple[int, ...]
    perm: tuple[int, ...]

    @classmethod
    def of(cls, dims: tuple[int, ...], perm: tuple[int, ...]) -> Move:
        """The simplest that moves elements in the same way."""
        groups: list[list[int]] = []
        for axis in perm:
            if groups and axis == groups[-1][-1] + 1:
                groups[-1].append(axis)
            else:
                groups.append([axis])
        in_source = sorted(groups)
        return cls(
            tuple(prod(dims[a] for a in group) for group in in_source),
            tuple(in_source.index(group) for group in groups),
        )

    @property
    def moves(self) -> bool:
        """False where every element stays where it is."""
        return len(self.perm) > 1

    def at(self, positions: np.ndarray) -> np.ndarray:
        """From which flat positions of the source the elements at these flat positions of the target come."""
        if not self.dims:
            return positions
        places = np.unravel_index(positions, [self.dims[a] for a in self.perm])
        back = [places[self.perm.index(a)] for a in range(len(self.dims))]
        found: np.ndarray = np.ravel_multi_index(back, self.dims)
        return found


def candidates(target: tuple[int, ...], source: tuple[int, ...]) -> Iterator[Move]:
    """Every move by whole axes of either, each once."""
    seen: set[Move] = set()
    whole_source = tuple(n for n in source if n != 1)
    whole_target = tuple(n for n in target if n != 1)
    if len(whole_source) <= MOST_AXES:
        for perm in permutations(range(len(whole_source))):
            seen.add(move := Move.of(whole_source, perm))
            yield move
    if len(whole_target) <= MOST_AXES:
        for perm in permutations(range(len(whole_target))):
            dims = tuple(whole_target[a] for a in perm)
            move = Move.of(dims, tuple(perm.index(a) for a in range(len(perm))))
            if move not in seen:
                seen.add(move)
                yield move


def find(
    target: np.ndarray,
    target_dims: tuple[int, ...],
    values: np.ndarray,
    source_dims: tuple[int, ...],
    source: Source,
    same: Same = np.array_equal,
) -> Recipe | None:
    """The recipe of a tensor that is another one with its elements moved.

    Args:
        target: its elements, flat.
        target_dims: its dims.
        values: the other's elements, flat.
        source_dims: the other's dims.
        source: what it is of the converted model.
        same: whether elements are; bit for bit by default.

    Returns:
        The recipe; ``None`` if there is none. Where several give the same bits (weights that are all equal) it holds
        for these values only.
    """
    probes = np.unique(np.linspace(0, target.size - 1, PROBED).astype(np.int64)) if target.size > LARGE else None
    found: list[Move] = []
    for move in dict.fromkeys(candidates(target_dims, source_dims)):
        if probes is not None and not same(values[move.at(probes)], target[probes]):
            continue
        if same(_moved(values, move), target):
            found.append(move)
            if len(found) > 1:
                break
    if not found:
        return _by_columns(target, target_dims, values, source_dims, source) if same is np.array_equal else None
    move = next((m for m in found if not m.moves), found[0])
    recipe = Recipe(source, move.dims, move.perm) if move.moves else Recipe(source)
    exactly = len(found) > 1
    return replace(recipe, digest=(whole if exactly else sample)(values), exactly=exactly)


def _moved(values: np.ndarray, move: Move) -> np.ndarray:
    moved: np.ndarray = values.reshape(move.dims).transpose(move.perm).reshape(-1)
    return moved


def _by_columns(
    target: np.ndarray, target_dims: tuple[int, ...], values: np.ndarray, source_dims: tuple[int, ...], source: Source
) -> Recipe | None:
    """Features listed in any order: of a matrix, and a kernel whose first axis is that of the matrix's units."""
    matrix = tuple(n for n in target_dims if n != 1)
    if len(matrix) != 2 or not source_dims or source_dims[0] not in matrix or target.size > LARGEST_MATCHED:
        return None
    units = source_dims[0]
    dims = (units, values.size // units)
    columns = np.ascontiguousarray(values.reshape(dims).T)
    places: dict[bytes, int] = {}
    for i, column in enumerate(columns):
        places.setdefault(column.tobytes(), i)
    for back in (False, True):
        if matrix != (dims[::-1] if not back else dims):
            continue
        wanted = target.reshape(matrix).T if back else target.reshape(matrix)
        order = [places.get(np.ascontiguousarray(row).tobytes(), -1) for row in wanted]
        if min(order) >= 0:
            exactly = len(places) < len(columns)
            digest = (whole if exactly else sample)(values)
            return Recipe(source, dims, (1, 0), packed_order(order), back, digest=digest, exactly=exactly)
    return None
