"""Random head nodes: products with weights, and values put together or taken apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .drafting import MICROSOFT, Draft, Value

Node = Callable[[Draft, Value], Value | None]
NODES: dict[str, Node] = {}


def node(function: Node) -> Node:
    """Register a kind of node."""
    NODES[function.__name__] = function
    return function


def product(d: Draft, x: Value, name: str, dims: tuple[int, ...], summed: int, plus: float = 2) -> Value | None:
    """What a sum of so many products with weights of at most 2 is."""
    value = d.value(x, name, dims, bound=x.bound * summed * 2 + plus)
    d.fcs += value is not None
    return value


@node
def gemm(d: Draft, x: Value) -> Value | None:
    """With its whole algebra: transB, alpha, beta, and C in every shape."""
    if len(x.dims) != 1:
        return None
    units, turned, inputs = d.number(1, 6), d.number(0, 1), x.dims[0]
    matrix = d.ints(*((units, inputs) if turned else (inputs, units)))
    alpha, beta = d.pick(1.0, 1.0, 0.5, 2.0, 0.0 if d.flag(5) else 1.0), d.pick(1.0, 1.0, 0.5, 0.0)
    c = [d.ints(*d.pick((units,), (units,), (1, units), (1,), (), (1, 1)))] if d.opset < 11 or d.flag() else []
    name = d.put("Gemm", x, matrix, *c, transB=turned, alpha=alpha, beta=beta)
    value = product(d, x, name, (units,), inputs * 2)
    halves = 2 if 0.5 in (alpha, beta) else 1
    return value and d.value(value, value.name, parts=x.parts * halves)


@node
def gemm_of_the_rest(d: Draft, x: Value) -> Value | None:
    """Its C is another value of the head."""
    others = [v for v in d.values if len(v.dims) == 1 and v.size <= 8]
    if len(x.dims) != 1 or not others:
        return None
    c = d.pick(*others)
    name = d.put("Gemm", x, d.ints(x.dims[0], c.dims[0]), c)
    value = product(d, x, name, c.dims, x.dims[0], c.bound)
    return value and d.value(value, value.name, parts=max(x.parts, c.parts), exact=value.exact and c.exact)


@node
def matmul(d: Draft, x: Value) -> Value | None:
    """Weight on the right, and a bias behind it; of rows, one matrix or one for each."""
    units, inputs = d.number(1, 6), x.dims[-1]
    front = x.dims[:1] if len(x.dims) == 3 and d.flag() else ()
    name = d.put("MatMul", x, d.ints(*front, inputs, units))
    if d.flag():
        name = d.put("Add", *d.pick((name, d.ints(units)), (d.ints(1, units), name)))
    return product(d, x, name, (*x.dims[:-1], units), inputs)


@node
def matmul_from_the_left(d: Draft, x: Value) -> Value | None:
    """The weight stands on the left."""
    if len(x.dims) != 2:
        return None
    units, (inputs, columns) = d.number(1, 4), x.dims
    return product(d, x, d.put("MatMul", d.ints(units, inputs), x), (units, columns), inputs)


@node
def einsum(d: Draft, x: Value) -> Value | None:
    """Products in Einstein's notation."""
    if d.opset < 12 or len(x.dims) > 2 or d.dtype != "float32":
        return None
    m = d.number(1, 3)
    if len(x.dims) == 1:
        k = x.dims[0]
        term, weight, dims = d.pick(("nk,km->nm", (k, m), (m,)), ("nk,mk->nm", (m, k), (m,)), ("nk,k->nk", (k,), (k,)))
    else:
        t, k = x.dims
        term, weight, dims = d.pick(
            ("ntd,dm->ntm", (k, m), (t, m)),
            ("ntd,tdm->nm", (t, k, m), (m,)),
            ("ntd,tm->nmd", (t, m), (m, k)),
            ("...d,md->...m", (m, k), (t, m)),
            ("ntd,td->nt", (t, k), (t,)),
        )
    return product(d, x, d.put("Einsum", x, d.ints(*weight), equation=term), dims, x.size)


