"""Which image inputs must have one size, because values computed from both meet in a node.

Two grids have the same cells at every size only if both inputs have the same size. Inputs that meet are therefore
tied: their spatial dims get the same names. Inputs that never meet stay apart, and may be of different sizes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from ..geometry import Axis
from ..ops import Op
from ..plan import Dim, Dims, FeatureMap, Merged


class Ties:
    """The image inputs in classes of one size; a class goes by its first input in the order of the model."""

    def __init__(self, images: Iterable[FeatureMap]) -> None:
        self._images = {m.name: m for m in images}
        self._first = {name: name for name in self._images}

    def copy(self) -> Ties:
        """The same classes; what is tied in one is not tied in the other."""
        found = Ties(self._images.values())
        found._first = dict(self._first)
        return found

    def tie(self, op: Op, names: Iterable[str]) -> None:
        """Note that this node combines values of these inputs.

        Raises:
            Unliftable: their trained sizes differ.
        """
        order = list(self._images).index
        met = sorted(names, key=order)
        for one, other in pairwise(met):
            sizes = [tuple(a.trained for a in self._images[name].axes) for name in (one, other)]
            words = ["x".join(map(str, size)) for size in sizes]
            op.refuse_if(
                sizes[0] != sizes[1],
                f"combines inputs of different trained sizes, '{one}' ({words[0]}) and '{other}' ({words[1]}), "
                "so their windows do not correspond",
            )
            merged = sorted({self._first[one], self._first[other]}, key=order)
            self._first |= {name: merged[0] for name, old in self._first.items() if old in merged}

    def settled(self, dims: Dims) -> Dims:
        """The dims with every axis traced to the first input of its class."""
        return tuple(self._settled(d) for d in dims)

    def _settled(self, dim: Dim) -> Dim:
        if isinstance(dim, Merged):
            return Merged(
                tuple(replace(p, source=self._first[p.source]) if isinstance(p, Axis) else p for p in dim.parts)
            )
        return replace(dim, source=self._first[dim.source]) if isinstance(dim, Axis) else dim

    def settled_axes(self, axes: Iterable[Axis]) -> tuple[Axis, ...]:
        """The same for axes alone."""
        return tuple(replace(a, source=self._first[a.source]) for a in axes)

    def classes(self) -> list[list[FeatureMap]]:
        """The image inputs, those of one size together."""
        found: dict[str, list[FeatureMap]] = {}
        for name, image in self._images.items():
            found.setdefault(self._first[name], []).append(image)
        return list(found.values())
