"""Random views that may move, merge or drop the batch, with other nodes between: equal bit for bit, or refused."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

import onnx_fc2conv as fc2conv

from ..networks import Head, assert_lifted, integers, network, session

WINDOWS = [(3, 2), (2, 2), (1, 3), (5,), (4,), (2, 1, 3)]
EXAMPLES = 250
CRASHED = "not of the kinds that are lifted"  #: the reason of a rule that failed where it should have refused

Axis = tuple[int, ...]  #: the factors that make up an axis, in order; 0 stands for the number of images


@dataclass
class Draft:
    """A head being written: its current value and what its axes count."""

    draw: Any
    batch: int | str
    axes: list[Axis]
    value: str
    lines: list[str] = field(default_factory=list)
    weights: dict[str, Any] = field(default_factory=dict)
    products: int = 0

    def weight(self, values: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = values if isinstance(values, tuple) else np.array(values, np.int64)
        return name

    def add(self, line: str, axes: list[Axis]) -> None:
        """Append a node that reads the current value as ``{x}``."""
        self.lines.append(f"n{len(self.lines)} = {line.format(x=self.value)}")
        self.value, self.axes = f"n{len(self.lines) - 1}", axes

    def size(self, axis: Axis) -> int:
        """The size of an axis; -1 where it counts a number of images that is not declared."""
        if 0 in axis and isinstance(self.batch, str):
            return -1
        return math.prod(int(self.batch) if f == 0 else f for f in axis)


Step = Callable[[Draft], None]


def in_parts(d: Draft, factors: list[int], most: int) -> list[Axis]:
    """The factors in order, cut into axes; an axis of one image may be gone."""
    cuts = sorted(d.draw(st.sets(st.integers(1, max(1, len(factors) - 1)), max_size=most - 1)))
    axes = [tuple(factors[a:b]) for a, b in itertools.pairwise([0, *cuts, len(factors)])]
    return [axis for axis in axes if axis]


def regroup(d: Draft) -> None:
    """A Reshape; as a rule no axis begins in the middle of an image."""
    factors = [f for axis in d.axes for f in axis]
    axes = in_parts(d, factors, 4)
    if d.batch == 1 and d.draw(st.booleans()):  # the batch axis goes
        axes = [kept for axis in axes if (kept := tuple(f for f in axis if f)) or axis != (0,)]
    if axes:
        d.add(f"Reshape({{x}}, {d.weight([d.size(axis) for axis in axes])})", axes)


def scatter(d: Draft) -> None:
    """A Reshape to sizes that do not follow the value's own axes."""
    if isinstance(d.batch, int):
        factors = d.draw(st.permutations([f for axis in d.axes for f in axis]))
        axes = in_parts(d, list(factors), 3)
        order = [tuple(f or int(d.batch) for f in axis) for axis in axes]
        d.add(f"Reshape({{x}}, {d.weight([math.prod(axis) for axis in order])})", axes)


def transpose(d: Draft) -> None:
    perm = d.draw(st.permutations(range(len(d.axes))))
    d.add(f"Transpose <perm = {list(perm)}> ({{x}})", [d.axes[p] for p in perm])


def flatten(d: Draft) -> None:
    axis = d.draw(st.integers(0, len(d.axes)))
    parts = [tuple(f for a in part for f in a) for part in (d.axes[:axis], d.axes[axis:])]
    d.add(f"Flatten <axis = {axis}> ({{x}})", parts)


def unsqueeze(d: Draft) -> None:
    axis = d.draw(st.integers(0, len(d.axes)))
    if len(d.axes) < 5:
        d.add(f"Unsqueeze({{x}}, {d.weight([axis])})", [*d.axes[:axis], (), *d.axes[axis:]])


def squeeze(d: Draft) -> None:
    units = [i for i, axis in enumerate(d.axes) if d.size(axis) == 1]
    if units and len(d.axes) > 1:
        axis = d.draw(st.sampled_from(units))
        if not d.axes[axis] or d.draw(st.booleans()):
            d.add(f"Squeeze({{x}}, {d.weight([axis])})", d.axes[:axis] + d.axes[axis + 1 :])


def product(d: Draft) -> None:
    """A constant on the right along the last axis, or on the left along the one before."""
    left = len(d.axes) > 1 and d.draw(st.booleans())
    along = d.axes[-2 if left else -1] if d.axes else (0,)
    if 0 in along or d.products == 2:
        return
    units, size = d.draw(st.integers(1, 4)), d.size(along)
    if left:
        d.add(f"MatMul({d.weight((units, size))}, {{x}})", [*d.axes[:-2], (units,), d.axes[-1]])
    else:
        d.add(f"MatMul({{x}}, {d.weight((size, units))})", [*d.axes[:-1], (units,)])
    d.products += 1