@node
def between(d: Draft, x: Value) -> Value | None:
    """Two values of the head, multiplied: attention without its softmax."""
    others = [v for v in d.values if len(v.dims) == 2 and len(x.dims) == 2 and v.dims[1] == x.dims[1]]
    if not others:
        return None
    y = d.pick(*others)
    name = d.put("MatMul", x, d.put("Transpose", y, perm=[0, 2, 1]))
    bound = x.bound * y.bound * x.dims[1]
    return d.value(x, name, (x.dims[0], y.dims[0]), bound=bound, parts=x.parts * y.parts, exact=x.exact and y.exact)


@node
def fused(d: Draft, x: Value) -> Value | None:
    """What onnxruntime's optimiser writes in place of two nodes."""
    if d.dtype != "float32" or len(x.dims) != 1:
        return None
    inputs, units = x.dims[0], d.number(1, 5)
    if d.flag():
        name = d.put(f"{MICROSOFT}::FusedMatMul", x, d.ints(units, inputs), transB=1, alpha=0.5)
        value = product(d, x, name, (units,), inputs)
        return value and d.value(value, value.name, parts=x.parts * 2)
    act = d.pick("Relu", "Relu", "LeakyRelu")
    attrs = {"activation_alpha": 0.5} if act == "LeakyRelu" else {}
    name = d.put(f"{MICROSOFT}::FusedGemm", x, d.ints(inputs, units), d.ints(units), activation=act, **attrs)
    value = product(d, x, name, (units,), inputs)
    return value and d.value(value, value.name, parts=x.parts * 2)


@node
def with_another(d: Draft, x: Value) -> Value | None:
    """Two values of the head, element by element."""
    others = [
        v
        for v in d.values
        if len(v.dims) == len(x.dims) and all(a in (1, b) for a, b in zip(v.dims, x.dims, strict=True))
    ]
    if not others:
        return None
    y = d.pick(*others)
    kind = d.pick("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean")
    bound = x.bound * y.bound if kind == "Mul" else x.bound + y.bound
    parts = x.parts * y.parts if kind == "Mul" else max(x.parts, y.parts) * (2 if kind == "Mean" else 1)
    name = d.put(kind, *d.pick((x, y), (y, x)))
    return d.value(x, name, bound=bound, parts=parts, exact=x.exact and y.exact)


@node
def concat(d: Draft, x: Value) -> Value | None:
    """Side by side with another value, or itself."""
    feature = d.number(0, len(x.dims) - 1)

    def beside(v: Value) -> bool:
        alike = len(v.dims) == len(x.dims)
        return alike and all(a == b for i, (a, b) in enumerate(zip(v.dims, x.dims, strict=True)) if i != feature)

    y = d.pick(*[v for v in d.values if beside(v)], x)
    dims = tuple(n + (y.dims[feature] if i == feature else 0) for i, n in enumerate(x.dims))
    axis = d.pick(feature + 1, feature - len(x.dims))
    name = d.put("Concat", *d.pick((x, y), (y, x)), axis=axis)
    return d.value(x, name, dims, bound=max(x.bound, y.bound), parts=max(x.parts, y.parts), exact=x.exact and y.exact)


@node
def cut_out(d: Draft, x: Value) -> Value | None:
    """Some features, in steps."""
    feature = d.number(0, len(x.dims) - 1)
    count = x.dims[feature]
    start = d.number(0, count - 1)
    end = d.number(start + 1, count)
    step = d.number(1, 2) if d.opset >= 10 else 1
    dims = tuple(len(range(start, end, step)) if i == feature else n for i, n in enumerate(x.dims))
    if d.opset < 10:
        return d.value(x, d.put("Slice", x, starts=[start], ends=[end], axes=[feature + 1]), dims)
    ends = d.pick(end, end - count if end < count else 2**62)
    operands = [d.vector(n) for n in (start, ends, d.pick(feature + 1, feature - len(x.dims)), step)]
    return d.value(x, d.put("Slice", x, *operands), dims)


