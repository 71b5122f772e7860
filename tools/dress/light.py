"""What light, weather and a camera do to a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter


def lit(rng: np.random.Generator, picture: Image.Image, strength: float = 1.0) -> Image.Image:
    """The picture in some light, a little blurred, with noise.

    Args:
        rng: what light, how much noise.
        picture: RGB.
        strength: of all that; 1 as a street on any day, 2 as in the worst pictures of a training set.
    """
    blurred = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.35 * strength))))
    pixels = np.asarray(blurred, np.float64)
    height, width = pixels.shape[:2]
    gain = 1 + strength * rng.uniform(-0.18, 0.12) + strength * rng.normal(0, 0.03, 3)
    side = np.linspace(-1, 1, width)[:, None] * rng.normal(0, 0.07 * strength)
    slope = np.linspace(-1, 1, height)[:, None, None] * rng.normal(0, 0.05 * strength)
    contrast = 1 + strength * rng.uniform(-0.15, 0.1)
    pixels = (pixels - 118) * contrast + 118
    pixels = pixels * (gain + side + slope)
    pixels = pixels + rng.normal(0, rng.uniform(1, 4) * strength, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")
