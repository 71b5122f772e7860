"""Non-maximum suppression: of boxes that are about the same thing, only the best."""

from __future__ import annotations

import numpy as np


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with others.

    Args:
        box: y0, x0, y1, x1.
        others: [count, 4], the same.

    Returns:
        [count], from 0 to 1.
    """
    starts, ends = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(ends - starts, 0, None).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    found: np.ndarray = shared / (areas - shared)
    return found


def suppressed(boxes: np.ndarray, scores: np.ndarray, iou: float, top: int) -> list[int]:
    """The boxes that are kept, the best first; of equal ones the first.

    Args:
        boxes: [count, 4]; scores: [count].
        iou: a box that overlaps a better one by more than this is dropped.
        top: the most that are kept.
    """
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left) and len(kept) < top:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        left = left[overlaps(boxes[best], boxes[left]) <= iou]
    return kept
