"""Random backbones: what makes a feature map of an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .drafting import MICROSOFT, Draft, Value

MOST_CELLS = 900


@dataclass
class Trace:
    """What a backbone does to positions.

    Attributes:
        stride: pixels per cell of the last map.
        padded: a node pads, so image crops are not asked for answers.
        whole: a node looks at the whole map.
        phases: a node's pads depend on the size, so images grow by whole strides only.
        may_pad: whether nodes that pad may be added.
    """

    stride: list[int]
    may_pad: bool
    padded: bool = False
    whole: bool = False
    phases: bool = False
    maps: list[tuple[Value, list[int]]] = field(default_factory=list)


Step = Callable[[Draft, Value, Trace], Value | None]
STEPS: dict[str, Step] = {}


def step(function: Step) -> Step:
    """Register a step."""
    STEPS[function.__name__] = function
    return function


def _slides(
    d: Draft, x: Value, t: Trace, kernel: list[int], ceil: bool = False
) -> tuple[dict[str, Any], list[int]] | None:
    """Attributes of a node that slides, and how many cells it gives; ``None`` where no window fits."""
    rank = len(kernel)
    strides = [d.pick(1, 1, 2) for _ in kernel]
    attrs: dict[str, Any] = {"strides": strides}
    dilations, pads = [1] * rank, [0] * (2 * rank)
    how = d.pick("plain", "pads", "dilations", "SAME_UPPER", "SAME_LOWER", "VALID")
    if how == "dilations":
        attrs["dilations"] = dilations = [d.pick(1, 2) for _ in kernel]
    elif how == "pads" and t.may_pad:
        pads = [d.number(0, (k - 1) // 2) for k in kernel] + [d.number(0, (k - 1) // 2) for k in kernel]
        attrs["pads"] = pads
    elif how == "VALID":
        attrs["auto_pad"] = how
    elif how.startswith("SAME") and t.may_pad:
        attrs["auto_pad"] = how
        t.padded, t.phases = True, t.phases or max(strides) > 1
        t.stride = [a * b for a, b in zip(t.stride, strides, strict=True)]
        return attrs, [-(-n // s) for n, s in zip(x.dims[1:], strides, strict=True)]
    t.padded |= any(pads)
    free = [n + pads[a] + pads[a + rank] - dilations[a] * (kernel[a] - 1) - 1 for a, n in enumerate(x.dims[1:])]
    if min(free) < 0:
        return None
    if ceil and how in ("plain", "dilations") and t.may_pad and d.flag(3):
        attrs["ceil_mode"] = 1
        t.phases = True
        t.padded = True  # the last window may reach beyond the map
    up = bool(attrs.get("ceil_mode"))
    t.stride = [a * b for a, b in zip(t.stride, strides, strict=True)]
    return attrs, [-(-n // s) + 1 if up else n // s + 1 for n, s in zip(free, strides, strict=True)]


@step
def conv(d: Draft, x: Value, t: Trace) -> Value | None:
    """Plain, depthwise or in groups; with bias or without."""
    kernel = [d.number(1, 3) for _ in x.dims[1:]]
    group = d.pick(1, 1, x.dims[0], 2 if x.dims[0] % 2 == 0 else 1)
    units = group * d.number(1, max(4 // group, 1))
    slides = _slides(d, x, t, kernel)
    if slides is None:
        return None
    attrs, cells = slides
    inputs = x.dims[0] // group
    weight = d.ints(units, inputs, *kernel, low=-1, high=1)
    bias = [d.ints(units)] if d.flag() else []
    kind = "Conv"
    if d.dtype == "float32" and d.flag(16):
        kind, attrs = f"{MICROSOFT}::FusedConv", {**attrs, "activation": "Relu", "kernel_shape": kernel}
    name = d.put(kind, x, weight, *bias, group=group, **attrs)
    return _map(d, x, name, (units, *cells), bound=x.bound * inputs * math.prod(kernel) + 2)


def _map(d: Draft, x: Value, name: str, dims: tuple[int, ...], **changes: Any) -> Value | None:
    """A map that is not one cell only: such a one would be a vector already."""
    value = Value(name, dims, **{"bound": x.bound, "parts": x.parts, "exact": x.exact, **changes})
    if max(dims[1:]) < 2 or math.prod(dims) > MOST_CELLS or not d.fits(value.bound * 16, value.parts):
        return None
    return value


@step
def max_pool(d: Draft, x: Value, t: Trace) -> Value | None:
    """The largest of each window."""
    kernel = [d.pick(2, 3, 1) for _ in x.dims[1:]]
    slides = _slides(d, x, t, kernel, ceil=d.opset >= 10)
    if slides is None or ("dilations" in slides[0] and d.opset < 10):
        return None
    attrs, cells = slides
    return _map(d, x, d.put("MaxPool", x, kernel_shape=kernel, **attrs), (x.dims[0], *cells))


@step
def average_pool(d: Draft, x: Value, t: Trace) -> Value | None:
    """The mean of each window; of a power of two cells, so that it is exact."""
    kernel = [2] * len(x.dims[1:])
    slides = _slides(d, x, t, kernel)
    if slides is None or "dilations" in slides[0]:
        return None
    attrs, cells = slides
    name = d.put("AveragePool", x, kernel_shape=kernel, count_include_pad=d.number(0, 1), **attrs)
    return _map(d, x, name, (x.dims[0], *cells), parts=x.parts * 2 ** len(kernel))


@step
def batch_norm(d: Draft, x: Value, t: Trace) -> Value | None:
    """Scale and shift of each channel, exact: the variance plus epsilon is 1 or 4."""
    c = x.dims[0]
    variance = d.array(d.rng.choice([0.5, 3.5], c))
    name = d.put("BatchNormalization", x, d.ints(c), d.ints(c), d.ints(c), variance, epsilon=0.5)
    return _map(d, x, name, x.dims, bound=(x.bound + 2) * 2 + 2, parts=x.parts * 2, exact=False)


@step
def activation(d: Draft, x: Value, t: Trace) -> Value | None:
    """What works on each value alone."""
    kind = d.pick("Relu", "Relu", "Abs", "Neg", "LeakyRelu", "Clip", "PRelu", "Identity", "Dropout", "Sigmoid")
    if kind == "LeakyRelu":
        return _map(d, x, d.put(kind, x, alpha=0.5), x.dims, parts=x.parts * 2)
    if kind == "Clip":
        if d.opset < 11:
            return _map(d, x, d.put(kind, x, min=-3.0, max=6.0), x.dims)
        return _map(d, x, d.put(kind, x, d.array(-3.0), d.array(6.0)), x.dims)
    if kind == "PRelu":
        slope = d.ints(x.dims[0], *[1] * (len(x.dims) - 1))
        return _map(d, x, d.put(kind, x, slope), x.dims, bound=x.bound * 2)
    if kind == "Sigmoid":
        return _map(d, x, d.put(kind, x), x.dims, bound=1, exact=False)
    return _map(d, x, d.put(kind, x), x.dims)


@step
def per_channel(d: Draft, x: Value, t: Trace) -> Value | None:
    """A constant for each channel, or one."""
    shape = d.pick((), (1,), (x.dims[0], *[1] * (len(x.dims) - 1)), (1, x.dims[0], *[1] * (len(x.dims) - 1)))
    kind = d.pick("Add", "Mul", "Sub", "Max", "Min")
    name = d.put(kind, *d.pick((x, d.ints(*shape)), (d.ints(*shape), x)))
    return _map(d, x, name, x.dims, bound=x.bound * 2 + 2)


@step
def residual(d: Draft, x: Value, t: Trace) -> Value | None:
    """A shortcut around a Conv, cropped where nothing pads."""
    rank, c = len(x.dims) - 1, x.dims[0]
    weight, shortcut, dims = d.ints(c, c, *[3] * rank, low=-1, high=1), x.name, x.dims
    if t.may_pad:
        branch = d.put("Conv", x, weight, pads=[1] * (2 * rank))
        t.padded = True
    elif min(x.dims[1:]) > 3 and d.opset >= 10:
        branch = d.put("Conv", x, weight)
        ends = d.pick([-1] * rank, [-1] * rank)
        axes = list(range(2, 2 + rank))
        shortcut = d.put("Slice", x, d.vector(*[1] * rank), d.vector(*ends), d.vector(*axes))
        dims = (c, *(n - 2 for n in x.dims[1:]))
    else:
        return None
    branch = d.put("Relu", branch) if d.flag() else branch
    name = d.put(d.pick("Add", "Add", "Sub", "Max"), branch, shortcut)
    return _map(d, x, name, dims, bound=x.bound * (c * 3**rank + 1))


@step
def inception(d: Draft, x: Value, t: Trace) -> Value | None:
    """Branches side by side."""
    rank, c = len(x.dims) - 1, x.dims[0]
    first = d.put("Conv", x, d.ints(2, c, *[1] * rank, low=-1, high=1))
    second = (
        d.put("Conv", x, d.ints(1, c, *[3] * rank, low=-1, high=1), pads=[1] * (2 * rank))
        if t.may_pad
        else d.put("Relu", x)
    )
    t.padded |= t.may_pad
    name = d.put("Concat", first, second, axis=1)
    return _map(d, x, name, (2 + (1 if t.may_pad else c), *x.dims[1:]), bound=x.bound * c * 3**rank)


@step
def gate(d: Draft, x: Value, t: Trace) -> Value | None:
    """Squeeze and excitation: each channel times what the whole map says."""
    if not t.may_pad:
        return None
    rank, c = len(x.dims) - 1, x.dims[0]
    pooled = d.put("GlobalAveragePool", x)
    scale = d.put("Sigmoid", d.put("Conv", pooled, d.ints(c, c, *[1] * rank)))
    t.whole = True
    return _map(d, x, d.put("Mul", x, scale), x.dims, exact=False)


@step
def pad(d: Draft, x: Value, t: Trace) -> Value | None:
    """Zeros, or copies, around the map."""
    if not t.may_pad or d.opset < 11:
        return None
    rank = len(x.dims) - 1
    before, after = ([d.number(0, 1) for _ in range(rank)] for _ in range(2))
    mode = d.pick("constant", "constant", "edge", "reflect")
    t.padded |= any(before + after)
    name = d.put("Pad", x, d.vector(0, 0, *before, 0, 0, *after), mode=mode)
    dims = (x.dims[0], *(n + a + b for n, a, b in zip(x.dims[1:], before, after, strict=True)))
    return _map(d, x, name, dims)


@step
def shuffle(d: Draft, x: Value, t: Trace) -> Value | None:
    """Channels in another order, by sizes that are written down, as exporters do."""
    c = x.dims[0]
    if c % 2 or not isinstance(d.batch, int):
        return None
    split = d.put("Reshape", x, d.vector(d.batch, 2, c // 2, *x.dims[1:]))
    turned = d.put("Transpose", split, perm=[0, 2, 1, *range(3, 2 + len(x.dims))])
    name = d.put("Reshape", turned, d.vector(d.batch, c, *x.dims[1:]))
    d.moved[name] = x.name, [int(n) for n in np.arange(c).reshape(2, -1).T.ravel()]
    return _map(d, x, name, x.dims)


@step
def enlarged(d: Draft, x: Value, t: Trace) -> Value | None:
    """Every cell twice along each axis, by factors."""
    if d.opset < 13 or any(s % 2 for s in t.stride):
        return None
    rank = len(x.dims) - 1
    scales = d.array(np.array([1, 1] + [2] * rank), np.float32)
    name = d.put(
        "Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
    t.whole = True  # what a cell sees depends on whether its place is even
    t.phases = True
    return _map(d, x, name, (x.dims[0], *(2 * n for n in x.dims[1:])))


@step
def normalised(d: Draft, x: Value, t: Trace) -> Value | None:
    """Neighbouring channels normalise each other."""
    if len(x.dims) != 3 or d.dtype != "float32":
        return None
    return _map(d, x, d.put("LRN", x, size=3, alpha=0.01), x.dims, exact=False)


@step
def quantised(d: Draft, x: Value, t: Trace) -> Value | None:
    """To eight bits and back, with a scale that is a power of two, so that it is exact."""
    if d.opset < 13 or not x.exact or d.dtype != "float32":
        return None
    scale, zero = d.array(d.pick(0.5, 1.0, 2.0)), d.array(0, d.pick(np.int8, np.uint8))
    small = d.put("QuantizeLinear", x, scale, zero)
    return _map(d, x, d.put("DequantizeLinear", small, scale, zero), x.dims, bound=512, parts=2)
