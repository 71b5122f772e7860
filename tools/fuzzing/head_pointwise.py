"""Random head nodes: what works on each value, and what reduces or normalises features."""

from __future__ import annotations

import math

import numpy as np

from .drafting import FLOAT, INT32, MICROSOFT, UINT32, Draft, Value
from .head_linear import node

#: operator -> first opset, and what is put in front so that its results stay small
ROUNDED: dict[str, tuple[int, str]] = {
    **dict.fromkeys("Sigmoid Tanh Softplus Softsign Atan HardSigmoid Sin Cos Elu Selu Asin Acos".split(), (7, "")),
    **dict.fromkeys("Erf Asinh".split(), (9, "")),
    **dict.fromkeys("Exp Tan".split(), (7, "Tanh")),
    **{"Sinh": (9, "Tanh"), "Cosh": (9, "Tanh"), "Atanh": (9, "halved"), "Acosh": (9, "above one")},
    **dict.fromkeys("Log Reciprocal".split(), (7, "above one")),
    "Sqrt": (7, "Abs"),
    "Asin": (7, "halved"),
    "Acos": (7, "halved"),
    **{"Celu": (12, ""), "HardSwish": (14, ""), "Mish": (18, ""), "Gelu": (20, ""), "Swish": (24, "")},
    **{f"{MICROSOFT}::Gelu": (7, ""), f"{MICROSOFT}::QuickGelu": (7, ""), f"{MICROSOFT}::FastGelu": (7, "")},
    f"{MICROSOFT}::BiasGelu": (7, ""),
}
#: operators of which every result is exact, and some of which jump
STEADY = {"Relu": 7, "Neg": 7, "Abs": 7, "Identity": 7, "LeakyRelu": 7, "Dropout": 7}
JUMPY = {"Floor": 7, "Ceil": 7, "Round": 11, "Sign": 9, "ThresholdedRelu": 10, "Shrink": 9}


@node
def rounded(d: Draft, x: Value) -> Value | None:
    """A function whose result is rounded."""
    kind = d.pick(*[k for k, (since, _) in ROUNDED.items() if d.opset >= since])
    if x.bound > 1e4 or (kind.startswith(MICROSOFT) and d.dtype != "float32"):
        return None
    front, value = ROUNDED[kind][1], x.name
    if front == "above one":
        value = d.put("Add", d.put("Abs", value), d.array(1))
    elif front == "halved":
        value = d.put("Mul", d.put("Tanh", value), d.array(0.5))
    elif front:
        value = d.put(front, value)
    operands = [value, d.ints(x.dims[-1])] if kind.endswith("BiasGelu") else [value]
    return d.value(x, d.put(kind, *operands), bound=min(x.bound * 2 + 2, 1e4), parts=1, exact=False)


@node
def steady(d: Draft, x: Value) -> Value | None:
    """A function whose result is exact wherever its operand is."""
    kind = d.pick(*STEADY)
    if kind == "LeakyRelu":
        return d.value(x, d.put(kind, x, alpha=0.5), parts=x.parts * 2)
    return d.value(x, d.put(kind, x))


@node
def jumpy(d: Draft, x: Value) -> Value | None:
    """A function that jumps, which must not meet rounded values."""
    kinds = [k for k, since in JUMPY.items() if d.opset >= since]
    if not x.exact:
        return None
    kind = d.pick(*kinds)
    attrs = {"alpha": 1.0} if kind == "ThresholdedRelu" else {"lambd": 1.0, "bias": 0.5} if kind == "Shrink" else {}
    return d.value(x, d.put(kind, x, **attrs), bound=x.bound + 1, parts=max(x.parts, 2))


@node
def clip(d: Draft, x: Value) -> Value | None:
    """Between two bounds."""
    if d.opset < 11:
        return d.value(x, d.put("Clip", x, min=-9.0, max=7.0), bound=9)
    low, high = d.pick((d.array(-9), d.array(7)), (d.array(-9), ""), ("", d.array(7)))
    return d.value(x, d.put("Clip", x, *([low, high] if high else [low])))


