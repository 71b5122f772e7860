"""Heat maps and boxes: a converted model run on pictures, its answers put where they belong.

>>> from onnx_fc2conv import heatmap
>>> heatmap.detect("dress.onnx", "street.jpg")  # doctest: +SKIP
[Detection(box=(352.0, 128.0, 480.0, 192.0), score=0.99.., scale=1.0), ..]

``python -m onnx_fc2conv.heatmap`` is the same as a command. Pictures are read and drawn with Pillow, coloured with
matplotlib: the extra ``viz`` of the package. Nothing else in the package needs either.
"""

from __future__ import annotations

from typing import Any

from .detection import Detection, Heat, found
from .drawing import draw
from .model import Loaded, load
from .picture import pixels_of
from .settings import HeatmapSettings

__all__ = ["Detection", "Heat", "HeatmapSettings", "Loaded", "detect", "draw", "heat", "load"]


def heat(model: Any, image: Any, **options: Any) -> Heat:
    """Run a converted model on a picture of any size.

    Args:
        model: a path or ModelProto of a converted model, or what ``load`` made of it (which saves loading it again).
        image: a path, a ``PIL.Image.Image``, or uint8 pixels [H, W], [H, W, 3] (RGB) or [H, W, 4].
        options: the command's, by the names of ``HeatmapSettings``: ``threshold``, ``top``, ``iou``, ``scales``,
            ``output``, ``channel``, ``label``, ``labels``, ``activation``, ``preset``, ``mean``, ``std``, ``scale``,
            ``bgr``.

    Returns:
        The answers of every scale, and the boxes found.

    Raises:
        UnreadableModel: no such file, or no ONNX model.
        UsageError: the model carries no geometry, gives no map, or takes something else than one picture; the picture
            cannot be read or is smaller than the model's window; an option does not fit.
    """
    settings = HeatmapSettings(**options)
    loaded = model if isinstance(model, Loaded) else load(model)
    return found(loaded, pixels_of(image), settings)


def detect(model: Any, image: Any, **options: Any) -> list[Detection]:
    """The best boxes after non-maximum suppression, the best first; arguments and errors as of ``heat``."""
    return heat(model, image, **options).detections
