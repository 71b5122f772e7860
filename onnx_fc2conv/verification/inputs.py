"""Seeded random images for the checks, at a scale at which the model's answers depend on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import dtypes
from ..conversion import Sizes
from ..open_sizes import declared_size
from ..plan import Plan
from .compare import FLOATS
from .session import Feeds

SEED = 20160101
LEVELS = 64  #: values are multiples of scale / 64, so that models with small-integer weights are exact
NARROW, WIDE = (
    0.5,
    1.5,
)  #: deviations of real numbers of all digits: like pixels, and such that few answers stay the same
SCALES = (1.0, 16.0, 255.0)  #: models trained on bytes sleep on unit inputs


class Images:
    """Random values for the inputs of a model, the images first of all."""

    def __init__(self, plan: Plan) -> None:
        self._images = plan.images
        self._elem_types = plan.shapes.elem_types
        names = {image.name for image in plan.images}
        batches = [v.type.tensor_type.shape.dim[0] for v in plan.model.inputs if v.name in names]
        declared = batches[0].dim_value
        self._others = [v for v in plan.model.inputs if v.name not in names]
        self._batch_symbols = {dim.dim_param for dim in batches} - {""}
        self._rng = np.random.default_rng(SEED)
        self.batches = (declared,) if declared > 0 else (1, 2)
        self.scale = SCALES[0]
        self._fine = np.random.default_rng(SEED)

    @property
    def draws(self) -> list[tuple[int, float]]:
        """Each batch size with images of few digits, and the smallest once more with images of all digits."""
        return [*((batch, 0.0) for batch in self.batches), (self.batches[0], NARROW)]

    def draw(self, sizes: Sizes | None = None, batch: int | None = None, fine: float = 0.0) -> Feeds:
        """One set of inputs, of the trained sizes unless others are given; at the smallest batch unless told otherwise.

        Args:
            sizes: by the first of the inputs that must have one size; default: the trained ones.
            batch: number of images.
            fine: if not 0, real numbers take all digits of their type, and this is their standard deviation, relative
                to the scale.
        """
        batch = batch or self.batches[0]
        feeds = {}
        for image in self._images:
            shape = list(image.shape(batch))
            if sizes is not None:
                for position, n in zip(image.spatial, sizes[image.axes[0].source], strict=True):
                    shape[position] = n
            feeds[image.name] = self._values(shape, dtypes.numpy_type(self._elem_types[image.name]), fine)
        for value in self._others:  # inputs of branches that have nothing to do with the images
            tensor = value.type.tensor_type
            dims = [
                declared_size(d) or (batch if i == 0 or d.dim_param in self._batch_symbols else 1)
                for i, d in enumerate(tensor.shape.dim)
            ]
            feeds[value.name] = self._values(dims, dtypes.numpy_type(tensor.elem_type), fine)
        return feeds

    def one_by_one(self, feeds: Feeds) -> list[Feeds]:
        """Inputs for several images, as inputs for one after the other."""
        names = {image.name for image in self._images} | {
            value.name
            for value in self._others
            if any(d.dim_param in self._batch_symbols for d in value.type.tensor_type.shape.dim[:1])
        }
        count = len(feeds[self._images[0].name])
        return [{name: v[i : i + 1] if name in names else v for name, v in feeds.items()} for i in range(count)]

    def _values(self, shape: list[int], dtype: np.dtype, fine: float = 0.0) -> np.ndarray:
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            return np.asarray(self._rng.integers(info.min, info.max, shape, endpoint=True), dtype)
        if fine:
            return np.asarray(self._fine.normal(NARROW, fine, shape) * self.scale, dtype)
        levels = self._rng.integers(-LEVELS // 2, LEVELS * 3 // 2, shape, endpoint=True)
        return np.asarray(levels * (self.scale / LEVELS), dtype)

    def choose_scale(self, answers: Callable[[Feeds], list[np.ndarray]]) -> bool:
        """Take the first scale at which all answers differ between two images; false if there is none.

        Indices and flags may rightly be the same for two images, so they count only where there is nothing else. What
        is NaN for both images is the same.
        """
        for scale in SCALES:
            self.scale = scale
            first, second = answers(self.draw()), answers(self.draw())
            pairs = list(zip(first, second, strict=True))
            telling = [(a, b) for a, b in pairs if a.dtype.kind in FLOATS] or pairs
            if all(not np.array_equal(a, b, equal_nan=a.dtype.kind in FLOATS) for a, b in telling):
                return True
        self.scale = SCALES[0]
        return False
