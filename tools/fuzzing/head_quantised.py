"""Random head nodes: integers of eight bits, and maps that an FC has made."""

from __future__ import annotations

from typing import Any

import numpy as np

from .drafting import FLOAT, MICROSOFT, Draft, Value
from .head_linear import node


def _small(d: Draft, x: Value, kind: type = np.uint8, domain: str = "") -> tuple[str, str, str]:
    """The value in eight bits, with its scale, a power of two, and its zero point."""
    scale, zero = d.array(d.pick(0.5, 1.0, 2.0), np.float32), d.array(d.number(0, 3), kind)
    return d.put(f"{domain}QuantizeLinear", x, scale, zero), scale, zero


def _may(d: Draft, x: Value) -> bool:
    return x.exact and d.dtype == "float32" and d.opset >= 10


@node
def there_and_back(d: Draft, x: Value) -> Value | None:
    """Quantised and dequantised."""
    if not _may(d, x):
        return None
    domain = d.pick("", "", f"{MICROSOFT}::")
    small, scale, zero = _small(d, x, d.pick(np.int8, np.uint8), domain)
    return d.value(x, d.put(f"{domain}DequantizeLinear", small, scale, zero), bound=520, parts=2)


@node
def fc_of_quantised_weights(d: Draft, x: Value) -> Value | None:
    """The weights are integers behind a DequantizeLinear, one scale for all or one for each unit."""
    if not _may(d, x) or len(x.dims) != 1:
        return None
    inputs, units = x.dims[0], d.number(1, 4)
    each = d.opset >= 13 and d.flag()
    weight = d.array(d.rng.integers(-2, 3, (inputs, units)), np.int8)
    scale = d.array(2.0 ** d.rng.integers(-1, 1, (units,) if each else ()), np.float32)
    zero = d.array(np.zeros((units,) if each else ()), np.int8)
    matrix = d.put("DequantizeLinear", weight, scale, zero, **({"axis": 1} if each else {}))
    name = d.put("Gemm", x, matrix, d.ints(units)) if d.flag() else d.put("MatMul", x, matrix)
    d.fcs += 1
    return d.value(x, name, (units,), bound=x.bound * inputs * 2 + 2, parts=x.parts * 2)


@node
def matmul_integer(d: Draft, x: Value) -> Value | None:
    """A product of integers, summed in 32 bits."""
    if not _may(d, x):
        return None
    small, _, zero = _small(d, x)
    units = d.number(1, 4)
    weight = d.array(d.rng.integers(-2, 3, (x.dims[-1], units)), np.int8)
    made = d.put("MatMulInteger", small, weight, *d.pick([], [zero], [zero, d.array(1, np.int8)]))
    d.fcs += 1
    return d.value(x, d.put("Cast", made, to=FLOAT), (*x.dims[:-1], units), bound=256 * 3 * x.dims[-1], parts=1)


@node
def qlinear_matmul(d: Draft, x: Value) -> Value | None:
    """A product of integers, rounded to steps; scales are powers of two, so that no sum is in doubt."""
    if not _may(d, x):
        return None
    small, scale, zero = _small(d, x)
    units = d.number(1, 4)
    weight = [
        d.array(d.rng.integers(-2, 3, (x.dims[-1], units)), np.int8),
        d.array(1.0, np.float32),
        d.array(0, np.int8),
    ]
    out, point = d.array(4.0, np.float32), d.array(128, np.uint8)
    if len(x.dims) == 1 and d.flag(4):
        made = d.put(f"{MICROSOFT}::QGemm", small, scale, zero, *weight, "", out, point)
    else:
        made = d.put("QLinearMatMul", small, scale, zero, *weight, out, point)
    d.fcs += 1
    return d.value(x, d.put("DequantizeLinear", made, out, point), (*x.dims[:-1], units), bound=1024, parts=1)


