"""One convolution, read once: every default filled in, every attribute as numbers per spatial axis.

``y[n, k, p] = b[k] + sum over c, t of x[n, c, p * stride + t * dilation - pad] * w[k, c, t]`` (ONNX Conv; Dumoulin and
Visin, "A guide to convolution arithmetic for deep learning", 2016), with channels in ``group`` blocks that do not mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..ops import Op
from ..shapes import Shapes

CONVS = frozenset(("Conv",))
#: where operators have their map, kernel and bias, if not as Conv does; ``None`` for no bias
OPERANDS: dict[str, tuple[int, int, int | None]] = {"QLinearConv": (0, 3, 8), "ConvInteger": (0, 1, None)}
SAME = ("SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class Convolution:
    """A Conv.

    Attributes:
        op: the node.
        x, weight, bias: value names; the weight is ``[units, channels / group, *window]``.
        elem_type: of the map.
        shape: of the map, ``[N, channels, *spatial]``; ``None`` where a dim is not known.
        window: kernel size per spatial axis.
        units, group: outputs, and blocks of channels.
        strides, dilations: per spatial axis.
        pads: ``(before, after)`` per spatial axis; ``None`` for ``auto_pad`` SAME, a stride over 1 and an unknown size,
            because they follow from the size.
        auto_pad: as written.
        block: channels of one group.
    """

    op: Op
    x: str
    weight: str
    bias: str | None
    elem_type: int
    shape: tuple[int | None, ...]
    window: tuple[int, ...]
    units: int
    group: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int] | None, ...]
    auto_pad: str
    block: int

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.window)

    @property
    def extent(self) -> tuple[int, ...]:
        """Cells that the dilated kernel reaches over, per spatial axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.window, self.dilations, strict=True))

    @property
    def channels(self) -> int | None:
        """Channels of the map, if known."""
        return self.shape[1]

    @property
    def taps(self) -> int:
        """Cells of the kernel."""
        return prod(self.window)

    @property
    def columns(self) -> int:
        """Units of one group."""
        return self.units // self.group

    @property
    def rows(self) -> int:
        """Products that are summed for one unit at one position."""
        return self.taps * self.block

    @property
    def pointwise(self) -> bool:
        """True if every output depends on one cell only."""
        return self.taps == 1

    @property
    def integers(self) -> bool:
        """True if it sums products of integers."""
        return self.op.op_type in OPERANDS

    @property
    def strided(self) -> bool:
        """True if positions are left out."""
        return any(s > 1 for s in self.strides)

    @property
    def what(self) -> str:
        """What it is in a few words: ``3x3 stride 2, 32 groups``."""
        words = "x".join(map(str, self.window))
        for name, numbers in (("stride", self.strides), ("dilation", self.dilations)):
            if any(n > 1 for n in numbers):
                words += f" {name} " + "x".join(map(str, numbers[:1] if len(set(numbers)) == 1 else numbers))
        return words + (f", {self.group} groups" if self.group > 1 else "")

    @property
    def output_size(self) -> tuple[int | None, ...]:
        """Size of the result per spatial axis; ``None`` where it follows from a size that is not known."""
        found: list[int | None] = []
        for n, reach, stride, pads in zip(self.shape[2:], self.extent, self.strides, self.pads, strict=True):
            found.append(None if n is None or pads is None else (n + sum(pads) - reach) // stride + 1)
        return tuple(found)


def read(op: Op, shapes: Shapes, weight_shape: tuple[int, ...]) -> Convolution:
    """A Conv node as numbers.

    Args:
        op: the node.
        shapes: of its operands; dims that are not known are ``None``.
        weight_shape: dims of the kernel.

    Raises:
        Unliftable: the node is not valid.
    """
    op.refuse_if(len(weight_shape) < 3, f"its kernel has dims {list(weight_shape)}, too few for a convolution")
    op.refuse_if(0 in weight_shape, f"its kernel has dims {list(weight_shape)}, so it has no values")
    window = weight_shape[2:]
    ones = [1] * len(window)
    strides, dilations = (tuple(op.attr(name) or ones) for name in ("strides", "dilations"))
    declared = tuple(op.attr("kernel_shape") or window)
    padding = list(op.attr("pads") or [0] * 2 * len(window))
    lengths = {len(strides), len(dilations), len(declared), len(padding) / 2}
    op.refuse_if(declared != window, f"declares a kernel of {list(declared)} and has one of {list(window)}")
    op.refuse_if(lengths != {len(window)}, "its strides, dilations or pads do not have one number per axis")
    group = op.attr("group", 1)
    op.refuse_if(min(group, *strides, *dilations) < 1, "its strides, dilations and groups are not all at least 1")
    op.refuse_if(weight_shape[0] % group, f"its {weight_shape[0]} units are no multiple of its {group} groups")
    auto_pad = op.attr("auto_pad", "NOTSET")
    auto_pad = auto_pad.decode() if isinstance(auto_pad, bytes) else auto_pad
    x, weight, b = OPERANDS.get(op.op_type, (0, 1, 2))
    shape = shapes.dims.get(op.inputs[x]) or (None,) * len(weight_shape)
    op.refuse_if(len(shape) != len(weight_shape), f"its map has {len(shape)} axes and its kernel {len(weight_shape)}")
    extent = [(k - 1) * d + 1 for k, d in zip(window, dilations, strict=True)]
    pads: list[tuple[int, int] | None] = list(zip(padding[: len(window)], padding[len(window) :], strict=True))
    if auto_pad in SAME:
        pads = [same_pads(n, e, s, auto_pad) for n, e, s in zip(shape[2:], extent, strides, strict=True)]
    elif auto_pad == "VALID":
        pads = [(0, 0)] * len(window)
    bias = op.inputs[b] if b is not None and len(op.inputs) > b and op.inputs[b] else None
    elem_type = shapes.elem_types.get(op.inputs[x], 0) or shapes.elem_types.get(op.inputs[weight], 0)
    return Convolution(
        op,
        op.inputs[x],
        op.inputs[weight],
        bias,
        elem_type,
        shape,
        window,
        weight_shape[0],
        group,
        strides,
        dilations,
        tuple(pads),
        auto_pad,
        weight_shape[1],
    )


def same_pads(size: int | None, extent: int, stride: int, auto_pad: str) -> tuple[int, int] | None:
    """Pads in front and behind such that ``ceil(size / stride)`` cells come out; ``None`` if they are not known."""
    if size is None and stride > 1:
        return None
    total = extent - 1 if size is None else max((-(-size // stride) - 1) * stride + extent - size, 0)
    small = total // 2
    return (small, total - small) if auto_pad == "SAME_UPPER" else (total - small, small)
