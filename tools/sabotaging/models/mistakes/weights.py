"""Weights and biases: their order, their size, and what became of alpha and beta."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from onnx import ModelProto

from .edits import CONVS, Array, attribute, dequantised, edited, title, values, weights, with_values
from .registry import Wrong, mistake

Change = Callable[[Array], Array]


def _each(name: str, change: Change, only: Callable[[Array], bool] = lambda _: True) -> None:
    """Register a change of one weight after the other."""

    def sites(model: ModelProto) -> Iterator[Wrong]:
        for node, weight, found in weights(model):
            if only(found):
                yield f"weight of {node}", with_values(model, weight, change(found.copy()).astype(found.dtype))

    mistake(name, "weights")(sites)


def _is_float(weight: Array) -> bool:
    return weight.dtype.kind == "f"


def _is_kernel(weight: Array) -> bool:
    return weight.ndim > 2


def _in_order_of_positions(weight: Array) -> Array:
    """The kernel of a flattening in H, W, C order, written as if it had been in C, H, W order."""
    units, channels, *window = weight.shape
    return np.moveaxis(weight.reshape(units, *window, channels), -1, 1)


def _one_percent(weight: Array) -> Array:
    largest = np.unravel_index(np.abs(weight).argmax(), weight.shape)
    weight[largest] *= 1.01
    return weight


def _one_step(weight: Array) -> Array:
    weight.flat[0] += 1 if weight.flat[0] < np.iinfo(weight.dtype).max else -1
    return weight


def _sign(weight: Array) -> Array:
    weight[0] = -weight[0]
    return weight


def _unit_lost(weight: Array) -> Array:
    weight[-1] = 0
    return weight


def _last_features_lost(weight: Array) -> Array:
    weight[:, -1] = 0
    return weight


def _half(weight: Array) -> Array:
    return (weight * 1.001).astype(np.float16)


_each("C, H, W and H, W, C confused", _in_order_of_positions, lambda w: _is_kernel(w) and w[0, 0].size > 1)
_each("a kernel with height and width swapped", lambda w: w.swapaxes(2, 3), lambda w: w.ndim > 3 and w.shape[2] > 1)
_each("a kernel turned around", lambda w: np.flip(w, tuple(range(2, w.ndim))), lambda w: _is_kernel(w))
_each("a kernel mirrored along its last axis", lambda w: np.flip(w, -1), lambda w: _is_kernel(w))
_each("a kernel moved by one cell", lambda w: np.roll(w, 1, 2), lambda w: _is_kernel(w) and w.shape[2] > 1)
_each("two units swapped", lambda w: w[[1, 0, *range(2, len(w))]], lambda w: len(w) > 1)
_each("the units reversed", lambda w: w[::-1])
_each("two channels swapped", lambda w: w[:, [1, 0, *range(2, w.shape[1])]], lambda w: w.shape[1] > 1)
_each("one unit's sign flipped", _sign, _is_float)
_each("one unit lost", _unit_lost)
_each("the last channel lost", _last_features_lost)
_each("one weight off by 1 %", _one_percent, _is_float)
_each("one integer weight off by one", _one_step, lambda w: w.dtype.kind in "iu")
_each("alpha lost: the weight doubled", lambda w: w * 2, _is_float)
_each("the weight transposed", lambda w: w.swapaxes(0, 1), lambda w: w.shape[0] == w.shape[1])
_each("the weight in half precision", _half, _is_float)


def _biases(model: ModelProto) -> Iterator[tuple[int, str, Array]]:
    for i, node in enumerate(model.graph.node):
        if node.op_type in CONVS | {"Gemm"} and len(node.input) in (3, 9):
            found = values(model, dequantised(model, node.input[len(node.input) - 1]))
            if found is not None:
                yield i, dequantised(model, node.input[len(node.input) - 1]), found


@mistake("bias lost", "weights")
def bias_lost(model: ModelProto) -> Iterator[Wrong]:
    """The operand is left out."""
    for i, _, _ in _biases(model):
        yield title(model.graph.node[i]), edited(model, lambda copy, i=i: _pop(copy, i))  # type: ignore[misc]


def _pop(model: ModelProto, index: int) -> None:
    model.graph.node[index].input.pop()


@mistake("beta lost: the bias doubled", "weights")
def beta_lost(model: ModelProto) -> Iterator[Wrong]:
    """What ``beta = 0.5`` would have halved."""
    for i, name, found in _biases(model):
        yield title(model.graph.node[i]), with_values(model, name, found * 2)


@mistake("the bias of another unit", "weights")
def bias_rolled(model: ModelProto) -> Iterator[Wrong]:
    """Every unit has its neighbour's."""
    for i, name, found in _biases(model):
        yield title(model.graph.node[i]), with_values(model, name, np.roll(found, 1))


@mistake("groups in another order", "weights")
def groups_swapped(model: ModelProto) -> Iterator[Wrong]:
    """The kernels of the first and the last group change places."""
    for node in model.graph.node:
        group = attribute(node, "group", 1)
        found = values(model, dequantised(model, node.input[1])) if node.op_type == "Conv" and group > 1 else None
        if found is not None:
            blocks = np.split(found, group)
            swapped = np.concatenate([blocks[-1], *blocks[1:-1], blocks[0]])
            yield title(node), with_values(model, dequantised(model, node.input[1]), swapped)
