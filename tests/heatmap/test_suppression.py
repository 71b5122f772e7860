"""Non-maximum suppression against its definition, and labels that never lie over each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_fc2conv import heatmap
from onnx_fc2conv.heatmap import detection
from onnx_fc2conv.heatmap.labels import placed
from onnx_fc2conv.heatmap.suppression import overlaps, suppressed
from tests.heatmap.models import bright, converted, patch


def iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """By counting pixels."""

    def pixels(box: tuple[int, ...]) -> set[tuple[int, int]]:
        return {(y, x) for y in range(box[0], box[2]) for x in range(box[1], box[3])}

    return len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b))


box = st.tuples(*[st.integers(0, 9)] * 2, *[st.integers(1, 8)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(st.lists(st.tuples(box, st.integers(0, 5)), min_size=1, max_size=12), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_what_is_kept_is_what_the_definition_keeps(rows: list[tuple[tuple[int, ...], int]], limit: float) -> None:
    boxes, scores = zip(*rows, strict=True)
    kept: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: (-scores[i], i)):
        if all(iou(boxes[i], boxes[k]) <= limit for k in kept):
            kept.append(i)
    assert suppressed(np.array(boxes, float), np.array(scores, float), limit, len(rows)) == kept
    assert suppressed(np.array(boxes, float), np.array(scores, float), limit, 2) == kept[:2]


@given(box, st.lists(box, min_size=1, max_size=6))
def test_overlaps(one: tuple[int, ...], others: list[tuple[int, ...]]) -> None:
    found = overlaps(np.array(one, float), np.array(others, float))
    np.testing.assert_allclose(found, [iou(one, other) for other in others])


def test_nothing_is_kept_of_nothing() -> None:
    assert suppressed(np.empty((0, 4)), np.empty(0), 0.5, 5) == []


def test_one_patch_is_one_box_and_several_if_suppression_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model, picture = heatmap.load(converted(bright())), patch((96, 96), (32, 32, 56, 48))
    assert len(heatmap.detect(model, picture, threshold=0.4)) == 1
    monkeypatch.setattr(detection, "suppressed", lambda boxes, scores, iou, top: list(np.argsort(-scores)[:top]))
    assert len(heatmap.detect(model, picture, threshold=0.4)) > 1


@given(st.lists(box.map(lambda b: tuple(10 * n for n in b)), min_size=1, max_size=12))
def test_no_label_lies_over_another_or_outside(frames: list[tuple[int, ...]]) -> None:
    page = (0, 20, 180, 200)
    found = placed([(x0, y0 + 20, x1, y1 + 20) for y0, x0, y1, x1 in frames], [(30, 12)] * len(frames), page)
    assert len(found) == len(frames)
    for i, a in enumerate(found):
        assert page[0] <= a[0] < a[2] <= page[2]
        assert page[1] <= a[1] < a[3] <= page[3]
        assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in found[:i])
