"""Random heads, drawn from every family of operators that is lifted.

Every value carries a bound and a denominator, so that it is known where float32 is exact: there every bit must be
right, and only there may stand what jumps (rounding, choosing, comparing). Elsewhere ``dtypes.tolerance`` holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..networks import integers

EXACT = 2**22  #: numerators below it are summed exactly in any order
WIDEST = 40  #: features; more only make the tests slow


@dataclass(frozen=True)
class Value:
    """A value of the head.

    Attributes:
        name: its name.
        features: its dims without the batch.
        bound: of its magnitude.
        parts: it is a whole number of 1/parts.
        maps: the maps that it is computed from.
        at: which of its axes is the batch; ``None`` where one image's batch axis is reshaped away.
        exact: whether float32 holds it exactly.
        behind_fc: whether an FC stands in front of it.
    """

    name: str
    features: tuple[int, ...]
    bound: float
    maps: frozenset[str]
    parts: int = 1
    at: int | None = 0
    exact: bool = True
    behind_fc: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.features)

    @property
    def rank(self) -> int:
        return len(self.features) + (self.at is not None)

    @property
    def plain(self) -> bool:
        return self.at == 0

    def axis(self, feature: int) -> int:
        """The axis of a feature axis."""
        return feature + (self.at is not None and feature >= self.at)

    def without(self, *features: int) -> int | None:
        """Where the batch is once these feature axes are gone."""
        return None if self.at is None else self.at - sum(f < self.at for f in features)


@dataclass
class Draft:
    """A head being written.

    Attributes:
        draw: hypothesis' draw.
        opset: version of the default domain.
        batch: the batch as declared.
        spatial: axes of the image's size.
        lines, weights, sides: as in ``Head``.
        values: all values so far, the current one last.
        terms: products in all sums so far.
        kinds: what was added.
    """

    draw: Any
    opset: int
    batch: str | int
    spatial: int
    lines: list[str] = field(default_factory=list)
    weights: dict[str, Any] = field(default_factory=dict)
    sides: dict[str, tuple[str | int, ...]] = field(default_factory=dict)
    values: list[Value] = field(default_factory=list)
    terms: int = 0
    fcs: int = 0
    kinds: list[str] = field(default_factory=list)

    def pick(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def flag(self) -> bool:
        return bool(self.draw(st.booleans()))

    def number(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def weight(self, values: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(values)
        return name

    def ints(self, *shape: int, low: int = -2, high: int = 3) -> str:
        return self.weight(integers(shape, seed=self.number(0, 99), low=low, high=high))

    def vector(self, *numbers: int) -> str:
        return self.weight(np.array(numbers, np.int64))

    def put(self, x: Value, line: str, features: tuple[int, ...] | None = None, **changes: Any) -> Value:
        """A node that reads ``{x}``; what does not change is as it was."""
        name = f"n{len(self.lines)}"
        self.lines.append(f"{name} = {line.replace('{x}', x.name)}")
        return replace(x, name=name, features=x.features if features is None else features, **changes)

    def fits(self, bound: float, parts: int) -> bool:
        return bound * parts <= EXACT

    def mate(self, x: Value, fit: Callable[[Value], bool]) -> Value | None:
        """An earlier value that fits, with the batch where the current one has it."""
        fitting = [v for v in self.values if v.at == x.at and fit(v)]
        return self.draw(st.sampled_from(fitting)) if fitting else None

    def takes_side(self, features: tuple[int, ...]) -> bool:
        """Whether an input of these features cannot be taken for an image."""
        return len(features) <= min(2, self.spatial)

    def side(self, features: tuple[int, ...], x: Value) -> Value:
        """A further input, or something computed from it, as a value of no map."""
        assert self.takes_side(features)
        name = f"s{len(self.sides)}"
        self.sides[name] = (self.batch, *features)
        value = Value(name, features, 2, frozenset())
        if len(features) == 1 and self.flag():
            self.sides[name] = (self.batch, 2)
            value = self.put(value, f"MatMul({{x}}, {self.ints(2, features[0])})", bound=8)
        elif self.flag():
            value = self.put(value, f"{self.pick('Relu', 'Neg', 'Abs')}({{x}})")
        return value

    def with_axes(self, op_type: str, axes: list[int], more: str = "") -> str:
        """A node whose axes are an attribute or, later, an operand."""
        if self.opset >= (18 if op_type.startswith("Reduce") and op_type != "ReduceSum" else 13):
            return f"{op_type} {f'<{more}>' if more else ''} ({{x}}, {self.vector(*axes)})"
        return f"{op_type} <axes = {axes}{', ' + more if more else ''}> ({{x}})"

    def some_axes(self, x: Value) -> list[int]:
        """Some feature axes, at least one, in order."""
        return sorted(self.draw(st.sets(st.integers(0, len(x.features) - 1), min_size=1)))


Add = Callable[[Draft, Value], Value | None]  #: the new value, or ``None`` where the operator does not fit


def product(d: Draft, x: Value, line: str, features: tuple[int, ...], summed: int, plus: int = 0) -> Value | None:
    """A sum of products with weights of at most 2."""
    bound = x.bound * summed * 2 + plus
    if math.prod(features) > WIDEST or (x.exact and not d.fits(bound, x.parts)) or bound > 1e6:
        return None
    d.terms, d.fcs = d.terms + summed, d.fcs + 1
    return d.put(x, line, features, bound=bound, behind_fc=True)


def fc(d: Draft, x: Value) -> Value | None:
    if len(x.features) != 1 or x.at:
        return None
    if x.at is None:
        units = d.number(1, 4)
        return product(d, x, f"MatMul({{x}}, {d.ints(x.size, units)})", (units,), x.size)
    units, trans_b, inputs = d.number(1, 5), d.flag(), x.features[0]
    matrix = d.ints(*((units, inputs) if trans_b else (inputs, units)))
    bias = d.ints(*d.pick((), (1,), (units,), (1, units)))
    if d.flag():
        return product(d, x, f"Gemm <transB = {int(trans_b)}> ({{x}}, {matrix}, {bias})", (units,), inputs, 2)
    if d.flag() and x.parts <= 4:
        half = product(d, x, f"Gemm <transB = {int(trans_b)}, alpha = 0.5> ({{x}}, {matrix})", (units,), inputs)
        return half and replace(half, parts=2 * x.parts)
    if d.flag():
        c = d.side((d.pick(units, 1),), x)
        return product(d, x, f"Gemm <transB = {int(trans_b)}> ({{x}}, {matrix}, {c.name})", (units,), inputs, 8)
    return None if trans_b else product(d, x, f"MatMul({{x}}, {matrix})", (units,), inputs)


def fc_of_rows(d: Draft, x: Value) -> Value | None:
    """Each row for itself, with one matrix or one for each of the first rows."""
    if len(x.features) < 2 or x.at == x.rank - 1:
        return None
    units, inputs = d.number(1, 3), x.features[-1]
    front = x.features[:1] if len(x.features) == 3 and x.plain and d.flag() else ()
    return product(d, x, f"MatMul({{x}}, {d.ints(*front, inputs, units)})", (*x.features[:-1], units), inputs)


def fc_on_the_left(d: Draft, x: Value) -> Value | None:
    if len(x.features) > 2 or not x.plain:
        return None
    if len(x.features) == 1:
        x = in_rows(d, x)
    units, (inputs, columns) = d.number(1, 3), x.features
    return product(d, x, f"MatMul({d.ints(units, inputs)}, {{x}})", (units, columns), inputs)


def in_rows(d: Draft, x: Value) -> Value:
    """The vector as some rows."""
    rows = d.pick(*[n for n in range(1, x.size + 1) if x.size % n == 0])
    d.values.append(d.put(x, f"Reshape({{x}}, {d.vector(0, rows, -1)})", (rows, x.size // rows)))
    return d.values[-1]


def einsum(d: Draft, x: Value) -> Value | None:
    if not x.plain or len(x.features) > 2:
        return None
    units = d.number(1, 3)
    if len(x.features) == 1:
        term, weight, features = d.pick(
            ("nk,km->nm", (0, -1), (-1,)), ("nk,mk->nm", (-1, 0), (-1,)), ("nk,k->nk", (0,), (0,))
        )
    else:
        term, weight, features = d.pick(
            ("ntd,dm->ntm", (1, -1), (0, -1)),
            ("ntd,tdm->nm", (0, 1, -1), (-1,)),
            ("ntd,tdm->ntm", (0, 1, -1), (0, -1)),
            ("ntd,tm->nmd", (0, -1), (-1, 1)),
            ("...d,md->...m", (-1, 1), (0, -1)),
            ("ntd,td->nt", (0, 1), (0,)),
        )  # fmt: skip
    sizes = [*x.features, units]
    shape, made = (tuple(sizes[i] for i in which) for which in (weight, features))
    return product(d, x, f'Einsum <equation = "{term}"> ({{x}}, {d.ints(*shape)})', made, x.size)


def between(d: Draft, x: Value) -> Value | None:
    """Two values of the head, multiplied."""
    if not x.plain or len(x.features) > 2:
        return None
    if len(x.features) == 1:
        x = in_rows(d, x)
    y = d.mate(x, lambda v: len(v.features) == 2 and v.features[1] == x.features[1])
    if y is None or not d.fits(x.bound * y.bound * x.features[1], x.parts * y.parts) or not (x.exact and y.exact):
        return None
    made = (x.features[0], y.features[0])
    changes: dict[str, Any] = {
        "bound": x.bound * y.bound * x.features[1],
        "parts": x.parts * y.parts,
        "maps": x.maps | y.maps,
    }
    d.terms += x.features[1]
    if d.flag():
        return d.put(x, f'Einsum <equation = "nik,njk->nij"> ({{x}}, {y.name})', made, **changes)
    turned = d.put(y, "Transpose <perm = [0, 2, 1]> ({x})", y.features[::-1])
    return d.put(x, f"MatMul({{x}}, {turned.name})", made, **changes)


def unary(d: Draft, x: Value) -> Value | None:
    if d.flag() and x.bound < 1e4:
        return d.put(x, f"{d.pick('Sigmoid', 'Tanh', 'Softsign')}({{x}})", bound=1, exact=False)
    if not x.exact:
        return d.put(x, f"{d.pick('Relu', 'Neg', 'Abs', 'Identity')}({{x}})")
    op = d.pick("Relu", "Neg", "Abs", "Identity", "Floor", "Ceil", "Round", "Sign", "LeakyRelu", "Cast", "IsNaN")
    if op == "LeakyRelu":
        return d.put(x, "LeakyRelu <alpha = 0.5> ({x})", parts=2 * x.parts) if d.fits(x.bound, 2 * x.parts) else None
    if op in ("Cast", "IsNaN"):
        there = d.put(x, "Cast <to = 6> ({x})" if op == "Cast" else "IsNaN({x})")
        return d.put(there, "Cast <to = 1> ({x})", parts=1)
    whole = op in ("Floor", "Ceil", "Round", "Sign")
    return d.put(x, f"{op}({{x}})", parts=1 if whole else x.parts, bound=x.bound + 1)


def constant_for(d: Draft, x: Value) -> tuple[int, ...]:
    """Dims of a constant that broadcasts to the value."""
    if not x.plain:
        return d.pick((), (1,))
    dims = tuple(d.pick(1, n) for n in x.features)
    return d.pick((), (1,), dims[-1:], dims, (1, *dims), x.features)


def with_constant(d: Draft, x: Value) -> Value | None:
    shape, op = constant_for(d, x), d.pick("Add", "Sub", "Mul", "Max", "Min", "Div", "PRelu", "Where", "Less")
    if op in ("Add", "Sub", "Max", "Min"):
        c = d.ints(*shape)
        return d.put(x, f"{op}({c}, {{x}})" if d.flag() else f"{op}({{x}}, {c})", bound=x.bound + 2)
    if op in ("Mul", "PRelu"):
        return d.put(x, f"{op}({{x}}, {d.ints(*shape)})", bound=x.bound * 2) if d.fits(x.bound * 2, x.parts) else None
    if op == "Div":
        c = d.weight((2.0 ** integers(shape, d.number(0, 9), 0, 2)).astype(np.float32))
        return d.put(x, f"Div({{x}}, {c})", parts=2 * x.parts) if d.fits(x.bound, 2 * x.parts) else None
    if not x.exact:
        return None
    if op == "Where":
        flags = d.weight(integers(shape, d.number(0, 9), 0, 2).astype(bool))
        return d.put(x, f"Where({flags}, {{x}}, {d.weight(np.float32(1.5))})", parts=max(2, x.parts), bound=x.bound + 2)
    flags = d.put(x, f"Less({{x}}, {d.ints(*shape)})")
    return d.put(flags, "Cast <to = 1> ({x})", bound=1, parts=1)


def with_value(d: Draft, x: Value) -> Value | None:
    """An operator on the value and an earlier one, or one of another input."""

    def broadcasts(v: Value) -> bool:
        pairs = zip(v.features, x.features, strict=False)
        return len(v.features) == len(x.features) and all(a in (1, b) for a, b in pairs)

    beside = x.plain and d.takes_side(x.features) and d.flag()
    y = d.side(tuple(d.pick(1, n) for n in x.features), x) if beside else d.mate(x, broadcasts)
    if y is None:
        return None
    op = d.pick("Add", "Sub", "Max", "Min", "Mul", "Equal")
    parts, exact = max(x.parts, y.parts), x.exact and y.exact
    changes: dict[str, Any] = {"maps": x.maps | y.maps, "exact": exact}
    bound = x.bound * y.bound if op == "Mul" else x.bound + y.bound
    parts = x.parts * y.parts if op == "Mul" else parts
    if (exact and not d.fits(bound, parts)) or bound > 1e6 or (op == "Equal" and not exact):
        return None
    first, second = (x, y) if d.flag() else (y, x)
    made = d.put(first, f"{op}({{x}}, {second.name})", x.features, bound=bound, parts=parts, **changes)
    return d.put(made, "Cast <to = 1> ({x})", bound=1, parts=1) if op == "Equal" else made


def concat(d: Draft, x: Value) -> Value | None:
    """Side by side with earlier values, itself, and values of other inputs."""
    feature = d.number(0, len(x.features) - 1)

    def beside(v: Value) -> bool:
        alike = len(v.features) == len(x.features) and v.features[:feature] == x.features[:feature]
        return alike and v.features[feature + 1 :] == x.features[feature + 1 :]

    others = []
    for _ in range(d.number(1, 2)):
        if x.plain and d.takes_side(x.features) and d.number(0, 2) == 0:
            others.append(d.side((*x.features[:feature], d.number(1, 3), *x.features[feature + 1 :]), x))
        else:
            others.append(d.mate(x, beside) or x)
    joined = d.draw(st.permutations([x, *others]))
    width = sum(v.features[feature] for v in joined)
    features = (*x.features[:feature], width, *x.features[feature + 1 :])
    if math.prod(features) > WIDEST or not x.plain:
        return None
    axis = d.pick(x.axis(feature), x.axis(feature) - x.rank)
    return d.put(
        x,
        f"Concat <axis = {axis}> ({', '.join(v.name for v in joined)})",
        features,
        bound=max(v.bound for v in joined),
        parts=max(v.parts for v in joined),
        maps=frozenset().union(*(v.maps for v in joined)),
        exact=all(v.exact for v in joined),
    )


def cut_out(d: Draft, x: Value) -> Value | None:
    feature = d.number(0, len(x.features) - 1)
    count = x.features[feature]
    start = d.number(0, count - 1)
    end, step = d.number(start + 1, count), d.number(1, 2)
    operands = ", ".join(d.vector(n) for n in (start, end, x.axis(feature), step))
    picked = len(range(start, end, step))
    return d.put(x, f"Slice({{x}}, {operands})", (*x.features[:feature], picked, *x.features[feature + 1 :]))


def gather(d: Draft, x: Value) -> Value | None:
    feature = d.number(0, len(x.features) - 1)
    count, axis = x.features[feature], x.axis(feature)
    if d.flag() and len(x.features) > 1:
        left = (*x.features[:feature], *x.features[feature + 1 :])
        index = d.weight(np.array(d.number(-count, count - 1)))
        return d.put(x, f"Gather <axis = {axis}> ({{x}}, {index})", left, at=x.without(feature))
    indices = d.draw(st.lists(st.integers(-count, count - 1), min_size=1, max_size=6))
    features = (*x.features[:feature], len(indices), *x.features[feature + 1 :])
    return (
        d.put(x, f"Gather <axis = {axis}> ({{x}}, {d.vector(*indices)})", features)
        if math.prod(features) <= WIDEST
        else None
    )


def split(d: Draft, x: Value) -> Value | None:
    feature = d.number(0, len(x.features) - 1)
    count = x.features[feature]
    if count < 2:
        return None
    first = d.number(1, count - 1)
    name, axis = f"n{len(d.lines)}", x.axis(feature)
    sizes = (first, count - first)
    if d.opset >= 13:
        d.lines.append(f"{name}, {name}b = Split <axis = {axis}> ({x.name}, {d.vector(*sizes)})")
    else:
        d.lines.append(f"{name}, {name}b = Split <axis = {axis}, split = {list(sizes)}> ({x.name})")
    halves = [
        replace(x, name=n, features=(*x.features[:feature], k, *x.features[feature + 1 :]))
        for n, k in zip((name, f"{name}b"), sizes, strict=True)
    ]
    d.values.append(halves[d.flag()])
    return next(h for h in halves if h is not d.values[-1])


def reshape(d: Draft, x: Value) -> Value | None:
    if not x.plain:
        return None
    rows = d.pick(*[n for n in range(1, x.size + 1) if x.size % n == 0])
    features = d.pick((x.size,), (rows, x.size // rows), (rows, 1, x.size // rows))
    if features == (x.size,) and d.flag():
        return d.put(x, "Flatten({x})", features)
    return d.put(x, f"Reshape({{x}}, {d.vector(0, *features[:-1], -1)})", features)


def transpose(d: Draft, x: Value) -> Value | None:
    """The features among themselves, or the batch with them."""
    order = list(d.draw(st.permutations(range(len(x.features)))))
    if x.at is None:
        return d.put(x, f"Transpose <perm = {order}> ({{x}})", tuple(x.features[f] for f in order))
    at = d.number(0, len(x.features))
    perm = [x.axis(f) for f in order]
    perm.insert(at, x.at)
    return d.put(x, f"Transpose <perm = {perm}> ({{x}})", tuple(x.features[f] for f in order), at=at)


def batch_back(d: Draft, x: Value) -> Value | None:
    if x.plain:
        return None
    if x.at is None:
        return d.put(
            x, d.with_axes("Unsqueeze", [0]) if d.flag() else f"Reshape({{x}}, {d.vector(1, *x.features)})", at=0
        )
    perm = [x.at, *(x.axis(f) for f in range(len(x.features)))]
    return d.put(x, f"Transpose <perm = {perm}> ({{x}})", at=0)


def batch_away(d: Draft, x: Value) -> Value | None:
    """One image's batch axis is left out."""
    if d.batch != 1 or not x.plain:
        return None
    return d.put(x, d.with_axes("Squeeze", [0]) if d.flag() else f"Reshape({{x}}, {d.vector(*x.features)})", at=None)