def of_features(d: Draft) -> int | None:
    """One of the axes that hold features only, if there is one besides another axis."""
    axes = [i for i, axis in enumerate(d.axes) if 0 not in axis]
    return d.draw(st.sampled_from(axes)) if axes and len(d.axes) > 1 else None


def difference(d: Draft) -> None:
    before = d.value
    d.add("Relu({x})", d.axes)
    d.add(f"Sub({{x}}, {before})", d.axes)


def constant(d: Draft) -> None:
    """A constant of any rank, with one row for all images."""
    dims = [d.draw(st.sampled_from([1, 1 if 0 in axis else d.size(axis)])) for axis in d.axes]
    kept = tuple(dims[d.draw(st.integers(0, len(dims))) :])
    d.add(f"{d.draw(st.sampled_from(['Add', 'Sub', 'Max']))}({{x}}, {d.weight(kept)})", d.axes)


def largest(d: Draft) -> None:
    axis, keep = of_features(d), d.draw(st.booleans())
    if axis is not None:
        left: list[Axis] = [()] if keep else []
        text = f"ReduceMax <axes = [{axis}], keepdims = {int(keep)}> ({{x}})"
        d.add(text, [*d.axes[:axis], *left, *d.axes[axis + 1 :]])


def pick(d: Draft) -> None:
    axis = of_features(d)
    if axis is not None:
        size = d.size(d.axes[axis])
        indices = d.draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=4))
        one = d.draw(st.booleans())
        left: list[Axis] = [] if one else [(len(indices),)]
        operand = d.weight(indices[0] if one else indices)
        d.add(f"Gather <axis = {axis}> ({{x}}, {operand})", [*d.axes[:axis], *left, *d.axes[axis + 1 :]])


def running_sum(d: Draft) -> None:
    axis = of_features(d)
    if axis is not None:
        d.add(f"CumSum({{x}}, {d.weight(axis - len(d.axes))})", d.axes)


VIEWS = (regroup, regroup, transpose, flatten, unsqueeze, squeeze, scatter)
OTHERS = (difference, constant, constant, largest, pick, running_sum)


@st.composite
def heads(draw: Any, steps: tuple[Step, ...]) -> Head:
    window, channels = draw(st.sampled_from(WINDOWS)), draw(st.integers(1, 3))
    batch = draw(st.sampled_from(["N", 1, 2, 3]))
    d = Draft(draw, batch, [(0,), (channels, *window)], "v", ["v = Flatten(map)"])
    if draw(st.booleans()):
        product(d)
    for _ in range(draw(st.integers(1, 2))):
        for step in draw(st.lists(st.sampled_from(steps), min_size=1, max_size=4)):
            step(d)
        product(d)
    features = math.prod(f for axis in d.axes for f in axis if f)
    d.lines.append(f"z = Reshape({d.value}, {d.weight([batch if isinstance(batch, int) else -1, features])})")
    d.lines.append("y = Identity(z)" if d.products else f"y = MatMul(z, {d.weight((features, 3))})")
    return Head("\n".join(d.lines), d.weights, window, channels, batch=batch)


def for_one_image_only(head: Head) -> bool:
    """True if the batch is not declared, and the original fails on two images or answers other than on each alone."""
    if isinstance(head.batch, int):
        return False
    original = session(network(head))
    images = integers((2, 1, *(2 * w for w in head.window)), seed=3)
    alone = [original.run(None, {"x": images[n : n + 1]})[0] for n in range(2)]
    try:
        (both,) = original.run(None, {"x": images})
    except (Fail, InvalidArgument, RuntimeException):
        return True
    return not np.array_equal(both, np.concatenate(alone))


def outcome(head: Head) -> str:
    """Convert, and compare if it was not refused."""
    only = for_one_image_only(head)
    try:
        assert_lifted(head, batch=1 if only else 2)
    except fc2conv.Unliftable as refusal:
        return CRASHED if CRASHED in refusal.reason else "refused"
    return "lifted for one image" if only else "lifted"


@pytest.mark.parametrize("steps", [VIEWS, VIEWS + OTHERS], ids=["views", "views and other nodes"])
def test_random_views_are_lifted_or_refused(steps: tuple[Step, ...]) -> None:
    outcomes: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(heads(steps))
    def lifted_or_refused(head: Head) -> None:
        found = outcome(head)
        assert found != CRASHED
        outcomes[found] += 1

    lifted_or_refused()
    assert outcomes["lifted"] >= EXAMPLES / 3
    assert outcomes["refused"] >= EXAMPLES / 20
