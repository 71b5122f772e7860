"""The map lies where the answers belong: a bright patch has its maximum on it, and pixels get the cell around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onnx_fc2conv import heatmap
from onnx_fc2conv.geometry import Axis, Grid
from onnx_fc2conv.heatmap import cells, detection
from onnx_fc2conv.heatmap.suppression import overlaps
from tests.heatmap.models import STRIDE, WINDOW, bright, converted, patch

SIZE = (120, 176)
FREE = [(0, 0), (0, SIZE[1]), (SIZE[0], 0), SIZE, (50, 80), (37, 101), (61, 22)]  #: where patches begin, clipped


def places(scale: float = 1.0) -> list[tuple[int, int, int, int]]:
    """Patches of the window's size in the corners, in the middle, and off the grid."""
    h, w = (round(n / scale) for n in WINDOW)
    starts = [(min(y, SIZE[0] - h), min(x, SIZE[1] - w)) for y, x in FREE]
    return [(y, x, y + h, x + w) for y, x in starts]


def off(heat: heatmap.Heat, box: tuple[int, int, int, int]) -> tuple[float, float]:
    """How far the middle of the map's highest pixels is from the patch's middle, in pixels."""
    values = heat.map()
    rows, columns = np.nonzero(values == np.nanmax(values))
    found = ((rows.min() + rows.max() + 1) / 2, (columns.min() + columns.max() + 1) / 2)
    return abs(found[0] - (box[0] + box[2]) / 2), abs(found[1] - (box[1] + box[3]) / 2)


FORMS: dict[str, dict[str, Any]] = {
    "NCHW": {},
    "NHWC": {"last": True},
    "uint8": {"dtype": "uint8"},
    "NHWC uint8": {"last": True, "dtype": "uint8"},
    "float16": {"dtype": "float16"},
    "grey": {"channels": 1},
    "grey NHWC": {"channels": 1, "last": True},
    "two at once": {"batch": 2},
}


@pytest.mark.parametrize("form", FORMS)
def test_the_maximum_is_on_the_patch(form: str) -> None:
    model = heatmap.load(converted(bright(**FORMS[form])))
    for box in places():
        heat = heatmap.heat(model, patch(SIZE, box), threshold=0)
        assert max(off(heat, box)) <= STRIDE / 2, box
        best = heat.detections[0].box
        assert max(abs(a - b) for a, b in zip(best, box, strict=True)) <= STRIDE / 2, box


@pytest.mark.parametrize("scale", [0.5, 2.0, 1.5])
def test_at_other_scales_too(scale: float) -> None:
    model = heatmap.load(converted(bright()))
    for box in places(scale):
        heat = heatmap.heat(model, patch(SIZE, box), scales=scale, threshold=0)
        assert max(off(heat, box)) <= STRIDE / scale / 2, box
        assert max(abs(a - b) for a, b in zip(heat.detections[0].box, box, strict=True)) <= STRIDE / scale / 2 + 0.5


def test_a_pyramid_suppresses_over_all_of_its_scales() -> None:
    """Windows of every scale fit inside of the patch and are as bright, up to rounding."""
    model, picture = heatmap.load(converted(bright())), patch(SIZE, (32, 48, 80, 80))
    options: dict[str, Any] = {"scales": [0.5, 1, 2], "threshold": 0.85, "top": 100}
    everything = heatmap.detect(model, picture, iou=1, **options)
    assert {d.scale for d in everything} == {0.5, 1.0, 2.0}
    assert (32.0, 48.0, 80.0, 80.0) in [d.box for d in everything]
    boxes = np.array([d.box for d in heatmap.detect(model, picture, iou=0, **options)])
    assert all((overlaps(b, np.delete(boxes, i, 0)) == 0).all() for i, b in enumerate(boxes))
    assert 1 <= len(boxes) <= 16


def test_pixels_behind_the_last_window_are_filled_up() -> None:
    """A patch that ends with the picture is found although no stride fits."""
    model = heatmap.load(converted(bright()))
    for size in ((48, 40), (49, 43), (55, 47), (121, 179)):
        box = (size[0] - 24, size[1] - 16, *size)
        heat = heatmap.heat(model, patch(size, box), threshold=0)
        assert max(off(heat, box)) <= STRIDE / 2, size
        y0, x0, y1, x1 = heat.detections[0].box
        assert 0 <= y0 < y1 <= size[0]
        assert 0 <= x0 < x1 <= size[1]


