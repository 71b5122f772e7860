"""What becomes of pixels from 0 to 255 before a model sees them: ``(pixel * scale - mean) / std``, per channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError


@dataclass(frozen=True)
class Preset:
    """One way to prepare pixels.

    Attributes:
        words: what it does, for the help.
        scale: pixels are multiplied by this first.
        mean, std: then the mean is subtracted and the result divided, per channel in the model's order, or for all.
        bgr: blue comes first.
    """

    words: str
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False


#: imagenet: mean and standard deviation of the data set's pixels, as torchvision's models want them; caffe: the mean
#: that VGG was trained with (Simonyan and Zisserman, 2014), blue first
PRESETS = {
    "none": Preset("as they are"),
    "unit": Preset("0 to 1", 1 / 255),
    "signed": Preset("-1 to 1", 1 / 127.5, (1.0,)),
    "imagenet": Preset("0 to 1, normalised", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": Preset("blue first, minus the mean", 1.0, (103.939, 116.779, 123.68), (1.0,), bgr=True),
}
INTEGERS = "iu"  #: kinds of numpy types whose pixels stay as they are unless something else is asked for


def prepared(pixels: np.ndarray, preset: Preset, dtype: np.dtype) -> np.ndarray:
    """The pixels as a model takes them.

    Args:
        pixels: uint8, [H, W, channels], red first.
        preset: what becomes of them.
        dtype: the input's; integers are rounded and saturate.

    Returns:
        [H, W, channels] of that type.

    Raises:
        UsageError: the preset has numbers for another number of channels.
    """
    channels = pixels.shape[2]
    for name, values in (("mean", preset.mean), ("std", preset.std)):
        if len(values) not in (1, channels):
            raise UsageError(f"the {name} has {len(values)} numbers, the model takes {channels} channels")
    if preset.bgr:
        pixels = pixels[..., ::-1]
    if dtype == pixels.dtype and (preset.scale, set(preset.mean), set(preset.std)) == (1.0, {0.0}, {1.0}):
        return pixels
    wide = np.float64 if dtype == np.float64 else np.float32
    values = (pixels * wide(preset.scale) - np.array(preset.mean, wide)) / np.array(preset.std, wide)
    if dtype.kind in INTEGERS:
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    found: np.ndarray = values.astype(dtype)
    return found
