"""Operators that change the size of the map other than by a sliding kernel: pads, upsampling, blocks."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from onnx import helper

from ..geometry import Axis
from ..ops import Op
from ..plan import Dim, Dims, FeatureMap, follows, size
from .expressions import Expressions, in_words
from .registry import Operand, Trace, moves, only_map
from .repeating import is_baked, is_baked_batch, read_size, sizes_like

SIZES = 3  #: which input of a Resize holds them


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
        assert isinstance(dim, (int, Axis))
        dims.append(dim.scaled(stride, add) if isinstance(dim, Axis) else dim * stride + add)
    return tuple(dims)


@moves("Resize", "Upsample")
def move_resize(op: Op, operands: list[Operand], trace: Trace) -> Dims:
    """Resizes by constant whole factors, or to sizes that are read as following the image's."""
    x = only_map(op, operands)
    scales = _scales(op, trace)
    if scales is None:
        return _to_sizes(op, x, trace)
    scales = _on_all_axes(op, scales, 1.0, x)
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
            dims.append(_scaled(dim, ratio))
        else:
            raise op.refuse("resizes the batch or the channels")
    _blame_resize(op, x, dims, trace)
    return tuple(dims)


def _scaled(axis: Axis, ratio: Fraction) -> Axis:
    n, d = ratio.numerator, ratio.denominator
    return axis.scaled(n) if d == 1 else axis.window_op(1, d, 0, 0)


def _blame_resize(op: Op, x: FeatureMap, dims: list[Dim], trace: Trace) -> None:
    for before, after in zip(x.dims, dims, strict=True):
        if isinstance(before, Axis) and before != after:
            ratio = size(after, 1) / before.size
            trace.blame(op, "global context", f"resizes by {ratio:g}")


def _on_all_axes(op: Op, numbers: list[Any], neutral: Any, x: FeatureMap) -> list[Any]:
    """The numbers of an operand that may name its axes, one for each axis."""
    axes = op.attr("axes")
    if axes is None:
        return numbers
    full = [neutral] * len(x.dims)
    for a, number in zip(axes, numbers, strict=True):
        full[a] = number
    return full


def _scales(op: Op, trace: Trace) -> list[float] | None:
    """The scales; ``None`` where there are sizes instead."""
    if op.attr("scales") is not None:
        return [float(s) for s in op.attr("scales")]
    i = 2 if op.op_type == "Resize" and op.since >= 11 else 1
    if len(op.inputs) > i and op.inputs[i]:
        scales = trace.array(op, i, "scales").values
        if np.size(scales):
            return [float(s) for s in np.ravel(scales)]
    op.refuse_if(len(op.inputs) <= SIZES or not op.inputs[SIZES], "has neither scales nor sizes")
    return None


def _to_sizes(op: Op, x: FeatureMap, trace: Trace) -> Dims:
    """The sizes are read axis by axis: as a whole multiple of the map's own, as those of another map, or as numbers."""
    policy, mode = op.attr("keep_aspect_ratio_policy", "stretch"), op.attr("coordinate_transformation_mode", "")
    op.refuse_if(policy != "stretch" or mode == "tf_crop_and_resize", "crops or keeps the aspect ratio")
    operand = op.inputs[SIZES]
    known = trace.constants.at_trained_size(operand)
    if known is None:
        raise op.refuse("its sizes are computed in a way that is not understood")
    own = [size(d, trace.shapes.batch) for d in x.dims]
    wanted = _on_all_axes(op, known.ints(), None, x)
    op.refuse_if(len(wanted) != len(own), "its sizes do not fit its input")
    dims: list[Dim] = []
    for place, (dim, n) in enumerate(zip(x.dims, wanted, strict=True)):
        if n is None or (n == own[place] and not isinstance(dim, Axis)):
            dims.append(dim)
            continue
        op.refuse_if(not isinstance(dim, Axis) and n != own[place], "resizes the batch or the channels")
        assert isinstance(dim, Axis)
        entry = op.attr("axes").index(place) if op.attr("axes") else place
        dims.append(read_size(op, operand, place, n, _multiples(dim, n, place, x, trace), trace, entry))
    _blame_resize(op, x, dims, trace)
    if any(follows(b) and not follows(d) for b, d in zip(x.dims, dims, strict=True)):
        sizes = "x".join(str(n) for b, n in zip(x.dims, own, strict=True) if follows(b))
        to = "x".join(str(n) for b, n in zip(x.dims, wanted, strict=True) if follows(b))
        trace.stops[str(op)] = f"resizes {sizes} to {to} at every size of the image, so no window slides behind it"
    entries = op.attr("axes") or list(range(len(dims)))
    baked = [
        is_baked_batch(operand, i, trace) if dims[place] == "batch" else is_baked(operand, i, known.ints()[i], trace)
        for i, place in enumerate(entries)
    ]
    if any(b and (follows(dims[place]) or dims[place] == "batch") for b, place in zip(baked, entries, strict=True)):
        _unbake_sizes(op, x, dims, trace)
    return tuple(dims)


def _multiples(axis: Axis, n: int, place: int, x: FeatureMap, trace: Trace) -> list[Axis]:
    """What a size of a resized axis may be: a whole multiple or fraction of its own, or that of another map."""
    ratio = Fraction(n, axis.size)
    found = [_scaled(axis, ratio)] if 1 in (ratio.numerator, ratio.denominator) else []
    return found + [replace(a, field=axis.field) for a in sizes_like(n, place, len(x.dims), trace)]


def _unbake_sizes(op: Op, x: FeatureMap, dims: list[Dim], trace: Trace) -> None:
    """Whole factors as scales, which need no arithmetic; else sizes from those of the maps that have them."""
    factors = [Fraction(size(d, 1), size(b, 1)) for d, b in zip(dims, x.dims, strict=True)]
    whole = all(
        d == b or (isinstance(b, Axis) and d == _scaled(b, f))
        for d, b, f in zip(dims, x.dims, factors, strict=True)
        if 1 in (f.numerator, f.denominator) or d != b
    )
    baked = trace.constants.at_trained_size(op.inputs[SIZES])
    expressions = Expressions(op, x, trace)
    roi = op.inputs[1] or ("" if op.since >= 13 else expressions.constant(np.array([], np.float32)))
    if whole:
        scales = expressions.constant(np.array([float(f) for f in factors], np.float32))
        inputs = [x.name, roi, scales]
    else:
        none = "" if op.since >= 13 else expressions.constant(np.array([], np.float32))
        inputs = [x.name, roi, none, expressions.vector(dims)]
    attributes = {k: v for k, v in op.attrs.items() if k != "axes"}
    node = helper.make_node(op.op_type, inputs, op.outputs, name=op.name, **attributes)
    old = baked.ints() if baked else "?"
    expressions.replace(node, f"{op}: its sizes {old} -> [{', '.join(in_words(d) for d in dims)}]")


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
        assert isinstance(dim, (int, Axis))
        if isinstance(dim, int):
            dims.append(dim // block if down else dim * block)
        else:
            dims.append(dim.window_op(block, block, 0, 0) if down else dim.scaled(block))
    return tuple(dims)
