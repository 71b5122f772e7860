"""``auto_pad`` SAME at a stride over 1 and a size that is not known before the model runs.

The pads make ``ceil(size / stride)`` positions, so they depend on ``size mod stride`` and on nothing else: a table says
where the map begins and ends in one that has the largest pads of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ...emitter import SLICE_OPERANDS, TO_THE_LAST, Emitter
from ..convolution import Convolution, same_pads

INT64, BOOL = TensorProto.INT64, TensorProto.BOOL
_ONE = numpy_helper.from_array(np.array([1], np.int64))
LISTS_POSITIONS = 9  #: the opset from which NonZero lists the positions of a map


@dataclass(frozen=True)
class Pads:
    """Pads ``(before, after)`` along an axis, for every remainder of its size; only one if they are known."""

    by_remainder: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, conv: Convolution, axis: int) -> Pads:
        """Those of a convolution along a spatial axis."""
        known = conv.pads[axis]
        if known is not None:
            return cls((known,))
        extent, stride = conv.extent[axis], conv.strides[axis]
        found = [same_pads(size or stride, extent, stride, conv.auto_pad) for size in range(stride)]
        return cls(tuple(pads for pads in found if pads is not None))

    @property
    def most(self) -> tuple[int, int]:
        """The largest in front and behind."""
        return max(p[0] for p in self.by_remainder), max(p[1] for p in self.by_remainder)

    @property
    def known(self) -> bool:
        """True if they do not depend on the size."""
        return len(set(self.by_remainder)) == 1


def cropped(emitter: Emitter, conv: Convolution, x: str, first: int, pads: list[Pads]) -> str:
    """The map, padded by the most, with the pads that its size asks for.

    Args:
        emitter: takes up the nodes.
        conv: the convolution.
        x: the map with the largest pads.
        first: its first spatial axis.
        pads: along each.
    """
    open_axes = [i for i, p in enumerate(pads) if not p.known]
    if not open_axes:
        return x
    size = emitter.emit("Shape", conv.x)
    if emitter.opset >= SLICE_OPERANDS:
        return _sliced(emitter, x, first, size, [(i, pads[i]) for i in open_axes])
    for i in open_axes:
        x = _taken(emitter, x, first + i, emitter.slice(size, 0, 2 + i, 3 + i), pads[i])
    return x


def _sliced(emitter: Emitter, x: str, first: int, size: str, pads: list[tuple[int, Pads]]) -> str:
    """Between bounds that are looked up by the remainder of each size."""
    axes, several = [i for i, _ in pads], [len(p.by_remainder) for _, p in pads]
    sizes = emitter.emit("Gather", size, emitter.ints([2 + i for i in axes], "axes"), axis=0)
    index = emitter.emit("Mod", sizes, emitter.ints(several, "strides"))
    if len(axes) > 1:
        offsets = np.cumsum([0, *several[:-1]]).tolist()
        index = emitter.emit("Add", index, emitter.ints(offsets, "offsets"))
    starts = [p.most[0] - before for _, p in pads for before, _ in p.by_remainder]
    ends = [after - p.most[1] or TO_THE_LAST for _, p in pads for _, after in p.by_remainder]
    bounds = [
        emitter.emit("Gather", emitter.ints(t, n), index, axis=0) for t, n in ((starts, "starts"), (ends, "ends"))
    ]
    return emitter.emit("Slice", x, *bounds, emitter.ints([first + i for i in axes], "axes"))


def _taken(emitter: Emitter, x: str, axis: int, size: str, pads: Pads) -> str:
    """The positions themselves, where no Slice takes a number that is computed."""
    stride = emitter.ints([len(pads.by_remainder)], "strides")
    whole = emitter.emit("Mul", emitter.emit("Div", size, stride), stride)
    index = emitter.emit("Sub", size, whole)
    starts = emitter.ints([pads.most[0] - before for before, _ in pads.by_remainder], "starts")
    totals = emitter.ints([sum(p) for p in pads.by_remainder], "pads")
    count = emitter.emit("Add", size, emitter.emit("Gather", totals, index, axis=0))
    taken = emitter.emit("Add", _counted(emitter, count), emitter.emit("Gather", starts, index, axis=0))
    return emitter.emit("Gather", x, taken, axis=axis)


def _counted(emitter: Emitter, count: str) -> str:
    """The numbers from 0 up to a count that is computed."""
    if emitter.opset >= LISTS_POSITIONS:
        ones = emitter.emit("ConstantOfShape", count, value=_ONE)
        return emitter.reshape(emitter.emit("NonZero", ones), [-1])
    names = [emitter.fresh(name) for name in ("number", "go_on", "counted", "listed", "more", "still")]
    number, go_on, counted, listed, more, still = names
    nodes = [
        helper.make_node("Unsqueeze", [number], [listed], axes=[0]),
        helper.make_node("Concat", [counted, listed], [more], axis=0),
        helper.make_node("Identity", [go_on], [still]),
    ]
    of_type = helper.make_tensor_value_info
    inputs = [of_type(number, INT64, []), of_type(go_on, BOOL, []), of_type(counted, INT64, None)]
    body = helper.make_graph(nodes, "count", inputs, [of_type(still, BOOL, []), of_type(more, INT64, None)])
    none = emitter.constant(np.zeros(0, np.int64), "counted", ("none",))
    return emitter.emit("Loop", emitter.reshape(count, []), None, none, body=body)
