"""The rows of this folder's tables: what a row says, and what is asserted of it.

A new case is a new row. ``head`` writes down any head, ``spent`` one behind a first FC, ``unread`` one in front of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.dtypes import tolerance

# Opsets newer than the runtime's last release run with the kernels that it has, instead of not at all.
os.environ.setdefault("ALLOW_RELEASED_ONNX_OPSET_ONLY", "0")

from ..networks import Head, assert_lifted, integers, network, session

OPSETS = (7, 9, 11, 13, 17, 18, 21, 26)  #: 26 is the newest that onnxruntime supports officially
FC = {"Gemm", "MatMul"}
Change = Callable[[ModelProto], None]


def head(
    text: str,
    opset: int = 17,
    *,
    outputs: str = "y",
    window: tuple[int, ...] = (3, 2),
    channels: int = 2,
    batch: str | int = "N",
    dtype: Any = np.float32,
    **weights: Any,
) -> Head:
    """A head behind ``map`` [N, 2, 3, 2].

    Args:
        text: nodes, one a line.
        opset: version of the default domain.
        outputs: names of the graph outputs, separated by spaces.
        window, channels, batch, dtype: as in ``Head``.
        weights: a tuple is a shape of seeded small integers, a list holds int64, a float a scalar, an array itself.
    """
    return Head(
        text,
        {name: _weight(value, dtype) for name, value in weights.items()},
        window,
        channels,
        opset,
        tuple(outputs.split()),
        batch,
        dtype,
    )


def _weight(value: Any, dtype: Any) -> Any:
    if isinstance(value, list):
        return np.array(value, np.int64)
    return np.array(value, dtype) if isinstance(value, float) else value


def spent(text: str, opset: int = 17, *, units: int = 4, **rest: Any) -> Head:
    """A head whose text reads ``u`` [N, units], which a first FC has made of ``v`` [N, 12]."""
    weights = {"W": (12, units), "B": (units,), **rest}
    return head(f"v = Flatten(map)\nu = Gemm(v, W, B)\n{text}", opset, **weights)


def unread(text: str, opset: int = 17, *, features: int = 12, **rest: Any) -> Head:
    """A head whose text makes ``t`` [N, features] of ``v`` [N, 12], which an FC then reads."""
    weights = {"W": (features, 4), "B": (4,), **rest}
    return head(f"v = Flatten(map)\n{text}\ny = Gemm(t, W, B)", opset, **weights)


def some(*shape: int, low: int = -2, high: int = 3, dtype: Any = np.float32) -> np.ndarray:
    """Seeded small integers in [low, high)."""
    return integers(shape, seed=5, low=low, high=high, dtype=dtype)


def powers(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """1, 2 and 4: dividing by them is exact."""
    return (2 ** integers(shape, seed=6, low=0, high=3, dtype=np.int64)).astype(dtype)


@cache
def first_opset(op_type: str) -> int:
    """The opset in which the operator appeared."""
    return min(s.since_version for s in onnx.defs.get_all_schemas_with_history() if (s.domain, s.name) == ("", op_type))


def opsets(op_type: str, among: tuple[int, ...] = (7, 13, 26)) -> list[int]:
    """Opsets to try an operator at: its first one and those of ``among`` that have it."""
    first = max(7, first_opset(op_type))
    return sorted({first, *(o for o in among if o >= first)})


@dataclass(frozen=True)
class Lifts:
    """A head that is lifted: the answer in every cell is the original head's on that window.

    Attributes:
        head: the head.
        terms, nodes: of ``dtypes.tolerance``; both 0 compares bit for bit.
        steady: outputs that rightly are the same in every window.
        finite: whether all answers are finite.
        images: size of the batch at run time, where the head does not fix it.
    """

    head: Head
    terms: int = 0
    nodes: int = 0
    steady: str = ""
    finite: bool = True
    images: int = 2

    def check(self) -> fc2conv.Result:
        """Convert and compare; no FC is left; and what was compared differs from window to window."""
        allowed = 0.0
        if self.terms or self.nodes:
            elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(self.head.dtype))
            allowed = tolerance(elem_type, self.terms, self.nodes)
        result = assert_lifted(self.head, tolerance=allowed, batch=self.images)
        assert not [n.op_type for n in result.model.graph.node if n.op_type in FC]
        for name, value in self._answers(result.model).items():
            cells = value.reshape(-1, int(np.prod(value.shape[-len(self.head.window) :]))).astype(np.float64)
            varies = any(not np.array_equal(cells[:, 0], column, equal_nan=True) for column in cells.T)
            assert varies != (name in self.steady.split()), f"'{name}' is {'not ' * (not varies)}steady"
            assert np.isfinite(cells).all() or not self.finite, f"'{name}' is not finite"
        return result

    def _answers(self, model: ModelProto) -> dict[str, np.ndarray]:
        size = [2 * w + 4 for w in self.head.window]
        images = self.head.batch if isinstance(self.head.batch, int) else self.images
        image = integers((images, 1, *size), seed=4, dtype=self.head.dtype)
        names = [o.name for o in model.graph.output]
        return dict(zip(names, session(model).run(names, {"x": image}), strict=True))


@dataclass(frozen=True)
class Refuses:
    """A head that is refused, by the node and a part of the reason.

    Attributes:
        head: the head.
        node: as the error names it, ``Gemm 'y'``.
        reason: the words that the reason must contain.
        change: what is done to the model before; for what a head's text cannot say.
    """

    head: Head
    node: str
    reason: str
    change: Change | None = None

    def model(self) -> ModelProto:
        """The network with its change."""
        model = network(self.head)
        if self.change is not None:
            self.change(model)
        return model

    def check(self) -> None:
        """Try to convert."""
        with pytest.raises(fc2conv.Unliftable, match=re.escape(self.reason)) as caught:
            fc2conv.convert(self.model(), verify=False)
        assert caught.value.node == self.node


@dataclass(frozen=True)
class LeavesAlone:
    """A head of which these values' nodes come out as they went in, names and attributes included."""

    head: Head
    values: str

    def check(self) -> None:
        """Convert and compare the nodes."""
        original = network(self.head)
        before = original.SerializeToString(deterministic=True)
        converted = fc2conv.convert(original, verify=False).model
        assert original.SerializeToString(deterministic=True) == before
        for value in ("map", *self.values.split()):
            assert node_of(converted, value) == node_of(original, value)


