"""Pictures in and out: files, Pillow images and arrays become uint8 pixels [H, W, 3], red first."""

from __future__ import annotations

import io
import os
import warnings
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import UsageError
from ..model_io import write_bytes

#: how each format is written; colours of JPEG keep the resolution of its light
OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"optimize": True},
    "JPEG": {"quality": 90, "subsampling": 0},
    "WEBP": {"quality": 90},
}
EXTRA = 'pip install "onnx-fc2conv[viz]"'


def library(name: str) -> Any:
    """A module of the extra ``viz``.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as e:
        raise UsageError(f"heat maps need {name.split('.')[0]} ({e}): {EXTRA}") from e


def pixels_of(image: Any) -> np.ndarray:
    """The pixels of a picture; what is transparent is seen on white.

    Args:
        image: a path, a ``PIL.Image.Image``, or uint8 pixels [H, W], [H, W, 1], [H, W, 3] or [H, W, 4].

    Returns:
        uint8, [H, W, 3].

    Raises:
        UsageError: there is no such picture, it is damaged, or not of these shapes.
    """
    if isinstance(image, np.ndarray):
        return _of_array(image)
    if isinstance(image, (str, os.PathLike)):
        return _of_file(os.fspath(image))
    pillow = library("PIL.Image")
    if not isinstance(image, pillow.Image):
        raise UsageError(f"a {type(image).__name__} is no picture: give a path, a PIL image or an array")
    return _of_image(image)


def _of_array(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
        shape = list(image.shape)
        raise UsageError(
            f"an array {shape} of {image.dtype} is no picture: it must be uint8 [H, W], [H, W, 3] or [H, W, 4]"
        )
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.float32) / 255
        image = np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def _of_file(path: str) -> np.ndarray:
    pillow = library("PIL.Image")
    if not os.path.exists(path):
        raise UsageError(f"picture '{path}' does not exist")
    if os.path.isdir(path):
        raise UsageError(f"'{path}' is a folder, not a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of very large pictures, and of metadata that is not used
            with pillow.open(path) as image:
                image.load()
                return _of_image(library("PIL.ImageOps").exif_transpose(image))
    except UsageError:
        raise
    except MemoryError:
        raise
    except Exception as e:  # Pillow raises many types for damaged files
        raise UsageError(f"picture '{path}' cannot be read: {' '.join(str(e).split())}") from e


def _of_image(image: Any) -> np.ndarray:
    """A Pillow image of any mode; palettes may be transparent, and 16 bits become 8."""
    if image.mode.startswith("I"):
        wide = np.asarray(image, np.float64)
        return _of_array(np.rint(np.clip(wide, 0, 65535) / 257).astype(np.uint8))
    if image.mode == "F":
        raise UsageError(
            "the picture has float pixels, of which it does not say what is white; save it with 8 or 16 bits"
        )
    return _of_array(np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")))


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture at another height and width; shrinking averages."""
    if pixels.shape[:2] == size:
        return pixels
    pillow = library("PIL.Image")
    image = pillow.fromarray(pixels)
    return np.asarray(image.resize((size[1], size[0]), pillow.Resampling.BILINEAR))


def grey(pixels: np.ndarray) -> np.ndarray:
    """Luma, as Pillow computes it (ITU-R 601-2): uint8, [H, W, 1]."""
    weights = np.array([19595, 38470, 7471], np.uint32)  # of 65536
    return ((pixels @ weights + 0x8000) >> 16).astype(np.uint8)[..., None]


def write(image: Any, path: str) -> None:
    """Write a Pillow image in one rename; the name's ending says as what.

    Raises:
        UsageError: it cannot be written.
    """
    kind = {"jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}.get(path.lower().rpartition(".")[2], "PNG")
    encoded = io.BytesIO()
    try:
        image.save(encoded, kind, **OPTIONS[kind])
    except (OSError, ValueError, KeyError) as e:
        raise UsageError(f"'{path}' cannot be written as {kind}: {e}") from e
    write_bytes(path, encoded.getvalue())
