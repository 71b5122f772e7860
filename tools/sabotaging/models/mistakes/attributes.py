"""Attributes: strides, pads, dilations, axes, epsilon, alpha, and what else an operator is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from onnx import ModelProto, NodeProto

from .edits import attribute, edited, title, values, with_attribute, with_values
from .registry import Wrong, mistake

DEFAULTS = {
    ("BatchNormalization", "epsilon"): 1e-5,
    ("LayerNormalization", "epsilon"): 1e-5,
    ("InstanceNormalization", "epsilon"): 1e-5,
    ("LeakyRelu", "alpha"): 0.01,
    ("Gemm", "alpha"): 1.0,
    ("Gemm", "beta"): 1.0,
    ("LRN", "alpha"): 1e-4,
    ("LRN", "bias"): 1.0,
}
SLIDING = frozenset("Conv MaxPool AveragePool QLinearConv ConvInteger".split())
TURNED = {"ceil_mode": 0, "count_include_pad": 0, "keepdims": 1}
Change = Callable[[Sequence[int]], list[int]]


def _sliding(name: str, key: str, change: Change, default: int) -> None:
    """Register a change of one attribute of every node that slides a window over its map."""

    def sites(model: ModelProto) -> Iterator[Wrong]:
        for i, node in enumerate(model.graph.node):
            rank = _spatial_rank(model, node)
            if rank is None:
                continue
            old = attribute(node, key) or [default] * (2 * rank if key == "pads" else rank)
            new = change(old)
            if new != list(old) and not attribute(node, "auto_pad"):
                yield title(node), with_attribute(model, i, key, new)

    mistake(name, "attributes")(sites)


def _spatial_rank(model: ModelProto, node: NodeProto) -> int | None:
    if node.op_type not in SLIDING:
        return None
    kernel = attribute(node, "kernel_shape")
    if kernel:
        return len(kernel)
    weight = values(model, node.input[1]) if len(node.input) > 1 else None
    return weight.ndim - 2 if weight is not None else None


_sliding("stride ignored", "strides", lambda old: [1] * len(old), 1)
_sliding("a stride too many", "strides", lambda old: [n + 1 for n in old], 1)
_sliding("strides in another order", "strides", lambda old: list(old)[::-1], 1)
_sliding("a pad too many in front, one less behind", "pads", lambda old: _moved(list(old)), 0)
_sliding("pads lost", "pads", lambda old: [0] * len(old), 0)
_sliding("a pad all around", "pads", lambda old: [n + 1 for n in old], 0)
_sliding("dilation lost", "dilations", lambda old: [1] * len(old), 1)
_sliding("a dilation too many", "dilations", lambda old: [n + 1 for n in old], 1)


def _moved(pads: list[int]) -> list[int]:
    half = len(pads) // 2
    if not any(pads[half:]):
        return pads
    return [n + 1 for n in pads[:half]] + [max(n - 1, 0) for n in pads[half:]]


@mistake("epsilon, alpha or beta lost", "attributes")
def number_lost(model: ModelProto) -> Iterator[Wrong]:
    """The attribute is gone, so the operator's default stands."""
    for i, node in enumerate(model.graph.node):
        for (op_type, key), default in DEFAULTS.items():
            old = attribute(node, key)
            if node.op_type == op_type and old is not None and abs(old - default) > default / 10:
                yield f"{key} of {title(node)}", with_attribute(model, i, key, None)


@mistake("another axis", "attributes")
def other_axis(model: ModelProto) -> Iterator[Wrong]:
    """Softmax, Concat and others along the last axis, which is one of the grid's, or the one in front of theirs."""
    for i, node in enumerate(model.graph.node):
        old = attribute(node, "axis")
        if isinstance(old, int) and node.op_type not in ("DequantizeLinear", "QuantizeLinear", "Flatten"):
            for new in {-1, 0, old + 1} - {old}:
                yield f"{title(node)}, axis {new}", with_attribute(model, i, "axis", new)


@mistake("other axes", "attributes")
def other_axes(model: ModelProto) -> Iterator[Wrong]:
    """A reduction over a grid axis instead of the features, as an attribute or an input."""
    for i, node in enumerate(model.graph.node):
        if not node.op_type.startswith("Reduce"):
            continue
        old = attribute(node, "axes")
        if old is not None:
            yield title(node), with_attribute(model, i, "axes", [n - 1 for n in old])
        elif len(node.input) > 1:
            found = values(model, node.input[1])
            if found is not None:
                yield title(node), with_values(model, node.input[1], found - 1)


@mistake("another permutation", "attributes")
def other_permutation(model: ModelProto) -> Iterator[Wrong]:
    """The last two axes of a Transpose change places."""
    for i, node in enumerate(model.graph.node):
        perm = attribute(node, "perm")
        if node.op_type == "Transpose" and perm and len(perm) > 2:
            yield title(node), with_attribute(model, i, "perm", [*perm[:-2], perm[-1], perm[-2]])


@mistake("a switch turned", "attributes")
def switched(model: ModelProto) -> Iterator[Wrong]:
    """``ceil_mode``, ``count_include_pad``, ``keepdims``: the other way."""
    for i, node in enumerate(model.graph.node):
        for key, default in TURNED.items():
            if key == "keepdims" and not node.op_type.startswith(("Reduce", "Arg")):
                continue
            if key != "keepdims" and node.op_type not in ("MaxPool", "AveragePool"):
                continue
            if key == "count_include_pad" and node.op_type == "MaxPool":
                continue
            yield f"{key} of {title(node)}", with_attribute(model, i, key, 1 - attribute(node, key, default))


@mistake("one group", "attributes")
def ungrouped(model: ModelProto) -> Iterator[Wrong]:
    """``group`` is lost, and every group's kernel stands for all channels: the weight is repeated to fit."""
    for i, node in enumerate(model.graph.node):
        group = attribute(node, "group", 1)
        found = values(model, node.input[1]) if node.op_type == "Conv" and group > 1 else None
        if found is not None:
            wide = found.repeat(group, axis=1)
            yield title(node), edited(with_values(model, node.input[1], wide), _without_group(i))


def _without_group(index: int) -> Callable[[ModelProto], None]:
    def edit(model: ModelProto) -> None:
        kept: list[Any] = [a for a in model.graph.node[index].attribute if a.name != "group"]
        del model.graph.node[index].attribute[:]
        model.graph.node[index].attribute.extend(kept)

    return edit
