"""What --stride is compared with: the original alone, on image crops and on windows of its own map, in plain loops."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from onnx import ModelProto

from ..networks import session

Numbers = Sequence[int]


def on_crops(model: ModelProto, image: np.ndarray, trained: Numbers, stride: Numbers, spatial: Numbers) -> np.ndarray:
    """The original on every image crop of the trained size at this stride; the grid axes are appended last.

    Args:
        model: the original, with one output.
        image: the enlarged one.
        trained: its size along the spatial axes; ``spatial`` says which axes of the image those are.
        stride: pixels from one crop to the next.
    """
    runs = session(model)
    sizes = [image.shape[a] for a in spatial]
    grid = [(n - t) // s + 1 for n, t, s in zip(sizes, trained, stride, strict=True)]
    found: np.ndarray | None = None
    for cell in itertools.product(*map(range, grid)):
        index = [slice(None)] * image.ndim
        for axis, i, t, s in zip(spatial, cell, trained, stride, strict=True):
            index[axis] = slice(i * s, i * s + t)
        (answer,) = runs.run(None, {model.graph.input[0].name: np.ascontiguousarray(image[tuple(index)])})
        found = np.empty((*answer.shape, *grid), answer.dtype) if found is None else found
        found[(Ellipsis, *cell)] = answer
    assert found is not None
    return found


def every(value: np.ndarray, steps: Numbers) -> np.ndarray:
    """Every k-th cell of the grid, which is last."""
    return value[(Ellipsis, *(slice(None, None, k) for k in steps))]
