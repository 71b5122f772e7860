"""Operators that change the size of the map other than by a sliding kernel: pads, crops, upsampling, blocks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ..flatten import axes_of
from ..geometry import Axis
from ..ops import Op
from ..plan import Dim, Dims
from .registry import Operand, Trace, moves, only_map

FAR = 2**31 - 1  #: exporters write "to the end" as this or more


@moves("Pad")
def move_pad(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Pads (or, where negative, crops) with constants."""
    x = only_map(op, operands)
    pads = op.attr("pads") or trace.ints(op, 1, "pads")
    axes = (
        [a % len(x.dims) for a in trace.ints(op, 3, "axes")]
        if len(op.inputs) > 3 and op.inputs[3]
        else range(len(x.dims))
    )
    count = len(pads) // 2
    dims: list[Dim] = list(x.dims)
    for i, axis in enumerate(axes):
        before, after = pads[i], pads[i + count]
        dim = dims[axis]
        if before == after == 0:
            continue
        op.refuse_if(dim == "batch", "pads the batch")
        if isinstance(dim, int):
            dims[axis] = dim + before + after
        elif isinstance(dim, Axis):
            if before > 0 or after > 0:
                trace.blame(op, "padding", f"pads, mode {op.attr('mode', 'constant')}")
            dims[axis] = dim.window_op(1, 1, before, before + after)
    return tuple(dims)


@moves("Slice")
def move_slice(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Slices features, or crops a border of fixed width."""
    x = only_map(op, operands)
    if op.since < 10:
        starts, ends, axes, steps = op.attr("starts"), op.attr("ends"), op.attr("axes"), None
    else:
        starts, ends = trace.ints(op, 1, "starts"), trace.ints(op, 2, "ends")
        axes = trace.ints(op, 3, "axes") if len(op.inputs) > 3 and op.inputs[3] else None
        steps = trace.ints(op, 4, "steps") if len(op.inputs) > 4 and op.inputs[4] else None
    axes = [a % len(x.dims) for a in axes] if axes else list(range(len(starts)))
    dims: list[Dim] = list(x.dims)
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(starts), strict=True):
        dim = dims[axis]
        if isinstance(dim, int):
            dims[axis] = len(range(dim)[start:end:step])
        elif (start, step) == (0, 1) and end >= FAR:
            continue
        elif isinstance(dim, Axis):
            if step < 1 or start < 0 or 0 <= end < FAR:
                raise op.fits_one_size(f"crops to fixed positions [{start}:{end}:{step}] of the trained size")
            dims[axis] = dim.window_op(1, step, -start, -start + min(end, 0) + step - 1)
        else:
            raise op.refuse("slices the batch")
    return tuple(dims)


@moves("ConvTranspose")
def move_conv_transpose(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Transposed convolution: ``n * stride + (kernel - stride - pads + output_padding)`` cells."""
    x = only_map(op, operands)
    op.refuse_if(op.attr("output_shape"), "its output_shape is fixed to the trained size")
    op.refuse_if(op.attr("auto_pad", "NOTSET") not in ("NOTSET", "VALID"), "auto_pad is not supported here")
    weight = trace.shapes.of(op.inputs[1])
    if weight is None:
        raise op.refuse(f"the shape of its weight '{op.inputs[1]}' is not known")
    rank = len(weight) - 2
    trace.blame(op, "global context", "one cell of its input reaches several cells of its output")
    dims: list[Dim] = [x.dims[0], weight[1] * op.attr("group", 1)]
    for i, dim in enumerate(x.dims[2:]):
        stride = op.attr("strides", [1] * rank)[i]
        pads = op.attr("pads") or [0] * (2 * rank)
        kernel = (weight[2 + i] - 1) * op.attr("dilations", [1] * rank)[i] + 1
        add = kernel - stride - pads[i] - pads[i + rank] + op.attr("output_padding", [0] * rank)[i]
        assert dim != "batch"
        dims.append(dim.scaled(stride, add) if isinstance(dim, Axis) else dim * stride + add)
    return tuple(dims)


@moves("Resize", "Upsample")
def move_resize(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Resizes by constant whole factors; fixed sizes are refused."""
    x = only_map(op, operands)
    scales = _scales(op, trace)
    axes = op.attr("axes")
    if axes is not None:
        full = [1.0] * len(x.dims)
        for a, s in zip(axes, scales, strict=True):
            full[a] = s
        scales = full
    op.refuse_if(len(scales) != len(x.dims), "its scales do not fit its input")
    dims: list[Dim] = []
    for dim, scale in zip(x.dims, scales, strict=True):
        if scale == 1:
            dims.append(dim)
        elif isinstance(dim, Axis):
            ratio = Fraction(scale).limit_denominator(64)
            op.refuse_if(
                float(ratio) != scale or 1 not in (ratio.numerator, ratio.denominator),
                f"resizes by {scale}, not a whole factor",
            )
            trace.blame(op, "global context", f"resizes by {scale:g}")
            n, d = ratio.numerator, ratio.denominator
            dims.append(dim.scaled(n) if d == 1 else dim.window_op(1, d, 0, 0))
        else:
            raise op.refuse("resizes the batch or the channels")
    return tuple(dims)


def _scales(op: Op, trace: Trace) -> list[float]:
    if op.attr("scales") is not None:
        return [float(s) for s in op.attr("scales")]
    i = 2 if op.op_type == "Resize" and op.since >= 11 else 1
    if len(op.inputs) > i and op.inputs[i]:
        scales = trace.array(op, i, "scales").values
        if np.size(scales):
            return [float(s) for s in np.ravel(scales)]
    raise op.refuse("resizes to a size that is fixed at, or computed from, the trained size")


@moves("SpaceToDepth", "DepthToSpace")
def move_blocks(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Blocks of the map become channels, or the reverse."""
    x = only_map(op, operands)
    block = op.attr("blocksize")
    channels = x.dims[1]
    if not isinstance(channels, int):
        raise op.refuse("axis 1 of its input is not the channel axis")
    down = op.op_type == "SpaceToDepth"
    if down:
        trace.blame(op, "phase", f"its input must be a multiple of {block}")
    else:
        trace.blame(op, "global context", "one cell of its input becomes several cells of its output")
    dims: list[Dim] = [x.dims[0], channels * block**2 if down else channels // block**2]
    for dim in x.dims[2:]:
        assert dim != "batch"
        if isinstance(dim, int):
            dims.append(dim // block if down else dim * block)
        else:
            dims.append(dim.window_op(block, block, 0, 0) if down else dim.scaled(block))
    return tuple(dims)


@moves("Unsqueeze", "Squeeze")
def move_unit_axes(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Inserts or removes axes of size 1 that are not spatial (the caller keeps the others away)."""
    x = only_map(op, operands)
    operand = trace.ints(op, 1, "axes") if len(op.inputs) > 1 and op.inputs[1] else None
    inserted = len(operand if operand is not None else op.attr("axes") or ())
    dims: list[Dim] = list(x.dims)
    if op.op_type == "Unsqueeze":
        for axis in axes_of(op, operand, len(dims) + inserted) or ():
            dims.insert(axis, 1)
        return tuple(dims)
    axes = axes_of(op, operand, len(dims))
    return tuple(d for i, d in enumerate(dims) if (d != 1 if axes is None else i not in axes))