def axis_of_one(d: Draft, x: Value) -> Value | None:
    ones = [f for f, n in enumerate(x.features) if n == 1]
    if ones and len(x.features) > 1 and d.flag():
        f = d.pick(*ones)
        features = (*x.features[:f], *x.features[f + 1 :])
        return d.put(x, d.with_axes("Squeeze", [x.axis(f)]), features, at=x.without(f))
    if not x.plain or len(x.features) > 2:
        return None
    f = d.number(0, len(x.features))
    return d.put(x, d.with_axes("Unsqueeze", [f + 1]), (*x.features[:f], 1, *x.features[f:]))


def expand(d: Draft, x: Value) -> Value | None:
    features = tuple(d.pick(1, 2, 3) if n == 1 else n for n in x.features)
    if not x.plain or math.prod(features) > WIDEST:
        return None
    return d.put(x, f"Expand({{x}}, {d.vector(1, *features)})", features)


def rows_of_all_images(d: Draft, x: Value) -> Value | None:
    """The rows of all images in one axis, an FC on them, and back."""
    if len(x.features) > 2 or not x.plain:
        return None
    if len(x.features) == 1:
        x = in_rows(d, x)
    (rows, inputs), units = x.features, d.number(1, 3)
    flat = d.put(x, f"Reshape({{x}}, {d.vector(-1, inputs)})")
    made = product(d, flat, f"Gemm({{x}}, {d.ints(inputs, units)}, {d.ints(units)})", (rows, units), inputs, 2)
    back = d.pick((rows, units), (rows * units,))
    return made and d.put(made, f"Reshape({{x}}, {d.vector(-1, *back)})", back)


