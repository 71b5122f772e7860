"""Pools whose window takes every k-th cell of the map, in whatever opset.

1. A pool has ``dilations`` since opset 10 (MaxPool), 18 (LpPool) and 19 (AveragePool).
2. Before that a maximum is the maximum of shifted maps, axis by axis: ``max over (a, b) = max over a of max over b``.
3. An average is a depthwise Conv with equal weights; where pads do not count, a sum divided by the number of cells that
   do, which is the same Conv over a map of ones.

Runtimes want pads smaller than the kernel, dilated or not. Larger ones become a Pad of their own: with the lowest
number in front of a maximum, with zeros in front of a norm, and of an average that counts its pads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol

import numpy as np
from onnx import TensorProto

from .dtypes import fc_refusal, numpy_type

DILATIONS_SINCE = {"MaxPool": 10, "LpPool": 18, "AveragePool": 19}
SLICE_OPERANDS, PAD_OPERANDS = 10, 11
TO_THE_LAST = 2**31 - 1


class Writer(Protocol):
    """Whoever writes nodes."""

    def emit(self, op_type: str, *inputs: str, **attrs: Any) -> str:
        """Add a node and return the name of its result."""

    def constant(self, values: np.ndarray, hint: str) -> str:
        """The name of a constant."""


@dataclass(frozen=True)
class Pool:
    """One pool.

    Attributes:
        kind: ``MaxPool``, ``AveragePool`` or ``LpPool``.
        kernel, strides, dilations, before, after: one number per spatial axis; the last two are its pads.
        counts_pads: of an average, whether pads count.
        p: of a norm, which one.
    """

    kind: str
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    counts_pads: bool = False
    p: int = 2

    @classmethod
    def over(cls, kind: str, kernel: tuple[int, ...], dilations: tuple[int, ...], p: int = 2) -> Pool:
        """A pool of stride 1 that pads nothing."""
        ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
        return cls(kind, kernel, ones, dilations, zeros, zeros, p=p)

    @property
    def padded(self) -> bool:
        """True if it pads."""
        return any((*self.before, *self.after))

    def unpadded(self) -> Pool:
        """The same behind pads that are a node of their own."""
        return replace(self, before=(0,) * len(self.kernel), after=(0,) * len(self.kernel))

    def window(self) -> dict[str, Any]:
        """Attributes of a sliding node."""
        return {
            "kernel_shape": list(self.kernel),
            "strides": list(self.strides),
            "dilations": list(self.dilations),
            "pads": [*self.before, *self.after],
        }


class Pools:
    """Writes pools into one model."""

    def __init__(self, out: Writer, opset: int, runtime: str) -> None:
        """Prepare.

        Args:
            out: takes the nodes.
            opset: version of the default domain.
            runtime: name of the runtime that will check the model.
        """
        self._out, self._opset, self._runtime = out, opset, runtime

    def write(self, x: str, pool: Pool, channels: int, elem_type: int) -> str:
        """Nodes for a pool of a map ``[N, channels, *spatial]``, and the name of their result.

        Raises:
            ValueError: there is no exact way to write it in this opset; the text says why.
        """
        fits = all(p < k for p, k in zip(pool.before + pool.after, pool.kernel * 2, strict=True))
        has_dilations = self._opset >= DILATIONS_SINCE[pool.kind]
        if pool.kind == "LpPool" and not has_dilations:
            raise ValueError(
                f"LpPool has dilations since opset 18, and the model imports {self._opset}; raise it first"
            )
        alone = pool.kind != "AveragePool" or pool.counts_pads  # whether pads can be a node of their own
        if pool.padded and alone and (pool.counts_pads or not (fits and has_dilations)):
            x, pool = self._padded(x, pool, elem_type), pool.unpadded()
        if has_dilations and (fits or not pool.padded):
            norm = {"p": pool.p} if pool.kind == "LpPool" else {}
            return self._out.emit(pool.kind, x, **pool.window(), **norm)
        if pool.kind == "MaxPool":
            return self._shifted(x, pool)
        reason = fc_refusal(elem_type, self._opset, self._runtime)
        if reason is not None:
            raise ValueError(f"it would have to become a Conv: {reason}")
        return self._averaged(x, pool, channels, elem_type)

    def _padded(self, x: str, pool: Pool, elem_type: int) -> str:
        """The map with its pads, as values that change nothing."""
        dtype = numpy_type(elem_type)
        lowest = np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf
        value = np.asarray(lowest if pool.kind == "MaxPool" else 0).astype(dtype)
        pads = [0, 0, *pool.before, 0, 0, *pool.after]
        if self._opset < PAD_OPERANDS:
            return self._out.emit("Pad", x, pads=pads, mode="constant", value=float(value))
        amounts = self._out.constant(np.array(pads, np.int64), "pads")
        return self._out.emit("Pad", x, amounts, self._out.constant(value, "pad_value"), mode="constant")

    def _shifted(self, x: str, pool: Pool) -> str:
        """A maximum as that of shifted maps, along one axis after the other."""
        for axis, (n, d) in enumerate(zip(pool.kernel, pool.dilations, strict=True), 2):
            shifts = [
                sliced(self._out, self._opset, x, [axis], [a * d], [(a - n + 1) * d or TO_THE_LAST]) for a in range(n)
            ]
            x = self._out.emit("Max", *shifts) if n > 1 else x
        if set(pool.strides) != {1}:
            ones = [1] * len(pool.kernel)
            x = self._out.emit("MaxPool", x, kernel_shape=ones, strides=list(pool.strides))
        return x

    def _averaged(self, x: str, pool: Pool, channels: int, elem_type: int) -> str:
        """An average as a depthwise Conv."""
        dtype, cells = numpy_type(elem_type), prod(pool.kernel)
        if not pool.padded:
            weight = np.full((channels, 1, *pool.kernel), 1 / cells, dtype)
            return self._out.emit("Conv", x, self._out.constant(weight, "average"), group=channels, **pool.window())
        ones = self._out.constant(np.ones((channels, 1, *pool.kernel), dtype), "sum")
        total = self._out.emit("Conv", x, ones, group=channels, **pool.window())
        one = self._out.constant(np.ones((1, 1, *pool.kernel), dtype), "count")
        first = sliced(self._out, self._opset, x, [1], [0], [1])
        flag = self._out.emit("Cast", first, to=TensorProto.BOOL)
        true = self._out.emit("Or", flag, self._out.emit("Not", flag))  # of whatever values, NaN among them
        present = self._out.emit("Cast", true, to=elem_type)
        return self._out.emit("Div", total, self._out.emit("Conv", present, one, group=1, **pool.window()))


def sliced(
    out: Writer,
    opset: int,
    x: str,
    axes: Sequence[int],
    starts: Sequence[int],
    ends: Sequence[int],
    steps: Sequence[int] | None = None,
) -> str:
    """A Slice; steps need opset 10."""
    if opset < SLICE_OPERANDS:
        assert steps is None
        return out.emit("Slice", x, starts=list(starts), ends=list(ends), axes=list(axes))
    rows = (("starts", starts), ("ends", ends), ("axes", axes), ("steps", steps))
    names = [out.constant(np.array(list(row), np.int64), hint) for hint, row in rows if row is not None]
    return out.emit("Slice", x, *names)
