"""Operators that onnx.reference computes otherwise than the standard defines them, by their definition.

``BatchNormalization`` before opset 14 is run there as in training; ``GlobalMaxPool`` pools two axes, however many are
spatial; ``LRN`` sums over as many channels as there are images; ``Softmax`` and its kin before opset 13 work on
everything from ``axis`` on, taken together.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor, prod
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

Along = Callable[[np.ndarray, int], np.ndarray]


class BatchNormalization(OpRun):
    """Of inference: by the mean and the variance that are given."""

    op_domain = ""

    def _run(
        self, x: np.ndarray, scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, var: np.ndarray, **attributes: Any
    ) -> tuple[np.ndarray]:
        if attributes.get("training_mode"):
            raise NotImplementedError("BatchNormalization in training mode")
        per_channel = (-1, *[1] * (x.ndim - 2))
        factor = scale / np.sqrt(var + attributes.get("epsilon", 1e-5))
        found = (x - mean.reshape(per_channel)) * factor.reshape(per_channel) + bias.reshape(per_channel)
        return (found.astype(x.dtype),)


class GlobalMaxPool(OpRun):
    """Over all spatial axes."""

    op_domain = ""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        return (x.max(tuple(range(2, x.ndim)), keepdims=True),)


class LRN(OpRun):
    """Over neighbouring channels."""

    op_domain = ""

    def _run(self, x: np.ndarray, alpha: float, beta: float, bias: float, size: int) -> tuple[np.ndarray]:
        squares = x**2
        before, after = floor((size - 1) / 2), ceil((size - 1) / 2)
        sums = [squares[:, max(0, c - before) : c + after + 1].sum(1) for c in range(x.shape[1])]
        return ((x / (bias + alpha / size * np.stack(sums, 1)) ** beta).astype(x.dtype),)


def _attribute(node: Any, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _as_its_opset_says(op: OpRun, x: np.ndarray, along: Along) -> tuple[np.ndarray]:
    if op.run_params["opsets"][""] >= 13:
        return (along(x, _attribute(op.onnx_node, "axis", -1)).astype(x.dtype),)
    axis = _attribute(op.onnx_node, "axis", 1) % max(x.ndim, 1)
    return (along(x.reshape(prod(x.shape[:axis]), -1), 1).reshape(x.shape).astype(x.dtype),)


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(x - x.max(axis, keepdims=True))
    found: np.ndarray = powers / powers.sum(axis, keepdims=True)
    return found


def _log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    shifted = x - x.max(axis, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))
    return found


class Softmax(OpRun):
    """Along one axis, or before opset 13 all from one on."""

    op_domain = ""

    def _run(self, x: np.ndarray, axis: int | None = None) -> tuple[np.ndarray]:
        return _as_its_opset_says(self, x, _softmax)


class LogSoftmax(OpRun):
    """Its logarithm."""

    op_domain = ""

    def _run(self, x: np.ndarray, axis: int | None = None) -> tuple[np.ndarray]:
        return _as_its_opset_says(self, x, _log_softmax)


OPERATORS = [BatchNormalization, GlobalMaxPool, LRN, Softmax, LogSoftmax]