def reduce(d: Draft, x: Value) -> Value | None:
    axes, keep = d.some_axes(x), d.flag()
    if not keep and len(axes) == len(x.features):
        keep = True
    count = math.prod(x.features[f] for f in axes)
    op = d.pick("ReduceMax", "ReduceMin", "ReduceSum", "ReduceL1", "ReduceMean", "ReduceL2", "ReduceSumSquare")
    bound, parts, exact = x.bound, x.parts, x.exact
    if op in ("ReduceSum", "ReduceL1"):
        bound *= count
    elif op == "ReduceMean":
        exact = exact and count & (count - 1) == 0
        bound, parts = bound * count, parts * (count if exact else 1)
    elif op in ("ReduceL2", "ReduceSumSquare"):
        bound, parts, exact = bound**2 * count, parts**2, exact and op != "ReduceL2"
        if not x.exact:
            return None
    if (exact and not d.fits(bound, parts)) or bound > 1e6:
        return None
    d.terms += count
    features = tuple(1 if f in axes else n for f, n in enumerate(x.features) if keep or f not in axes)
    at = x.at if keep else x.without(*axes)
    listed = [x.axis(f) for f in axes]
    return d.put(
        x, d.with_axes(op, listed, f"keepdims = {int(keep)}"), features, bound=bound, parts=parts, exact=exact, at=at
    )


