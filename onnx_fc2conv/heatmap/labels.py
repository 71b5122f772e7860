"""Where the scores of boxes are written: at their boxes, inside of the picture, none over another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Rectangle = tuple[int, int, int, int]  #: x0, y0, x1, y1 in pixels


def placed(frames: Sequence[Rectangle], sizes: Sequence[tuple[int, int]], page: Rectangle) -> list[Rectangle]:
    """A place for each label, in the order of the frames: the first that overlaps no label before it.

    Args:
        frames: of the boxes.
        sizes: width and height of the labels.
        page: what labels must not leave.
    """
    found: list[Rectangle] = []
    for frame, size in zip(frames, sizes, strict=True):
        choices = [_inside(at, size, page) for at in _corners(frame, size)]
        free = (c for c in choices if not any(_overlap(c, other) for other in found))
        found.append(next(free, None) or _downwards(choices[0], found, page))
    return found


def _corners(frame: Rectangle, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Above the box, below it, inside at its top and bottom, and beside it: upper left corners of the label."""
    x0, y0, x1, y1 = frame
    width, height = size
    yield x0, y0 - height
    yield x1 - width, y0 - height
    yield x0, y1
    yield x1 - width, y1
    yield x0, y0
    yield x1 - width, y1 - height
    yield x1, y0
    yield x0 - width, y0


def _inside(at: tuple[int, int], size: tuple[int, int], page: Rectangle) -> Rectangle:
    x = min(max(at[0], page[0]), max(page[2] - size[0] - 1, page[0]))
    y = min(max(at[1], page[1]), max(page[3] - size[1] - 1, page[1]))
    return x, y, x + size[0], y + size[1]


def _downwards(label: Rectangle, others: Sequence[Rectangle], page: Rectangle) -> Rectangle:
    """The label moved down, then back to the top and right, until it is over no other; as it is if there is no room."""
    x, y, x1, y1 = label
    width, height = x1 - x, y1 - y
    rows = max((page[3] - page[1]) // (height + 1), 1)
    columns = max((page[2] - page[0]) // (width + 1), 1)
    first_row, first_column = (y - page[1]) // (height + 1), (x - page[0]) // (width + 1)
    for step in range(rows * columns):
        row, column = (first_row + step) % rows, (first_column + (first_row + step) // rows) % columns
        at = (page[0] + column * (width + 1), page[1] + row * (height + 1))
        moved = (at[0], at[1], at[0] + width, at[1] + height)
        if not any(_overlap(moved, other) for other in others):
            return moved
    return label


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