def node_of(model: ModelProto, value: str) -> NodeProto:
    """The node that makes a value; an empty domain is the same as none, and attributes have no order."""
    (found,) = (n for n in model.graph.node if value in n.output)
    node = NodeProto()
    node.CopyFrom(found)
    if not node.domain:
        node.ClearField("domain")
    node.ClearField("attribute")
    node.attribute.extend(sorted(found.attribute, key=lambda a: a.name))
    return node


def with_input(name: str) -> Change:
    """Turn an initializer into a graph input."""

    def change(model: ModelProto) -> None:
        (tensor,) = (t for t in model.graph.initializer if t.name == name)
        model.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
        model.graph.initializer.remove(tensor)

    return change


def as_custom(value: str, domain: str, op_type: str) -> Change:
    """Exchange the operator of the node that makes a value for one of another domain."""

    def change(model: ModelProto) -> None:
        (node,) = (n for n in model.graph.node if value in n.output)
        node.domain, node.op_type = domain, op_type
        model.opset_import.append(helper.make_opsetid(domain, 1))

    return change


def table(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """One table of several; no two rows have the same name."""
    merged: dict[str, Any] = {}
    for part in parts:
        assert not merged.keys() & part.keys(), merged.keys() & part.keys()
        merged |= part
    return merged


def every(rows: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Run a test for every row of a table."""
    return pytest.mark.parametrize("row", rows.values(), ids=list(rows))