def choose(d: Draft, x: Value) -> Value | None:
    """Indices and the largest values."""
    if not x.exact:
        return None
    f = d.number(0, len(x.features) - 1)
    axis, count = x.axis(f), x.features[f]
    if d.flag():
        line = f"{d.pick('ArgMax', 'ArgMin')} <axis = {axis}> ({{x}})"
        indices = d.put(x, line, (*x.features[:f], 1, *x.features[f + 1 :]))
        return d.put(indices, "Cast <to = 1> ({x})", bound=count, parts=1)
    if d.flag():
        return (
            d.put(x, f"CumSum({{x}}, {d.weight(np.array(axis))})", bound=x.bound * count)
            if d.fits(x.bound * count, x.parts)
            else None
        )
    k = d.number(1, count)
    name = f"n{len(d.lines)}"
    d.lines.append(f"{name}, {name}b = TopK <axis = {axis}> ({x.name}, {d.vector(k)})")
    values = replace(x, name=name, features=(*x.features[:f], k, *x.features[f + 1 :]))
    if d.flag():
        return values
    return d.put(replace(values, name=f"{name}b"), "Cast <to = 1> ({x})", bound=count, parts=1)


def normalise(d: Draft, x: Value) -> Value | None:
    f = d.number(0, len(x.features) - 1)
    axis = x.axis(f)
    op = d.pick("Softmax", "LogSoftmax", "Hardmax", "LayerNormalization", "BatchNormalization")
    if op in ("Softmax", "LogSoftmax", "Hardmax"):
        if (op == "Hardmax" and not x.exact) or x.bound > 1e3 or (d.opset < 13 and not x.plain):
            return None
        return d.put(x, f"{op} <axis = {axis}> ({{x}})", bound=2 * x.bound + 8, parts=1, exact=op == "Hardmax")
    if not x.plain or not x.exact:
        return None
    if op == "BatchNormalization":
        channels = x.features[0]
        variance = d.weight(np.arange(1, channels + 1, dtype=np.float32))
        statistics = ", ".join(d.ints(channels) for _ in range(3))
        return d.put(x, f"BatchNormalization({{x}}, {statistics}, {variance})", bound=2 * x.bound + 6, exact=False)
    if d.opset < 17:
        return None
    scale, bias = (d.ints(*x.features[f:]) for _ in range(2))
    line = f"LayerNormalization <axis = {axis}, epsilon = 0.25> ({{x}}, {scale}, {bias})"
    return d.put(x, line, bound=2 * x.size + 2, exact=False)


