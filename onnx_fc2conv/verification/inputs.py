"""Seeded random images for the checks, at a scale at which the model's answers depend on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import dtypes
from ..plan import Plan
from ..settings import Size
from .compare import FLOATS
from .session import Feeds

SEED = 20160101
LEVELS = 64  #: values are multiples of scale / 64, so that models with small-integer weights are exact
SCALES = (1.0, 16.0, 255.0)  #: models trained on bytes sleep on unit inputs


class Images:
    """Random values for the inputs of a model, the image first of all."""

    def __init__(self, plan: Plan) -> None:
        self._image = plan.image
        self._dtype = dtypes.numpy_type(plan.shapes.elem_types[plan.image.name])
        value = next(i for i in plan.model.inputs if i.name == plan.image.name)
        declared = value.type.tensor_type.shape.dim[0].dim_value
        self._others = [v for v in plan.model.inputs if v.name != plan.image.name]
        self._batch_symbol = value.type.tensor_type.shape.dim[0].dim_param
        self._rng = np.random.default_rng(SEED)
        self.batches = (declared,) if declared > 0 else (1, 2)
        self.scale = SCALES[0]

    def draw(self, size: Size | None = None, batch: int | None = None) -> Feeds:
        """One input, of the trained size unless another is given; at the smallest batch unless told otherwise."""
        batch = batch or self.batches[0]
        shape = list(self._image.shape(batch))
        for position, n in zip(self._image.spatial, size or (), strict=size is not None):
            shape[position] = n
        feeds = {self._image.name: self._values(shape, self._dtype)}
        for value in self._others:  # inputs of branches that have nothing to do with the image
            tensor = value.type.tensor_type
            dims = [
                d.dim_value or (batch if i == 0 or d.dim_param == self._batch_symbol else 1)
                for i, d in enumerate(tensor.shape.dim)
            ]
            feeds[value.name] = self._values(dims, dtypes.numpy_type(tensor.elem_type))
        return feeds

    def _values(self, shape: list[int], dtype: np.dtype) -> np.ndarray:
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            return np.asarray(self._rng.integers(info.min, info.max, shape, endpoint=True), dtype)
        levels = self._rng.integers(-LEVELS // 2, LEVELS * 3 // 2, shape, endpoint=True)
        return np.asarray(levels * (self.scale / LEVELS), dtype)

    def choose_scale(self, answers: Callable[[Feeds], list[np.ndarray]]) -> bool:
        """Take the first scale at which all answers differ between two images; false if there is none.

        Indices and flags may rightly be the same for two images, so they count only where there is nothing else.
        """
        for scale in SCALES:
            self.scale = scale
            first, second = answers(self.draw()), answers(self.draw())
            pairs = list(zip(first, second, strict=True))
            telling = [(a, b) for a, b in pairs if a.dtype.kind in FLOATS] or pairs
            if all(not np.array_equal(a, b) for a, b in telling):
                return True
        self.scale = SCALES[0]
        return False
