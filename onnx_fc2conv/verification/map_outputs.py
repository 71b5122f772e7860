"""Outputs that are feature maps: their shapes at any size, and their windows beside the original on image crops.

A map that the original gives for a crop of the trained size is a window of the map of the whole image, if no node pads
or looks beyond the crop, and the crop starts at a multiple of every stride.
"""

from __future__ import annotations

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


def map_crops(
    conversion: Conversion, sizes: Sizes, feeds: Feeds, found: Feeds, original: Session, limit: int
) -> tuple[tuple[int, int], Feeds, Feeds]:
    """Windows of the maps of enlarged images, and the original's maps of the crops there.

    Args:
        conversion: what was converted.
        sizes: of the images.
        feeds: the images.
        found: what the converted model gives for them.
        original: the original, loaded.
        limit: most crops.

    Returns:
        How many crops of how many there are, then the windows and the original's maps by output, stacked last. Maps
        whose axes are several in one, or whose stride is not whole, have no windows.
    """
    plan, trained, steps = conversion.plan, conversion.trained, conversion.steps
    names = [name for name in plan.model.outputs if name in plan.maps and _has_windows(plan.maps[name], steps)]
    source = next(iter(trained))
    room = tuple((n - t) // s + 1 for n, t, s in zip(sizes[source], trained[source], steps[source], strict=True))
    cells = sample_cells(room, limit, sum(room)) if names else []
    windows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    expected: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for cell in cells:
        crops = {}
        for image in plan.images:
            index = [slice(None)] * len(image.dims)
            for place, axis, i in zip(image.spatial, image.axes, cell, strict=True):
                start = min(i * steps[axis.source][axis.index], sizes[axis.source][axis.index] - axis.trained)
                index[place] = slice(start, start + axis.trained)
            crops[image.name] = np.ascontiguousarray(feeds[image.name][tuple(index)])
        answers = original.run(feeds | crops, names)
        for name in names:
            index = [slice(None)] * found[name].ndim
            for place, axis, i in zip(plan.maps[name].spatial, plan.maps[name].axes, cell, strict=True):
                start = i * int(steps[axis.source][axis.index] / axis.stride)
                index[place] = slice(start, start + axis.size)
            windows[name].append(found[name][tuple(index)])
            expected[name].append(answers[name])
    count = (len(cells), int(np.prod(room)))
    return count, _stacked(windows), _stacked(expected)


def _has_windows(x: FeatureMap, steps: Sizes) -> bool:
    whole = all(not a.law.is_constant and (steps[a.source][a.index] / a.stride).denominator == 1 for a in x.axes)
    return whole and len({a.source for a in x.axes}) == 1 and not any(isinstance(d, Merged) for d in x.dims)


def _stacked(values: dict[str, list[np.ndarray]]) -> Feeds:
    return {name: np.stack(v, -1) for name, v in values.items() if v}