@node
def gather(d: Draft, x: Value) -> Value | None:
    """Features in another order, some twice, some counted from the end."""
    feature = d.number(0, len(x.dims) - 1)
    count, lowest = x.dims[feature], 0 if d.opset < 11 else -x.dims[feature]
    if len(x.dims) > 1 and d.flag(3):
        index = d.array(np.array(d.number(lowest, count - 1)), np.int64)
        dims = tuple(n for i, n in enumerate(x.dims) if i != feature)
        return d.value(x, d.put("Gather", x, index, axis=feature + 1), dims)
    picks = d.rng.integers(lowest, count, d.number(1, 6))
    dims = tuple(picks.size if i == feature else n for i, n in enumerate(x.dims))
    kind = d.pick(np.int64, np.int32)
    return d.value(x, d.put("Gather", x, d.array(picks, kind), axis=feature + 1), dims)


@node
def split(d: Draft, x: Value) -> Value | None:
    """Two parts, of which both are values from then on."""
    feature = d.number(0, len(x.dims) - 1)
    count = x.dims[feature]
    if count < 2:
        return None
    first = d.number(1, count - 1)
    sizes = [first, count - first]
    if d.opset >= 13:
        names = d.put_many("Split", 2, x, d.vector(*sizes), axis=feature + 1)
    else:
        names = d.put_many("Split", 2, x, axis=feature + 1, split=sizes)
    halves = [
        d.value(x, n, tuple(k if i == feature else m for i, m in enumerate(x.dims)))
        for n, k in zip(names, sizes, strict=True)
    ]
    d.values += [h for h in halves[:1] if h is not None]
    return halves[1]


@node
def reshape(d: Draft, x: Value) -> Value | None:
    """Features grouped in rows, or all in one again."""
    rows = d.pick(*[n for n in range(1, x.size + 1) if x.size % n == 0])
    dims = d.pick((x.size,), (rows, x.size // rows), (rows, x.size // rows), (rows, 1, x.size // rows))
    if dims == (x.size,) and d.flag():
        return d.value(x, d.put("Flatten", x), dims)
    return d.value(x, d.put("Reshape", x, d.vector(d.pick(0, -1), *dims)), dims)


@node
def transpose(d: Draft, x: Value) -> Value | None:
    """Feature axes among themselves."""
    order = [int(a) for a in d.rng.permutation(len(x.dims))]
    return d.value(x, d.put("Transpose", x, perm=[0, *(a + 1 for a in order)]), tuple(x.dims[a] for a in order))


@node
def axis_of_one(d: Draft, x: Value) -> Value | None:
    """An axis of one more, or one fewer."""
    ones = [i for i, n in enumerate(x.dims) if n == 1]
    if ones and len(x.dims) > 1 and d.flag():
        at = d.pick(*ones)
        return d.value(x, d.with_axes("Squeeze", x, [at + 1]), tuple(n for i, n in enumerate(x.dims) if i != at))
    if len(x.dims) > 2:
        return None
    at = d.number(0, len(x.dims))
    return d.value(x, d.with_axes("Unsqueeze", x, [at + 1]), (*x.dims[:at], 1, *x.dims[at:]))


@node
def expand(d: Draft, x: Value) -> Value | None:
    """Axes of one repeated."""
    if d.opset < 8:
        return None
    dims = tuple(d.pick(1, 2, 3) if n == 1 else n for n in x.dims)
    return d.value(x, d.put("Expand", x, d.vector(1, *dims)), dims)


@node
def rows_of_all_images(d: Draft, x: Value) -> Value | None:
    """The rows of all images in one axis, an FC on them, and back."""
    if len(x.dims) != 2:
        return None
    (rows, inputs), units = x.dims, d.number(1, 4)
    flat = d.put("Reshape", x, d.vector(-1, inputs))
    made = d.put("Gemm", flat, d.ints(inputs, units), d.ints(units))
    return product(d, x, d.put("Reshape", made, d.vector(-1, rows, units)), (rows, units), inputs)
