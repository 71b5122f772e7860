"""The patches of a map, side by side: what each unit of a convolution sees at a position, as one row.

The taps of a kernel are gathered one axis after the other, so that a kernel of 3x3 takes 3 + 3 Slices and not 9. With
the last axis first, a row lists the taps in their order, and of each tap the channels.
"""

from __future__ import annotations

from math import prod

from onnx import TensorProto

from ...emitter import PAD_OPERANDS, SLICE_OPERANDS, Emitter
from ...taps import Along, side_by_side
from ..convolution import Convolution
from . import layout, same

NARROW = 16  #: channels


def gather(emitter: Emitter, conv: Convolution, zero: str | None = None) -> str:
    """Lay out the patches of a convolution's map.

    Args:
        emitter: takes up the nodes.
        conv: the convolution.
        zero: of a map of integers, the scalar that stands for 0; default: 0 itself.

    Returns:
        Name of the rows, ``[N, *output_size, rows]``, or with groups ``[N, group, *output_size, rows]``.
    """
    r = conv.rank
    if _in_front(emitter, conv):
        x = _padded(emitter, conv, conv.x, 2, r + 2, zero)
        return layout.channels_last(emitter, conv, _taps(emitter, conv, x, 2, 1), conv.taps)
    if conv.group > 1 and conv.block == 1 and not conv.pointwise:
        x = _padded(emitter, conv, emitter.unsqueeze(conv.x, 2), 3, r + 3, zero)
        return emitter.transpose(_taps(emitter, conv, x, 3, 2), [0, 1, *range(3, r + 3), 2])
    x, first, rank = layout.channels_last(emitter, conv, conv.x, 1), layout.first_axis(conv), layout.rank(conv)
    return _taps(emitter, conv, _padded(emitter, conv, x, first, rank, zero), first, rank - 1)


def _in_front(emitter: Emitter, conv: Convolution) -> bool:
    """True if the taps are gathered while the channels are in front, and laid out afterwards.

    What a stride leaves out need not be laid out at all; where Slice has no steps, a pool leaves it out, which wants
    its channels there; and few channels behind make a Concat copy a few bytes at a time.
    """
    if conv.strided and (conv.pointwise or emitter.opset < SLICE_OPERANDS):
        return True
    return conv.group == 1 and conv.block < NARROW and not conv.pointwise


def _taps(emitter: Emitter, conv: Convolution, x: str, first: int, channels: int) -> str:
    all_groups = conv.group if channels == 1 else 1
    for i in reversed(range(conv.rank)):
        block = prod(conv.window[i + 1 :]) * conv.block * all_groups
        stride = conv.strides[i]
        by_pool = stride > 1 and emitter.opset < SLICE_OPERANDS
        along = Along(conv.window[i], conv.dilations[i], 1 if by_pool else stride)
        x = side_by_side(emitter, x, first + i, channels, along, block)
        if by_pool:  # the mean of one cell is that cell
            steps = [stride if j == i else 1 for j in range(conv.rank)]
            x = emitter.emit("AveragePool", x, kernel_shape=[1] * conv.rank, strides=steps)
    return x


def _padded(emitter: Emitter, conv: Convolution, x: str, first: int, rank: int, zero: str | None) -> str:
    """The map with its pads; those that follow from its size are cut from the largest that there can be."""
    pads = [same.Pads.of(conv, i) for i in range(conv.rank)]
    before, after = [0] * rank, [0] * rank
    for i, found in enumerate(pads):
        before[first + i], after[first + i] = found.most
    if conv.integers and emitter.opset < PAD_OPERANDS:
        x = _padded_integers(emitter, conv, x, before, after, zero)
    else:
        x = emitter.pad(x, before, after, zero)
    return same.cropped(emitter, conv, x, first, pads)


def _padded_integers(
    emitter: Emitter, conv: Convolution, x: str, before: list[int], after: list[int], zero: str | None
) -> str:
    """Before opset 11 Pad takes no integers; floating-point numbers hold those of 8 bits exactly."""
    if not any(before) and not any(after):
        return x
    x = emitter.emit("Cast", x, to=TensorProto.FLOAT)
    if zero is None:
        return emitter.emit("Cast", emitter.pad(x, before, after), to=conv.elem_type)
    middle = emitter.emit("Cast", zero, to=TensorProto.FLOAT)
    x = emitter.pad(emitter.emit("Sub", x, middle), before, after)
    return emitter.emit("Cast", emitter.emit("Add", x, middle), to=conv.elem_type)