# -- cells and pixels ------------------------------------------------------------------------------------------------


def grid(window: tuple[int, int], stride: tuple[int, int]) -> Grid:
    rows = zip("hw", window, stride, strict=True)
    return Grid.over(tuple(Axis("image", i, w).window_op(s, s, 0, 0) for i, (_, w, s) in enumerate(rows)))


def slow(values: np.ndarray, over: Grid, size: tuple[int, int], fine: int) -> np.ndarray:
    """The map by brute force: every pixel is cut into parts, each of which has the cell whose middle is the nearest."""
    found = np.full((*size, fine, fine), np.nan)
    (h, w), (sy, sx) = over.trained_size, over.stride
    for i, j in np.ndindex(*values.shape):
        y, x = i * sy + (h - sy) / 2, j * sx + (w - sx) / 2
        for py, px, a, b in np.ndindex(*found.shape):
            at = (py + (a + 0.5) / fine, px + (b + 0.5) / fine)
            if y <= at[0] < y + sy and x <= at[1] < x + sx:
                found[py, px, a, b] = values[i, j]
    flat = found.reshape(*size, -1)
    mean = np.nanmean(np.where(np.isnan(flat).all(-1, keepdims=True), 0, flat), -1)
    return np.where(np.isnan(flat).mean(-1) > 0.5, np.nan, mean)


GRIDS = [((8, 4), (4, 2)), ((9, 6), (3, 3)), ((7, 5), (2, 4)), ((5, 6), (1, 3)), ((6, 6), (6, 6))]


@pytest.mark.parametrize(("window", "stride"), GRIDS)
def test_every_pixel_gets_the_cell_whose_middle_is_near(window: tuple[int, int], stride: tuple[int, int]) -> None:
    """Where window and stride differ by an odd number, cells end in the middle of pixels, which are means of two."""
    over = (
        Grid(
            "image",
            window,
            tuple(-(-w // s) for w, s in zip(window, stride, strict=True)),
            stride,
            grid(window, stride).laws,
            stride,
            (0, 0),
            (0, 0),
            (1, 1),
        )
        if any(w % s for w, s in zip(window, stride, strict=True))
        else grid(window, stride)
    )
    size = tuple(w + 3 * s for w, s in zip(window, stride, strict=True))
    values = np.arange(np.prod(over.grid_size(size)), dtype=np.float32).reshape(over.grid_size(size)) ** 2
    found = cells.spread(values, *cells.edges(over, size, (1.0, 1.0)), size)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected := slow(values, over, size, 2)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isfinite(found).sum() >= values.size


def test_an_answer_that_is_not_finite_leaves_a_hole() -> None:
    over = grid((4, 4), (4, 4))
    values = np.array([[1, np.nan], [np.inf, 4]], np.float32)
    found = cells.spread(values, *cells.edges(over, (8, 8), (1.0, 1.0)), (8, 8))
    expected = np.where(np.isfinite(values), values, np.nan).repeat(4, 0).repeat(4, 1)
    np.testing.assert_array_equal(found, expected)


# -- sabotage --------------------------------------------------------------------------------------------------------


def half_a_stride_off(over: Grid, size: tuple[int, int], factors: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = cells.edges(over, size, factors)
    return rows + over.stride[0], columns + over.stride[1] / 2


def at_the_corner(over: Grid, size: tuple[int, int], factors: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Cells that begin where their boxes begin: a mistake that is often made."""
    rows, columns = cells.edges(over, size, factors)
    return rows - rows[0], columns - columns[0]


def scale_forgotten(over: Grid, size: tuple[int, int], factors: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    return cells.edges(over, size, (1.0, 1.0))


@pytest.mark.parametrize("wrong", [half_a_stride_off, at_the_corner, scale_forgotten])
def test_a_map_that_is_drawn_elsewhere_is_noticed(wrong: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "edges", wrong)
    model = heatmap.load(converted(bright()))
    found = [off(heatmap.heat(model, patch(SIZE, box), scales=2.0), box) for box in places(2.0)]
    assert any(max(distance) > STRIDE / 4 for distance in found)


def test_swapped_axes_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    true = cells.spread
    monkeypatch.setattr(detection, "spread", lambda v, r, c, size: true(v.T, c, r, size[::-1])[::-1, ::-1].T)
    model = heatmap.load(converted(bright()))
    assert any(max(off(heatmap.heat(model, patch(SIZE, box)), box)) > STRIDE / 2 for box in places())
