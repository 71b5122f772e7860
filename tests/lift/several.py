"""Rows of heads that read several maps, or other inputs than the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.dtypes import tolerance

from ..networks import Head, answers_over, assert_close, assert_lifted, feeds_of, network, places_of, session
from .tables import FC, Lifts, head

POOL = "coarse = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (map)\n"
FLAT = "a = Flatten(map)\nb = Flatten(coarse)\n"  #: a [N, 16], b [N, 4]
FCS = "u = Gemm(a, U, Y)\nw = Gemm(b, V, Z)\n"  #: both [N, 6]


def two(text: str, opset: int = 17, *, coarse: str = POOL, ratio: Sequence[int] = (2, 2), **rest: Any) -> Head:
    """A head over ``map`` [N, 2, 4, 2] and ``coarse``, which is made of it; the text begins behind both."""
    rest = {"window": (4, 2), "U": (16, 6), "Y": (6,), "V": (4, 6), "Z": (6,), **rest}
    made = head(coarse + text, opset, **rest)
    used = {name: value for name, value in made.weights.items() if name in made.text}
    return replace(made, weights=used, ratios={"map": tuple(ratio), "coarse": (1,) * len(ratio)})


def beside(text: str, opset: int = 17, **rest: Any) -> Head:
    """A head with a second input ``s`` [N, 3] whose text reads ``u`` [N, 4], which a first FC has made of the map."""
    sides = rest.pop("sides", {"s": ("N", 3)})
    rest = {"W": (12, 4), "B": (4,), **rest}
    return replace(head(f"v = Flatten(map)\nu = Gemm(v, W, B)\n{text}", opset, **rest), sides=sides)


@dataclass(frozen=True)
class Several(Lifts):
    """Like ``Lifts``, for a head over several maps or several inputs; the package's own checks must accept it too.

    Attributes:
        fcs: how many FC nodes rightly stay, since they do not depend on the image.
    """

    fcs: int = 0

    def check(self) -> fc2conv.Result:
        """Convert, verify and compare; what was compared differs from window to window."""
        result = assert_lifted(self.head, tolerance=self.allowed(), batch=self.images, verify=True)
        assert [n.op_type in FC for n in result.model.graph.node].count(True) == self.fcs
        for name, value in self._answers(result.model).items():
            cells = value.reshape(-1, int(np.prod(value.shape[-len(self.head.window) :]))).astype(np.float64)
            varies = any(not np.array_equal(cells[:, 0], column, equal_nan=True) for column in cells.T)
            assert varies != (name in self.steady.split()), f"'{name}' is {'not ' * (not varies)}steady"
        return result

    def allowed(self) -> float:
        """Of ``dtypes.tolerance``, or 0 where every bit must be right."""
        if not (self.terms or self.nodes):
            return 0.0
        return tolerance(helper.np_dtype_to_tensor_dtype(np.dtype(self.head.dtype)), self.terms, self.nodes)

    def _answers(self, model: ModelProto) -> dict[str, np.ndarray]:
        names = [o.name for o in network(self.head).graph.output if o.name not in self.head.sides]
        return run(model, names, feeds_of(self.head, [6] * len(self.head.window), self.images, seed=4))


def compare_at(made: Head, model: ModelProto, grow: Sequence[int]) -> tuple[int, ...]:
    """Compare the converted model with the loop at an image of ``grow`` cells of ``map`` more; the grid's size."""
    original = network(made)
    feeds = feeds_of(made, grow)
    expected = answers_over(original, feeds, places_of(made, original))
    found = run(model, list(expected), feeds)
    for name, reference in expected.items():
        assert_close(found[name], reference, 0.0)
    return next(iter(expected.values())).shape[-len(made.window) :]


def run(model: ModelProto, names: list[str], feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A model's outputs by name."""
    known = {i.name for i in model.graph.input}
    return dict(zip(names, session(model).run(names, {k: v for k, v in feeds.items() if k in known}), strict=True))


def count(model: ModelProto, *op_types: str) -> int:
    """How many nodes of these operators the graph has."""
    return sum(n.op_type in op_types for n in model.graph.node)


def one_hot(model: ModelProto) -> list[str]:
    """The grouped Convs that only flatten a window."""
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    found = []
    for node in model.graph.node:
        kernel = arrays.get(node.input[1]) if node.op_type == "Conv" else None
        if kernel is None or kernel.shape[1] != 1 or node.input[0] == "x":
            continue
        rows = kernel.reshape(len(kernel), -1)
        if {*np.unique(rows)} <= {0, 1} and (rows.sum(1) == 1).all():
            found.append(node.name)
    return found