def quantise(d: Draft, x: Value) -> Value | None:
    """There and back, with scales that are powers of two."""
    if not x.exact or not x.plain:
        return None
    f = d.number(0, len(x.features) - 1)
    along = d.opset >= 13 and d.flag() and x.behind_fc  # in front of it: a row of FOUND in test_random_heads
    shape = (x.features[f],) if along else ()
    scale = d.weight((2.0 ** integers(shape, d.number(0, 9), -1, 2)).astype(np.float32))
    dtype = d.pick(np.int8, np.uint8)
    zero = d.weight(integers(shape, d.number(0, 9), 0, 3).astype(dtype))
    attrs = f"<axis = {x.axis(f)}>" if along else ""
    small = d.put(x, f"QuantizeLinear {attrs} ({{x}}, {scale}, {zero})")
    return d.put(small, f"DequantizeLinear {attrs} ({{x}}, {scale}, {zero})", bound=520, parts=2)


def dropout(d: Draft, x: Value) -> Value | None:
    return d.put(x, "Dropout({x})")


def clip(d: Draft, x: Value) -> Value | None:
    low, high = d.weight(np.float32(-9)), d.weight(np.float32(7))
    return d.put(x, f"Clip({{x}}, {low}, {high})", bound=9)


FAMILIES: dict[str, Add] = {
    add.__name__: add
    for add in [
        *(fc, fc_of_rows, fc_on_the_left, einsum, between, unary, with_constant, with_value, concat, cut_out, gather),
        *(
            split,
            reshape,
            transpose,
            batch_back,
            batch_away,
            axis_of_one,
            expand,
            rows_of_all_images,
            reduce,
            choose,
            normalise,
        ),
        *(quantise, dropout, clip),
    ]
}


