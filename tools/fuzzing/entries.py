"""Where the head begins: every spelling of "the feature map becomes a vector"."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .drafting import INT64, MICROSOFT, Draft, Value

Entry = Callable[[Draft, Value], Value | None]
ENTRIES: dict[str, Entry] = {}


def entry(function: Entry) -> Entry:
    """Register an entry."""
    ENTRIES[function.__name__] = function
    return function


def flat(d: Draft, x: Value, name: str) -> Value | None:
    """One row for each image, in any spelling."""
    how = d.pick("Flatten", "Flatten", "0 -1", "-1 F", "shape", "fixed", "squeeze")
    rest = x.size
    if how == "0 -1":
        made = d.put("Reshape", name, d.vector(0, -1))
    elif how == "-1 F":
        made = d.put("Reshape", name, d.vector(-1, rest))
    elif how == "fixed" and isinstance(d.batch, int):
        made = d.put("Reshape", name, d.vector(d.batch, d.pick(-1, rest)))
    elif how == "shape":
        made = d.put("Reshape", name, _rows(d, name, -1))
    elif how == "squeeze" and all(n == 1 for n in x.dims[1:]) and len(x.dims) > 1:
        made = d.with_axes("Squeeze", name, list(range(2, 1 + len(x.dims))))
    else:
        made = d.put("Flatten", name)
    return d.value(x, made, (rest,))


def _rows(d: Draft, name: str, rest: int) -> str:
    """``[N, rest]`` as exporters compute it: Shape, Gather, Unsqueeze, Concat."""
    index = d.array(np.array(0, np.int64), np.int64)
    images = d.put("Gather", d.put("Shape", name), index, axis=0)
    return d.put("Concat", d.with_axes("Unsqueeze", images, [0]), d.vector(rest), axis=0)


@entry
def in_order(d: Draft, x: Value) -> Value | None:
    """In the order of channels, height, width."""
    return flat(d, x, x.name)


@entry
def channels_last(d: Draft, x: Value) -> Value | None:
    """In the order of height, width, channels."""
    rank = len(x.dims)
    return flat(d, x, d.put("Transpose", x, perm=[0, *range(2, rank + 1), 1]))


@entry
def any_order(d: Draft, x: Value) -> Value | None:
    """In any order of the axes."""
    order = [int(a) + 1 for a in d.rng.permutation(len(x.dims))]
    return flat(d, x, d.put("Transpose", x, perm=[0, *order]))


@entry
def activated(d: Draft, x: Value) -> Value | None:
    """With an activation in between."""
    made = d.put(d.pick("Relu", "Neg", "Abs"), x)
    return flat(d, x, made)


@entry
def pooled(d: Draft, x: Value) -> Value | None:
    """A pool over the whole map, in any spelling, and maybe a 1x1 Conv."""
    rank, cells = len(x.dims) - 1, math.prod(x.dims[1:])
    spatial = list(range(2, 2 + rank))
    kinds = ["GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "AveragePool", "MaxPool", "ReduceSum"]
    if d.dtype == "float64" and rank != 2:
        kinds.remove("GlobalMaxPool")  # onnx.reference takes the maximum over two axes, however many there are
    kind = d.pick(*kinds)
    mean = kind in ("GlobalAveragePool", "ReduceMean", "AveragePool")
    exact = x.exact and (kind in ("GlobalMaxPool", "ReduceMax", "MaxPool") or cells & (cells - 1) == 0)
    keep = d.number(0, 1)
    if kind.startswith("Reduce"):
        made = d.with_axes(kind, x, spatial, keepdims=keep)
    elif kind.startswith("Global"):
        made, keep = d.put(kind, x), 1
    else:
        made, keep = d.put(kind, x, kernel_shape=list(x.dims[1:]), strides=[d.pick(1, n) for n in x.dims[1:]]), 1
    bound, parts = (x.bound * cells if kind == "ReduceSum" else x.bound), x.parts * (cells if mean and exact else 1)
    dims = (x.dims[0], *[1] * rank) if keep else (x.dims[0],)
    value = d.value(x, made, dims, bound=bound, parts=parts, exact=exact)
    if value is None or not keep:
        return value
    if d.flag(3):
        units = d.number(1, 4)
        made = d.put("Conv", value, d.ints(units, value.dims[0], *[1] * rank), d.ints(units))
        value = d.value(value, made, (units, *[1] * rank), bound=value.bound * 2 * value.dims[0] + 2)
    return None if value is None else flat(d, value, value.name)


@entry
def pooled_in_steps(d: Draft, x: Value) -> Value | None:
    """The mean over the whole map in eight bits, as onnxruntime's quantiser writes it."""
    if d.dtype != "float32" or d.opset < 10 or not x.exact or len(x.dims) != 3:
        return None
    scale, zero = d.array(2.0, np.float32), d.array(100, np.uint8)
    small = d.put("QuantizeLinear", x, scale, zero)
    mean = d.put(f"{MICROSOFT}::QLinearGlobalAveragePool", small, scale, zero, scale, zero)
    made = d.put("DequantizeLinear", mean, scale, zero)
    value = d.value(x, made, (x.dims[0], 1, 1), bound=512, exact=False)
    return None if value is None else flat(d, value, value.name)


@entry
def tokens(d: Draft, x: Value) -> Value | None:
    """One row for each position, which an FC reads, and then all of them."""
    c, cells = x.dims[0], math.prod(x.dims[1:])
    rows = d.put("Transpose", d.put("Reshape", x, d.vector(0, c, -1)), perm=[0, 2, 1])
    units = d.number(2, 3)  # of one, rows would be positions still, whatever the axis of one becomes
    made = d.put("MatMul", rows, d.ints(c, units))
    value = d.value(x, made, (cells, units), bound=x.bound * 2 * c)  # a 1x1 Conv, and no FC over a window
    return None if value is None else flat(d, value, value.name)


@entry
def rows_of_channels(d: Draft, x: Value) -> Value | None:
    """One row for each channel; along one axis that is the map itself, which nothing has flattened yet."""
    if len(x.dims) == 2:
        return None
    c, cells = x.dims[0], math.prod(x.dims[1:])
    made = d.put("Reshape", x, d.vector(0, c, cells))
    return d.value(x, made, (c, cells))


@entry
def cast_shape(d: Draft, x: Value) -> Value | None:
    """A target that went through arithmetic."""
    name = d.put("Cast", d.put("Shape", x), to=INT64)
    first = d.put("Slice", name, d.vector(0), d.vector(1), d.vector(0)) if d.opset >= 10 else None
    if first is None:
        return flat(d, x, x.name)
    return d.value(x, d.put("Reshape", x, d.put("Concat", first, d.vector(-1), axis=0)), (x.size,))
