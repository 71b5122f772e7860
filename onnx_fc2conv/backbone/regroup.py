"""What a Reshape does to the meaning of the axes: which of them it keeps, splits and merges.

A Reshape keeps the order of the values, so its axes and its input's cover the same runs of values: walking along both
shapes side by side, every axis of the result is a product of whole axes of the input, or of factors of them. Only a
factor of a spatial axis can be read in two ways: a map of 28 rows as ``[14, 2]`` is blocks of 2 rows, as many as there
are, or 14 parts, of as many rows as there are. Who asks for a split is told which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from ..geometry import Axis
from ..plan import Dim, Dims, Merged, Part, size

Split = Callable[[Axis, int, int], tuple[int | Axis, int | Axis]]  #: an axis, its outer factor, place in the target


def regroup(dims: Dims, target: Sequence[int], batch: int, split: Split | None = None) -> Dims | None:
    """The dims of a value that is reshaped.

    1. Numbers of features are split and merged freely: they are the same at every size.
    2. The batch, where it is one image, is the first axis of size 1 that can be it, or a part of the next axis.
    3. A spatial axis stays whole, is merged with its neighbours, or is split as ``split`` says.

    Args:
        dims: of the value.
        target: its new shape at the trained size, without 0 and -1.
        batch: number of images.
        split: the two factors of a spatial axis; ``None`` where none may be split.

    Returns:
        The dims, or ``None`` if axes do not correspond.
    """
    atoms = _atoms(dims)
    if atoms is None or prod(target) != prod(size(d, batch) for d in dims):
        return tuple(dims) if list(target) == [size(d, batch) for d in dims] else None
    result: list[Dim] = []
    for place, wanted in enumerate(target):
        parts: list[Dim] = []
        if atoms and atoms[0] == "batch" and batch == 1:
            parts.append(atoms.pop(0))
        rest = wanted
        while rest > 1:
            if not atoms:
                return None
            atom, n = atoms[0], size(atoms[0], batch)
            if rest % n == 0:
                parts.append(atoms.pop(0))
                rest //= n
                continue
            if n % rest or atom == "batch":
                return None
            if isinstance(atom, Axis):
                if split is None:
                    return None
                outer, inner = split(atom, rest, place)
            else:
                outer, inner = rest, n // rest
            parts.append(outer)
            atoms[0] = inner
            rest = 1
        result.append(merged(parts))
    return None if atoms else tuple(result)


def _atoms(dims: Dims) -> list[Dim] | None:
    """The factors of all axes in order, without ones; ``None`` if a spatial axis has one cell at the trained size.

    An axis of one cell that is more at other sizes cannot be told from an axis of size 1.
    """
    atoms: list[Dim] = []
    for part in (p for d in dims for p in (d.parts if isinstance(d, Merged) else (d,))):
        if isinstance(part, Axis) and part.law.is_constant:
            part = part.size
        elif isinstance(part, Axis) and part.size == 1:
            return None
        if part != 1:
            atoms.append(part)
    return atoms


def merged(parts: Sequence[Dim]) -> Dim:
    """Several dims as one axis."""
    joined: list[Dim] = []
    for part in (p for d in parts for p in (d.parts if isinstance(d, Merged) else (d,)) if p != 1):
        if joined and isinstance(joined[-1], int) and isinstance(part, int):
            joined[-1] *= part
        else:
            joined.append(part)
    if len(joined) < 2:
        return joined[0] if joined else 1
    return Merged(tuple(p for p in joined if not isinstance(p, Merged)))


def keeps_axes(before: Dims, after: Dims | None) -> bool:
    """True if every spatial axis is one of the result too, not split, beside features; each cell may be several."""
    if after is None or not any(isinstance(d, int) for d in after):
        return False
    axes, kept = ([(d.source, d.index) for d in dims if isinstance(d, Axis)] for dims in (before, map(unmerged, after)))
    return axes == kept


def unmerged(dim: Dim) -> Dim:
    """``Merged(axis, r)`` as the axis that it is: r cells for each; what is merged otherwise stays."""
    if isinstance(dim, Merged) and len(dim.parts) == 2:
        axis, factor = dim.parts
        if isinstance(axis, Axis) and not isinstance(axis, Part) and isinstance(factor, int):
            return axis.scaled(factor)
    return dim