@node
def qlinear_pointwise(d: Draft, x: Value) -> Value | None:
    """Activations and sums of quantised values, as onnxruntime's quantiser writes them."""
    if not _may(d, x):
        return None
    small, scale, zero = _small(d, x)
    out, point = d.array(d.pick(1.0, 2.0), np.float32), d.array(7, np.uint8)
    kind = d.pick("QLinearLeakyRelu", "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearSoftmax")
    if kind in ("QLinearAdd", "QLinearMul"):
        made = d.put(f"{MICROSOFT}::{kind}", small, scale, zero, small, scale, zero, out, point)
    else:
        attrs: dict[str, Any] = {"alpha": 0.5} if kind == "QLinearLeakyRelu" else {}
        if kind == "QLinearSoftmax":
            out, point = d.array(1 / 256, np.float32), d.array(0, np.uint8)
            attrs = {"axis": len(x.dims), "opset": 13}
        made = d.put(f"{MICROSOFT}::{kind}", small, scale, zero, out, point, **attrs)
    exact = kind not in ("QLinearSigmoid", "QLinearSoftmax")
    return d.value(x, d.put("DequantizeLinear", made, out, point), bound=520, parts=1, exact=exact)


@node
def decoder(d: Draft, x: Value) -> Value | None:
    """A small map of features, and what works on its positions."""
    if not d.fcs:  # positions of its own are what an FC makes
        return None
    sides = [(c, h, x.size // (c * h)) for c in (1, 2, 4, 4, 8) for h in (1, 2, 2, 3) if x.size % (c * h) == 0]
    c, h, w = d.pick(*sides)
    small = d.put("Reshape", x, d.vector(0, c, h, w))
    kind = d.pick(*_fitting(d, c, h, w))
    dims, bound, parts, exact = (c, h, w), x.bound, x.parts, x.exact
    if kind == "ConvTranspose":
        made, dims = d.put(kind, small, d.ints(c, 2, 2, 2), strides=[2, 2]), (2, 2 * h, 2 * w)
        bound = bound * c * 2 * 4
    elif kind == "Conv":
        made, dims, bound = d.put(kind, small, d.ints(2, c, 3, 3), pads=[1, 1, 1, 1]), (2, h, w), bound * c * 18
        d.fcs += 1
    elif kind == "LpPool":
        made, dims = d.put(kind, small, kernel_shape=[1, 1], p=1), (c, h, w)
    elif kind == "DepthToSpace":
        made, dims = d.put(kind, small, blocksize=2), (c // 4, 2 * h, 2 * w)
    elif kind == "SpaceToDepth":
        made, dims = d.put(kind, small, blocksize=2), (c * 4, h // 2, w // 2)
    elif kind in ("InstanceNormalization", "GroupNormalization"):
        count = {"num_groups": 1} if kind.startswith("Group") else {}
        made, exact, parts = d.put(kind, small, d.ints(c), d.ints(c), epsilon=0.25, **count), False, 1
        bound = 2.0 * h * w * c + 2
    elif kind == "LRN":
        made, exact = d.put(kind, small, size=3, alpha=0.01), False
    elif kind == "Pad":
        made, dims = (
            d.put(kind, small, d.vector(0, 0, 1, 0, 0, 0, 0, 1), mode=d.pick("constant", "edge")),
            (c, h + 1, w + 1),
        )
    elif kind == "Resize":
        scales, mode = d.array([1, 1, 2, 2], np.float32), "asymmetric"
        made = d.put(kind, small, "", scales, coordinate_transformation_mode=mode, nearest_mode="floor")
        dims = (c, 2 * h, 2 * w)
    elif kind == "Upsample":
        made, dims = d.put(kind, small, d.array([1, 1, 2, 2], np.float32)), (c, 2 * h, 2 * w)
    else:
        made, dims = d.put(kind, small, **({"p": 1} if kind == "GlobalLpPool" else {})), (c, 1, 1)
        exact, bound = exact and kind == "GlobalMaxPool", bound * h * w
    value = d.value(x, made, dims, bound=bound, parts=parts, exact=exact)
    return value and d.value(value, d.put("Flatten", value), (value.size,))


def _fitting(d: Draft, c: int, h: int, w: int) -> list[str]:
    found = ["ConvTranspose", "Conv", "InstanceNormalization", "LpPool"]
    found += ["LRN"] * (d.dtype != "float64")  # of which onnx.reference goes through the images, not the channels
    found += ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"]
    found += ["DepthToSpace"] * (c % 4 == 0) + ["SpaceToDepth"] * (h % 2 == w % 2 == 0)
    found += ["Pad"] * (d.opset >= 11) + ["Resize"] * (d.opset >= 11) + ["Upsample"] * (d.opset == 9)
    return found + ["GroupNormalization"] * (d.opset >= 21)
