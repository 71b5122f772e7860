"""Outputs that are feature maps: their shapes at any size, and their windows beside the original on image crops.

A map that the original gives for a crop of the trained size is a window of the map of the whole image, if no node pads
or looks beyond the crop, and the crop starts at a multiple of every stride.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..conversion import Conversion, Sizes
from ..geometry import Axis
from ..plan import FeatureMap, Merged, Plan, size
from .oracle import sample_cells
from .session import Feeds, Session


def map_shape(plan: Plan, name: str, sizes: Sizes, batch: int) -> tuple[int, ...]:
    """The shape of a map where the image inputs have these sizes."""

    def of(dim: object) -> int:
        if isinstance(dim, Axis):
            return dim.law(sizes[dim.source][dim.index])
        if isinstance(dim, Merged):
            return int(np.prod([of(part) for part in dim.parts]))
        return size(dim, batch)  # type: ignore[arg-type]

    return tuple(of(dim) for dim in plan.maps[name].dims)


@dataclass(frozen=True)
class Windows:
    """Windows of maps beside the original's maps of the image crops there.

    Attributes:
        cells: how many crops of how many there are.
        inside: which of them touch no border of the image.
        found, expected: by output, stacked last. Maps whose axes are several in one, or whose stride is not whole, have
            no windows.
    """

    cells: tuple[int, int]
    inside: np.ndarray
    found: Feeds
    expected: Feeds


def map_crops(
    conversion: Conversion, sizes: Sizes, feeds: Feeds, found: Feeds, original: Session, limit: int
) -> Windows:
    """Windows of the maps of enlarged images, and the original's maps of the crops there.

    Args:
        conversion: what was converted.
        sizes: of the images.
        feeds: the images.
        found: what the converted model gives for them.
        original: the original, loaded.
        limit: most crops.
    """
    plan, trained, steps = conversion.plan, conversion.trained, conversion.steps
    names = [name for name in conversion.map_outputs if _has_windows(plan.maps[name], steps)]
    source = next(iter(trained))
    room = tuple((n - t) // s + 1 for n, t, s in zip(sizes[source], trained[source], steps[source], strict=True))
    cells = sample_cells(room, limit, sum(room)) if names else []
    windows: list[Feeds] = []
    expected: list[Feeds] = []
    inside = []
    for cell in cells:
        starts = {name: [i * s for i, s in zip(cell, steps[name], strict=True)] for name in trained}
        crops = {m.name: _window(feeds[m.name], m, starts) for m in plan.images}
        expected.append(original.run(feeds | crops, names))
        windows.append({name: _window(found[name], plan.maps[name], starts) for name in names})
        inside.append(
            all(i > 0 and i + t < n for i, t, n in zip(starts[source], trained[source], sizes[source], strict=True))
        )
    stacks = ({name: np.stack([v[name] for v in values], -1) for name in names} for values in (windows, expected))
    return Windows((len(cells), int(np.prod(room))), np.array(inside, np.bool_), *stacks)


def every_cell(x: FeatureMap, value: np.ndarray) -> np.ndarray:
    """Of a map that was made denser the original's own cells."""
    index = [slice(None)] * value.ndim
    for place, k in zip(x.spatial, x.steps, strict=True):
        index[place] = slice(None, None, k)
    return np.ascontiguousarray(value[tuple(index)])


def _window(value: np.ndarray, x: FeatureMap, starts: dict[str, list[int]]) -> np.ndarray:
    """The part of an enlarged map, or image, that has its trained size and starts at these pixels of the image."""
    index = [slice(None)] * value.ndim
    for place, axis, n, k in zip(x.spatial, x.axes, x.window, x.steps, strict=True):
        start = int(starts[axis.source][axis.index] / axis.stride)
        index[place] = slice(start, start + (n - 1) * k + 1, k)
    return np.ascontiguousarray(value[tuple(index)])


def _has_windows(x: FeatureMap, steps: Sizes) -> bool:
    whole = all(not a.law.is_constant and (steps[a.source][a.index] / a.stride).denominator == 1 for a in x.axes)
    return whole and len({a.source for a in x.axes}) == 1 and not any(isinstance(d, Merged) for d in x.dims)