@node
def flags(d: Draft, x: Value) -> Value | None:
    """Comparisons, and what can be made of flags."""
    if not x.exact or d.dtype != "float32":
        return None
    later = ["GreaterOrEqual", "LessOrEqual"] if d.opset >= 12 else []
    same = ["Equal"] if d.opset >= 11 else []
    first = d.put(d.pick("Greater", "Less", *later, *same), x, d.ints(*constant(d, x)))
    if d.flag():
        second = d.put("Less", x, d.ints())
        first = d.put(d.pick("And", "Or", "Xor"), first, second)
    if d.flag():
        first = d.put("Not", first)
    if d.flag(4) and d.opset >= 10:
        first = d.put("Or", first, d.put(d.pick("IsNaN", "IsInf"), x))
    if d.flag(3) and d.opset >= 9:
        return d.value(x, d.put("Where", first, x, d.ints()), bound=x.bound + 2)
    return d.value(x, d.put("Cast", first, to=FLOAT), bound=1, parts=1)


@node
def whole_numbers(d: Draft, x: Value) -> Value | None:
    """As integers for a while, and what can be done with their bits."""
    if not x.exact or d.dtype != "float32" or x.bound > 1e4:
        return None
    if d.opset >= 11 and d.flag(4):
        number = d.put("Cast", d.put("Abs", x), to=UINT32)
        number = d.put("BitShift", number, d.array(1, np.uint32), direction=d.pick("LEFT", "RIGHT"))
        return d.value(x, d.put("Cast", number, to=FLOAT), bound=x.bound * 2, parts=1)
    number = d.put("Cast", x, to=INT32)
    if d.opset >= 18 and d.flag():
        kind = d.pick("BitwiseNot", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
        number = d.put(kind, number, *([] if kind == "BitwiseNot" else [d.array(6, np.int32)]))
    elif d.flag() and d.opset >= 10:
        number = d.put("Mod", number, d.array(5, np.int32))
    elif d.flag():
        number = d.put(d.pick("Add", "Mul", "Sub"), number, d.array(2, np.int32))
    return d.value(x, d.put("Cast", number, to=FLOAT), bound=x.bound * 2 + 8, parts=1)


def constant(d: Draft, x: Value) -> tuple[int, ...]:
    """Dims of a constant that broadcasts to the value."""
    dims = tuple(d.pick(1, n) for n in x.dims)
    return tuple(d.pick((), (1,), dims[-1:], dims, (1, *dims), x.dims))


@node
def with_constant(d: Draft, x: Value) -> Value | None:
    """A constant on either side, of any shape that broadcasts."""
    shape = constant(d, x)
    kind = d.pick("Add", "Sub", "Mul", "Max", "Min", "Div", "PRelu", "Pow", "Sum", "Mean")
    if kind == "Div":
        c = d.array(2.0 ** d.rng.integers(0, 2, shape))
        return d.value(x, d.put(kind, x, c), parts=x.parts * 2)
    if kind == "Pow":
        return d.value(x, d.put(kind, x, d.array(2)), bound=x.bound**2, parts=x.parts**2, exact=False)
    c = d.ints(*shape)
    if kind == "PRelu":
        return d.value(x, d.put(kind, x, c), bound=x.bound * 2)
    operands = d.pick((x, c), (c, x))
    return d.value(x, d.put(kind, *operands), bound=x.bound * 2 + 2, parts=x.parts * (2 if kind == "Mean" else 1))


def some_axes(d: Draft, x: Value) -> list[int]:
    """Some feature axes, at least one, in order."""
    found = [i for i in range(len(x.dims)) if d.flag()]
    return found or [d.number(0, len(x.dims) - 1)]


@node
def reduce(d: Draft, x: Value) -> Value | None:
    """Over some of the features."""
    axes, keep = some_axes(d, x), d.number(0, 1)
    if len(axes) == len(x.dims):
        keep = 1
    count = math.prod(x.dims[a] for a in axes)
    kind = d.pick(*"Max Min Sum Mean L1 L2 SumSquare Prod LogSum LogSumExp".split())
    exact, parts, bound, value = x.exact, x.parts, x.bound, x.name
    if kind in ("Sum", "L1"):
        bound *= count
    elif kind == "Mean":
        exact, parts = exact and count & (count - 1) == 0, parts * (count if count & (count - 1) == 0 else 1)
    elif kind == "SumSquare":
        bound, parts = bound**2 * count, parts**2
    elif kind == "Prod":
        value, exact, bound = d.put("Tanh", x), False, 1
    elif kind in ("L2", "LogSum", "LogSumExp"):
        value, exact, bound = d.put("Add", d.put("Abs", d.put("Tanh", x)), d.array(1)), False, 2 * count
    if not d.fcs and kind in ("Sum", "L1", "SumSquare"):  # over a window it may be a mean times the number of its cells
        exact = exact and count & (count - 1) == 0
    dims = tuple(1 if i in axes else n for i, n in enumerate(x.dims) if keep or i not in axes)
    made = d.with_axes(f"Reduce{kind}", value, [a + 1 for a in axes], keepdims=keep)
    return d.value(x, made, dims, bound=bound, parts=parts, exact=exact)


@node
def choose(d: Draft, x: Value) -> Value | None:
    """Indices, the largest values, running sums."""
    if not x.exact:
        return None
    feature = d.number(0, len(x.dims) - 1)
    axis, count = feature + 1, x.dims[feature]
    kind = d.pick("ArgMax", "ArgMin", "TopK", "CumSum")
    if kind.startswith("Arg"):
        dims = tuple(1 if i == feature else n for i, n in enumerate(x.dims))
        return d.value(x, d.put("Cast", d.put(kind, x, axis=axis), to=d.elem_type), dims, bound=count, parts=1)
    if kind == "CumSum":
        if d.opset < 11:
            return None
        name = d.put(kind, x, d.array(np.array(axis), np.int64), exclusive=d.number(0, 1), reverse=d.number(0, 1))
        return d.value(x, name, bound=x.bound * count)
    k = d.number(1, count)
    dims = tuple(k if i == feature else n for i, n in enumerate(x.dims))
    if d.opset < 10:
        values, _ = d.put_many(kind, 2, x, axis=axis, k=k)
        return d.value(x, values, dims)
    values, indices = d.put_many(kind, 2, x, d.vector(k), axis=axis)
    if d.flag():
        return d.value(x, values, dims)
    return d.value(x, d.put("Cast", indices, to=d.elem_type), dims, bound=count, parts=1)


@node
def softmax(d: Draft, x: Value) -> Value | None:
    """Over an axis; before opset 13 over all axes from it on."""
    kind = d.pick("Softmax", "Softmax", "LogSoftmax", "Hardmax")
    axis = d.number(1, len(x.dims))
    if (kind == "Hardmax" and not x.exact) or x.bound > 1e3:
        return None
    axis = d.pick(axis, axis - 1 - len(x.dims)) if d.opset >= 11 else axis
    return d.value(x, d.put(kind, x, axis=axis), bound=2 * x.bound + 8, parts=1, exact=kind == "Hardmax")


@node
def normalise(d: Draft, x: Value) -> Value | None:
    """Over features, or by statistics of each channel."""
    kind = d.pick("BatchNormalization", "LayerNormalization", "LpNormalization")
    if kind == "BatchNormalization":
        c = x.dims[0]
        variance = d.array(np.arange(1, c + 1))
        name = d.put(kind, x, d.ints(c), d.ints(c), d.ints(c), variance)
        return d.value(x, name, bound=2 * x.bound + 6, parts=1, exact=False)
    if kind == "LpNormalization":
        if d.dtype != "float32":
            return None
        above = d.put("Add", d.put("Abs", x), d.array(1))
        name = d.put(kind, above, axis=d.number(1, len(x.dims)), p=d.number(1, 2))
        return d.value(x, name, bound=1, parts=1, exact=False)
    if d.opset < 17 or x.size == 1:
        return None
    feature = d.number(0, len(x.dims) - 1)
    scale, bias = (d.ints(*x.dims[feature:]) for _ in range(2))
    name = d.put(kind, x, scale, bias, axis=feature + 1, epsilon=0.25)
    return d.value(x, name, bound=2 * x.size + 2, parts=1, exact=False)
