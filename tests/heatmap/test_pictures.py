"""Pictures of every kind become the same pixels, and pixels become what models want."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnx_fc2conv import UsageError, heatmap
from onnx_fc2conv.heatmap.picture import grey, pixels_of
from onnx_fc2conv.heatmap.preprocessing import PRESETS, Preset, prepared
from tests.heatmap.models import bright, converted

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 7, 3), np.uint8)
GREY = PIXELS[..., 0]
ALPHA = np.array([0, 51, 255], np.uint8)[RNG.integers(0, 3, GREY.shape)]
ON_WHITE = np.rint(PIXELS * (ALPHA[..., None] / 255) + 255 - ALPHA[..., None]).astype(np.uint8)
PALETTE = np.array([[0, 0, 0], [255, 0, 0], [0, 200, 0], [9, 8, 7]], np.uint8)
INDEX = RNG.integers(0, 4, GREY.shape, np.uint8)


def palette(**info: Any) -> Image.Image:
    image = Image.fromarray(INDEX, "L").copy()
    image = Image.frombytes("P", (7, 9), INDEX.tobytes())
    image.putpalette(PALETTE.tobytes())
    image.info.update(info)
    return image


def wide(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint16) * 257)


def three(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, 2)


IMAGES: dict[str, tuple[Any, np.ndarray]] = {
    "RGB": (Image.fromarray(PIXELS), PIXELS),
    "grey": (Image.fromarray(GREY), three(GREY)),
    "16 bits": (wide(GREY), three(GREY)),
    "black and white": (Image.fromarray(GREY > 99), three(np.where(GREY > 99, 255, 0).astype(np.uint8))),
    "alpha": (Image.fromarray(np.dstack([PIXELS, ALPHA])), ON_WHITE),
    "palette": (palette(), PALETTE[INDEX]),
    "transparent palette": (palette(transparency=1), np.where((INDEX == 1)[..., None], 255, PALETTE[INDEX])),
    "array": (PIXELS, PIXELS),
    "grey array": (GREY, three(GREY)),
    "array of one channel": (GREY[..., None], three(GREY)),
    "array with alpha": (np.dstack([PIXELS, ALPHA]), ON_WHITE),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_every_kind_of_picture_is_read(kind: str) -> None:
    image, expected = IMAGES[kind]
    found = pixels_of(image)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", [k for k, (image, _) in IMAGES.items() if isinstance(image, Image.Image)])
def test_from_a_file_too(kind: str, tmp_path: Path) -> None:
    image, expected = IMAGES[kind]
    image.save(tmp_path / "picture.png")
    np.testing.assert_array_equal(pixels_of(tmp_path / "picture.png"), expected)


def test_a_camera_that_was_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the picture's top is its right side
    Image.fromarray(PIXELS).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(pixels_of(tmp_path / "turned.png"), np.rot90(PIXELS, -1))


def test_grey_is_what_pillow_makes_of_colours() -> None:
    np.testing.assert_array_equal(grey(PIXELS)[..., 0], np.asarray(Image.fromarray(PIXELS).convert("L")))


NO_PICTURES: list[tuple[Any, str]] = [
    (PIXELS.astype(np.float32), "of float32 is no picture"),
    (np.zeros((2, 2, 2), np.uint8), "is no picture"),
    (np.zeros((0, 4, 3), np.uint8), "is no picture"),
    (7, "a int is no picture"),
    (Image.fromarray(GREY.astype(np.float32)), "float pixels"),
]


@pytest.mark.parametrize(("image", "reason"), NO_PICTURES, ids=[r for _, r in NO_PICTURES])
def test_what_is_no_picture(image: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        pixels_of(image)


FORMULAS = {
    "none": lambda r, g, b: (r, g, b),
    "unit": lambda r, g, b: (r / 255, g / 255, b / 255),
    "signed": lambda r, g, b: (2 * r / 255 - 1, 2 * g / 255 - 1, 2 * b / 255 - 1),
    "imagenet": lambda r, g, b: ((r / 255 - 0.485) / 0.229, (g / 255 - 0.456) / 0.224, (b / 255 - 0.406) / 0.225),
    "caffe": lambda r, g, b: (b - 103.939, g - 116.779, r - 123.68),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    found = prepared(PIXELS, PRESETS[name], np.dtype(np.float32))
    expected = np.stack(FORMULAS[name](*np.moveaxis(PIXELS.astype(np.float64), -1, 0)), -1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_integers_are_rounded_and_saturate(dtype: type) -> None:
    found = prepared(PIXELS, Preset("", 1.0, (128.0,), (0.5,)), np.dtype(dtype))
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    np.testing.assert_array_equal(found, np.clip((PIXELS.astype(int) - 128) * 2, low, high))


SCORES: list[tuple[dict[str, Any], dict[str, Any], float]] = [
    # model, options, answer where all pixels are (200, 100, 50)
    ({}, {}, 350 / 3 / 255),
    ({}, {"preset": "none"}, 350 / 3),
    ({"dtype": "uint8"}, {}, 350 / 3),
    ({"dtype": "uint8"}, {"preset": "unit"}, 1 / 3),
    ({}, {"scale": 1, "mean": (200, 100, 0), "std": (1, 1, 25)}, 2 / 3),
    ({}, {"scale": 1, "mean": (50, 100, 0), "std": (1, 1, 100), "bgr": True}, 2 / 3),
    ({"channels": 1}, {"preset": "none"}, 124),
    (
        {"channels": 1},
        {"preset": "imagenet"},
        (124 / 255 - (0.485 + 0.456 + 0.406) / 3) / ((0.229 + 0.224 + 0.225) / 3),
    ),
    ({}, {"activation": "sigmoid", "preset": "none", "scale": 0}, 0.5),
    ({"classes": 3}, {"activation": "softmax", "scale": 0}, 1 / 3),
    ({"classes": 3}, {"channel": 1}, 2 * 350 / 3 / 255),
    ({"classes": 3}, {}, 350 / 255),
]


@pytest.mark.parametrize(("model", "options", "expected"), SCORES, ids=[f"{m} {o}" for m, o, _ in SCORES])
def test_options_reach_the_model(model: dict[str, Any], options: dict[str, Any], expected: float) -> None:
    picture = np.full((24, 24, 3), (200, 100, 50), np.uint8)
    heat = heatmap.heat(converted(bright(**model)), picture, threshold=-1e6, **options)
    assert [a.shape for a in heat.answers] == [(1, 2)]
    np.testing.assert_allclose(heat.answers[0], expected, rtol=1e-5)
    assert heat.detections[0].score == pytest.approx(expected, rel=1e-5)