def start(d: Draft, name: str, channels: int, window: tuple[int, ...], bound: float, parts: int) -> Value:
    """What makes a vector, or rows, of a map."""
    size, rank = channels * math.prod(window), len(window)
    x = Value(name, (channels, *window), bound, frozenset((name,)), parts)
    how = d.pick("Flatten", "Flatten", "Reshape", "GlobalMaxPool", "GlobalAveragePool", "ReduceMax")
    if how == "ReduceMax":
        return d.put(x, d.with_axes("ReduceMax", list(range(2, 2 + rank)), "keepdims = 0"), (channels,))
    if how.startswith("Global"):
        cells = math.prod(window)
        exact = how == "GlobalMaxPool" or (cells & (cells - 1) == 0 and d.fits(bound * cells, parts * cells))
        made = d.put(x, f"{how}({{x}})", exact=exact, parts=parts * (cells if how == "GlobalAveragePool" else 1))
        return d.put(made, "Flatten({x})", (channels,))
    if how == "rows":
        return d.put(x, f"Reshape({{x}}, {d.vector(0, channels, -1)})", (channels, size // channels))
    if how == "positions":
        rows = d.put(x, f"Reshape({{x}}, {d.vector(0, channels, -1)})", (channels, size // channels))
        return d.put(rows, "Transpose <perm = [0, 2, 1]> ({x})", (size // channels, channels))
    if d.flag():
        x = d.put(x, f"Transpose <perm = {[0, *d.draw(st.permutations(range(1, rank + 2)))]}> ({{x}})")
    return d.put(x, "Flatten({x})" if how == "Flatten" else f"Reshape({{x}}, {d.vector(0, -1)})", (size,))


def write(d: Draft, longest: int) -> Value:
    """Add random nodes behind the values so far, an FC among them; the result, with the batch in front."""
    for kind in d.draw(st.lists(st.sampled_from(sorted(FAMILIES)), min_size=2, max_size=longest)):
        if kind != "batch_back" and len(d.values) > 1 and d.number(0, 5) == 0:
            d.values.append(d.values.pop(d.number(0, len(d.values) - 1)))  # go on with an earlier one
        add(d, kind)
    add(d, "batch_back")
    if d.number(0, 3):
        meet(d, d.values[-1])
    if not d.fcs:
        before = d.values[-1]
        d.values.append(d.put(before, f"Reshape({{x}}, {d.vector(0, -1)})", (before.size,)))
        matrix, bound = d.ints(before.size, 3), before.bound * before.size * 2
        d.terms, d.fcs = d.terms + before.size, 1
        exact = before.exact and d.fits(bound, before.parts)
        d.values.append(d.put(d.values[-1], f"MatMul({{x}}, {matrix})", (3,), bound=bound, exact=exact))
    return d.values[-1]


def meet(d: Draft, x: Value) -> None:
    """Join the value with one of another map, if there is one: side by side, or as the sum of two FCs."""
    others = [v for v in d.values if v.plain and v.maps != x.maps]
    if not others or not x.plain:
        return
    y = d.draw(st.sampled_from(others))
    x, y = (v if len(v.features) == 1 else d.put(v, "Flatten({x})", (v.size,)) for v in (x, y))
    maps, exact, parts = x.maps | y.maps, x.exact and y.exact, max(x.parts, y.parts)
    bound = max(x.bound * x.size, y.bound * y.size) * 4
    exact = exact and d.fits(bound, parts)
    d.terms, d.fcs = d.terms + x.size + y.size, d.fcs + 1
    if d.flag():
        joined = d.put(x, f"Concat <axis = 1> ({x.name}, {y.name})", (x.size + y.size,))
        matrix = d.ints(x.size + y.size, 3)
        d.values.append(
            d.put(joined, f"MatMul({{x}}, {matrix})", (3,), bound=bound, parts=parts, maps=maps, exact=exact)
        )
        return
    u = d.put(x, f"MatMul({{x}}, {d.ints(x.size, 3)})", (3,))
    w = d.put(y, f"MatMul({{x}}, {d.ints(y.size, 3)})", (3,))
    op = d.pick("Add", "Sub", "Max")
    d.values.append(d.put(u, f"{op}({{x}}, {w.name})", bound=bound, parts=parts, maps=maps, exact=exact))


def add(d: Draft, kind: str) -> None:
    """One node of a family, or nothing where it does not fit."""
    values, kept = len(d.values), (len(d.lines), dict(d.weights), dict(d.sides), d.terms, d.fcs)
    made = FAMILIES[kind](d, d.values[-1])
    if made is None or not made.maps:
        count, d.weights, d.sides, d.terms, d.fcs = kept
        del d.lines[count:], d.values[values:]
    else:
        d.values.append(made)
        d.kinds.append(kind)
