"""Several images in one batch at an enlarged size: each has the answers that it has alone.

The windows are compared with the original one image at a time, and at the trained size, where several run together,
the grid is one cell. What mixes the images of a batch only where there are more cells shows here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .session import Feeds

Run = Callable[[Feeds], Feeds]


def alone(run: Run, each: list[Feeds], names: list[str]) -> Feeds:
    """These outputs for one image after the other, put together along the batch, which is their first axis."""
    found = [run(one) for one in each]
    return {name: np.concatenate([one[name] for one in found])[..., None] for name in names}
