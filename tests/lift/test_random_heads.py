"""Random heads of one to six nodes against the loop over windows; integers, so every bit must be right."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..networks import Head, assert_lifted, integers

WINDOWS = [(3, 2), (1, 3), (4, 2), (2, 2), (1, 1), (5,), (2,), (2, 1, 3)]
EXACT = 2**22  #: a bound on all values, below which float32 sums of integers are exact in any order


@dataclass
class Draft:
    """A head being written: its current value ``[N, features]`` and a bound on its entries."""

    draw: Any
    features: int
    value: str
    bound: int
    lines: list[str] = field(default_factory=list)
    weights: dict[str, Any] = field(default_factory=dict)
    fcs: int = 0

    def weight(self, values: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(values)
        return name

    def ints(self, *shape: int, low: int = -2, high: int = 3) -> str:
        seed = self.draw(st.integers(0, 99))
        return self.weight(integers(shape, seed=seed, low=low, high=high))

    def add(self, line: str) -> None:
        """Append a node that reads the current value as ``{x}``."""
        self.lines.append(f"n{len(self.lines)} = {line.format(x=self.value)}")
        self.value = f"n{len(self.lines) - 1}"


def fc(d: Draft) -> None:
    if d.bound * d.features * 2 > EXACT:
        return
    units, trans_b = d.draw(st.integers(1, 5)), d.draw(st.booleans())
    matrix = d.ints(*((units, d.features) if trans_b else (d.features, units)))
    if d.draw(st.booleans()) and not trans_b:
        d.add(f"MatMul({{x}}, {matrix})")
    else:
        alpha, beta = d.draw(st.sampled_from([1.0, -1.0, 0.5])), d.draw(st.sampled_from([1.0, 2.0, 0.0]))
        bias = d.ints(*d.draw(st.sampled_from([(), (1,), (units,), (1, units)])))
        d.add(f"Gemm <transB = {int(trans_b)}, alpha = {alpha}, beta = {beta}> ({{x}}, {matrix}, {bias})")
    d.bound, d.features, d.fcs = d.bound * d.features * 2 + 4, units, d.fcs + 1


def relu(d: Draft) -> None:
    d.add("Relu({x})")


def negate(d: Draft) -> None:
    d.add("Neg({x})")


def shift(d: Draft) -> None:
    constant = d.ints(*d.draw(st.sampled_from([(), (1,), (d.features,), (1, d.features)])))
    d.add(d.draw(st.sampled_from([f"Add({{x}}, {constant})", f"Sub({constant}, {{x}})", f"Max({{x}}, {constant})"])))
    d.bound += 2


def scale(d: Draft) -> None:
    if d.bound * 2 > EXACT:
        return
    d.add(f"Mul({{x}}, {d.ints(*d.draw(st.sampled_from([(), (d.features,), (1, 1)])))})")
    d.bound *= 2


def clip(d: Draft) -> None:
    d.add(f"Clip({{x}}, {d.weight(np.float32(-9))}, {d.weight(np.float32(7))})")


def double(d: Draft) -> None:
    if d.features <= 24:
        d.add("Concat <axis = 1> ({x}, {x})")
        d.features *= 2


def cut_out(d: Draft) -> None:
    start = d.draw(st.integers(0, d.features - 1))
    end = d.draw(st.integers(start + 1, d.features))
    step = d.draw(st.integers(1, 2))
    operands = ", ".join(d.weight(np.array([n])) for n in (start, end, d.draw(st.sampled_from([1, -1])), step))
    d.add(f"Slice({{x}}, {operands})")
    d.features = len(range(start, end, step))


def pick(d: Draft) -> None:
    indices = d.draw(st.lists(st.integers(-d.features, d.features - 1), min_size=1, max_size=6))
    d.add(f"Gather <axis = 1> ({{x}}, {d.weight(np.array(indices))})")
    d.features = len(indices)


def shuffle(d: Draft) -> None:
    rows = d.draw(st.sampled_from([n for n in range(1, d.features + 1) if d.features % n == 0]))
    d.add(f"Reshape({{x}}, {d.weight(np.array([0, rows, -1]))})")
    if d.draw(st.booleans()):
        d.add("Transpose <perm = [0, 2, 1]> ({x})")
    d.add("Flatten({x})")


def largest(d: Draft) -> None:
    d.add(f"{d.draw(st.sampled_from(['ReduceMax', 'ReduceMin']))} <axes = [1]> ({{x}})")
    d.features = 1


def residual(d: Draft) -> None:
    if d.bound * 2 <= EXACT:
        before = d.value
        d.add("Relu({x})")
        d.add(f"Sub({{x}}, {before})")
        d.bound *= 2


NODES = (fc, relu, negate, shift, scale, clip, double, cut_out, pick, shuffle, largest, residual)


@st.composite
def heads(draw: Any) -> Head:
    window, channels = draw(st.sampled_from(WINDOWS)), draw(st.integers(1, 3))
    size, rank = channels * math.prod(window), len(window)
    d = Draft(draw, size, "map", bound=2**rank * 2)
    if draw(st.booleans()):
        spatial = draw(st.permutations(range(1, rank + 2)))
        d.add(f"Transpose <perm = {[0, *spatial]}> ({{x}})")
    d.add(draw(st.sampled_from(["Flatten({x})", f"Reshape({{x}}, {d.weight(np.array([0, -1]))})"])))
    for node in draw(st.lists(st.sampled_from(NODES), min_size=1, max_size=6)):
        node(d)
    if not d.fcs:
        fc(d)
    d.lines.append(f"y = Identity({d.value})")
    return Head("\n".join(d.lines), d.weights, window, channels, batch=draw(st.sampled_from(["N", 1, 3])))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(heads())
def test_random_heads(head: Head) -> None:
    assert_lifted(head)
