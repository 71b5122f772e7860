"""Random small convolutional networks: their dense form gives the same answers, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from .dense import answers, built, feeds_of
from .small import network


class Drawn:
    """A network that grows node by node; the map is [channels, height, width], the values small integers."""

    def __init__(self, data: Any) -> None:
        self.data, self.lines, self.weights = data, list[str](), dict[str, np.ndarray]()
        self.dims = [self.number(1, 3), self.number(3, 6), self.number(3, 6)]
        self.size, self.value, self.linear = tuple(self.dims), "x", 0

    def number(self, low: int, high: int) -> int:
        return int(self.data.draw(st.integers(low, high)))

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        random = np.random.default_rng(self.number(0, 99))
        self.weights[name] = random.integers(-1, 2, shape).astype(np.float32)
        return name

    def add(self, call: str) -> str:
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {call}")
        return name

    def conv(self, units: int | None = None, same: bool = False) -> str:
        c, *size = self.dims
        group = self.data.draw(st.sampled_from([g for g in (1, c) if g == 1 or not units]))
        units = units or group * self.number(1, 2)
        window = [3, 3] if same else [self.number(1, 3) for _ in size]
        strides = [1, 1] if same else [self.number(1, 2) for _ in size]
        pads = [1] * 4 if same else [self.number(0, 1) for _ in range(4)]
        out = [(n + pads[i] + pads[2 + i] - window[i]) // strides[i] + 1 for i, n in enumerate(size)]
        w, b = self.weight(units, c // group, *window), self.weight(units)
        self.dims = [units, *out]
        return self.add(f"Conv <strides={strides}, pads={pads}, group={group}> ({self.value}, {w}, {b})")

    def step(self) -> None:
        kinds = ["relu", "conv", "norm", "residual", "join", "pool", "last", "scale", "part", "max", "leaky"]
        kind = self.data.draw(st.sampled_from(kinds))
        c, h, w = self.dims
        if kind in ("conv", "residual", "join", "pool"):
            self.linear += 1
        if kind in ("relu", "leaky"):
            self.value = self.add(f"{'Relu' if kind == 'relu' else 'LeakyRelu <alpha=0.5>'} ({self.value})")
        elif kind == "conv":
            self.value = self.conv()
        elif kind == "norm":
            names = [self.weight(c) for _ in range(3)]
            self.weights[f"var{c}"] = np.full(c, 0.75, np.float32)
            self.value = self.add(f"BatchNormalization <epsilon=0.25> ({self.value}, {', '.join(names)}, var{c})")
        elif kind == "residual":
            before = self.value
            self.value = self.add(f"Add ({self.conv(c, same=True)}, {before})")
        elif kind == "join":
            before, axis = self.value, self.number(1, 3)
            self.value = self.add(f"Concat <axis={axis}> ({self.conv(c, same=True)}, {before})")
            self.dims[axis - 1] *= 2
        elif kind == "pool" and h > 1 and w > 1:
            self.value = self.add(f"AveragePool <kernel_shape=[2, 2], strides=[2, 1]> ({self.value})")
            self.dims = [c, (h - 2) // 2 + 1, w - 1]
        elif kind == "max" and h > 1 and w > 1:
            self.value = self.add(f"MaxPool <kernel_shape=[2, 2]> ({self.value})")
            self.dims = [c, h - 1, w - 1]
        elif kind == "last":
            perm = self.data.draw(st.permutations([1, 2, 3]))
            self.value = self.add(f"Transpose <perm={[0, *perm]}> ({self.value})")
            self.dims = [self.dims[p - 1] for p in perm]
        elif kind == "scale":
            self.value = self.add(
                f"{self.data.draw(st.sampled_from(['Mul', 'Sub']))} ({self.value}, {self.weight(h, w)})"
            )
        elif kind == "part" and h > 1:
            self.weights |= {"one": np.array([1]), "end": np.array([99]), "two": np.array([2])}
            self.value = self.add(f"Slice ({self.value}, one, end, two)")
            self.dims[1] -= 1

    def head(self) -> None:
        flat = self.add(f"Flatten ({self.value})")
        self.lines.append(f"y = Gemm ({flat}, {self.weight(int(np.prod(self.dims)), 3)}, {self.weight(3)})")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_random_networks(data: Any) -> None:
    drawn = Drawn(data)
    for _ in range(drawn.number(2, 6)):
        if drawn.linear < 3 and all(1 <= n <= 12 for n in drawn.dims):
            drawn.step()
    drawn.head()
    assume(all(n >= 1 for n in drawn.dims))
    seen = [f"v{i}" for i in range(len(drawn.lines) - 1)]
    model = network("\n".join(drawn.lines), drawn.size, drawn.weights, outputs=("y", *seen[-1:]))
    found = built(model, strict=drawn.number(0, 1) == 1 and not any("MaxPool" in line for line in drawn.lines))
    assert "Conv" not in found.op_types
    assert not found.estimate.left
    feeds = feeds_of(model, batch=2, seed=drawn.number(0, 99))
    expected = answers(model, feeds)
    assume(all(np.abs(value).max(initial=0) < 2**16 for value in expected))
    for value, reference in zip(answers(found.model, feeds), expected, strict=True):
        np.testing.assert_array_equal(value, reference, strict=True)
